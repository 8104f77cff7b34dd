"""What a finished target holds, and which of its rows are nearest to a query."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import InputError

from ._client import given_or_own
from ._targets import COLUMN, kind_of
from ._values import python_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike

    from numpy.typing import NDArray

    from openrouter_embeddings.client import Client

_AT_ONCE = 8192


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

    Raises InputError: the file is not there, or was not made by a job.
    """
    path = Path(target)
    kind = kind_of(path)
    said = kind.provenance(path) if path.exists() else None
    if said is None:
        what = "was not made by orembed run" if path.exists() else "is not there"
        raise InputError(f"{path} {what}; a target of that is right")
    found: dict[str, Any] = said
    return found


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
    said = info(target)
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
    wanted = wanted / np.linalg.norm(wanted)
    best: list[Match] = []
    for first, vectors, rows in pieces(Path(target), said["dimensions"]):
        with np.errstate(invalid="ignore"):  # rows without a vector are NaN
            scores = vectors @ wanted / np.linalg.norm(vectors, axis=1)
        scores[np.isnan(scores)] = -np.inf
        near = np.argsort(-scores, kind="stable")[:k]
        # the columns are taken now, so that no more than k rows stay in memory
        found = [
            Match(first + at, float(scores[at]), row)
            for at, row in zip(near.tolist(), rows_as_dicts(rows, near.tolist()), strict=True)
            if np.isfinite(scores[at])
        ]
        best = heapq.nlargest(k, [*best, *found], key=lambda match: (match.score, -match.row))
    return best


def rows_as_dicts(rows: Any, chosen: list[int]) -> list[dict[str, Any]]:
    """Some of the rows of a piece, without their vectors."""
    if rows is None:
        return [{} for _ in chosen]
    if isinstance(rows, list):
        found = [rows[number] for number in chosen]
        return [{name: value for name, value in row.items() if name != COLUMN} for row in found]
    some = rows.take(chosen)
    columns = [python_values(column) for column in some.columns]
    return [dict(zip(some.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]


def pieces(path: Path, width: int) -> Iterator[tuple[int, NDArray[np.float32], Any]]:
    """Vectors with the number of the first, and the rows they belong to."""
    if not width:  # no row has a vector
        return
    if path.suffix.lower() == ".npy":
        whole = np.load(path, mmap_mode="r")
        for first in range(0, len(whole), _AT_ONCE):
            yield first, np.asarray(whole[first : first + _AT_ONCE], np.float32), None
        return
    first = 0
    is_parquet = path.suffix.lower() in (".parquet", ".pq")
    for rows in _parquet(path, width) if is_parquet else _lines(path, width):
        yield first, *rows
        first += len(rows[0])


def _parquet(path: Path, width: int) -> Iterator[tuple[NDArray[np.float32], Any]]:
    parquet = need("pyarrow.parquet", "jobs")
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_AT_ONCE):
            column = batch.column(COLUMN)
            flat = column.values.slice(column.offset * width, len(column) * width)
            matrix = np.array(flat.to_numpy(zero_copy_only=False), np.float32)
            matrix = matrix.reshape(len(column), width)
            matrix[column.is_null().to_numpy(zero_copy_only=False)] = np.nan
            yield matrix, batch.drop_columns([COLUMN])


def _lines(path: Path, width: int) -> Iterator[tuple[NDArray[np.float32], Any]]:
    with path.open("rb") as file:
        while lines := file.readlines(1 << 24):
            rows = [orjson.loads(line) for line in lines]
            blank = [np.nan] * width
            yield np.array([row[COLUMN] or blank for row in rows], np.float32), rows
