"""Assembles the vectors of a call's batches into one matrix.

The matrix is allocated once, when the first response shows the width, and each batch is decoded
straight into its own rows. Copies happen only where inputs turn out to have no vector.
"""

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


class ResultBuilder:
    """Collects the parts of a call, in the order of the inputs, into one matrix.

    Args:
        inputs: the number of inputs, and so the maximum number of rows.
        start: the position of the first input.
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
        """The rows for these inputs, to decode into; None if they are scattered or differ in width.

        The caller may write to the rows until their part is added.
        """
        first, count = positions[0] - self._start, len(positions)
        if positions[-1] - positions[0] + 1 != count:
            return None
        if not self._matrix.size:
            self._allocate(width)
        return self._matrix[first : first + count] if self._matrix.shape[1] == width else None

    def _allocate(self, width: int) -> None:
        try:
            self._matrix = np.empty((self._inputs, width), np.float32)
        except MemoryError:
            raise ResponseError(
                f"not enough memory for {self._inputs:,} vectors of {width:,} dimensions; use "
                "embed_stream, which yields them part by part"
            ) from None

    def reallocate(self) -> None:
        """Move the added rows to new memory, because a request may still write to the old."""
        rows = self._matrix[: self._rows]
        self._matrix = np.empty(self._matrix.shape, np.float32)
        self._matrix[: self._rows] = rows

    def add(self, part: EmbeddingResult) -> None:
        """Append a part. Inputs between the previous part and this one get no row."""
        self._missing += [*range(self._next, part.start), *part.missing]
        self._next = part.start + len(part) + len(part.missing)
        if len(part):
            if part.vectors.shape[1] != self._matrix.shape[1]:
                self._allocate(part.vectors.shape[1])
            rows = self._matrix[self._rows : self._rows + len(part)]
            if rows.ctypes.data != part.vectors.ctypes.data:
                rows[:] = part.vectors
            self._rows += len(part)
        self._usages.append(part.usage)
        self._served += part.served
        self._errors |= part.errors

    def result(self, model: str) -> EmbeddingResult:
        """Everything added so far."""
        return EmbeddingResult(
            self._matrix[: self._rows],
            reduce(add, self._usages, Usage()),
            model,
            tuple(self._served),
            start=self._start,
            missing=(*self._missing, *range(self._next, self._start + self._inputs)),
            errors=self._errors,
        )


def check_width(width: int | None, vectors: Matrix, positions: Iterable[int]) -> int:
    """The width of `vectors`. Raises ResponseError if it differs from `width`, where that is known.

    Vectors of different widths come from different vector spaces and cannot share a result.
    """
    found: int = vectors.shape[1]
    if width is not None and found != width:
        raise ResponseError(
            f"the service returned vectors of {found} dimensions, but of {width} for other inputs",
            inputs=positions,
        )
    return found
