"""Values of a caller that are passed on as JSON: checked, and copied."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import count
from typing import Any

_MOST_LEVELS = 100  # JSON readers have bounds of their own, and a list may hold itself
_MOST_VALUES = 1_000_000  # a list that holds another twice, and so on, has no end otherwise
_LONGEST_PLACE = 100  # of characters; it is copied for every value below it
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1  # integers that orjson writes


def plain_json(value: Any, place: str) -> Any:
    """The same of plain dicts, lists, texts and numbers, for later changes not to matter.

    Raises ValueError that says what JSON has no form for, and where.
    """
    return _plain(value, place, 0, count(1))


def shown(value: Any) -> str:
    """A value in an error: its repr, 40 characters at most.

    Python prints no integer of more than 4,300 digits.
    """
    try:
        return f"{value!r:.40}"
    except ValueError:
        return f"<{type(value).__name__} too long to print>"


def _plain(value: Any, place: str, level: int, numbers: count[int]) -> Any:
    if next(numbers) > _MOST_VALUES:
        raise ValueError(f"{place} is one of more than {_MOST_VALUES} values; send fewer at once")
    if not isinstance(value, Mapping | list | tuple):
        return _plain_scalar(value, place)
    if level > _MOST_LEVELS:
        raise ValueError(f"{place:.60}… is nested more than {_MOST_LEVELS} levels deep")
    if isinstance(value, Mapping):
        return {
            _key(key, place): _plain(inner, _below(place, f".{key!s:.60}"), level + 1, numbers)
            for key, inner in value.items()
        }
    return [
        _plain(inner, _below(place, f"[{i}]"), level + 1, numbers) for i, inner in enumerate(value)
    ]


def _below(place: str, step: str) -> str:
    return place + step if len(place) < _LONGEST_PLACE else place


def _plain_scalar(value: Any, place: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, place)
    if isinstance(value, int):
        if not _SMALLEST <= value <= _LARGEST:
            raise ValueError(f"{place} is an integer of more than 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{place} is {float(value)}, which JSON has no form for")
        return float(value)
    raise ValueError(f"{place} is a {type(value).__name__}, which JSON has no form for")


def _key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise ValueError(f"{place} has the key {shown(key)}; keys are str")
    return _text(key, f"a key of {place}")


def _text(text: str, place: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{place} has a lone surrogate (U+{ord(text[error.start]):04X}) at character "
            f"{error.start}, which cannot be sent as UTF-8"
        ) from None
    return str.__str__(text)  # of a StrEnum its value
