"""Checking and merging the headers that a caller adds to requests."""

import pickle
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings import InputError
from openrouter_embeddings.core.headers import Headers, read_headers
from openrouter_embeddings.core.options import merge_options

NAMES = st.text("aA-zZ019!#$%&'*+.^_`|~ :\n\té\0", max_size=6)
VALUES = st.text('aZ09 !~\t\n\r\0\x7fé€,;"', max_size=6)


def sent(client: Any, call: Any) -> list[tuple[bytes, bytes]]:
    """The headers of a request with these options of the client and of the call."""
    defaults: Any = {"headers": merge_options({}, {"headers": client}).headers}
    return [*(merge_options(defaults, call).headers or ())]


def test_headers_of_a_call_are_merged_over_those_of_the_client() -> None:
    """Names are compared without regard to case; None drops one header, or all of them."""
    client = {"X-A": "1", "X-B": "2"}
    assert sent(client, {"headers": {"x-a": "3", "X-C": "4"}}) == [
        (b"x-a", b"3"),
        (b"X-B", b"2"),
        (b"X-C", b"4"),
    ]
    assert sent(client, {"headers": {"x-A": None}}) == [(b"X-B", b"2")]
    assert sent(client, {"headers": {}}) == [(b"X-A", b"1"), (b"X-B", b"2")]
    assert sent(client, {}) == [(b"X-A", b"1"), (b"X-B", b"2")]
    assert sent(client, {"headers": None}) == []
    assert sent({"X-A": None}, {"headers": {"X-B": None}}) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([("X-A", "1")], "expected a mapping of names to values, got list"),
        ("X-A: 1", "expected a mapping of names to values, got str"),
        ({5: "1"}, "expected names of type str, got int"),
        ({b"X-A": "1"}, "expected names of type str, got bytes"),
        ({"X-A": 1}, "expected a str as the value of 'X-A', got int"),
        ({"X-A": ["1", "2"]}, "expected a str as the value of 'X-A', got list"),
        ({"X-A": b"1"}, "expected a str as the value of 'X-A', got bytes"),
        ({"X-A": "a\r\nHost: b"}, "the value of 'X-A' must be printable ASCII"),
        (
            {"X-A": "a\n"},
            "the value of 'X-A' must be printable ASCII, without spaces or line breaks",
        ),
        ({"X-A": " a"}, "the value of 'X-A' must be printable ASCII, without spaces"),
        ({"X-A": "Zürich"}, "the value of 'X-A' must be printable ASCII"),
        ({"": "1"}, "a name is not valid; use letters, digits and hyphens"),
        ({"X A": "1"}, "a name is not valid"),
        ({"X-A": "1", "x-a": "2"}, "headers has 'x-a' twice, in different cases"),
        ({"Authorization": "Bearer k"}, "must not have 'Authorization'; pass the key as api_key=…"),
        ({"AUTHORIZATION": None}, "must not have 'AUTHORIZATION'; pass the key as api_key=…"),
        ({"proxy-authorization": "Basic k"}, "proxy's user name and password into its URL in HTTP"),
        ({"Content-Length": "5"}, "must not have 'Content-Length'; the client sets it itself"),
        ({"host": "a"}, "must not have 'host'; the client sets it itself"),
    ],
)
def test_headers_that_cannot_be_sent_are_rejected(wrong: Any, words: str) -> None:
    """The error says what is wrong, and shows no value."""
    with pytest.raises(InputError, match=words) as caught:
        merge_options({}, {"headers": wrong})
    assert "Bearer" not in str(caught.value)
    assert "Zürich" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"X-Gateway: secret": ""}, {f"sk-or-v1-secret{'0' * 60}": 5}])
def test_a_name_that_may_be_a_secret_is_not_shown(wrong: Any) -> None:
    """It is a whole line, or as long as an API key."""
    with pytest.raises(InputError) as caught:
        merge_options({}, {"headers": wrong})
    assert "secret" not in str(caught.value)


@given(st.dictionaries(NAMES, VALUES, max_size=3))
def test_what_is_accepted_can_be_sent(headers: dict[str, str]) -> None:
    """h11, which sends the requests, accepts them unchanged."""
    read = read_headers(headers)
    if isinstance(read, Headers):
        request = h11.Request(method="POST", target="/", headers=[(b"Host", b"a"), *read])
        assert [*request.headers][1:] == [(name.lower(), value) for name, value in read]
        assert {name.decode(): value.decode() for name, value in read} == headers


def test_a_repr_has_no_values() -> None:
    """Nor has it names, because one may be the API key; a pickled copy is equal."""
    options = merge_options({"model": "m"}, {"headers": {"X-Gateway": "secret"}})
    assert "headers=Headers(…)" in repr(options)
    assert "secret" not in repr(options)
    again = pickle.loads(pickle.dumps(options.headers))
    assert (type(again), again) == (Headers, options.headers)
