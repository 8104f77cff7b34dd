"""Checks and copies values that a caller wants sent as JSON: `extra_body`, preferences, raw parts.

Whatever `dumps` would refuse, or write differently than the caller means, raises ValueError with
the place of the value. The copy protects requests from later changes by the caller.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import count
from typing import Any

_MAX_LEVELS = 100  # JSON readers have limits as well, and a list may contain itself
_MAX_VALUES = 1_000_000  # nested lists that each contain the next twice grow exponentially
_MAX_PLACE = 100  # characters; the place is copied for every value below it
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1  # some servers read no larger integers


def plain_json(value: Any, place: str) -> Any:
    """A copy made of plain dicts, lists, strings and numbers.

    Raises ValueError naming the place of a value that JSON cannot represent.
    """
    return _plain(value, place, 0, count(1))


def short_repr(value: Any) -> str:
    """A value for an error message: the first 40 characters of its repr.

    Python refuses to print integers of more than 4,300 digits.
    """
    try:
        return f"{value!r:.40}"
    except ValueError:
        return f"<{type(value).__name__} too long to print>"


def _plain(value: Any, place: str, level: int, numbers: count[int]) -> Any:
    if next(numbers) > _MAX_VALUES:
        raise ValueError(f"{place}: more than {_MAX_VALUES} values in all; send fewer")
    if not isinstance(value, Mapping | list | tuple):
        return _plain_scalar(value, place)
    if level > _MAX_LEVELS:
        raise ValueError(f"{place:.60}… is nested more than {_MAX_LEVELS} levels deep")
    if isinstance(value, Mapping):
        return {
            _key(key, place): _plain(inner, _below(place, f".{key!s:.60}"), level + 1, numbers)
            for key, inner in value.items()
        }
    return [
        _plain(inner, _below(place, f"[{i}]"), level + 1, numbers) for i, inner in enumerate(value)
    ]


def _below(place: str, step: str) -> str:
    return place + step if len(place) < _MAX_PLACE else place


def _plain_scalar(value: Any, place: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, place)
    if isinstance(value, int):
        if not _SMALLEST <= value <= _LARGEST:
            raise ValueError(f"{place}: expected an integer of at most 64 bits, got a larger one")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{place}: JSON cannot represent {float(value)}; use null or a number")
        return float(value)
    raise ValueError(f"{place}: JSON cannot represent {type(value).__name__}; convert it first")


def _key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise ValueError(f"{place}: expected keys of type str, got {short_repr(key)}")
    return _text(key, f"a key of {place}")


def utf8_problem(text: str) -> str:
    """Why UTF-8 cannot encode a text; empty if it can."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return (
            f"UTF-8 cannot encode the lone surrogate U+{ord(text[error.start]):04X} at character "
            f"{error.start}, perhaps half an emoji; repair the text, for example with "
            'text.encode(errors="replace").decode()'
        )
    return ""


def _text(text: str, place: str) -> str:
    if problem := utf8_problem(text):
        raise ValueError(f"{place}: {problem}")
    return str.__str__(text)  # for a StrEnum, its value
