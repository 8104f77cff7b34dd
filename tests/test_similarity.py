"""The nearest rows, held to a plain reference."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from openrouter_embeddings import _similarity


def cosine(one: Any, other: Any) -> float:
    """In Python's floats, whose squares do not overflow here."""
    dot = math.fsum(float(a) * float(b) for a, b in zip(one, other, strict=True))
    return dot / math.hypot(*map(float, one)) / math.hypot(*map(float, other))


def check(matrix: Any, query: Any, k: int, rows: list[int], scores: list[float]) -> None:
    """The k best rows that have a vector, the best first, and equal rows in order."""
    wanted = {n: cosine(one, query) for n, one in enumerate(matrix) if not np.isnan(one).any()}
    assert len(rows) == len({*rows}) == min(k, len(wanted))
    assert scores == sorted(scores, reverse=True)
    assert all(-1 <= score <= 1 for score in scores)
    assert scores == pytest.approx([wanted[row] for row in rows], abs=1e-12)
    assert scores == pytest.approx(sorted(wanted.values(), reverse=True)[:k], abs=1e-12)
    for at, row in enumerate(rows):
        same = [n for n in wanted if n < row and np.array_equal(matrix[n], matrix[row])]
        assert {*same} <= {*rows[:at]}


@st.composite
def matrices(draw: Callable[..., Any], *, missing: bool) -> Any:
    """Rows and queries of one width: some equal, some a digit apart, some far too long or short."""
    width = draw(st.integers(1, 5))
    few = st.floats(-9, 9, width=16, allow_subnormal=False).filter(lambda x: x)
    row = hnp.arrays(np.float32, width, elements=st.one_of(st.sampled_from([-1.0, 1.0, 3.0]), few))
    known = draw(st.lists(row, min_size=1, max_size=4))
    known += [np.nextafter(one, np.float32(9)) for one in known]  # as near as two rows can be
    known += [one * np.float32(scale) for one in known[:2] for scale in (1e-37, 1e30, 1e37)]
    some = st.one_of(st.sampled_from(known), row)
    rows = draw(st.lists(some | st.none() if missing else some, max_size=40))
    matrix = np.array([np.full(width, np.nan) if r is None else r for r in rows], np.float32)
    queries = np.array(draw(st.lists(some, min_size=1, max_size=4)), np.float32)
    return matrix.reshape(len(rows), width), queries


@given(matrices(missing=True), st.integers(1, 25), st.integers(1, 9))
def test_nearest_agrees_with_a_plain_reference(given: Any, k: int, step: int) -> None:
    """For any blocks and queries; rows without a vector are never among the nearest."""
    matrix, queries = given
    blocks = ((first, matrix[first : first + step]) for first in range(0, len(matrix), step))
    found = _similarity.nearest(blocks, queries, k)
    for query, (rows, scores) in zip(queries, found, strict=True):
        check(matrix, query, k, rows.tolist(), scores.tolist())


@given(matrices(missing=False), st.integers(1, 25), st.integers(1, 60), st.integers(1, 3))
def test_a_matrix_is_searched_in_blocks(given: Any, k: int, values: int, queries: int) -> None:
    """Blocks of rows and of queries change nothing."""
    matrix, asked = given
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_similarity, "_BLOCK_VALUES", values)
        patch.setattr(_similarity, "_QUERIES", queries)
        rows, scores = _similarity.nearest_rows(matrix, asked, k)
    assert rows.shape == scores.shape == (len(asked), min(k, len(matrix)))
    for number, query in enumerate(asked):
        check(matrix, query, k, rows[number].tolist(), scores[number].tolist())


def test_equal_rows_in_different_blocks_score_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a search does not depend on how the rows are divided, whatever BLAS rounds."""
    random = np.random.default_rng(0)
    matrix = np.tile(random.standard_normal((7, 1536), np.float32), (30, 1))
    query = random.standard_normal((3, 1536), np.float32)
    monkeypatch.setattr(_similarity, "_BLOCK_VALUES", 11 * 1536)
    rows, scores = _similarity.nearest_rows(matrix, query, 210)
    assert (np.diff(rows.reshape(3, 7, 30), axis=2) == 7).all()
    assert (np.ptp(scores.reshape(3, 7, 30), axis=2) == 0).all()
