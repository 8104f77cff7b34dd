"""Writes the target: the rows of the source again, each with its vector."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import InputError

from ._arrow import python_values
from ._errors import JobError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from ._formats import Target
    from ._rows import Reader, Row
    from ._sources import Source
    from ._store import Store


_CHANGED = "the source has changed while it was read; run again, the job says what can be done"
_DAMAGED = (
    "vectors that were kept have been damaged since the job began; run the same command again: it "
    "asks for them again, and pays for them again. Look to the disk and to the memory"
)


def errors_file(path: Path) -> Path:
    """Where the rows of a target stand that have no vector, with the reasons."""
    return path.with_name(f"{path.name}.errors.jsonl")


def rehearse(
    target: Target,
    source: Source,
    rows: int,
    *,
    wanted: list[str],
    columns: list[str],
    key: str | None,
    size: int,
) -> None:
    """Read all that a job reads, and write all but the vectors, before anything is paid for.

    Nothing is left of it.

    Args:
        target: without dimensions.
        source: is read to its end.
        rows: that are read at once.
        wanted: the columns that are read.
        columns: the columns that are written.
        key: the column that names a row in the errors file.
        size: bytes that the vectors will take on the disk.

    Raises:
        InputError: the source cannot be read, or the target cannot hold a value.
        JobError: the disk is too small.
    """
    arrow = need("pyarrow", "jobs")
    done = 0
    try:
        for batch in source.batches(rows, wanted):
            if key:
                python_values(batch.column(key))
            blank = np.zeros((batch.num_rows, 0), np.float32)
            target.write(batch.select(columns), blank, np.zeros(batch.num_rows, np.bool_))
            done += batch.num_rows
        free = shutil.disk_usage(target.path.parent).free
    except JobError as error:
        raise InputError(f"{error}; nothing was sent") from None
    except (arrow.ArrowException, ValueError, TypeError, ArithmeticError) as error:
        raise InputError(
            f"the target cannot be written from row {done} on: {error}; nothing was sent. A target "
            "of another kind, or the source without that column, may do"
        ) from None
    finally:
        target.give_up()
    if size > free:
        raise JobError(
            f"the vectors in {target.path} will take {size / 1e6:,.1f} MB, and the disk has "
            f"{free / 1e6:,.1f} MB left; nothing was sent. Make room, or name another target"
        )


def write_errors(path: Path, store: Store, source: Source, reader: Reader, key: str | None) -> None:
    """Only what has no vector, of a job that stops for it."""
    rows = 0
    with _errors(path) as file:
        for batch in source.batches(reader.rows, [*reader.columns, *([key] if key else [])]):
            found = [*reader.read(batch)]
            file.writelines(_reasons(store, batch, found, key, rows))
            rows += len(found)


def write(
    target: Target,
    store: Store,
    source: Source,
    reader: Reader,
    *,
    wanted: list[str],
    columns: list[str],
    key: str | None,
    provenance: dict[str, Any],
    tell: Callable[[int], None],
) -> dict[str, int]:
    """The whole target, and what has no vector beside it; gives the counts, in the provenance too.

    Raises JobError: a row is there that was not when the inputs were embedded.
    """
    rows = errors = 0
    before = store.damaged
    seen: set[bytes] = set()
    try:
        with _errors(target.path) as file:
            for batch in source.batches(reader.rows, wanted):
                found = [*reader.read(batch)]
                lines = _reasons(store, batch, found, key, rows)
                errors += len(lines)
                file.writelines(lines)
                matrix, mask = _vectors(store, found, target.dimensions)
                if len(lines) != np.count_nonzero(~mask):
                    raise JobError(_DAMAGED if store.damaged > before else _CHANGED)
                target.write(batch.select(columns), matrix, mask)
                if reader.images:  # which may have changed since an earlier run has kept theirs
                    seen |= {found[at].digest for at in np.flatnonzero(mask)}
                rows += len(found)
                tell(rows)
        if rows != source.total or not source.is_unchanged():
            raise JobError(_CHANGED)
        different = len(seen) if reader.images else store.kept
        counts = {"rows": rows, "duplicates": rows - errors - different, "errors": errors}
        target.finish({**provenance, **counts})
    except BaseException as error:
        target.give_up()
        if isinstance(error, ValueError | ArithmeticError):  # Arrow's own are, too
            raise JobError(
                f"the target cannot be written: {error}; what came is kept, and a target of "
                "another kind, or the source without that column, may do"
            ) from error
        raise
    return counts


@contextmanager
def _errors(target: Path) -> Iterator[BinaryIO]:
    """The file of errors, whole or not at all, and not where there are none."""
    path = errors_file(target)
    part = path.with_name(f"{path.name}.part")
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


def _reasons(
    store: Store, batch: Any, found: list[Row], key: str | None, first: int
) -> list[bytes]:
    reasons = {row.digest: row.reason for row in found if row.value is None}
    reasons |= store.reasons([*{row.digest for row in found} - reasons.keys()])
    lines = []
    for number, row in enumerate(found if reasons else ()):
        if row.digest in reasons:
            named = python_values(batch.column(key).slice(number, 1))[0] if key else first + number
            line = {"key": named, "reason": row.reason or reasons[row.digest]}
            lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE, default=str))
    return lines


def _vectors(store: Store, found: list[Row], width: int) -> tuple[Any, Any]:
    """The matrix of some rows, zeros where there is no vector, and where there is one."""
    vectors = store.vectors([*{row.digest for row in found}])
    blank = bytes(4 * width)
    mask = np.array([row.digest in vectors for row in found], np.bool_)
    whole = bytearray(b"".join([vectors.get(row.digest, blank) for row in found]))
    return np.frombuffer(whole, "<f4").reshape(len(found), width), mask
