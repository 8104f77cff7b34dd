"""Modules that only an extra brings, and the sentence for whoever has not got it."""

from __future__ import annotations

import importlib
from typing import Any


def need(module: str, extra: str) -> Any:
    """Import `module`, or raise an ImportError that says which extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module
        raise ImportError(
            f"this needs {missing}, which comes with an extra: "
            f'pip install "openrouter-embeddings[{extra}]"'
        ) from None
