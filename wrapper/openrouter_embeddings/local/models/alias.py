"""A model of the stand-in under the name of a model of the service."""

from collections.abc import Sequence

from .base import Embedded, Model
from .parts import Part


class Alias:
    """A model under another name.

    Args:
        name: the name in requests.
        model: the model that computes the vectors.
        width: the dimensions of the vectors (None: the model's own). A request's `dimensions` can
            ask for fewer.
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
        """One unit vector for each input."""
        return self._model.embed(inputs, dimensions or self._width)
