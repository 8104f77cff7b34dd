"""What the adapters share: adding a column of vectors to batches of Arrow data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from openrouter_embeddings._extras import need
from openrouter_embeddings.client import Client
from openrouter_embeddings.core.options import EmbedOptions, check_option_names, merge_options
from openrouter_embeddings.core.result_builder import check_width
from openrouter_embeddings.errors import InputError
from openrouter_embeddings.jobs._rows import Reader
from openrouter_embeddings.jobs._spec import InputSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Unpack

    import pyarrow as pa

    from openrouter_embeddings.jobs._rows import Row

DEFAULT_OUTPUT = "embedding"


def check_output(names: Sequence[str], output: str, *, skips: bool) -> None:
    """Raise InputError if a column that the adapter adds already exists."""
    for added in [output, error_column(output)] if skips else [output]:
        if added in names:
            raise InputError(f"the data already has a column {added!r}; set another output=…")


def error_column(output: str) -> str:
    """The column in which `on_error="skip"` puts the reason why a row has no vector."""
    return f"{output}_error"


class Embedder:
    """Embeds batches with one client; `adapters.ray.Embed` documents arguments and errors."""

    _extra: ClassVar[str]  # the extra that installs pyarrow for this framework

    def __init__(
        self,
        *,
        workers: int,
        column: str | None = None,
        template: str | None = None,
        images: str | None = None,
        output: str = DEFAULT_OUTPUT,
        client: Callable[..., Client] = Client,
        **options: Unpack[EmbedOptions],
    ) -> None:
        check_option_names(options)  # first: an error below must not show the caller's headers
        self._arrow = need("pyarrow", self._extra)
        self._spec = InputSpec(column, template, images)
        self._output = output
        self._client = client(**_share(workers, options))
        self._skips = options.get("on_error") == "skip"
        self._reader: Reader | None = None
        self._width = options.get("dimensions")  # if None, set by the first vectors

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table with the column of vectors. Raises the errors of `Client.embed`."""
        check_output(table.schema.names, self._output, skips=self._skips)
        if self._reader is None:
            self._reader = Reader(table.schema, Path(), self._spec)
        rows = [row for batch in table.to_batches() for row in self._reader.read(batch)]
        vectors, reasons = self._embed(rows)
        column = self._vector_column([row.digest for row in rows], vectors)
        table = table.append_column(self._output, column)
        if self._skips:
            # row.reason first: an empty text and a null share a digest, but not the reason
            texts = [row.reason or reasons.get(row.digest) for row in rows]
            column = self._arrow.array(texts, self._arrow.string())
            table = table.append_column(error_column(self._output), column)
        return table

    def _embed(self, rows: list[Row]) -> tuple[dict[bytes, Any], dict[bytes, str]]:
        """Vectors, and reasons for missing ones, by digest. Embeds equal inputs once."""
        distinct = {row.digest: row for row in rows}
        reasons = {row.digest: row.reason for row in distinct.values() if row.value is None}
        if reasons and not self._skips:
            position = next(n for n, row in enumerate(rows) if row.value is None)
            raise InputError(
                f"row {position} of a batch: {rows[position].reason}; remove such rows, or set "
                'on_error="skip"',
                inputs=[position],
            )
        pending = [row for row in distinct.values() if row.value is not None]
        if not pending:
            return {}, reasons
        inputs: Any = [row.value for row in pending]
        result = self._client.embed(inputs)
        positions = np.flatnonzero(result.mask).tolist()
        if len(result.vectors):
            self._width = check_width(self._width, result.vectors, positions)
        reasons |= {pending[n].digest: error.message for n, error in result.errors.items()}
        embedded = [pending[n].digest for n in positions]
        return dict(zip(embedded, result.vectors, strict=True)), reasons

    def _vector_column(self, digests: list[bytes], vectors: dict[bytes, Any]) -> Any:
        pa = self._arrow
        if self._width is None:  # no batch so far has had a vector
            return pa.nulls(len(digests))
        blank = np.zeros(self._width, np.float32)
        rows = [vectors.get(digest, blank) for digest in digests]
        flat = pa.array(np.concatenate(rows) if rows else blank[:0])
        kind = pa.list_(pa.field("item", pa.float32(), nullable=False), self._width)
        missing = pa.array([digest not in vectors for digest in digests], pa.bool_())
        return pa.FixedSizeListArray.from_arrays(flat, type=kind, mask=missing)


def _share(workers: int, options: EmbedOptions) -> EmbedOptions:
    """The options with one worker's share of `concurrency`. Raises InputError."""
    if options.get("budget") is not None:
        raise InputError(
            "budget limits one client, but every worker has its own; set a limit on the API key"
        )
    concurrency = merge_options(EmbedOptions(), options).concurrency
    if workers < 1 or concurrency < workers:
        raise InputError(
            f"concurrency {concurrency} does not give each of {workers} workers a request; set "
            "concurrency to a multiple of workers"
        )
    return {**options, "concurrency": concurrency // workers}
