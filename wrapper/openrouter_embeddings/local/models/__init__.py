"""The models behind the stand-in, by the names that requests use."""

from collections.abc import Mapping

from .alias import Alias
from .base import Embedded, Model, Unsupported, range_text
from .hash import HashModel
from .minilm import MiniLM
from .visual import VisualModel

__all__ = ["MODELS", "Embedded", "Model", "Unsupported", "range_text", "with_aliases"]

MODELS: dict[str, Model] = {model.name: model for model in (MiniLM(), VisualModel(), HashModel())}


def with_aliases(aliases: Mapping[str, str]) -> dict[str, Model]:
    """The models and aliases such as `{"openai/text-embedding-3-small": "local/hash:1536"}`.

    The number is the number of dimensions (default: the model's own). Raises ValueError for an
    unknown model, for dimensions that the model does not have, and for a name that begins with
    `local/`.
    """
    return MODELS | {name: _alias(name, target) for name, target in aliases.items()}


def _alias(name: str, target: str) -> Alias:
    if not name or name.startswith("local/"):
        raise ValueError(
            f"{name!r} cannot be an alias: give a name that does not begin with local/"
        )
    model, has_width, width = target.partition(":")
    if model not in MODELS:
        raise ValueError(f"{name}: unknown model {model!r}; use one of {', '.join(MODELS)}")
    allowed = MODELS[model].dimensions
    if not has_width:
        return Alias(name, MODELS[model], None)
    if not (width.isascii() and width.isdigit() and len(width) < 9 and int(width) in allowed):
        raise ValueError(f"{name}: {model} has {range_text(allowed)} dimensions, not {width!r:.20}")
    return Alias(name, MODELS[model], int(width))
