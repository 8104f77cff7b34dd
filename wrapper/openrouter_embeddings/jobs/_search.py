"""What a finished target holds, and which of its rows are nearest to a query."""

from __future__ import annotations

from bisect import bisect_left
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import InputError

from ._arrow import python_values
from ._client import given_or_own
from ._errors import JobLockedError
from ._formats import COLUMN, kind_of
from ._store import Store, job_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from os import PathLike

    from numpy.typing import NDArray

    from openrouter_embeddings.client import Client

_BYTES = 2 << 20  # of vectors in memory, or of JSON
_COLUMN_ROWS = 512  # at once, for a column may hold images


@dataclass(frozen=True, slots=True)
class Match:
    """A row that is near to a query.

    Attributes:
        row: its number, from 0.
        score: cosine of the angle between the two vectors, from -1 to 1.
        columns: the row's other columns; empty for a .npy target.
    """

    row: int
    score: float
    columns: Mapping[str, Any]


def info(target: str | PathLike[str]) -> dict[str, Any]:
    """Where a target's vectors come from: rows, dimensions, model, and so on.

    `state` says how far the job is:
        "finished": the target is there; all other keys are its provenance.
        "stopped": only `TARGET.job` is there. The other keys are the options that the job began
            with, the `rows` of the source and its `files`, the numbers of inputs `embedded`,
            `reused` from a cache and `refused`, and the credits `spent`, as text.
        "running": a process works on `TARGET.job`; there are no other keys.

    Raises:
        InputError: the file is not there, or was not made by a job.
        JobError: `TARGET.job` is damaged.
    """
    path = Path(target)
    kind = kind_of(path)
    if not path.exists() and job_file(path).exists():
        return _begun(job_file(path))
    said = kind.provenance(path) if path.exists() else None
    if said is None:
        what = "was not made by orembed run" if path.exists() else "is not there"
        raise InputError(f"{path} {what}; name a target that orembed run has made")
    return {"state": "finished", **said}


def _begun(job: Path) -> dict[str, Any]:
    """What is known of a job that is not finished."""
    try:
        store = Store(job)
    except JobLockedError:
        return {"state": "running"}
    with closing(store):
        reused = store.fact("reused") or 0
        return {
            "state": "stopped",
            **(store.fact("parameters") or {}),
            "rows": store.fact("rows"),
            "files": store.fact("files"),
            **{name: store.fact(name) for name in ("dimensions", "models", "providers")},
            "embedded": store.count("vectors") - reused,
            "reused": reused,
            "refused": store.count("refused"),
            "spent": f"{store.spent:f}",
        }


def finished(target: Path) -> dict[str, Any]:
    """What `info` says of a target. Raises InputError where it is not finished."""
    said = info(target)
    if said["state"] != "finished":
        raise InputError(
            f"{target} is not finished: its job, {job_file(target)}, is {said['state']}; finish it "
            "with the orembed run that began it"
        )
    return said


def search(
    target: str | PathLike[str], query: str, *, k: int = 10, client: Client | None = None
) -> list[Match]:
    """The rows of a target that are nearest to a text, the nearest first; every row is looked at.

    The query is embedded as the target was: by its model, with its dimensions; with
    `input_type="search_query"` where the rows had "search_document".

    Args:
        target: made by `embed_file`.
        query: a text.
        k: how many rows at most.
        client: default: `Client()`, from the environment.

    Raises:
        InputError: no such target, an empty query, or k below 1.
        EmbeddingsError: the service failed.
    """
    if k < 1:
        raise InputError(f"k is {k}, a number of rows ≥ 1 is needed")
    path = Path(target)
    said = finished(path)
    options: Any = {
        "model": said["model"],
        "dimensions": said["asked_dimensions"],
        "provider": said["provider"],
        "extra_body": said.get("extra_body"),
        "input_type": "search_query"
        if said["input_type"] == "search_document"
        else said["input_type"],
    }
    with given_or_own(client) as asked:
        wanted = asked.embed(query, **options).vectors[0]
    rows, scores = nearest(pieces(path, said["dimensions"]), wanted, k)
    columns = dict(zip(sorted(rows), columns_of_rows(path, sorted(rows)), strict=True))
    return [Match(row, score, columns[row]) for row, score in zip(rows, scores, strict=True)]


def nearest(
    blocks: Iterable[tuple[int, NDArray[np.float32]]], query: NDArray[np.float32], k: int
) -> tuple[list[int], list[float]]:
    """The rows with the highest cosines, the highest first; of equal ones the first row first.

    Args:
        blocks: the number of the first row and vectors of shape (rows, dimensions), NaN where a row
            has none; in the order of the rows.
        query: of shape (dimensions,).
        k: how many rows at most.

    Returns:
        The numbers of the rows, and their cosines.
    """
    exact = query / np.linalg.norm(query.astype(np.float64))
    direction = exact.astype(np.float32)
    # A matrix product in float32 finds the few rows that can be among the nearest. Equal rows may
    # differ there in the last digits, by their place in a block, so those few are computed again.
    doubt = 4 * (len(query) + 8) * float(np.finfo(np.float32).eps)
    rows, scores = np.empty(0, np.int64), np.empty(0)
    least = -np.inf
    for first, vectors in blocks:
        with np.errstate(all="ignore"):  # a row without a vector gives NaN
            rough = np.einsum("ij,j->i", vectors, direction)
            rough /= np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        near = np.flatnonzero(rough >= least - doubt)
        some = vectors[near].astype(np.float64)
        cosines = (some * exact).sum(axis=1) / np.sqrt((some * some).sum(axis=1))
        rows, scores = np.concatenate([rows, first + near]), np.concatenate([scores, cosines])
        best = np.argsort(-scores, kind="stable")[:k]
        rows, scores = rows[best], scores[best]
        if len(scores) == k:
            least = scores[-1]
    return rows.tolist(), scores.tolist()


def pieces(path: Path, width: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The number of the first row, and vectors of shape (rows, dimensions): NaN where one has none.

    In the order of the rows. One piece is in memory, however large the target is.
    """
    if not width:  # no row has a vector
        return
    first = 0
    for vectors in _kind(path).vectors(path, width):
        yield first, vectors
        first += len(vectors)


def columns_of_rows(path: Path, rows: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The columns of some rows but the vector, in the same order; the rows are sorted."""
    return _kind(path).columns(path, rows)


class _Matrix:
    @staticmethod
    def vectors(path: Path, width: int) -> Iterator[NDArray[np.float32]]:
        step = _rows_at_once(width)
        for first in range(0, len(np.load(path, mmap_mode="r")), step):
            # each piece has a map of its own: what was read stays in memory as long as its map
            piece = np.load(path, mmap_mode="r")[first : first + step]
            yield piece.astype(np.float32, copy=False)

    @staticmethod
    def columns(path: Path, rows: Sequence[int]) -> Iterator[dict[str, Any]]:  # noqa: ARG004 - it has none
        return ({} for _ in rows)


class _Parquet:
    @staticmethod
    def vectors(path: Path, width: int) -> Iterator[NDArray[np.float32]]:
        with _parquet_file(path) as file:
            for batch in file.iter_batches(_rows_at_once(width), columns=[COLUMN]):
                yield matrix_of(batch.column(COLUMN), width)

    @staticmethod
    def columns(path: Path, rows: Sequence[int]) -> Iterator[dict[str, Any]]:
        with _parquet_file(path) as file:
            names = [name for name in file.schema_arrow.names if name != COLUMN]
            first = 0
            for group in range(file.num_row_groups):
                end = first + file.metadata.row_group(group).num_rows
                some = rows[bisect_left(rows, first) : bisect_left(rows, end)]
                if some:
                    batches = file.iter_batches(_COLUMN_ROWS, row_groups=[group], columns=names)
                    yield from _chosen(batches, [row - first for row in some])
                first = end


def _chosen(batches: Iterable[Any], rows: list[int]) -> Iterator[dict[str, Any]]:
    first = 0
    for batch in batches:
        end = first + batch.num_rows
        if here := [row - first for row in rows if first <= row < end]:
            some = batch.take(here)
            values = [python_values(column) for column in some.columns]
            for row in zip(*values, strict=True):
                yield dict(zip(some.schema.names, row, strict=True))
        first = end


def matrix_of(column: Any, width: int) -> NDArray[np.float32]:
    """The vectors of an Arrow column of fixed-size lists, NaN where a row has none."""
    # Arrow's own conversion takes a third of a search's time: it has an eye on each number
    values = column.values
    flat = np.frombuffer(values.buffers()[1], values.type.to_pandas_dtype())
    start = values.offset + column.offset * width
    matrix = flat[start : start + len(column) * width].reshape(len(column), width)
    matrix = matrix.astype(np.float32, copy=column.null_count > 0)
    if column.null_count:
        matrix[column.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return matrix


class _Lines:
    @staticmethod
    def vectors(path: Path, width: int) -> Iterator[NDArray[np.float32]]:
        blank = [np.nan] * width
        with path.open("rb") as file:
            while lines := file.readlines(_BYTES):
                try:
                    rows = [orjson.loads(line)[COLUMN] or blank for line in lines]
                    matrix = np.array(rows, np.float32).reshape(len(rows), width)
                except (ValueError, TypeError, LookupError):
                    raise InputError(
                        f"{path} has been changed since it was made: a line has no {COLUMN!r} of "
                        f"{width} numbers; put back the file that was made"
                    ) from None
                yield matrix

    @staticmethod
    def columns(path: Path, rows: Sequence[int]) -> Iterator[dict[str, Any]]:
        after = 0
        with path.open("rb") as file:
            for row in rows:
                line = next(islice(file, row - after, None))
                after = row + 1
                yield {name: value for name, value in orjson.loads(line).items() if name != COLUMN}


def _kind(path: Path) -> type[_Matrix | _Parquet | _Lines]:
    kinds: dict[str, type[_Matrix | _Parquet]] = {
        ".npy": _Matrix,
        ".parquet": _Parquet,
        ".pq": _Parquet,
    }
    return kinds.get(path.suffix.lower(), _Lines)


def _rows_at_once(width: int) -> int:
    return max(1, _BYTES // (4 * width))


def _parquet_file(path: Path) -> Any:
    # read in order and once: with `pre_buffer` all that was read stays in memory
    return need("pyarrow.parquet", "jobs").ParquetFile(path, pre_buffer=False, buffer_size=1 << 18)
