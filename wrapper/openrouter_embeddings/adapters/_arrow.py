"""Arrow batches in, the same batches with vectors out: what every adapter does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openrouter_embeddings._extras import need
from openrouter_embeddings.core.options import EmbedOptions, merged
from openrouter_embeddings.core.result_builder import same_width
from openrouter_embeddings.errors import InputError
from openrouter_embeddings.jobs._rows import Reader
from openrouter_embeddings.jobs._spec import InputSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from openrouter_embeddings.client import Client
    from openrouter_embeddings.jobs._rows import Row

DEFAULT_OUTPUT = "embedding"


def check_output(names: Sequence[str], output: str, *, skips: bool) -> None:
    """Raise InputError where a column that is added is there already."""
    for added in [output, reasons_column(output)] if skips else [output]:
        if added in names:
            raise InputError(f"there is a column {added!r} already; output=… names another")


def reasons_column(output: str) -> str:
    """Where `on_error="skip"` says why a row has no vector."""
    return f"{output}_error"


class Embedder:
    """Embeds batches, one client for all of them.

    Args:
        extra: what brings pyarrow with it.
        workers: how many such embedders work at a time; each has its share of `concurrency`.
        column: with the text; default: the only one of text, or the one named "text".
        template: in place of a column: `"{title}: {body}"`.
        images: a column with images, as bytes, absolute paths or URLs.
        output: the column that is added.
        client: makes the client, in the process that uses it.
        options: of the client.

    Raises:
        InputError: an option cannot be right, or there is no API key.
    """

    def __init__(
        self,
        extra: str,
        *,
        workers: int,
        column: str | None,
        template: str | None,
        images: str | None,
        output: str,
        client: Callable[..., Client],
        options: EmbedOptions,
    ) -> None:
        self._arrow = need("pyarrow", extra)
        self._spec = InputSpec(column, template, images)
        self._output = output
        self._client = client(**_share(workers, options))
        self._skips = options.get("on_error") == "skip"
        self._reader: Reader | None = None
        self._width = options.get("dimensions")  # the vectors' own, once there are any

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table with the column of vectors. Raises as `Client.embed`."""
        check_output(table.schema.names, self._output, skips=self._skips)
        if self._reader is None:
            self._reader = Reader(table.schema, Path(), self._spec)
        rows = [row for batch in table.to_batches() for row in self._reader.read(batch)]
        vectors, reasons = self._embedded(rows)
        column = self._column([row.digest for row in rows], vectors)
        table = table.append_column(self._output, column)
        if self._skips:
            # an empty text and a null have one digest, and each its own reason
            said = [row.reason or reasons.get(row.digest) for row in rows]
            column = self._arrow.array(said, self._arrow.string())
            table = table.append_column(reasons_column(self._output), column)
        return table

    def _embedded(self, rows: list[Row]) -> tuple[dict[bytes, Any], dict[bytes, str]]:
        """Vectors, and why there is none, by digest: equal inputs of a batch are embedded once."""
        different = {row.digest: row for row in rows}
        reasons = {row.digest: row.reason for row in different.values() if row.value is None}
        if reasons and not self._skips:
            position = next(n for n, row in enumerate(rows) if row.value is None)
            raise InputError(
                f"row {position} of a batch: {rows[position].reason}; leave such rows out, or say "
                'on_error="skip"',
                inputs=[position],
            )
        asked = [row for row in different.values() if row.value is not None]
        if not asked:
            return {}, reasons
        inputs: Any = [row.value for row in asked]
        result = self._client.embed(inputs)
        if len(result.vectors):
            positions = np.flatnonzero(result.mask).tolist()
            self._width = same_width(self._width, result.vectors, positions)
        reasons |= {asked[at].digest: error.message for at, error in result.errors.items()}
        there = [asked[at].digest for at in np.flatnonzero(result.mask)]
        return dict(zip(there, result.vectors, strict=True)), reasons

    def _column(self, digests: list[bytes], vectors: dict[bytes, Any]) -> Any:
        pa = self._arrow
        if self._width is None:  # a batch in which nothing could be embedded came first
            return pa.nulls(len(digests))
        blank = np.zeros(self._width, np.float32)
        rows = [vectors.get(digest, blank) for digest in digests]
        flat = pa.array(np.concatenate(rows) if rows else blank[:0])
        kind = pa.list_(pa.field("item", pa.float32(), nullable=False), self._width)
        missing = pa.array([digest not in vectors for digest in digests], pa.bool_())
        return pa.FixedSizeListArray.from_arrays(flat, type=kind, mask=missing)


def _share(workers: int, options: EmbedOptions) -> EmbedOptions:
    """One worker's part of the options. Raises InputError."""
    if options.get("budget") is not None:
        raise InputError(
            "budget counts for one client, and every worker has one; set a limit on the API key"
        )
    concurrency = merged(EmbedOptions(), options).concurrency
    if workers < 1 or concurrency < workers:
        raise InputError(
            f"concurrency {concurrency} over {workers} workers leaves some without a request; "
            "concurrency of a multiple of the workers is right"
        )
    return {**options, "concurrency": concurrency // workers}
