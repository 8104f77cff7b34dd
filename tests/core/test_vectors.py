"""Vectors to base64 and back, floats, and what is no vector."""

import base64
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings import decode_base64, encode_base64
from openrouter_embeddings.core.vectors import read_vector, unusable_rows

FLOATS = st.lists(st.floats(width=32))


@given(FLOATS)
def test_base64_and_back_is_the_same_bits(values: list[float]) -> None:
    """decode_base64 is the inverse of encode_base64, for NaN and -0.0 too."""
    array = np.array(values, np.float32)
    assert decode_base64(encode_base64(array)).tobytes() == array.tobytes()


@given(FLOATS)
def test_base64_is_little_endian_float32(values: list[float]) -> None:
    """The form is the API's, as the standard library writes it."""
    oracle = base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    assert encode_base64(values) == oracle
    assert decode_base64(oracle).dtype == np.float32


def test_a_decoded_vector_can_be_changed() -> None:
    """The vector is the caller's own memory."""
    vector = decode_base64(encode_base64([1.0, 2.0]))
    vector *= 2
    assert vector.tolist() == [2.0, 4.0]


@pytest.mark.parametrize("wrong", ["AAAA", "AAAAA===", "!!!!", "AAAAAA", "AAAA AAA=", "☃"])
def test_what_is_no_base64_of_float32_is_refused(wrong: str) -> None:
    """Strictly: no stray characters, no missing padding, no torn value."""
    with pytest.raises(ValueError, match=r"."):
        decode_base64(wrong)


def test_only_one_vector_is_encoded_at_a_time() -> None:
    """A matrix has no base64 form in the API."""
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        encode_base64([[1, 2], [3, 4]])


@given(st.lists(st.floats(-1e30, 1e30) | st.integers(-(2**31), 2**31), min_size=1))
def test_a_list_of_numbers_is_read_as_float32(values: list[float]) -> None:
    """Floats and integers as JSON has them, rounded once."""
    assert read_vector(values).tolist() == np.array(values, np.float64).astype(np.float32).tolist()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (None, "null where an embedding"),
        (5, "a value of type int where"),
        ({}, "a value of type dict where"),
        ([], "an empty embedding"),
        ("", "an empty embedding"),
        ("?", "not base64"),
        ([1.0, None], "null among the values of an embedding, at 1"),
        (["1.0"], "not a list of numbers"),
        ([[1.0]], "not a list of numbers"),
        ([[1.0], 2.0], "not a list of numbers"),
        ([True, False], "not a list of numbers"),
        ([1.0, True], "not a list of numbers"),
        ([10**400], "far too large"),
    ],
)
def test_what_is_no_vector_is_refused_in_words(wrong: Any, words: str) -> None:
    """Whatever a server sends for an embedding, it is a vector or a reason."""
    with pytest.raises(ValueError, match=words):
        read_vector(wrong)


def test_rows_that_would_poison_an_index_are_found() -> None:
    """NaN, infinity (also from overflow) and zero vectors, each with its row."""
    rows = [[1, 2], [np.nan, 1], [0, 0], [np.inf, 0], [-0.0, 0], [0, 1e-45]]
    found = unusable_rows(np.array(rows, np.float32))
    assert sorted(found) == [1, 2, 3, 4]
    assert found[1] == found[3] == "a value that is not finite"
    assert found[2] == found[4] == "a zero vector"
    assert 0 in unusable_rows(read_vector([1e39])[None])
