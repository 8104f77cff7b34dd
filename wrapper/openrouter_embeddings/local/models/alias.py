"""A model of the stand-in under the name of one of the service's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .base import Embedded, Model
    from .parts import Part


class Alias:
    """A model under another name.

    Args:
        name: what requests call it.
        model: what answers them.
        width: dimensions of its vectors; a request's `dimensions` shortens them. None: those of
            the model.
    """

    def __init__(self, name: str, model: Model, width: int | None) -> None:
        self.name = name
        self.description: str = f"An alias of {model.name}. {model.description}"
        self.modalities: frozenset[str] | None = model.modalities
        self.context_length: int | None = model.context_length
        most = width or model.dimensions[-1]
        self.dimensions: range = range(model.dimensions[0], most + 1)
        self._model = model
        self._width = width

    def embed(self, inputs: Sequence[Sequence[Part]], dimensions: int | None) -> Embedded:
        """One unit vector an input."""
        return self._model.embed(inputs, dimensions or self._width)
