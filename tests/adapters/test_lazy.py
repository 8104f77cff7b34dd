"""The clients behind the adapters, without any framework."""

import json
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.adapters._lazy import LazyClient, for_each_input

from tests.adapters.contract import AdapterContract


class TestLazyClient(AdapterContract):
    """The contract of the adapters, for what they share."""

    can_skip = True

    @staticmethod
    def make(**options: Any) -> Any:
        """A lazy client."""
        return LazyClient(options, can_skip=True)  # type: ignore[arg-type]

    @staticmethod
    def documents(adapter: Any, texts: list[str]) -> Any:
        """Lists, and None for what was skipped."""
        result = adapter.embed(texts, "document")
        return for_each_input(result.vectors.tolist(), result)

    @staticmethod
    async def adocuments(adapter: Any, texts: list[str]) -> Any:
        """The same for asyncio."""
        result = await adapter.aembed(texts, "document")
        return for_each_input(result.vectors.tolist(), result)

    @staticmethod
    def query(adapter: Any, text: str) -> Any:
        """A row."""
        return adapter.embed([text], "query").vectors[0]

    @staticmethod
    async def aquery(adapter: Any, text: str) -> Any:
        """The same for asyncio."""
        return (await adapter.aembed([text], "query")).vectors[0]

    @staticmethod
    def save(adapter: Any) -> str:
        """JSON."""
        return json.dumps(adapter.config())

    @staticmethod
    def load(saved: str) -> Any:
        """From JSON."""
        return LazyClient(json.loads(saved), can_skip=True)

    @staticmethod
    def search(adapter: Any, passages: list[str], question: str) -> str:
        """With numpy."""
        vectors = adapter.embed(passages, "document").vectors
        return passages[int(np.argmax(vectors @ adapter.embed([question], "query").vectors[0]))]

    @staticmethod
    def lazy(adapter: Any) -> LazyClient:
        """Itself."""
        assert isinstance(adapter, LazyClient)
        return adapter
