"""Vectors between the wire and numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pybase64

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from openrouter_embeddings.result import Matrix

_WIRE = np.dtype("<f4")


def decode_base64(encoded: str | bytes) -> Matrix:
    """The vector in a base64 string as the API sends it: little-endian float32.

    Args:
        encoded: base64, with padding, standard alphabet.

    Returns:
        float32 of shape (dimensions,), writable.

    Raises:
        ValueError: not base64, or not a whole number of float32 values.
    """
    raw = pybase64.b64decode_as_bytearray(encoded, validate=True)
    if len(raw) % _WIRE.itemsize:
        raise ValueError(f"{len(raw)} bytes are not a whole number of float32 values")
    return np.frombuffer(raw, _WIRE).astype(np.float32, copy=False)


def encode_base64(array: ArrayLike) -> str:
    """The inverse of `decode_base64`: the values as little-endian float32, in base64.

    Args:
        array: anything numpy takes as a one-dimensional array of numbers.

    Raises:
        ValueError: not one-dimensional.
    """
    vector = np.asarray(array, _WIRE)
    if vector.ndim != 1:
        raise ValueError(f"an array of shape {vector.shape}; one vector is encoded at a time")
    return pybase64.b64encode_as_string(vector.tobytes())


def read_vector(embedding: Any) -> Matrix:
    """One item's `embedding`, whichever form it came in. Raises ValueError saying what it is.

    Some providers ignore `encoding_format`, so base64 and a list of numbers are both read.
    """
    if isinstance(embedding, str):
        try:
            vector = decode_base64(embedding)
        except ValueError as error:
            raise ValueError(f"an embedding that is not base64 of float32: {error}") from None
    elif isinstance(embedding, list):
        vector = _from_numbers(embedding)
    else:
        what = "null" if embedding is None else f"a {type(embedding).__name__}"
        raise ValueError(f"{what} where an embedding should be")
    if not len(vector):
        raise ValueError("an empty embedding")
    return vector


def _from_numbers(values: list[Any]) -> Matrix:
    # numpy would turn texts, nulls and booleans into numbers
    if not set(map(type, values)) <= {int, float}:
        if None in values:
            raise ValueError(f"null among the values of an embedding, at {values.index(None)}")
        raise ValueError("an embedding that is no list of numbers")
    try:
        array = np.array(values, np.float64)
    except OverflowError:  # an integer of hundreds of digits
        raise ValueError("a number in an embedding that is far too large") from None
    with np.errstate(over="ignore"):  # too large for float32 becomes inf, which is refused
        return array.astype(np.float32)


def unusable_rows(matrix: Matrix) -> dict[int, str]:
    """The rows that would poison an index, each with the reason: not finite, or all zero."""
    finite = np.isfinite(matrix).all(axis=1)
    with np.errstate(invalid="ignore"):  # a signalling NaN, which numpy would warn of
        zero = ~matrix.any(axis=1)
    reasons = {int(row): "a value that is not finite" for row in np.flatnonzero(~finite)}
    return reasons | {int(row): "a zero vector" for row in np.flatnonzero(zero)}
