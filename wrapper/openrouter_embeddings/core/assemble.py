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


def same_width(width: int | None, part: EmbeddingResult) -> int:
    """The width of a part, which has to be that of the parts before it, if there are any.

    Raises ResponseError: another width is another vector space.
    """
    found: int = part.vectors.shape[1]
    if width is not None and found != width:
        raise ResponseError(
            f"vectors of {found} dimensions came back, and of {width} for earlier inputs",
            inputs=range(part.start, part.start + len(part)),
            provider=next(iter(part.providers), None),
        )
    return found
