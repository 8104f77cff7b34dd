"""The models behind the stand-in, by the names that requests use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Embedded, Unsupported
from .hash import HashModel
from .minilm import MiniLM
from .visual import VisualModel

if TYPE_CHECKING:
    from .base import Model

__all__ = ["MODELS", "Embedded", "Unsupported"]

MODELS: dict[str, Model] = {model.name: model for model in (MiniLM(), VisualModel(), HashModel())}
