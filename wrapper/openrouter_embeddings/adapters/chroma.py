"""Chroma: an `EmbeddingFunction` for collections, which remember it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import InputError
from openrouter_embeddings.inputs import Image

from ._lazy import Adapter, LazyClient

if TYPE_CHECKING:
    from typing import Literal, Self, Unpack

    from openrouter_embeddings.inputs import EmbedInput

    from ._lazy import AdapterOptions, Role

EmbeddingFunction: Any = need("chromadb.api.types", "chroma").EmbeddingFunction
_functions: Any = need("chromadb.utils.embedding_functions", "chroma")
# a collection with other vectors than these options give cannot be searched
_FIXED = ("model", "dimensions", "local")


class OpenRouterEmbeddingFunction(Adapter, EmbeddingFunction):
    """Embeds documents, queries and images for the collections of Chroma.

        client.create_collection("notes", embedding_function=OpenRouterEmbeddingFunction(model="…"))

    A collection remembers the function and its options, but not the key. Import this module in
    each program that opens the collection, or Chroma does not find the function. Functions that
    Chroma makes from a collection share their connections and their usage if they have the same
    options and key. A document that cannot be embedded raises an error that names it;
    `on_error="skip"` is not possible.

    Args:
        **options: `model`, `api_key`, `base_url`, `local`, `client` and others (see
            `AdapterOptions`), and the options of `embed`. Chroma does not remember a function with
            `client` or `headers`; it warns, and you pass the function to `get_collection`.

    Raises:
        InputError: an option is invalid. Without an API key, the first call raises it.
        TypeError: an option is unknown.
        EmbeddingsError: the methods raise the errors of `Client.embed`.
        ImportError: the extra `chroma` is not installed.
    """

    def __init__(self, **options: Unpack[AdapterOptions]) -> None:
        self._client = LazyClient(options)

    def __call__(self, input: list[Any]) -> list[Any]:  # noqa: A002 - Chroma's name
        """Embed documents, or images as arrays: one float32 array for each."""
        return self._embed(input, "document")

    def embed_query(self, input: list[Any]) -> list[Any]:  # noqa: A002 - Chroma's name
        """Embed queries: texts, or images as arrays."""
        return self._embed(input, "query")

    def _embed(self, inputs: list[Any], role: Role) -> list[Any]:
        if not isinstance(inputs, str):
            inputs = [_loaded(number, one) for number, one in enumerate(inputs)]
        return [*self._client.embed(inputs, role).vectors]

    @staticmethod
    def name() -> str:
        """The name in the configuration of a collection."""
        return "openrouter"

    def default_space(self) -> Literal["cosine"]:
        """The distance of new collections, unless they name another."""
        return "cosine"

    def get_config(self) -> dict[str, Any]:
        """What a collection remembers, never the key; raises InputError for what it cannot keep."""
        return self._client.config()

    @classmethod
    def build_from_config(cls, config: dict[str, Any]) -> Self:
        """The function of a collection; `get_config` in reverse."""
        made = cls(**config)
        made._client = made._client.shared()
        return made

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Raise InputError if the vectors of the collection would no longer match."""
        for name in _FIXED:
            if (old := old_config.get(name)) != (new := new_config.get(name)):
                raise InputError(
                    f"{name}: the collection has vectors of {old!r}, not of {new!r}; embed its "
                    "documents again into a new collection"
                )


# not a decorator, which would hide the type of the class
_functions.register_embedding_function(OpenRouterEmbeddingFunction)


def _loaded(number: int, one: Any) -> EmbedInput:
    """An input of our client: an image is an array in Chroma."""
    if not isinstance(one, np.ndarray):
        return one  # type: ignore[no-any-return]
    pillow: Any = need("PIL.Image", "images")
    try:
        if one.ndim < 2 or one.dtype.kind not in "ui" or one.min() < 0 or one.max() > 255:
            raise ValueError
        return Image(pillow.fromarray(one.astype(np.uint8)))
    except (TypeError, ValueError):
        raise InputError(
            f"input {number}: expected an image as an array of integers from 0 to 255, with the "
            f"shape (height, width) or (height, width, 3); got {one.dtype} with {one.shape}",
            inputs=[number],
        ) from None
