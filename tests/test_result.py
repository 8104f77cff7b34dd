"""Results: what they convert to, compare, join and show, and how usage adds up."""

import dataclasses
import math
import struct
import weakref
from decimal import Decimal, localcontext
from functools import reduce
from operator import add
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import openrouter_embeddings as ore
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from openrouter_embeddings import testing

NAMES = st.sampled_from(["a", "b", "c"])
COSTS = st.decimals(0, 10, places=12)
USAGES = st.lists(
    st.builds(
        ore.Usage,
        prompt_tokens=st.integers(0, 99),
        total_tokens=st.integers(0, 99),
        cost=st.none() | COSTS,
        prompt_tokens_details=st.dictionaries(NAMES, st.integers(0, 99)),
        is_byok=st.none() | st.booleans(),
        cost_details=st.dictionaries(NAMES, COSTS),
        requests=st.integers(0, 9),
    ),
    max_size=6,
)


@given(USAGES)
def test_usage_is_summed_by_name(usages: list[ore.Usage]) -> None:
    """A name that only some responses have is summed over those; others are absent."""
    whole = reduce(add, usages, ore.Usage())
    assert whole.total_tokens == sum(usage.total_tokens for usage in usages)
    costs = [usage.cost for usage in usages if usage.cost is not None]
    assert whole.cost == (sum(costs) if costs else None)
    for name in "abc":
        tokens = [u.prompt_tokens_details[name] for u in usages if name in u.prompt_tokens_details]
        assert whole.prompt_tokens_details.get(name) == (sum(tokens) if tokens else None)
        parts = [u.cost_details[name] for u in usages if name in u.cost_details]
        assert whole.cost_details.get(name) == (sum(parts) if parts else None)


@pytest.mark.parametrize(
    ("said", "whole"),
    [
        ([], None),
        ([None, None], None),
        ([None, False], False),
        ([False, False], False),
        ([False, True, None], True),
    ],
)
def test_is_byok_is_true_if_any_response_says_so(
    said: list[bool | None], whole: bool | None
) -> None:
    """It is None if no response says."""
    usages = [ore.Usage(is_byok=each) for each in said]
    assert reduce(add, usages, ore.Usage()).is_byok is whole


def test_costs_add_up_exactly_in_any_decimal_context() -> None:
    """A decimal context of three digits does not round them."""
    cost = Decimal("1.23456789e-7")
    one = ore.Usage(cost=cost, cost_details={"upstream_inference_cost": cost})
    with localcontext(prec=3):
        both = one + one
    assert both.cost == both.cost_details["upstream_inference_cost"] == Decimal("2.46913578e-7")


NUMBERS = st.floats(-9, 9, width=16, allow_subnormal=False)
MATRICES = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(1, 20)), elements=NUMBERS
).map(lambda matrix: np.where(matrix.any(axis=1, keepdims=True), matrix, np.float32(1)))
TINY_OR_HUGE = st.sampled_from([np.float32(1e-30), np.float32(1), np.float32(1e37)])


def made(vectors: Any, model: str = "m", **fields: Any) -> ore.EmbeddingResult:
    """A result as a client returns it."""
    return ore.EmbeddingResult(np.asarray(vectors, np.float32), ore.Usage(), model, (), **fields)


def unit(vectors: Any) -> Any:
    """The rows at length 1, in float64."""
    exact = np.asarray(vectors, np.float64)
    return exact / np.sqrt((exact * exact).sum(axis=1, keepdims=True))


@given(MATRICES, TINY_OR_HUGE, st.data())
def test_truncated_vectors_have_length_1(matrix: Any, scale: Any, data: Any) -> None:
    """They are new float32 arrays; everything else stays, and so does the original."""
    dimensions = data.draw(st.integers(1, matrix.shape[1]))
    matrix = np.where(matrix[:, :dimensions].any(axis=1, keepdims=True), matrix, 1) * scale
    whole = made(matrix, start=3, missing=[4])
    before = whole.vectors.copy()
    shorter = whole.truncate(np.int64(dimensions))  # type: ignore[arg-type]
    assert shorter.vectors.dtype == np.float32
    assert shorter.vectors.flags.c_contiguous
    np.testing.assert_allclose(shorter.vectors, unit(before[:, :dimensions]), rtol=1e-6)
    assert (shorter.start, shorter.missing, shorter.usage) == (3, [4], whole.usage)
    assert np.array_equal(whole.vectors, before)


@pytest.mark.parametrize("dimensions", [0, -1, 4, 1.0, True, "2", None])
def test_dimensions_outside_the_width_are_refused(dimensions: Any) -> None:
    """The error says what they may be."""
    with pytest.raises(ore.InputError, match=r"^dimensions is .*; use a whole number from 1 to 3,"):
        made(np.ones((2, 3))).truncate(dimensions)


def test_a_vector_that_truncation_leaves_without_direction_is_refused() -> None:
    """It cannot be normalized, and a zero vector would be near nothing."""
    with pytest.raises(ore.InputError, match=r"^row 1 of the truncated vectors is zero"):
        made([[1, 0, 1], [0, 0, 1]]).truncate(2)


@given(MATRICES, TINY_OR_HUGE, st.data())
def test_similarity_is_the_cosine_of_all_pairs(matrix: Any, scale: Any, data: Any) -> None:
    """Whatever the lengths; `other` may be a result, a matrix, a vector or lists."""
    other = data.draw(
        MATRICES.filter(lambda one: one.shape[1] == matrix.shape[1]) | st.just(matrix)
    )
    result, wanted = made(matrix * scale), unit(matrix) @ unit(other).T
    for form in (made(other), other, other.tolist(), other.astype(np.float64)):
        found = result.similarity(form)
        assert found.dtype == np.float32
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        assert (abs(found) <= 1).all()
    np.testing.assert_allclose(result.similarity(other[0]), wanted[:, :1], atol=1e-5)
    assert np.array_equal(result.similarity(), result.similarity(result))


@given(MATRICES, st.integers(1, 9))
def test_nearest_sorts_by_similarity(matrix: Any, k: int) -> None:
    """It returns at most as many rows as there are; equal rows come in order."""
    result = made(np.vstack([matrix, matrix]))
    rows, similarities = found = result.nearest(matrix, k)
    assert [rows.dtype, similarities.dtype] == [np.int64, np.float32]
    assert rows.shape == similarities.shape == (len(matrix), min(k, len(result)))
    wanted = unit(matrix) @ unit(result).T
    np.testing.assert_allclose(similarities, -np.sort(-wanted, axis=1)[:, :k], atol=1e-6)
    np.testing.assert_allclose(similarities, np.take_along_axis(wanted, rows, axis=1), atol=1e-6)
    assert found.similarities[0, 0] == 1
    assert np.array_equal(result.nearest(made(matrix), k).rows, rows)
    assert np.array_equal(result.nearest(matrix[0], k).rows, rows[:1])


def test_nearest_rows_are_rows_of_the_result() -> None:
    """With missing inputs, `start` and `mask` turn them into positions."""
    result = made([[1, 0], [0, 1]], start=10, missing=[10, 12])
    rows = result.nearest([0, 1]).rows
    assert rows.tolist() == [[1, 0]]
    assert np.array_equal(result[rows], [[[0, 1], [1, 0]]])
    assert (result.start + np.flatnonzero(result.mask)[rows]).tolist() == [[13, 11]]


TWO = np.eye(2)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("a cat", "^expected a result, a matrix or a vector, got str; embed texts first$"),
        ([[1], [1, 2]], "^expected a result, a matrix or a vector, got list"),
        ([1, 2, 3], r"^expected vectors of 2 dimensions, got an array of shape \(3,\)$"),
        (np.ones((1, 1, 2)), r"got an array of shape \(1, 1, 2\)$"),
        ([], r"got an array of shape \(0,\)$"),
        ([[1, 1], [0, 0]], "^row 1 of the .* is zero or not finite"),
        ([math.nan, 1], "^row 0 of the .* is zero or not finite"),
        ([1e300, 1], "^row 0 of the .* is zero or not finite"),
        (made(TWO, "n"), r"^vectors of n cannot be compared with vectors of m; .* pass \.vectors$"),
    ],
)
def test_vectors_that_cannot_be_compared_are_refused(other: Any, message: str) -> None:
    """By both methods, before they compute anything."""
    for method in (made(TWO).similarity, made(TWO).nearest):
        with pytest.raises(ore.InputError, match=message):
            method(other)
    if isinstance(other, ore.EmbeddingResult):
        assert made(TWO).similarity(other.vectors).tolist() == TWO.tolist()


@pytest.mark.parametrize("k", [0, -3, 2.0, True, None])
def test_k_is_a_whole_number_from_1(k: Any) -> None:
    """Anything else is refused."""
    with pytest.raises(ore.InputError, match=r"^k is .*; use a whole number from 1$"):
        made(TWO).nearest(TWO, k)


@given(MATRICES)
def test_quantized_rows_agree_with_a_plain_reference(matrix: Any) -> None:
    """For each precision, value by value, whatever the width."""
    result = made(matrix)
    half, whole = result.quantize("float16"), result.quantize("int8")
    bits = result.quantize("ubinary")
    assert [one.dtype for one in (half, whole, bits)] == [np.float16, np.int8, np.uint8]
    assert half.tobytes() == b"".join(struct.pack("=e", value) for value in matrix.flat)
    assert whole.shape == matrix.shape
    assert (abs(whole - unit(matrix) * 127) <= 0.501).all()
    for row, packed in zip(matrix, bits, strict=True):
        text = "".join("1" if value > 0 else "0" for value in row)
        text += "0" * (-len(text) % 8)
        assert packed.tobytes() == int(text, 2).to_bytes(len(text) // 8, "big")


def test_values_that_a_precision_cannot_hold_are_refused() -> None:
    """Nothing becomes infinite or zero in silence."""
    with pytest.raises(ore.InputError, match=r"^a value is too large for float16"):
        made([[1e5, 1]]).quantize("float16")
    with pytest.raises(ore.InputError, match=r"^a row is too small for float16"):
        made([[1, 1], [1e-9, 0]]).quantize("float16")
    with pytest.raises(ore.InputError, match=r"^row 0 of this result is zero or not finite"):
        made([[0, 0]]).quantize("int8")
    with pytest.raises(ore.InputError, match=r"^precision is 'int4'; use "):
        made(TWO).quantize("int4")  # type: ignore[call-overload]
    with pytest.raises(ore.InputError, match=r"^precision is 'binary'; did you mean \"ubinary\"\?"):
        made(TWO).quantize("binary")  # type: ignore[call-overload]


def test_a_result_without_rows_converts_to_arrays_without_rows() -> None:
    """Its width is unknown, so it fits every other."""
    empty, other = made(np.empty((0, 0)), missing=[0]), made(np.ones((2, 9)))
    assert empty.truncate(5).shape == empty.shape == (0, 0)
    assert empty.tolist() == []
    assert empty.similarity().shape == (0, 0)
    assert empty.similarity(other).shape == (0, 2)
    assert other.similarity(empty).shape == (2, 0)
    assert [part.shape for part in empty.nearest(other, 3)] == [(2, 0), (2, 0)]
    assert [part.shape for part in other.nearest(empty, 3)] == [(0, 2), (0, 2)]
    for quantized in (empty.quantize("float16"), empty.quantize("int8"), empty.quantize("ubinary")):
        assert quantized.shape == (0, 0)
    assert len(pa.array(empty)) == len(pl.from_arrow(empty)) == pa.table(empty).num_rows == 0
    assert ore.EmbeddingResult.concat([empty, empty]).missing == (0, 1)


def test_arrow_takes_the_rows_without_a_copy() -> None:
    """As a column or as a table with one column, in the memory of `vectors`."""
    result = ore.Client.local(model="local/hash", dimensions=3).embed(["a", "b"])
    column, table = pa.array(result), pa.table(result)
    assert column.type == pa.list_(pa.float32(), 3)
    assert table.schema == pa.schema({"embedding": column.type})
    for array in (
        column,
        table["embedding"].chunk(0),
        pa.table({"vector": result})["vector"].chunk(0),
    ):
        assert array.to_pylist() == result.tolist()
        assert array.flatten().buffers()[1].address == result.vectors.ctypes.data
    assert pa.array(result, pa.list_(pa.float32())).to_pylist() == result.tolist()
    series = pl.Series(result)
    assert (series.name, series.dtype) == ("embedding", pl.Array(pl.Float32, 3))
    assert pd.DataFrame.from_arrow(result)["embedding"].map(list).tolist() == result.tolist()


def test_the_memory_outlives_the_result() -> None:
    """An Arrow array keeps the vectors that it shares."""
    result = made(np.arange(6).reshape(2, 3))
    vectors, column = weakref.ref(result.vectors), pa.array(result)
    del result
    assert column.to_pylist() == [[0, 1, 2], [3, 4, 5]]
    del column
    assert vectors() is None


def test_a_result_is_an_array_and_lists() -> None:
    """The array is `vectors` itself; lists have Python's floats."""
    result = made([[0.5, 2], [1, -3]])
    assert np.asarray(result) is result.vectors
    assert result.tolist() == [[0.5, 2.0], [1.0, -3.0]]
    assert type(result.tolist()[0][0]) is float
    assert result.shape == np.shape(result) == (2, 2)


TEXTS = st.lists(st.sampled_from(["a", "bb", "ccc", "poison", None]), min_size=1, max_size=12)


def positions(result: ore.EmbeddingResult) -> list[int]:
    """Of the inputs whose rows came with each response, in the order of the rows."""
    return sorted(position for served in result.served for position in served.positions)


@given(TEXTS, st.integers(1, 4), st.integers(0, 12))
def test_the_parts_of_a_stream_or_of_calls_make_one_result(texts: Any, size: int, cut: int) -> None:
    """Rows, usage, and positions in all places are those of one call with all inputs."""
    service = testing.Service(testing.Fault("poison"))
    options: ore.EmbedOptions = {
        "dimensions": 3,
        "on_error": "skip",
        "batch_size": size,
        "concurrency": 1,
    }
    with testing.no_waiting(), service.client(**options) as client:
        whole = client.embed(texts)
        parts = [*client.embed_stream(texts)]
        calls = [client.embed(some) for some in (texts[:cut], texts[cut:]) if some]
    for joined, given_parts in (
        (ore.EmbeddingResult.concat(iter(parts)), parts),
        (ore.EmbeddingResult.concat(calls), calls),
    ):
        assert np.array_equal(joined.vectors, whole.vectors)
        assert (joined.start, joined.requested_model) == (0, whole.requested_model)
        assert joined.missing == whole.missing
        assert np.array_equal(joined.mask, whole.mask)
        assert positions(joined) == np.flatnonzero(whole.mask).tolist()
        assert joined.usage == reduce(add, [part.usage for part in given_parts])
        assert {*joined.errors} == {*whole.errors}
        for position, error in joined.errors.items():
            assert error.inputs == (position,)
            assert type(error) is type(whole.errors[position])
    assert [error.inputs for call in calls for error in call.errors.values()] == [
        (position,) for call in calls for position in call.errors
    ]


def test_later_parts_of_a_stream_keep_their_positions() -> None:
    """The result starts where the first of them does, and is new memory."""
    client = ore.Client.local(model="local/hash", dimensions=3)
    _, *parts = client.embed_stream([*"abcdefg"], batch_size=2)
    joined = ore.EmbeddingResult.concat(parts)
    assert joined.start == 2
    assert [served.positions for served in joined.served] == [range(2, 4), range(4, 6), range(6, 7)]
    assert joined.vectors.flags.c_contiguous
    assert not any(np.shares_memory(joined.vectors, part.vectors) for part in parts)
    again = ore.EmbeddingResult.concat(parts[:1])
    assert np.array_equal(again.vectors, parts[0].vectors)
    assert not np.shares_memory(again.vectors, parts[0].vectors)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], r"^concat takes a list of results, at least one, as in concat\(\[a, b\]\)$"),
        (made(TWO), "^concat takes a list of results"),
        ([TWO], "^concat takes a list of results"),
        ([made(TWO), made(np.ones((1, 3)))], r"different dimensions cannot .*: \[2, 3\]$"),
        ([made(TWO), made(TWO, "n")], r"different models cannot .*: \['m', 'n'\]$"),
    ],
)
def test_parts_that_make_no_result_are_refused(parts: Any, message: str) -> None:
    """The error says what differs."""
    with pytest.raises(ore.InputError, match=message):
        ore.EmbeddingResult.concat(parts)


def test_values_that_are_not_finite_are_shown_as_nothing() -> None:
    """The other values keep their colours, and numpy warns of nothing."""
    finite = made([[1, -1, 0, 0]])._repr_html_()
    assert made([[1, -1, np.nan, np.inf]])._repr_html_() == finite


EVIL = "</div><script>alert(1)</script>&lt;\"'"


def shown(result: ore.EmbeddingResult) -> tuple[str, list[ET.Element]]:
    """The text of the HTML, and its elements. Only well-formed HTML can be parsed."""
    root = ET.fromstring(result._repr_html_())
    return "".join(root.itertext()), [*root.iter()]


@pytest.mark.parametrize(
    ("rows", "width", "text"),
    [
        (0, 0, ""),
        (1, 1, "0one row, one dimension: "),
        (2, 3, "01all 2 rows, all 3 dimensions: "),
        (7, 1536, "01234the first 5 of 7 rows, the first 64 of 1,536 dimensions: "),
    ],
)
def test_notebooks_show_facts_and_the_first_values(rows: int, width: int, text: str) -> None:
    """As HTML that loads nothing and runs nothing; names from a server are only text."""
    served = ore.Served(range(rows), EVIL, EVIL, None, ore.Usage(), {})
    result = dataclasses.replace(
        made(np.linspace(-1, 1, rows * width).reshape(rows, width)),
        usage=ore.Usage(prompt_tokens=1234, cost=Decimal("1.2E-7")),
        served=[served],
    )
    seen, elements = shown(result)
    head = f"EmbeddingResult {rows} × {width:,} float32{EVIL} · served by {EVIL} · "
    assert seen.startswith(f"{head}1,234 tokens · $0.00000012{text}")
    assert {one.tag for one in elements} <= {"div", "b", "span", "svg", "g", "path", "text"}
    names = {name for one in elements for name in one.attrib}
    assert not names & {"href", "src", "class", "id", "onload", "onclick"}
    assert "url(" not in result._repr_html_()
    assert len(result._repr_html_()) < 9000


def test_a_strip_has_the_colour_of_each_sign() -> None:
    """The larger a value, the fuller its colour; zero is transparent."""
    _, elements = shown(made([[-2, -1, 0, 1, 2]]))
    paths = [one.attrib for one in elements if one.tag == "path"]
    by_place = sorted((int(one["d"][1:].split()[0]), one) for one in paths)
    assert [x for x, _ in by_place] == [30, 39, 57, 66]
    assert [one["fill"] for _, one in by_place] == ["#1c7ed6"] * 2 + ["#e8590c"] * 2
    full, half = "1", by_place[1][1]["fill-opacity"]
    assert [one["fill-opacity"] for _, one in by_place] == [full, half, half, full]
    assert 0 < float(half) < 1


def test_notebooks_show_what_is_missing() -> None:
    """Inputs without a vector, and that the service named no cost and no provider."""
    seen, _ = shown(made(np.ones((2, 2)), missing=[1, 2]))
    assert seen.startswith("EmbeddingResult 2 × 2 float32 (missing inputs: 1-2)m · 0 tokens · ")
    assert "cost unknown" in seen
    assert "served by" not in seen
