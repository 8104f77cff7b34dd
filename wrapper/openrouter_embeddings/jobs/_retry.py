"""Makes a job of a finished target again, so that rows without a vector can be asked for."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ._errors import JobError
from ._search import pieces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ._rows import Reader, Row
    from ._sources import Source
    from ._store import Store

_AT_ONCE = 8192
_UNFINISHED = "taking over"


def reopen(
    path: Path, said: dict[str, Any], store: Store, source: Source, reader: Reader, *, again: bool
) -> bool:
    """Go on with a finished target, whose vectors are kept in the store, by their inputs.

    Args:
        path: the target.
        said: its provenance.
        store: of its job, which may have been stopped at any time.
        source: of the target.
        reader: of its inputs.
        again: whether rows without a vector are wanted.

    Returns:
        False when there is nothing to do.

    Raises:
        JobError: an image that has a vector can no longer be read, or the target has other rows
            than when it was made.
    """
    # what was damaged in the store is whole in the target
    if store.fact(_UNFINISHED) or store.fact("damaged") or (again and not store.kept):
        _take_over(path, said, store, source, reader)
        return True
    return store.kept > 0


def _take_over(
    path: Path, said: dict[str, Any], store: Store, source: Source, reader: Reader
) -> None:
    store.note(_UNFINISHED, True)  # noqa: FBT003 - a value
    for name in ("dimensions", "models", "providers"):
        store.note(name, said[name])
    store.commit()
    # An image that a column names may be another file by now. What is to be asked for must not get
    # the vector that such a row has from before.
    wanted = {row.digest for row, vector in _rows(path, said, source, reader) if vector is None}
    found = (one for one in _rows(path, said, source, reader) if one[0].digest not in wanted)
    while some := {row.digest: vector for row, vector in islice(found, _AT_ONCE) if vector}:
        for digest in store.embedded([*some]):
            del some[digest]
        store.add(some.items())
        store.commit()
    store.note(_UNFINISHED, None)
    store.commit()


def _rows(
    path: Path, said: dict[str, Any], source: Source, reader: Reader
) -> Iterator[tuple[Row, bytes | None]]:
    """The rows of the source, each with its vector in the target."""
    rows = (
        row for batch in source.batches(reader.rows, reader.columns) for row in reader.read(batch)
    )
    number = without = 0
    for _, matrix in pieces(path, said["dimensions"]):
        for vector, is_there in zip(matrix, ~np.isnan(matrix[:, 0]), strict=True):
            row = next(rows, None)
            has_nothing = row is not None and is_there and row.value is None
            if row is None or (has_nothing and not reader.images):
                raise _changed(path)
            if has_nothing:
                raise JobError(
                    f"row {number} has a vector in {path}, and cannot be read again: {row.reason}; "
                    "put it back, or do without retry_errors"
                )
            yield row, bytes(vector) if is_there else None
            number += 1
            without += not is_there
    if said["dimensions"] and (number, without) != (said["rows"], said["errors"]):
        raise _changed(path)


def _changed(path: Path) -> JobError:
    return JobError(
        f"{path} has been changed since it was made: it has other rows. Put back the file that was "
        "made, or name another target"
    )
