"""The batches of a call to one matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from openrouter_embeddings.errors import ResponseError
from openrouter_embeddings.result import EmbeddingResult, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .decode import Decoded


def part(decoded: Decoded, usage: Usage, model: str) -> EmbeddingResult:
    """One batch as a result of its own, for streams. `usage` covers refused answers too."""
    served = decoded.served
    return EmbeddingResult(decoded.matrix, usage, model, (served,), start=served.start)


def whole(parts: Iterable[EmbeddingResult], rows: int) -> EmbeddingResult:
    """All parts of a call, which come in order, as one result of `rows` rows."""
    coming = iter(parts)
    first = next(coming)
    if len(first) == rows:
        return first
    matrix = np.empty((rows, first.vectors.shape[1]), np.float32)
    matrix[: len(first)] = first.vectors
    usage, served = first.usage, [*first.served]
    for each in coming:
        matrix[each.start : each.start + len(each)] = each.vectors
        usage += each.usage
        served += each.served
    return EmbeddingResult(matrix, usage, first.requested_model, tuple(served))


def same_width(first: EmbeddingResult, later: EmbeddingResult) -> None:
    """Raise ResponseError where a later part is of another vector space than the first."""
    width, expected = later.vectors.shape[1], first.vectors.shape[1]
    if width != expected:
        raise ResponseError(
            f"vectors of {width} dimensions came back, and of {expected} for earlier inputs",
            inputs=range(later.start, later.start + len(later)),
            provider=next(iter(later.providers), None),
            usage=later.usage,
        )
