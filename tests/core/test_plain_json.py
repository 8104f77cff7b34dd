"""Values passed on as JSON: copied, or rejected with their place."""

import json
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from openrouter_embeddings.core.plain_json import plain_json

from tests.support import json_values


def dumped(value: Any) -> str:
    """JSON text, which distinguishes 1, 1.0 and True."""
    return json.dumps(value, sort_keys=True)


@given(json_values())
def test_json_values_are_copied_unchanged(value: Any) -> None:
    """Every value that JSON can represent stays the same."""
    assert dumped(plain_json(value, "x")) == dumped(value)


class Colour(StrEnum):
    """Named strings."""

    RED = "red"


class Size(IntEnum):
    """Named integers."""

    SMALL = 1


def test_equivalent_types_become_plain_ones() -> None:
    """Tuples, other mappings, enums and numpy's float64 become plain Python values."""
    given_ = MappingProxyType({"a": (Colour.RED, Size.SMALL), "b": np.float64(0.5)})
    plain = plain_json(given_, "x")
    assert plain == {"a": ["red", 1], "b": 0.5}
    assert [type(value) for value in (plain, *plain["a"], plain["b"])] == [dict, str, int, float]


def endless() -> list[Any]:
    """A list that contains itself."""
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (float("nan"), "x: JSON cannot represent nan"),
        ({"a": [1, float("-inf")]}, r"x\.a\[1\]: JSON cannot represent -inf"),
        ({"a": {2: 3}}, r"x\.a: expected keys of type str, got 2"),
        ({"\ud800": 3}, r"a key of x: .* the lone surrogate U\+D800 at character 0"),
        (["a", "b\udc00"], r"x\[1\]: .* the lone surrogate U\+DC00 at character 1"),
        (2**64, "x: expected an integer of at most 64 bits"),
        (-(2**63) - 1, "x: expected an integer of at most 64 bits"),
        (b"a", "x: JSON cannot represent bytes"),
        ({"a": {1}}, r"x\.a: JSON cannot represent set"),
        (np.zeros(2), "x: JSON cannot represent ndarray"),
        (endless(), "levels deep"),
    ],
)
def test_values_that_json_cannot_represent_are_rejected(wrong: Any, words: str) -> None:
    """The error names the value and its place."""
    with pytest.raises(ValueError, match=words):
        plain_json(wrong, "x")


def test_lists_that_grow_exponentially_are_rejected() -> None:
    """Two million values are rejected; a million are accepted."""
    value: list[Any] = [1]
    for _ in range(21):
        value = [value, value]
    with pytest.raises(ValueError, match="more than 1000000 values"):
        plain_json(value, "x")
    wide = [0] * 999_999
    assert plain_json(wide, "x") == wide


@pytest.mark.parametrize("inner", [float("nan"), [float("nan")], {5: 1}, "\ud800", {"\ud800": 1}])
def test_messages_are_short(inner: Any) -> None:
    """Long keys are truncated in the error."""
    value = {"k" * 200_000: {"l" * 200_000: {"m" * 200_000: {"n" * 200_000: inner}}}}
    with pytest.raises(ValueError, match=r"x\.kkk") as caught:
        plain_json(value, "x")
    assert len(str(caught.value)) < 400
