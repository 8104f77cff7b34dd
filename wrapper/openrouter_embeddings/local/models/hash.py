"""`local/hash`: random but repeatable vectors for every kind of input and any `dimensions`.

For tests: the vectors carry no meaning. The SHA-256 of the whole input seeds a normal distribution,
so equal inputs get equal vectors, and different inputs get nearly orthogonal ones. `usage` counts
the first 256 tokens of a text, as for `local/minilm`.
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
    """Random vectors, always the same for the same input."""

    name = "local/hash"
    description = "Random vectors, always the same for the same input. For tests."
    context_length = None
    modalities = None  # every kind, also those of later editions
    dimensions: range = range(1, 16_385)

    def embed(self, inputs: Sequence[Sequence[Part]], dimensions: int | None) -> Embedded:
        """One unit vector for each input."""
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
    # without the modality: a text gets the same vector as a string and as a content part
    content = json.dumps([[part.text, part.tokens, part.url] for part in parts])
    seed = int.from_bytes(hashlib.sha256(content.encode()).digest()[:16])
    vector = np.random.Generator(np.random.PCG64(seed)).standard_normal(width, np.float32)
    vector /= np.linalg.norm(vector)
    return vector


def _count(inputs: Sequence[Sequence[Part]]) -> int:
    texts = [part.text for parts in inputs for part in parts if part.text]
    tokens = sum(len(part.tokens) for parts in inputs for part in parts)
    return tokens + (sum(map(len, wordpiece.encode(texts))) if texts else 0)
