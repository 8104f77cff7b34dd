"""Vectors as base64 and as lists of numbers, and values that are neither."""

import base64
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openrouter_embeddings import decode_base64, encode_base64
from openrouter_embeddings.core.vectors import nine_digits, read_vector, unusable_rows

FLOATS = st.lists(st.floats(width=32))


@given(FLOATS)
def test_base64_round_trips_every_bit(values: list[float]) -> None:
    """`decode_base64` is the inverse of `encode_base64`, for NaN and -0.0 as well."""
    array = np.array(values, np.float32)
    assert decode_base64(encode_base64(array)).tobytes() == array.tobytes()


@given(FLOATS)
def test_base64_is_little_endian_float32(values: list[float]) -> None:
    """The standard library writes the same form."""
    oracle = base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    assert encode_base64(values) == oracle
    assert decode_base64(oracle).dtype == np.float32


def test_a_decoded_vector_is_writable() -> None:
    """The vector has memory of its own."""
    vector = decode_base64(encode_base64([1.0, 2.0]))
    vector *= 2
    assert vector.tolist() == [2.0, 4.0]


@pytest.mark.parametrize("wrong", ["AAAA", "AAAAA===", "!!!!", "AAAAAA", "AAAA AAA=", "☃"])
def test_invalid_base64_is_rejected(wrong: str) -> None:
    """Stray characters, missing padding and incomplete values raise ValueError."""
    with pytest.raises(ValueError, match=r"."):
        decode_base64(wrong)


def test_encoding_a_matrix_is_rejected() -> None:
    """The API has no base64 form of a matrix."""
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        encode_base64([[1, 2], [3, 4]])


@given(st.lists(st.floats(-1e30, 1e30) | st.integers(-(2**31), 2**31), min_size=1))
def test_a_list_of_numbers_is_read_as_float32(values: list[float]) -> None:
    """Floats and integers from JSON are rounded once."""
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
def test_values_that_are_no_vectors_are_rejected(wrong: Any, words: str) -> None:
    """The error describes what the server sent instead."""
    with pytest.raises(ValueError, match=words):
        read_vector(wrong)


def test_unusable_rows_are_found() -> None:
    """NaN, infinity (also from overflow) and zero vectors are reported by row."""
    rows = [[1, 2], [np.nan, 1], [0, 0], [np.inf, 0], [-0.0, 0], [0, 1e-45]]
    found = unusable_rows(np.array(rows, np.float32))
    assert sorted(found) == [1, 2, 3, 4]
    assert found[1] == found[3] == "a value that is not finite"
    assert found[2] == found[4] == "a zero vector"
    assert 0 in unusable_rows(read_vector([1e39])[None])


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
@example([0.013195530511438847])  # eight digits give its neighbour
def test_nine_digits_are_the_same_vector(values: list[float]) -> None:
    """Read as float32, the shorter numbers are the same, bit by bit."""
    vector = np.array(values, np.float32)
    assert nine_digits(vector).astype(np.float32).tobytes() == vector.tobytes()


@given(st.floats(2**-40, 2**40, width=32))
def test_nine_digits_are_printed(value: float) -> None:
    """A number of usual size is printed in nine digits or fewer."""
    printed = repr(nine_digits(np.array([value], np.float32)).item())
    assert len(printed.partition("e")[0].replace(".", "").strip("0")) <= 9
