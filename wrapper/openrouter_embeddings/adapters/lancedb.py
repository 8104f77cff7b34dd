"""LanceDB: an embedding function for the columns of tables, registered as "openrouter"."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any, Self, Unpack

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import EmbeddingsError, InputError
from openrouter_embeddings.inputs import Image, is_pil

from ._lazy import Adapter, AdapterOptions, LazyClient, Role, for_each_input

_embeddings: Any = need("lancedb.embeddings", "lancedb")
EmbeddingFunction: Any = _embeddings.EmbeddingFunction
_NO_KEY = 'a table keeps no API key: set OPENROUTER_API_KEY, or use api_key="$var:NAME"'


class OpenRouterEmbeddings(Adapter, EmbeddingFunction):
    """Embeds columns of texts or images, and what they are searched for, for tables of LanceDB.

        embed = get_registry().get("openrouter").create(model="openai/text-embedding-3-small")

        class Note(LanceModel):
            text: str = embed.SourceField()
            vector: Vector(embed.ndims()) = embed.VectorField()

    A str is a text. Images are bytes in a column; a query may also be a PIL image or a
    `pathlib.Path`. LanceDB makes the function anew for each call, from the options that the table
    keeps; those with the same options and key share their connections and their usage. A table
    keeps no key, and with `client` or `headers`, creating a table raises InputError.

    With `on_error="skip"`, texts that are refused, missing or empty have no vector, and LanceDB's
    `on_bad_vectors` decides about their rows; a query always raises. LanceDB's own retries are
    switched off: `max_retries` is that of `embed`.

    Args:
        **options: `model`, `local` and others (see `AdapterOptions`), and the options of `embed`.
            As `api_key`, `create` takes the name of a variable of LanceDB, `"$var:NAME"`.

    Raises:
        InputError: an option is invalid. Without an API key, the first call raises it.
        TypeError: an option is unknown.
        EmbeddingsError: the methods raise the errors of `Client.embed`.
        ImportError: the extra `lancedb` is not installed.
    """

    max_retries: int = 0  # LanceDB's own
    _client: LazyClient
    _original_args: dict[str, Any]
    _width: int

    def __init__(self, **options: Unpack[AdapterOptions]) -> None:
        super().__init__()
        self._client = LazyClient(options, can_skip=True)
        self._original_args = {}
        self._width = options.get("dimensions") or 0

    @classmethod
    def create(cls, **options: Unpack[AdapterOptions]) -> Self:
        """Make a function whose options a table can keep. Raises as the class does."""
        given: Any = options
        try:
            if not re.fullmatch(r"\$var:[^:]+|None", str(options.get("api_key"))):
                raise InputError(_NO_KEY)
            made: Self = super().create(**given)
        except (EmbeddingsError, TypeError, ValueError) as error:
            given.clear()  # and no frames of LanceDB: they may have a key
            raise error.with_traceback(None) from None
        made._original_args = {k: v for k, v in given.items() if str(v).startswith("$var:")}
        made._client = made._client.shared()
        return made

    def safe_model_dump(self) -> dict[str, Any]:
        """What a table keeps; raises InputError if there are options that it cannot keep."""
        if self._client.has_key and "api_key" not in self._original_args:
            raise InputError(_NO_KEY)
        return {**self._client.config(), **self._original_args}

    def ndims(self) -> int:
        """The length of the vectors; without `dimensions`, this may embed a word to find out."""
        if not self._width:
            self._embed(["width"], "document", on_error="raise")
        return self._width

    def compute_source_embeddings(self, column: Any, *_: Any, **__: Any) -> list[Any]:
        """Embed a column: a float32 array for each row, or None if it was skipped."""
        # an empty text has no vector in LanceDB's own functions
        return self._embed([None if it == "" else it for it in _inputs(column)], "document")

    def compute_query_embeddings(self, query: Any, *_: Any, **__: Any) -> list[Any]:
        """Embed a query: a list with one float32 array."""
        return self._embed(_inputs(query), "query", on_error="raise")

    # LanceDB calls these; its own ones retry every error, and hide it
    compute_source_embeddings_with_retry = compute_source_embeddings
    compute_query_embeddings_with_retry = compute_query_embeddings

    def _embed(self, inputs: list[Any], role: Role, **options: Any) -> list[Any]:
        result = self._client.embed(inputs, role, **options)
        if len(result.vectors):
            self._width = result.vectors.shape[1]
        return for_each_input([*result.vectors], result)

    def __str__(self) -> str:
        return Adapter.__repr__(self)


# not a decorator, which would hide the type of the class
_embeddings.get_registry().register("openrouter")(OpenRouterEmbeddings)


def _inputs(given: Any) -> list[Any]:
    """The inputs of a column, or of a query as the only one."""
    if hasattr(given, "to_pylist"):
        given = given.to_pylist()
    elif not isinstance(given, list | tuple):
        given = [given]
    return [Image(it) if isinstance(it, bytes | PurePath) or is_pil(it) else it for it in given]
