"""The vectors that the benchmark server sends, and the check that they arrived."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

BATCH = 128
# Text n has vector n % PERIOD. The period is no power of two, so that swapped blocks are detected.
PERIOD = 17 * BATCH

Matrix = NDArray[np.float32]


def text(number: int) -> str:
    """The input with this number; short, like a title."""
    return f"document {number:07d} about nothing in particular"


def texts(count: int) -> list[str]:
    """The first `count` inputs, in order."""
    return [text(number) for number in range(count)]


@cache
def distinct(width: int) -> Matrix:
    """The PERIOD rows that the server has, about of unit length; the arithmetic of `server.c`."""
    place = np.arange(1, PERIOD * width + 1, dtype=np.uint32)
    place ^= place >> 16
    place *= 0x85EBCA6B
    place ^= place >> 13
    place *= 0xC2B2AE35
    place ^= place >> 16
    scale = math.sqrt(3 / width) / 2**31
    return (place.view(np.int32) * scale).astype(np.float32).reshape(PERIOD, width)


def differences(found: Matrix, rows: int, width: int) -> str:
    """What is wrong with the vectors of `texts(rows)`; empty if all are right."""
    if found.shape != (rows, width):
        return f"shape {found.shape} instead of {(rows, width)}"
    if found.dtype != np.float32:
        return f"vectors of {found.dtype}"
    for start in range(0, rows, PERIOD):
        part = found[start : start + PERIOD]
        wrong = (part != distinct(width)[: len(part)]).any(axis=1)
        if wrong.any():
            return f"another vector than the server sent, in row {start + int(wrong.argmax())}"
    return ""
