"""`local/hash`: every kind of input, any `dimensions`, deterministic, instant. Not semantic.

The vector is drawn from a normal distribution with the input's SHA-256 as the seed, so equal
inputs get equal vectors and different ones are nearly orthogonal. For tests. The whole input
counts for its vector; `usage` counts the first 256 tokens of a text, as for `local/minilm`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from . import wordpiece
from .base import TOKENS_PER_MEDIA, Embedded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .parts import Part

DEFAULT_DIMENSIONS = 256


class HashModel:
    """Noise that is always the same for the same input."""

    name = "local/hash"
    description = "Noise, always the same for the same input. For tests."
    context_length = None
    modalities = None  # all, those of a coming edition too
    dimensions: range = range(1, 16_385)

    def embed(self, inputs: Sequence[Sequence[Part]], dimensions: int | None) -> Embedded:
        """One unit vector an input."""
        width = dimensions or DEFAULT_DIMENSIONS
        vectors = np.empty((len(inputs), width), np.float32)
        for row, parts in enumerate(inputs):
            vectors[row] = _draw(parts, width)
        media = Counter(p.modality for parts in inputs for p in parts if p.modality != "text")
        tokens = {kind: count * TOKENS_PER_MEDIA for kind, count in media.items()}
        if texts := _count(inputs):
            tokens["text"] = texts
        return Embedded(vectors, tokens)


def _draw(parts: Sequence[Part], width: int) -> NDArray[np.float32]:
    # a lone text means the same as a plain string, or images in a batch would move its vector
    said = json.dumps([[part.text, part.tokens, part.url] for part in parts])
    seed = int.from_bytes(hashlib.sha256(said.encode()).digest()[:16])
    vector = np.random.Generator(np.random.PCG64(seed)).standard_normal(width, np.float32)
    vector /= np.linalg.norm(vector)
    return vector


def _count(inputs: Sequence[Sequence[Part]]) -> int:
    texts = [part.text for parts in inputs for part in parts if part.text]
    given = sum(len(part.tokens) for parts in inputs for part in parts)
    return given + (sum(map(len, wordpiece.encode(texts))) if texts else 0)
