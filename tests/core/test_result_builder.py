"""Assembling parts into one matrix."""

import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.core.result_builder import ResultBuilder
from openrouter_embeddings.result import EmbeddingResult, Usage

ROWS = np.arange(12, dtype=np.float32).reshape(6, 2)


def part(vectors: np.ndarray[tuple[int, int], np.dtype[np.float32]], start: int) -> EmbeddingResult:
    """A part of a call."""
    return EmbeddingResult(vectors, Usage(), "m", (), start=start)


def test_vectors_in_reserved_rows_are_not_copied() -> None:
    """Batches may arrive in any order; the result is the memory they were decoded into."""
    builder = ResultBuilder(6)
    reserved = {start: builder.reserve(range(start, start + 2), 2) for start in (4, 0, 2)}
    for start in (0, 2, 4):
        rows = reserved[start]
        assert rows is not None
        rows[:] = ROWS[start : start + 2]
        builder.add(part(rows, start))
    vectors = builder.result("m").vectors
    assert np.array_equal(vectors, ROWS)
    assert all(np.shares_memory(vectors, rows) for rows in reserved.values() if rows is not None)


def test_no_rows_are_reserved_for_scattered_inputs_or_another_width() -> None:
    """Such vectors are decoded elsewhere and copied."""
    builder = ResultBuilder(6)
    assert builder.reserve([0, 2, 5], 2) is None
    assert builder.reserve(range(2), 2) is not None
    assert builder.reserve(range(2, 4), 3) is None


def test_rows_move_up_if_inputs_are_missing() -> None:
    """Nothing is padded."""
    builder = ResultBuilder(6)
    rows = builder.reserve(range(2, 6), 2)
    assert rows is not None
    rows[:] = ROWS[2:]
    builder.add(part(rows, 2))
    result = builder.result("m")
    assert np.array_equal(result.vectors, ROWS[2:])
    assert result.missing == (0, 1)


def test_a_matrix_that_does_not_fit_in_memory_raises_response_error() -> None:
    """A server may return a width that nobody requested."""
    with pytest.raises(ore.ResponseError, match=r"10,000,000,000 vectors of 200,000 dimensions"):
        ResultBuilder(10**10).reserve(range(2), 200_000)


def test_late_writes_do_not_change_the_result() -> None:
    """After `reallocate`, writes to reserved rows go to memory that nobody reads."""
    builder = ResultBuilder(6)
    first, second = builder.reserve(range(2), 2), builder.reserve(range(2, 6), 2)
    assert first is not None
    assert second is not None
    first[:] = ROWS[:2]
    builder.add(part(first, 0))
    builder.reallocate()
    builder.add(part(ROWS[4:], 4))
    second[:] = np.nan
    assert np.array_equal(builder.result("m").vectors, ROWS[[0, 1, 4, 5]])
