"""Imports modules that come with an extra, or names the extra to install."""

import importlib
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

# What jobs with tables, and the stand-in, require: module and extra.
JOBS = {"pyarrow": "jobs"}
LOCAL = {"jsonschema_rs": "local"}


def need(module: str, extra: str) -> Any:
    """Import `module`. Raises ImportError with the extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _missing({error.name or module: extra}) from None


def need_all(modules: Mapping[str, str]) -> None:
    """Raise one ImportError for all missing modules, so that one installation is enough.

    The keys of `modules` are module names, the values the extras that install them.
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
