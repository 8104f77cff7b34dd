"""LangChain: the contract of all adapters, and LangChain's own suite."""

from typing import Any

import pytest
from langchain_core.embeddings import Embeddings  # pyright: ignore[reportMissingImports]
from langchain_core.vectorstores import (  # pyright: ignore[reportMissingImports]
    InMemoryVectorStore,
)
from langchain_tests.integration_tests import (  # pyright: ignore[reportMissingImports]
    EmbeddingsIntegrationTests,
)
from langchain_tests.unit_tests import (  # pyright: ignore[reportMissingImports]
    EmbeddingsUnitTests,
)
from openrouter_embeddings.adapters.langchain import OpenRouterEmbeddings
from pydantic import SecretStr

from tests.adapters.contract import AdapterContract
from tests.adapters.page import run_section
from tests.compat.loopback import KEY


class TestLangChain(AdapterContract):
    """The contract."""

    def make(self, **options: Any) -> OpenRouterEmbeddings:
        """An embedding model."""
        return OpenRouterEmbeddings(**options)

    def documents(self, adapter: Any, texts: list[str]) -> Any:
        """`embed_documents`."""
        return adapter.embed_documents(texts)

    async def adocuments(self, adapter: Any, texts: list[str]) -> Any:
        """`aembed_documents`."""
        return await adapter.aembed_documents(texts)

    def query(self, adapter: Any, text: str) -> Any:
        """`embed_query`."""
        return adapter.embed_query(text)

    async def aquery(self, adapter: Any, text: str) -> Any:
        """`aembed_query`."""
        return await adapter.aembed_query(text)

    def search(self, adapter: Any, passages: list[str], question: str) -> str:
        """In the vector store of langchain-core."""
        store = InMemoryVectorStore.from_texts(passages, adapter)
        (found,) = store.similarity_search(question, k=1)
        text: str = found.page_content
        return text


class TestUnits(EmbeddingsUnitTests):
    """LangChain's unit tests."""

    embeddings_class: type[Embeddings] = OpenRouterEmbeddings

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        """A key in the environment."""
        return {"OPENROUTER_API_KEY": KEY}, {"model": "m"}, {}


@pytest.mark.anyio
class TestIntegration(EmbeddingsIntegrationTests):
    """LangChain's integration tests, on the stand-in."""

    embeddings_class: type[Embeddings] = OpenRouterEmbeddings
    embedding_model_params: dict[str, Any] = {"local": True}  # noqa: RUF012 - LangChain's name

    @pytest.fixture
    def anyio_backend(self) -> str:
        """asyncio; the client knows no other."""
        return "asyncio"


def test_a_secret_of_pydantic_is_a_key() -> None:
    """LangChain's habit for keys."""
    adapter = OpenRouterEmbeddings(api_key=SecretStr(KEY), model="m")
    assert adapter._client._key.reveal() == KEY
    assert KEY not in repr(adapter)


def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what the page shows."""
    run_section("LangChain", capsys)
