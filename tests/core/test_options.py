"""Checking and merging options, and the request fields they set."""

import copy
import re
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings import InputError
from openrouter_embeddings.core.options import Options, merge_options

from tests.support import json_values

API_FIELDS = ("model", "dimensions", "encoding_format", "input_type", "provider", "user")


def test_unset_options_are_not_sent() -> None:
    """An unset field is absent, never null; base64 is the default."""
    fields = Options(model="m").request_fields()
    assert fields == {"input": [], "model": "m", "encoding_format": "base64"}


def test_every_option_is_sent_under_its_api_name() -> None:
    """Each option of the API keeps the API's name."""
    fields = Options(
        model="m",
        dimensions=64,
        input_type="search_query",
        user="u1",
        encoding_format="float",
        provider={"zdr": True},
        extra_body={"cache": True},
    ).request_fields()
    assert fields == {
        "input": [],
        "model": "m",
        "dimensions": 64,
        "input_type": "search_query",
        "user": "u1",
        "encoding_format": "float",
        "provider": {"zdr": True},
        "cache": True,
    }


def test_numpy_numbers_are_accepted() -> None:
    """They are converted to Python's, as for `dimensions=matrix.shape[1]`."""
    numbers: Any = {"dimensions": np.int64(3), "batch_size": np.uint8(5), "timeout": np.float32(2)}
    options = merge_options({"model": "m"}, numbers)
    assert type(options.request_fields()["dimensions"]) is int
    assert (options.batch_size, options.timeout) == (5, 2.0)


def test_a_call_overrides_the_client() -> None:
    """None resets a default of the client."""
    options = merge_options({"model": "m", "dimensions": 64, "user": "u"}, {"dimensions": None})
    assert (options.model, options.dimensions, options.user) == ("m", None, "u")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"dimensions": 0}, "dimensions: expected an integer from 1 to 2³¹-1, got 0"),
        ({"dimensions": True}, "dimensions: .* got True"),
        ({"dimensions": 1.5}, "dimensions: .* got 1.5"),
        ({"dimensions": 10**30}, "dimensions: .* got 1000"),
        ({"batch_size": 0}, "batch_size: expected an integer from 1 to 2³¹-1, got 0"),
        ({"concurrency": 0}, "concurrency: expected an integer from 1 to 2³¹-1, got 0"),
        ({"max_retries": -1}, "max_retries: expected an integer from 0 to 2³¹-1, got -1"),
        ({"timeout": 0}, "timeout: expected a number of seconds > 0 .* got 0"),
        ({"timeout": float("nan")}, "timeout: .* got nan"),
        ({"timeout": None}, "timeout: .* got None"),
        ({"deadline": float("inf")}, "deadline: .* got inf"),
        ({"timeout": 1e10}, "up to 10⁶"),
        ({"timeout": 10**400}, "timeout: .* got 1000"),
        ({"timeout": 10**5000}, "timeout: .* got <int too long to print>"),
        ({"batch_size": 10**5000}, "batch_size: .* got <int too long to print>"),
        ({"model": 10**5000}, "model: .* got <int too long to print>"),
        ({"deadline": True}, "deadline: .* got True"),
        ({"model": 5}, "model: expected a str, got 5"),
        ({"user": 5}, "user: expected a str, got 5"),
        ({"input_type": b"x"}, "input_type: expected a str, got b'x'"),
        ({"encoding_format": "base32"}, 'expected "base64" or "float", got'),
        ({"extra_body": [1]}, "extra_body: expected a mapping, got list"),
        ({"extra_body": {1: 2}}, "extra_body: expected keys of type str, got 1"),
        ({"extra_body": {"a": {"b": float("inf")}}}, "extra_body.a.b: JSON cannot represent inf"),
        ({"extra_body": {"a": [object()]}}, r"extra_body.a\[0\]: JSON cannot represent object"),
    ],
)
def test_invalid_options_are_rejected(wrong: dict[str, Any], words: str) -> None:
    """The error names the option and what is expected."""
    with pytest.raises(InputError, match=words):
        Options(**wrong)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dimension", "did you mean 'dimensions'?"),
        ("modle", "did you mean 'model'?"),
        ("api_key", "pass it to the client: Client(api_key=…)"),
        ("verify", "for certificates of your own, pass ssl_context=… to the client"),
        ("proxy", "set HTTPS_PROXY, or pass http_client=… to the client"),
        ("x", "expected one of model, "),
    ],
)
def test_an_unknown_option_is_a_type_error_with_a_hint(name: str, words: str) -> None:
    """Python raises the same type for unknown keywords."""
    with pytest.raises(TypeError, match=f"^unknown option '{name}'; {re.escape(words)}"):
        merge_options({}, {name: 1})  # type: ignore[misc]


def test_a_call_without_a_model_is_rejected() -> None:
    """The API has no default model."""
    with pytest.raises(InputError, match=r"no model given; .* model="):
        Options().request_fields()


@pytest.mark.parametrize("own", [f.name for f in fields(Options) if f.name in API_FIELDS])
def test_extra_body_cannot_replace_an_option(own: str) -> None:
    """Options must be set as options, because responses are checked against them."""
    with pytest.raises(InputError, match=f"extra_body must not have '{own}'; use the option {own}"):
        Options(model="m", extra_body={own: None})


def test_extra_body_cannot_have_the_inputs() -> None:
    """The inputs are an argument of the call."""
    with pytest.raises(InputError, match="extra_body must not have 'input'; pass the inputs to"):
        Options(extra_body={"input": ["a"]})


@given(st.dictionaries(st.text("xyz", min_size=1), json_values(6)))
def test_extra_body_is_sent_unchanged(extra: dict[str, Any]) -> None:
    """Nulls are kept, and later changes to the mapping have no effect."""
    options = Options(model="m", extra_body=extra)
    expected = copy.deepcopy(extra)
    extra["changed"] = 1
    sent = options.request_fields()
    assert {name: value for name, value in sent.items() if name in expected} == expected
    assert sent.keys() - expected.keys() == {"input", "model", "encoding_format"}


def test_a_calls_extra_body_replaces_the_clients() -> None:
    """They are not merged, and None resets the client's."""
    client: Any = {"model": "m", "extra_body": {"a": 1, "b": 2}}
    assert merge_options(client, {"extra_body": {"c": 3}}).extra_body == {"c": 3}
    assert merge_options(client, {"extra_body": None}).extra_body is None
    assert merge_options(client, {"user": "u"}).extra_body == {"a": 1, "b": 2}
