"""LlamaIndex: embedding models for indexes, ingestion pipelines and images."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import InputError
from openrouter_embeddings.inputs import Image

from ._lazy import Adapter, AdapterOptions, LazyClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Unpack

    from openrouter_embeddings.result import EmbeddingResult

BaseEmbedding: Any = need("llama_index.core.embeddings", "llama_index").BaseEmbedding
MultiModalEmbedding: Any = need("llama_index.core.embeddings", "llama_index").MultiModalEmbedding
_pydantic: Any = need("llama_index.core.bridge.pydantic", "llama_index")


class LlamaIndexOptions(AdapterOptions, total=False):
    """Those of all adapters, and the fields of LlamaIndex's own class.

    Attributes:
        model_name: LlamaIndex's word for `model`, which counts if both are given.
        embed_batch_size: how many texts LlamaIndex hands over at a time; default: 2048, the most
            that it allows. They are sent in requests of `batch_size`, several at a time.
    """

    model_name: str
    embed_batch_size: int
    callback_manager: Any
    num_workers: int | None
    embeddings_cache: Any
    rate_limiter: Any


class OpenRouterEmbedding(Adapter, BaseEmbedding):
    """Embeds nodes and queries for LlamaIndex.

        Settings.embed_model = OpenRouterEmbedding(model="openai/text-embedding-3-small")

    A text that cannot be embedded raises an error that names its position in LlamaIndex's batch, so
    `on_error="skip"` is not possible. It can be copied, pickled and saved with `to_json`; a copy
    has the connections and the usage of the original, and what is saved leaves out the key. `usage`
    has the tokens and the cost of all its calls.

    Args:
        **options: `model`, `api_key`, `base_url`, `local`, `client` and others (see
            `AdapterOptions`), the options of `embed`, and those of `LlamaIndexOptions`.

    Raises:
        InputError: an option is invalid. Without an API key, the first call raises it.
        TypeError: an option is unknown.
        EmbeddingsError: the methods raise the errors of `Client.embed`.
        ImportError: the extra `llama_index` is not installed.
    """

    model_name: str = _pydantic.Field(default="", frozen=True)
    embed_batch_size: int = _pydantic.Field(default=2048, gt=0, le=2048)
    _client: LazyClient = _pydantic.PrivateAttr()
    _unsaved: str = _pydantic.PrivateAttr(default_factory=lambda: f"not saved: {uuid4()}")

    def __init__(self, **options: Unpack[LlamaIndexOptions]) -> None:
        given: Any = options
        fields = {name: given.pop(name) for name in BaseEmbedding.model_fields if name in given}
        if name := fields.pop("model_name", ""):
            options.setdefault("model", name)
        client = LazyClient(options)
        BaseEmbedding.__init__(self, **fields, model_name=options.get("model", ""))
        self._client = client

    @classmethod
    def class_name(cls) -> str:
        """The name in what LlamaIndex saves."""
        return cls.__name__

    def to_json(self, **kwargs: Any) -> str:
        """The options, for `from_json` in another process. Raises InputError as pickling does."""
        self._client.config()
        return str(super().to_json(**kwargs))

    @_pydantic.model_serializer(mode="wrap")  # type: ignore[untyped-decorator]
    def custom_model_dump(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """The fields and the options. LlamaIndex makes keys of caches from them."""
        try:
            options = self._client.config()
        except InputError:  # a client or headers: no other adapter has this key
            options = {"client": self._unsaved}
        options.pop("model", None)  # the field model_name has it
        return {**handler(self), **options, "class_name": self.class_name()}

    def __getstate__(self) -> dict[str, Any]:
        options = self._client.config()  # raises if there are options that cannot be pickled
        state: Any = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], **options}}

    def __repr__(self) -> str:
        client: LazyClient | None = getattr(self, "_client", None)
        return client.described(self.class_name()) if client else f"{self.class_name()}(unfinished)"

    __str__ = __repr__

    def _get_query_embedding(self, query: str) -> list[float]:
        return _rows(self._client.embed([query], "query"))[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return _rows(await self._client.aembed([query], "query"))[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return _rows(self._client.embed(texts, "document"))

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return _rows(await self._client.aembed(texts, "document"))


class OpenRouterMultiModalEmbedding(OpenRouterEmbedding, MultiModalEmbedding):
    """The same for images as well: each is a path, an http(s) URL or a BytesIO.

    They are sent as documents, with a model that puts texts and images into one space.
    """

    def _get_image_embedding(self, img_file_path: str | BytesIO) -> list[float]:
        return self._get_image_embeddings([img_file_path])[0]

    async def _aget_image_embedding(self, img_file_path: str | BytesIO) -> list[float]:
        return (await self._aget_image_embeddings([img_file_path]))[0]

    def _get_image_embeddings(self, img_file_paths: list[str | BytesIO]) -> list[list[float]]:
        return _rows(self._client.embed(_images(img_file_paths), "document"))

    async def _aget_image_embeddings(
        self, img_file_paths: list[str | BytesIO]
    ) -> list[list[float]]:
        return _rows(await self._client.aembed(_images(img_file_paths), "document"))


def _rows(result: EmbeddingResult) -> list[list[float]]:
    rows: list[list[float]] = result.vectors.tolist()
    return rows


def _images(sources: Iterable[str | BytesIO]) -> list[Image]:
    # a BytesIO may have been read before, and may be embedded again
    return [Image(one.getvalue() if isinstance(one, BytesIO) else one) for one in sources]
