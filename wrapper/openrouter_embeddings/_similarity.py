"""Cosine similarity: lengths and directions of rows, and the rows nearest to a query.

Results and jobs share it. It takes arrays that its callers have checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

_BLOCK_VALUES = 2**24  # 64 MB of float32
_QUERIES = 256  # at a time: their products with a block stay below the size of the block
# float32 products of lengths outside this range may overflow, or lose digits near zero
_SAFE = 1e-15, 1e15


def row_lengths(matrix: Matrix) -> NDArray[np.float64]:
    """The length of each row; float64, because squares of float32 can overflow."""
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)
    return np.sqrt(squares)


def unit_rows(matrix: Matrix, lengths: NDArray[np.float64]) -> Matrix:
    """The rows, divided by their lengths, in new memory."""
    unit = np.empty(matrix.shape, np.float32)
    np.divide(matrix, lengths[:, None], out=unit, casting="same_kind")
    return unit


def nearest_rows(
    matrix: Matrix, queries: Matrix, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """`nearest` in a matrix: row numbers and similarities of shape (queries, at most k)."""
    step = max(1, _BLOCK_VALUES // max(1, matrix.shape[1]))
    found = [
        pair
        for first in range(0, len(queries), _QUERIES)
        for pair in nearest(
            ((row, matrix[row : row + step]) for row in range(0, len(matrix), step)),
            queries[first : first + _QUERIES],
            k,
        )
    ]
    if not found:
        return np.empty((0, min(k, len(matrix))), np.int64), np.empty((0, min(k, len(matrix))))
    return np.stack([rows for rows, _ in found]), np.stack([cosines for _, cosines in found])


def nearest(
    blocks: Iterable[tuple[int, Matrix]], queries: Matrix, k: int
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """The rows with the highest cosine similarity, the highest first, and equal rows in order.

    Args:
        blocks: the number of the first row, and vectors of shape (rows, dimensions), with NaN in
            rows without a vector; in the order of the rows.
        queries: shape (queries, dimensions); none is zero.
        k: how many rows at most.

    Returns:
        For each query the row numbers and their similarities.
    """
    exact = queries / row_lengths(queries)[:, None]
    directions = exact.astype(np.float32)
    # A product in float32 finds the few rows that may be among the nearest. Its last digits depend
    # on the position in the block, so these few are computed again in float64.
    tolerance = 4 * (queries.shape[1] + 8) * float(np.finfo(np.float32).eps)
    best = [(np.empty(0, np.int64), np.empty(0)) for _ in queries]
    for first, vectors in blocks:
        lengths = row_lengths(vectors)
        unsure = ~((lengths > _SAFE[0]) & (lengths < _SAFE[1]))
        with np.errstate(all="ignore"):
            rough = (vectors @ directions.T) / lengths[:, None]
        rough[unsure] = -np.inf
        for number, scores in enumerate(rough.T):
            rows, cosines = best[number]
            least = cosines[-1] if len(cosines) == k else -np.inf
            if len(scores) > k:
                least = max(least, np.partition(scores, -k)[-k])
            near = np.flatnonzero((scores >= least - tolerance) | unsure)
            rows = np.concatenate([rows, first + near])
            cosines = np.concatenate([cosines, _cosines(vectors[near], exact[number])])
            highest = np.argsort(-cosines, kind="stable")[: min(k, np.sum(~np.isnan(cosines)))]
            best[number] = rows[highest], cosines[highest]
    return best


def _cosines(vectors: Matrix, direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """In float64; NaN for a row without a vector."""
    exact = vectors.astype(np.float64)
    with np.errstate(invalid="ignore"):
        cosines = (exact * direction).sum(axis=1) / np.sqrt((exact * exact).sum(axis=1))
    clipped: NDArray[np.float64] = np.clip(cosines, -1, 1)
    return clipped
