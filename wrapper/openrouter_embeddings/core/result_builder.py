"""The answers of a call to one matrix."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from openrouter_embeddings.errors import ResponseError
from openrouter_embeddings.result import EmbeddingResult, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from openrouter_embeddings.errors import EmbeddingsError
    from openrouter_embeddings.result import Matrix, Served

    from .splitting import BatchSplitter


def part(division: BatchSplitter, model: str) -> EmbeddingResult:
    """What has come of one batch, in the order of its inputs. Its usage covers refused answers."""
    positions = division.batch.positions
    done = [decoded for decoded in division.done if len(decoded.matrix)]
    came = [position for decoded in done for position in decoded.served.positions]
    if len(done) == 1:
        matrix = done[0].matrix
    elif done:
        matrix = np.concatenate([decoded.matrix for decoded in done])[np.argsort(came)]
    else:
        matrix = np.empty((0, 0), np.float32)
    return EmbeddingResult(
        matrix,
        division.usage,
        model,
        tuple(decoded.served for decoded in done),
        start=positions[0],
        missing=_missing(positions, came),
        errors=division.errors,
    )


def _missing(positions: Sequence[int], came: list[int]) -> tuple[int, ...]:
    return tuple(sorted({*positions} - {*came})) if len(came) < len(positions) else ()


def _same(one: Matrix, other: Matrix) -> bool:
    return bool(one.ctypes.data == other.ctypes.data)


class ResultBuilder:
    """The matrix of a call, filled as its parts come, in the order of the inputs.

    Args:
        inputs: how many there are, and so the most rows.
        start: the position of the first.
    """

    def __init__(self, inputs: int, start: int = 0) -> None:
        self._inputs = inputs
        self._start = start
        self._matrix = np.empty((0, 0), np.float32)
        self._rows = 0
        self._next = start
        self._missing: list[int] = []
        self._usages: list[Usage] = []
        self._served: list[Served] = []
        self._errors: dict[int, EmbeddingsError] = {}

    def reserve(self, positions: Sequence[int], width: int) -> Matrix | None:
        """Where the vectors of these inputs belong; None where there is no such place.

        Whoever holds a place may write to it until its part is added.
        """
        first, count = positions[0] - self._start, len(positions)
        if positions[-1] - positions[0] + 1 != count:
            return None
        if not self._matrix.size:
            self._begin(width)
        return self._matrix[first : first + count] if self._matrix.shape[1] == width else None

    def _begin(self, width: int) -> None:
        try:
            self._matrix = np.empty((self._inputs, width), np.float32)
        except MemoryError:
            raise ResponseError(
                f"vectors of {width:,} dimensions came back; this machine has no memory for "
                f"{self._inputs:,} of them. embed_stream needs none for all at once"
            ) from None

    def leave(self) -> None:
        """Go on in other memory, since somebody may still write to this."""
        rows = self._matrix[: self._rows]
        self._matrix = np.empty(self._matrix.shape, np.float32)
        self._matrix[: self._rows] = rows

    def add(self, part: EmbeddingResult) -> None:
        """Put a part to its place. Inputs between it and the part before have no row."""
        self._missing += [*range(self._next, part.start), *part.missing]
        self._next = part.start + len(part) + len(part.missing)
        if len(part):
            if part.vectors.shape[1] != self._matrix.shape[1]:
                self._begin(part.vectors.shape[1])
            place = self._matrix[self._rows : self._rows + len(part)]
            if not _same(place, part.vectors):
                place[:] = part.vectors
            self._rows += len(part)
        self._usages.append(part.usage)
        self._served += part.served
        self._errors |= part.errors

    def result(self, model: str) -> EmbeddingResult:
        """All that was added."""
        return EmbeddingResult(
            self._matrix[: self._rows],
            reduce(add, self._usages, Usage()),
            model,
            tuple(self._served),
            start=self._start,
            missing=(*self._missing, *range(self._next, self._start + self._inputs)),
            errors=self._errors,
        )


def same_width(width: int | None, vectors: Matrix, positions: Iterable[int]) -> int:
    """The width of some vectors, which has to be that of those before them, if there are any.

    Raises ResponseError: another width is another vector space.
    """
    found: int = vectors.shape[1]
    if width is not None and found != width:
        raise ResponseError(
            f"vectors of {found} dimensions came back, and of {width} for other inputs",
            inputs=positions,
        )
    return found
