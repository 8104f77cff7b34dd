"""Rows in batches of one size, and what tells their inputs apart."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.jobs._rows import _digest
from openrouter_embeddings.jobs._sources import open_source


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any), st.integers(1, 12))
def test_pieces_are_put_together_and_cut(pieces: list[int], rows: int) -> None:
    """All rows in order, so many in every batch but the last."""
    schema = pa.schema([("n", pa.int64())])
    numbers = iter(range(1000))
    batches = [pa.record_batch([[next(numbers) for _ in range(size)]], schema) for size in pieces]
    table = pa.Table.from_batches(batches, schema)
    found = [batch.column("n").to_pylist() for batch in open_source(table).batches(rows)]
    assert [n for batch in found for n in batch] == [*range(sum(pieces))]
    assert all(len(batch) == rows for batch in found[:-1])
    assert all(0 < len(batch) <= rows for batch in found[-1:])


@given(st.lists(st.binary(max_size=3), max_size=3), st.lists(st.binary(max_size=3), max_size=3))
def test_only_equal_inputs_have_equal_digests(one: list[bytes], other: list[bytes]) -> None:
    """A text and an image that would be equal when put together are not."""
    assert (_digest(*one) == _digest(*other)) == (one == other)


def test_a_text_that_ends_where_an_image_begins_is_another() -> None:
    """The case that joining would get wrong."""
    assert _digest(b"ab", b"c") != _digest(b"a", b"bc")
