"""Modules that only an extra brings, and the sentence for whoever has not got it."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a job with tables, and the stand-in, cannot begin without.
JOBS = {"pyarrow": "jobs"}
LOCAL = {"jsonschema_rs": "local"}


def need(module: str, extra: str) -> Any:
    """Import `module`, or raise an ImportError that says which extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _missing({error.name or module: extra}) from None


def need_all(modules: Mapping[str, str]) -> None:
    """Raise one ImportError for all modules that are missing; the values are their extras.

    For what needs several extras, so that nobody installs one to be asked for the next.
    """
    if missing := {name: extra for name, extra in modules.items() if find_spec(name) is None}:
        raise _missing(missing)


def _missing(modules: Mapping[str, str]) -> ImportError:
    extras = sorted({*modules.values()})
    which = "which comes with an extra" if len(modules) == 1 else "which come with extras"
    return ImportError(
        f"this needs {' and '.join(modules)}, {which}: "
        f'pip install "openrouter-embeddings[{",".join(extras)}]"'
    )
