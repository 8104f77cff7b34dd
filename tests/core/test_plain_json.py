"""What a caller passes on as JSON: copied as it is, or refused by its place."""

import json
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.core.plain_json import plain_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)


def dumped(value: Any) -> str:
    """As text, which tells 1 from 1.0 and from True."""
    return json.dumps(value, sort_keys=True)


@given(JSON)
def test_json_is_what_it_was(value: Any) -> None:
    """Every value that JSON has a form for."""
    assert dumped(plain_json(value, "x")) == dumped(value)


class Colour(StrEnum):
    """Texts with names."""

    RED = "red"


class Size(IntEnum):
    """Numbers with names."""

    SMALL = 1


def test_equivalents_become_plain() -> None:
    """Tuples, other mappings, enums, and numpy's floats, which are Python's as well."""
    given_ = MappingProxyType({"a": (Colour.RED, Size.SMALL), "b": np.float64(0.5)})
    plain = plain_json(given_, "x")
    assert plain == {"a": ["red", 1], "b": 0.5}
    assert [type(value) for value in (plain, *plain["a"], plain["b"])] == [dict, str, int, float]


def endless() -> list[Any]:
    """A list in itself."""
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
        (b"a", "x: JSON cannot represent a value of type bytes"),
        ({"a": {1}}, r"x\.a: JSON cannot represent a value of type set"),
        (np.zeros(2), "x: JSON cannot represent a value of type ndarray"),
        (endless(), "levels deep"),
    ],
)
def test_what_json_has_no_form_for_is_refused_by_its_place(wrong: Any, words: str) -> None:
    """As a ValueError that says what it is."""
    with pytest.raises(ValueError, match=words):
        plain_json(wrong, "x")


def test_what_doubles_at_every_level_is_refused_in_time() -> None:
    """It is two million values to a reader."""
    value: list[Any] = [1]
    for _ in range(21):
        value = [value, value]
    with pytest.raises(ValueError, match="more than 1000000 values"):
        plain_json(value, "x")
    wide = [0] * 999_999
    assert plain_json(wide, "x") == wide


@pytest.mark.parametrize("inner", [float("nan"), [float("nan")], {5: 1}, "\ud800", {"\ud800": 1}])
def test_messages_are_short(inner: Any) -> None:
    """Whatever keys there are."""
    value = {"k" * 200_000: {"l" * 200_000: {"m" * 200_000: {"n" * 200_000: inner}}}}
    with pytest.raises(ValueError, match=r"x\.kkk") as caught:
        plain_json(value, "x")
    assert len(str(caught.value)) < 400
