"""The interface of the stand-in's models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .parts import Part


TOKENS_PER_MEDIA = 256  # made up, but of the size that models count for an image


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of shape (inputs, dimensions) and the tokens read, by modality."""

    vectors: NDArray[np.float32]
    tokens: Mapping[str, int]


class Unsupported(Exception):
    """Raised for an input that the model cannot read, with the reason."""

    def __init__(self, position: int, why: str) -> None:
        super().__init__(why)
        self.position = position


def range_text(dimensions: range) -> str:
    """`32 to 384`, or the only number."""
    return f"{dimensions[0]}" if len(dimensions) == 1 else f"{dimensions[0]} to {dimensions[-1]}"


class Model(Protocol):
    """A model: pure, thread-safe, and slow only on its first use."""

    name: str
    description: str
    dimensions: range

    @property
    def modalities(self) -> frozenset[str] | None:
        """The kinds of input that it takes; None: every kind."""
        ...

    @property
    def context_length(self) -> int | None:
        """How many tokens of an input it reads; None: all."""
        ...

    def embed(self, inputs: Sequence[Sequence[Part]], dimensions: int | None) -> Embedded:
        """One unit vector for each input. Raises Unsupported."""
        ...
