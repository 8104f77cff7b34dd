"""The clients behind the adapters, without any framework."""

import json
from typing import Any

import numpy as np
from openrouter_embeddings.adapters._lazy import LazyClient, for_each_input

from tests.adapters.contract import AdapterContract


class TestLazyClient(AdapterContract):
    """The contract of the adapters, for what they share."""

    can_skip = True

    def make(self, **options: Any) -> Any:
        """A lazy client."""
        return LazyClient(options, can_skip=True)  # type: ignore[arg-type]

    def documents(self, adapter: Any, texts: list[str]) -> Any:
        """Lists, and None for what was skipped."""
        result = adapter.embed(texts, "document")
        return for_each_input(result.vectors.tolist(), result)

    async def adocuments(self, adapter: Any, texts: list[str]) -> Any:
        """The same for asyncio."""
        result = await adapter.aembed(texts, "document")
        return for_each_input(result.vectors.tolist(), result)

    def query(self, adapter: Any, text: str) -> Any:
        """A row."""
        return adapter.embed([text], "query").vectors[0]

    async def aquery(self, adapter: Any, text: str) -> Any:
        """The same for asyncio."""
        return (await adapter.aembed([text], "query")).vectors[0]

    def save(self, adapter: Any) -> str:
        """JSON."""
        return json.dumps(adapter.config())

    def load(self, saved: str) -> Any:
        """From JSON."""
        return LazyClient(json.loads(saved), can_skip=True)

    def search(self, adapter: Any, passages: list[str], question: str) -> str:
        """With numpy."""
        vectors = adapter.embed(passages, "document").vectors
        return passages[int(np.argmax(vectors @ adapter.embed([question], "query").vectors[0]))]

    def lazy(self, adapter: Any) -> LazyClient:
        """Itself."""
        assert isinstance(adapter, LazyClient)
        return adapter
