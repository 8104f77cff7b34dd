"""Parts to one matrix, in place."""

import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.core.result_builder import ResultBuilder
from openrouter_embeddings.result import EmbeddingResult, Usage

ROWS = np.arange(12, dtype=np.float32).reshape(6, 2)


def part(vectors: np.ndarray[tuple[int, int], np.dtype[np.float32]], start: int) -> EmbeddingResult:
    """A part of a call."""
    return EmbeddingResult(vectors, Usage(), "m", (), start=start)


def test_vectors_decoded_into_their_place_stay_there() -> None:
    """Whichever batch comes first: no copy, one matrix."""
    whole = ResultBuilder(6)
    places = {start: whole.reserve(range(start, start + 2), 2) for start in (4, 0, 2)}
    for start in (0, 2, 4):
        place = places[start]
        assert place is not None
        place[:] = ROWS[start : start + 2]
        whole.add(part(place, start))
    vectors = whole.result("m").vectors
    assert np.array_equal(vectors, ROWS)
    assert all(np.shares_memory(vectors, place) for place in places.values() if place is not None)


def test_there_is_no_place_for_scattered_inputs_or_another_width() -> None:
    """Those are decoded elsewhere and copied."""
    whole = ResultBuilder(6)
    assert whole.reserve([0, 2, 5], 2) is None
    assert whole.reserve(range(2), 2) is not None
    assert whole.reserve(range(2, 4), 3) is None


def test_rows_move_up_where_inputs_have_none() -> None:
    """Nothing is padded."""
    whole = ResultBuilder(6)
    place = whole.reserve(range(2, 6), 2)
    assert place is not None
    place[:] = ROWS[2:]
    whole.add(part(place, 2))
    result = whole.result("m")
    assert np.array_equal(result.vectors, ROWS[2:])
    assert result.missing == (0, 1)


def test_vectors_for_which_there_is_no_memory_are_an_error_of_ours() -> None:
    """A server may name a width that nobody has asked for."""
    with pytest.raises(ore.ResponseError, match=r"10,000,000,000 vectors of 200,000 dimensions"):
        ResultBuilder(10**10).reserve(range(2), 200_000)


def test_a_straggler_changes_nothing_after_the_call() -> None:
    """Whoever still holds a place writes to memory that nobody reads."""
    whole = ResultBuilder(6)
    first, second = whole.reserve(range(2), 2), whole.reserve(range(2, 6), 2)
    assert first is not None
    assert second is not None
    first[:] = ROWS[:2]
    whole.add(part(first, 0))
    whole.reallocate()
    whole.add(part(ROWS[4:], 4))
    second[:] = np.nan
    assert np.array_equal(whole.result("m").vectors, ROWS[[0, 1, 4, 5]])
