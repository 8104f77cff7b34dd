"""The package's JSON, compared with the standard library's."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings._json import dumps, fragment, loads

from tests.support import in_threads, json_values


def dumped(value: Any) -> str:
    """JSON text, which distinguishes 1, 1.0 and True."""
    return json.dumps(value)


@given(json_values())
def test_the_standard_library_reads_what_is_written(value: Any) -> None:
    """`dumps` writes every value so that json reads it, with its types and the order of keys."""
    assert dumped(json.loads(dumps(value))) == dumped(value)
    assert dumps(value, sort_keys=True) == dumps(json.loads(json.dumps(value, sort_keys=True)))


@given(json_values(), st.booleans(), st.sampled_from([None, 1]))
def test_what_the_standard_library_writes_is_read(value: Any, ascii_: bool, indent: Any) -> None:
    """`loads` reads every value that json writes, with and without escapes and spaces."""
    text = json.dumps(value, ensure_ascii=ascii_, indent=indent)
    assert dumped(loads(text)) == dumped(loads(text.encode())) == dumped(value)


def strict(text: bytes) -> Any:
    """The value by json, with an error for what `loads` refuses and json does not."""

    def finite(number: str) -> float:
        if abs(value := float(number)) == float("inf"):
            raise ValueError("infinite")
        return value

    def encoded(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for pair in pairs:
            json.dumps(pair, ensure_ascii=False).encode()
        return dict(pairs)

    value = json.loads(
        text.decode(),
        parse_constant=lambda _: finite("inf"),
        parse_float=finite,
        object_pairs_hook=encoded,
    )
    json.dumps(value, ensure_ascii=False).encode()
    return value


PIECES = [
    *map(str.encode, '[]{}:," \t\n\\0123456789-+.eEaé\x7f\x00\ufeff'),
    *(b'"a"', b"null", b"true", b"NaN", b"-Infinity", b"1e400", b"-0", b"0.1"),
    *(b"18446744073709551616", b"-9223372036854775809"),
    *(rb'"\ud83d\ude00"', rb'"\ud83d"', rb'"\udc00\ud83d"', rb'"\u0000"', rb'"\/"', rb"\u00E9"),
    *(b"\xff", b"\xed\xa0\x80", b"[1,2]", b'{"a":1}', b'{"a":"x","a":1}'),
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join))
def test_both_refuse_the_same_texts(text: bytes) -> None:
    """`loads` raises ValueError or returns the value, as strict reading by json does."""
    try:
        value = strict(text)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - each for its own reason
            loads(text)
    else:
        assert dumped(loads(text)) == dumped(value)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_nesting_without_end_is_refused(opening: bytes) -> None:
    """However deeply a text is nested, it costs no more than a ValueError, in a thread as well."""

    def read() -> None:
        with pytest.raises(ValueError, match="nested too deeply"):
            loads(opening * 500_000)

    read()
    in_threads(1, read)


def test_a_value_that_contains_itself_is_refused() -> None:
    """As a value that is nested too deeply."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested too deeply"):
        dumps(endless)


def test_a_large_integer_is_exact_or_refused() -> None:
    """Integers have up to 4,300 digits, the most that Python prints."""
    assert loads(b"9" * 4300) == int("9" * 4300)
    with pytest.raises(ValueError, match="out of range"):
        loads(b"9" * 4301)


class Text(str):
    """A text of another type."""

    __slots__ = ()


class Whole(int):
    """An integer of another type."""


def test_subclasses_are_written_as_their_base() -> None:
    """As json does; numpy has such types."""
    value = {"a": Text("é"), Text("b"): [Whole(3), np.float64(0.5), np.str_("x")]}
    assert dumps(value) == '{"a":"é","b":[3,0.5,"x"]}'.encode()


def test_other_types_need_a_default() -> None:
    """Without one they raise TypeError, whatever is around them."""
    value = {"a": [1, {"b": 2j}]}
    assert dumps(value, default=str) == b'{"a":[1,{"b":"2j"}]}'
    with pytest.raises(TypeError, match="complex"):
        dumps(value)


def test_lone_surrogates_are_refused() -> None:
    """UTF-8 has no form for them, as a value or as a key."""
    for value in ("\ud800", {"\udfff": 1}):
        with pytest.raises(ValueError, match="surrogates not allowed"):
            dumps(value)


def test_what_json_cannot_print_becomes_null() -> None:
    """NaN and infinities."""
    assert dumps([float("nan"), float("inf"), -float("inf")]) == b"[null,null,null]"


def test_a_fragment_is_copied() -> None:
    """A JSON text inside a value is not parsed again."""
    assert dumps([fragment(b'{ "a": 1.50 }')]) == b'[{ "a": 1.50 }]'
