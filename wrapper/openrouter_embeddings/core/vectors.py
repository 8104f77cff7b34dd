"""Converts vectors between the API's forms, base64 and lists of numbers, and numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pybase64

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from openrouter_embeddings.result import Matrix

_WIRE = np.dtype("<f4")


def decode_base64(encoded: str | bytes) -> Matrix:
    """Decode a vector from base64 of little-endian float32 values, the form that the API sends.

    Args:
        encoded: base64 in the standard alphabet, with padding.

    Returns:
        float32 of shape (dimensions,), writable.

    Raises:
        ValueError: `encoded` is not base64, or not of a whole number of float32 values.
    """
    raw = pybase64.b64decode_as_bytearray(encoded, validate=True)
    if len(raw) % _WIRE.itemsize:
        raise ValueError(f"{len(raw)} bytes are not a whole number of float32 values")
    return np.frombuffer(raw, _WIRE).astype(np.float32, copy=False)


def encode_base64(array: ArrayLike) -> str:
    """Encode a vector as base64 of little-endian float32 values, the inverse of `decode_base64`.

    Args:
        array: anything numpy can convert to a one-dimensional array of numbers.

    Raises:
        ValueError: `array` is not one-dimensional.
    """
    vector = np.asarray(array, _WIRE)
    if vector.ndim != 1:
        raise ValueError(
            f"expected one vector, got an array of shape {vector.shape}; encode row by row"
        )
    return pybase64.b64encode_as_string(vector.tobytes())


def read_vector(embedding: Any) -> Matrix:
    """The vector in an item's `embedding`. Raises ValueError describing anything else.

    Some providers ignore `encoding_format`, so base64 and lists of numbers are both accepted.
    """
    if isinstance(embedding, str):
        try:
            vector = decode_base64(embedding)
        except ValueError as error:
            raise ValueError(f"an embedding that is not base64 of float32: {error}") from None
    elif isinstance(embedding, list):
        vector = _from_numbers(embedding)
    else:
        what = "null" if embedding is None else f"a value of type {type(embedding).__name__}"
        raise ValueError(f"{what} where an embedding should be")
    if not len(vector):
        raise ValueError("an empty embedding")
    return vector


def _from_numbers(values: list[Any]) -> Matrix:
    # numpy would convert strings, nulls and booleans to numbers
    if not set(map(type, values)) <= {int, float}:
        if None in values:
            raise ValueError(f"null among the values of an embedding, at {values.index(None)}")
        raise ValueError("an embedding that is not a list of numbers")
    try:
        array = np.array(values, np.float64)
    except OverflowError:  # an integer of hundreds of digits
        raise ValueError("an embedding with a number far too large for float32") from None
    with np.errstate(over="ignore"):  # too large a number becomes inf, which is rejected later
        return array.astype(np.float32)


def nine_digits(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """The values rounded to nine decimal digits, which are all that distinguish float32 values.

    Printed, they take half as many characters as the same values in all digits of float64.
    """
    wide = vectors.astype(np.float64)
    scale = 10.0 ** (8 - np.floor(np.log10(np.abs(wide), out=np.zeros_like(wide), where=wide != 0)))
    return np.rint(wide * scale) / scale


def unusable_rows(matrix: Matrix) -> dict[int, str]:
    """The rows that a vector index cannot use, with the reason: not finite, or all zero."""
    finite = np.isfinite(matrix).all(axis=1)
    with np.errstate(invalid="ignore"):  # numpy would warn about a signalling NaN
        zero = ~matrix.any(axis=1)
    reasons = {int(row): "a value that is not finite" for row in np.flatnonzero(~finite)}
    return reasons | {int(row): "a zero vector" for row in np.flatnonzero(zero)}
