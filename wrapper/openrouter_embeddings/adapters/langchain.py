"""LangChain: an `Embeddings` for vector stores, retrievers and chains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openrouter_embeddings._extras import need

from ._lazy import Adapter, LazyClient

if TYPE_CHECKING:
    from typing import Unpack

    from ._lazy import AdapterOptions

Embeddings: Any = need("langchain_core.embeddings", "langchain").Embeddings


class OpenRouterEmbeddings(Adapter, Embeddings):
    """Embeds documents and queries for LangChain.

        store = InMemoryVectorStore(OpenRouterEmbeddings(model="openai/text-embedding-3-small"))

    Texts go in large batches, several at a time; leave out LangChain's own batching. A text that
    cannot be embedded raises an error that names it, so `on_error="skip"` is not possible. It can
    be copied and pickled; a copy has the connections and the usage of the original, and pickling
    leaves out the key. `usage` has the tokens and the cost of all its calls.

    Args:
        **options: `model`, `api_key`, `base_url`, `local`, `client` and others (see
            `AdapterOptions`), and the options of `embed`.

    Raises:
        InputError: an option is invalid. Without an API key, the first call raises it.
        TypeError: an option is unknown.
        EmbeddingsError: the methods raise the errors of `Client.embed`.
        ImportError: the extra `langchain` is not installed.
    """

    def __init__(self, **options: Unpack[AdapterOptions]) -> None:
        self._client = LazyClient(options)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed the texts that are searched."""
        vectors: list[list[float]] = self._client.embed(texts, "document").vectors.tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Embed a search query."""
        vector: list[float] = self._client.embed([text], "query").vectors[0].tolist()
        return vector

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed the texts that are searched."""
        result = await self._client.aembed(texts, "document")
        vectors: list[list[float]] = result.vectors.tolist()
        return vectors

    async def aembed_query(self, text: str) -> list[float]:
        """Embed a search query."""
        result = await self._client.aembed([text], "query")
        vector: list[float] = result.vectors[0].tolist()
        return vector
