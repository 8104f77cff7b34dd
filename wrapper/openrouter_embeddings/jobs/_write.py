"""Writes the target and the errors file of a job."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from openrouter_embeddings._extras import need
from openrouter_embeddings._json import dumps
from openrouter_embeddings.errors import InputError

from ._arrow import python_values
from ._formats import Target, target_columns, target_format
from ._rows import Reader, Row
from ._sources import Source
from ._spec import JobError, Provenance, errors_file, part_file
from ._store import Store

_CHANGED = (
    "the source has changed while the job read it; restore it, or run the job again to see what "
    "you can do"
)
_DAMAGED = (
    "vectors of the job file were damaged since the job began; run the same command again to embed "
    "their inputs again, which costs again. Check the disk and the memory of this machine"
)
_INSTEAD = "use another target format, or leave the column out of the source"


class TargetWriter:
    """Writes the target of a job, first as a rehearsal and then with the vectors.

    Takes the parameters of `embed_file`. Raises InputError if the target cannot hold a column.
    """

    def __init__(
        self,
        path: Path,
        source: Source,
        reader: Reader,
        *,
        key: str | None,
        only_key: bool,
        precision: str,
    ) -> None:
        self._path, self._source, self._reader, self._key = path, source, reader, key
        self._format = target_format(path)
        self._precision = precision
        self._columns = target_columns(self._format, source.schema, key, only_key=only_key)
        self._schema = source.schema.empty_table().select(self._columns).schema
        self._read_columns = [*reader.columns, *([key] if key else [])]

    def rehearse(self, dimensions: int) -> None:
        """Read all that the job reads, and write the target without vectors, then delete it.

        Raises InputError if a value cannot be read or written, and JobError if the disk has no room
        for vectors of so many dimensions; 0 means that their length is not known.
        """
        arrow = need("pyarrow", "jobs")
        target = self._open(0)
        done = 0
        try:
            for batch in self._batches():
                if self._key:
                    python_values(batch.column(self._key))
                blank = np.zeros((batch.num_rows, 0), np.float32)
                mask = np.zeros(batch.num_rows, np.bool_)
                target.write(batch.select(self._columns), blank, mask)
                done += batch.num_rows
            free = shutil.disk_usage(self._path.parent).free
        except JobError as error:
            raise InputError(f"{error}; nothing was sent") from None
        except (arrow.ArrowException, ValueError, TypeError, ArithmeticError) as error:
            raise InputError(
                f"the target cannot be written from row {done} on: {error}; nothing was sent. To "
                f"go on, {_INSTEAD}"
            ) from None
        finally:
            target.abort()
        size = self._source.total * dimensions * np.dtype(self._precision).itemsize
        if size > free:
            raise JobError(
                f"the vectors in {self._path} need {size / 1e6:,.1f} MB, but the disk has "
                f"{free / 1e6:,.1f} MB left; nothing was sent. Free some space, or name a target "
                "on another disk"
            )

    def write_errors(self, store: Store) -> None:
        """Write only the errors file, for a job that fails because of its errors."""
        rows = 0
        with _errors_file(self._path) as file:
            for batch in self._source.batches(self._reader.rows, self._read_columns):
                found = [*self._reader.read(batch)]
                file.writelines(self._errors(store, batch, found, rows))
                rows += len(found)

    def write(
        self, store: Store, provenance: Provenance, on_rows: Callable[[int], None]
    ) -> Provenance:
        """Write the target and the errors file; return the provenance with the numbers of rows.

        Calls `on_rows` with the number of rows written after each batch. Raises JobError if the
        source has changed, vectors were damaged, or the target cannot hold a value.
        """
        rows = errors = 0
        damaged_before = store.damaged
        seen: set[bytes] = set()
        target = self._open(provenance.dimensions)
        try:
            with _errors_file(self._path) as file:
                for batch in self._batches():
                    found = [*self._reader.read(batch)]
                    lines = self._errors(store, batch, found, rows)
                    errors += len(lines)
                    file.writelines(lines)
                    matrix, mask = _vectors(store, found, provenance.dimensions)
                    if len(lines) != np.count_nonzero(~mask):
                        raise JobError(_DAMAGED if store.damaged > damaged_before else _CHANGED)
                    target.write(batch.select(self._columns), matrix, mask)
                    if self._reader.spec.images:  # the store may have vectors of earlier images
                        seen |= {found[at].digest for at in np.flatnonzero(mask)}
                    rows += len(found)
                    on_rows(rows)
            if rows != self._source.total or not self._source.is_unchanged():
                raise JobError(_CHANGED)
            different = len(seen) if self._reader.spec.images else store.kept
            duplicates = rows - errors - different
            provenance = replace(provenance, rows=rows, duplicates=duplicates, errors=errors)
            target.finish(provenance.to_json())
        except BaseException as error:
            target.abort()
            if isinstance(error, ValueError | ArithmeticError):  # so are Arrow's
                raise JobError(
                    f"the target cannot be written: {error}; the vectors are saved. To go on, "
                    f"{_INSTEAD}"
                ) from error
            raise
        return provenance

    def _open(self, dimensions: int) -> Target:
        return self._format(self._path, self._schema, dimensions, self._precision)

    def _batches(self) -> Iterator[Any]:
        return self._source.batches(self._reader.rows, [*self._read_columns, *self._columns])

    def _errors(self, store: Store, batch: Any, found: list[Row], first: int) -> list[bytes]:
        """The lines of the errors file for a batch that begins with row number `first`."""
        reasons = {row.digest: row.reason for row in found if row.value is None}
        reasons |= store.reasons([*{row.digest for row in found} - reasons.keys()])
        lines = []
        for number, row in enumerate(found if reasons else ()):
            if row.digest in reasons:
                key: Any = first + number
                if self._key:
                    key = python_values(batch.column(self._key).slice(number, 1))[0]
                line = {"key": key, "reason": row.reason or reasons[row.digest]}
                lines.append(dumps(line, default=str) + b"\n")
        return lines


@contextmanager
def _errors_file(target: Path) -> Iterator[BinaryIO]:
    """Write the errors file; it is put in its place at the end, or removed if it is empty."""
    path = errors_file(target)
    part = part_file(path)
    try:
        with part.open("wb") as file:
            yield file
            size = file.tell()
        if size:
            part.replace(path)
        else:
            path.unlink(missing_ok=True)
    finally:
        part.unlink(missing_ok=True)


def _vectors(store: Store, found: list[Row], dimensions: int) -> tuple[Any, Any]:
    """The vectors of some rows, zeros where there is none, and a mask of those that have one."""
    vectors = store.vectors([*{row.digest for row in found}])
    blank = bytes(4 * dimensions)
    mask = np.array([row.digest in vectors for row in found], np.bool_)
    whole = bytearray(b"".join([vectors.get(row.digest, blank) for row in found]))
    return np.frombuffer(whole, "<f4").reshape(len(found), dimensions), mask
