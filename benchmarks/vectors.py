"""The vectors that the benchmark server sends, and the check that they arrived."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
from numpy.typing import NDArray

BATCH = 128
VARIANTS = 16  # different answers, so that batches in the wrong order are detected
_NUMBER = re.compile(r"\d+")

Matrix = NDArray[np.float32]


def text(number: int) -> str:
    """The input with this number; short, like a title."""
    return f"document {number:07d} about nothing in particular"


def texts(count: int) -> list[str]:
    """The first `count` inputs, in order."""
    return [text(number) for number in range(count)]


def variant(first: str) -> int:
    """Which of the prepared answers goes to a batch that begins with this input."""
    found = _NUMBER.search(first)
    return int(found[0]) // BATCH % VARIANTS if found else 0


@cache
def matrix(which: int, rows: int, width: int) -> Matrix:
    """Random rows of unit length, the same in every process."""
    drawn = np.random.default_rng(which).standard_normal((rows, width), np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn


def differences(found: Matrix, rows: int, width: int, batch: int) -> str:
    """What is wrong with the vectors of `texts(rows)`, sent in batches; empty if all are right."""
    if found.shape != (rows, width):
        return f"shape {found.shape} instead of {(rows, width)}"
    for start in range(0, rows, batch):
        size = min(batch, rows - start)
        expected = matrix(variant(text(start)), size, width)
        # a float that was printed and parsed may differ in the last bit
        if not np.allclose(found[start : start + size], expected, rtol=0, atol=1e-7):
            return f"other vectors than the server sent, in the batch from {start}"
    return ""
