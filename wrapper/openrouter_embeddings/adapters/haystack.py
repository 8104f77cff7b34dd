"""Haystack: components of pipelines that embed queries and documents."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from openrouter_embeddings._extras import need
from openrouter_embeddings.core.options import check_option_names
from openrouter_embeddings.errors import InputError
from openrouter_embeddings.inputs import Image

from ._lazy import Adapter, AdapterOptions, LazyClient, as_secret, for_each_input

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self, TypeAlias, Unpack

    from openrouter_embeddings.inputs import EmbedInput
    from openrouter_embeddings.result import EmbeddingResult

    Document: TypeAlias = Any
else:
    Document = need("haystack", "haystack").Document  # Haystack reads the types of `run`

C = TypeVar("C")
F = TypeVar("F")
_haystack: Any = need("haystack", "haystack")
_ComponentMeta: Any = need("haystack.core.component.component", "haystack").ComponentMeta
_Secret: Any = need("haystack.utils", "haystack").Secret
# Haystack loads a saved component only from modules that it trusts, such as this one, which has
# nothing but the two classes.
_MODULE = "haystack_integrations.components.embedders.openrouter_embeddings"


class HaystackOptions(AdapterOptions, total=False):
    """Those of all adapters, and Haystack's own.

    Attributes:
        api_key: also a `Secret` of Haystack; the name of its environment variable is saved.
        prefix: what to put before each text; default: "".
        suffix: what to put after each text; default: "".
        meta_fields_to_embed: of documents, the metadata to put before the content; default: none.
        embedding_separator: what to put after each of them; default: a line break.
    """

    api_key: Any  # a Secret as well
    prefix: str
    suffix: str
    meta_fields_to_embed: list[str]
    embedding_separator: str


class _Meta(_ComponentMeta):
    """Wraps secrets before a frame of Haystack's metaclass holds them, which a traceback shows."""

    def __call__(self: type[C], **options: Any) -> C:  # pyright: ignore[reportGeneralTypeIssues]
        check_option_names(options, own=HaystackOptions.__annotations__)
        if isinstance(options.get("api_key"), _Secret):
            if options["api_key"].type.value == "token":
                options["api_key"] = options["api_key"].resolve_value()
            else:
                variables = options.pop("api_key").to_dict()["env_vars"]
                if len(variables) > 1:
                    raise InputError("api_key: expected a Secret of one environment variable")
                options["api_key_env_var"] = variables[0]
        options["api_key"] = as_secret(options.get("api_key"))
        made: C = _ComponentMeta.__call__(self, **options)
        return made


class _Embedder(Adapter, metaclass=_Meta):
    """What both components have in common."""

    _defaults: ClassVar[dict[str, Any]] = {"prefix": "", "suffix": ""}
    _can_skip: ClassVar[bool] = False

    def __init__(self, **options: Unpack[HaystackOptions]) -> None:
        given: Any = options
        self._own = {name: given.pop(name, default) for name, default in self._defaults.items()}
        self._client = LazyClient(options, can_skip=self._can_skip)
        for name, value in self._own.items():
            if name == "meta_fields_to_embed":
                if not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
                    raise InputError(f"{name}: expected a list of names")
                self._own[name] = [*value]
            elif not isinstance(value, str):
                raise InputError(f"{name}: expected a str, got {type(value).__name__}")

    async def close_async(self) -> None:
        """Close the connections of `run_async` in this event loop, as pipelines do."""
        await self.aclose()

    def to_dict(self) -> dict[str, Any]:
        """What a pipeline saves. Raises InputError if there is a client, or headers."""
        options = {**self._client.config(), **copy.deepcopy(self._own)}
        saved: dict[str, Any] = _haystack.default_to_dict(self, **options)
        return saved

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The component that a pipeline has saved."""
        embedder: Self = _haystack.default_from_dict(cls, data)
        return embedder


def _component(cls: type[C]) -> type[C]:
    made: type[C] = _haystack.component(cls)
    return made


def _outputs(**types: Any) -> Callable[[F], F]:
    decorate: Callable[[F], F] = _haystack.component.output_types(**types)
    return decorate


@_component
class OpenRouterTextEmbedder(_Embedder):
    """Embeds a query for a retriever.

        pipeline.add_component("embedder", OpenRouterTextEmbedder(model="…"))

    Args:
        **options: as for `OpenRouterDocumentEmbedder`, except `meta_fields_to_embed`,
            `embedding_separator` and `on_error="skip"`.

    Raises:
        The same errors.
    """

    __module__ = _MODULE

    @_outputs(embedding=list[float], meta=dict[str, Any])
    def run(self, text: str) -> dict[str, Any]:
        """Embed one text: `embedding` is a list of floats, `meta` has the model and the usage."""
        return _embedding(self._client.embed([self._affixed(text)], "query"))

    @_outputs(embedding=list[float], meta=dict[str, Any])
    async def run_async(self, text: str) -> dict[str, Any]:
        """The same for asyncio."""
        return _embedding(await self._client.aembed([self._affixed(text)], "query"))

    def _affixed(self, text: str) -> str:
        if not isinstance(text, str):
            raise InputError("expected a str; use OpenRouterDocumentEmbedder for documents")
        return f"{self._own['prefix']}{text}{self._own['suffix']}" if text else text


@_component
class OpenRouterDocumentEmbedder(_Embedder):
    """Embeds documents for a document store.

        pipeline.add_component("embedder", OpenRouterDocumentEmbedder(model="…"))

    It returns new documents in the same order. A document without content whose blob is an image is
    embedded as that image. One that cannot be embedded raises an error that names its position.
    With `on_error="skip"`, it has no embedding, and `meta["errors"]` says why. Documents go in
    large batches, several at a time. `usage` has the tokens and the exact cost of all calls.

    A saved pipeline loads without further settings. It keeps the options, but never the key.

    Args:
        **options: `model`, `api_key`, `base_url`, `local`, `client` and others (see
            `AdapterOptions`), the options of `embed`, and those of `HaystackOptions`.

    Raises:
        InputError: an option is invalid. Without an API key, the first run raises it.
        TypeError: an option is unknown.
        EmbeddingsError: `run` raises the errors of `Client.embed`; a pipeline raises its own error,
            whose `__cause__` they are.
        ImportError: the extra `haystack` is not installed.
    """

    __module__ = _MODULE
    _defaults: ClassVar[dict[str, Any]] = {
        "prefix": "",
        "suffix": "",
        "meta_fields_to_embed": [],
        "embedding_separator": "\n",
    }
    _can_skip = True

    @_outputs(documents=list[Document], meta=dict[str, Any])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Embed documents: `documents` has copies with vectors, `meta` the model and the usage."""
        return _documents(documents, self._client.embed(self._inputs(documents), "document"))

    @_outputs(documents=list[Document], meta=dict[str, Any])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """The same for asyncio."""
        return _documents(documents, await self._client.aembed(self._inputs(documents), "document"))

    def _inputs(self, documents: Any) -> list[EmbedInput]:
        if not isinstance(documents, list) or not all(
            isinstance(d, _haystack.Document) for d in documents
        ):
            raise InputError("expected a list of Document; use OpenRouterTextEmbedder for a text")
        return [self._input(document) for document in documents]

    def _input(self, document: Document) -> Any:
        if document.content is None and document.blob is not None:
            return Image(document.blob.data)
        values = [document.meta.get(name) for name in self._own["meta_fields_to_embed"]]
        parts = [*(str(value) for value in values if value is not None), document.content or ""]
        text = self._own["embedding_separator"].join(parts)
        # None is a missing value, which `on_error` decides about
        return f"{self._own['prefix']}{text}{self._own['suffix']}" if text else None


def _meta(result: EmbeddingResult) -> dict[str, Any]:
    used = result.usage
    usage = {"prompt_tokens": used.prompt_tokens, "total_tokens": used.total_tokens}
    cost = {} if used.cost is None else {"cost": float(used.cost)}
    return {"model": result.model, "usage": {**usage, **cost}, "providers": [*result.providers]}


def _embedding(result: EmbeddingResult) -> dict[str, Any]:
    return {"embedding": result.vectors[0].tolist(), "meta": _meta(result)}


def _documents(documents: list[Document], result: EmbeddingResult) -> dict[str, Any]:
    vectors = for_each_input(result.vectors.tolist(), result)
    embedded = [replace(d, embedding=v) for d, v in zip(documents, vectors, strict=True)]
    errors = {documents[at].id: str(error) for at, error in sorted(result.errors.items())}
    return {"documents": embedded, "meta": _meta(result) | ({"errors": errors} if errors else {})}
