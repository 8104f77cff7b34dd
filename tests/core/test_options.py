"""Options: checked, merged, and never sent unset."""

import re
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from openrouter_embeddings import InputError, ProviderPreferences
from openrouter_embeddings.core.options import Options, merged


def test_only_what_was_set_is_sent() -> None:
    """An unset field is absent, never null; base64 is asked for by default."""
    fields = Options(model="m").request_fields()
    assert fields == {"input": [], "model": "m", "encoding_format": "base64"}


def test_everything_that_was_set_is_sent() -> None:
    """Each option of the API under the API's name."""
    fields = Options(
        model="m",
        dimensions=64,
        input_type="search_query",
        user="u1",
        encoding_format="float",
        provider={"zdr": True},
    ).request_fields()
    assert fields == {
        "input": [],
        "model": "m",
        "dimensions": 64,
        "input_type": "search_query",
        "user": "u1",
        "encoding_format": "float",
        "provider": {"zdr": True},
    }


def test_numbers_of_numpy_are_numbers() -> None:
    """`dimensions=matrix.shape[1]` and the like; what is sent is plain."""
    given: Any = {"dimensions": np.int64(3), "batch_size": np.uint8(5), "timeout": np.float32(2)}
    options = merged({"model": "m"}, given)
    assert type(options.request_fields()["dimensions"]) is int
    assert (options.batch_size, options.timeout) == (5, 2.0)


def test_a_call_overrides_the_client() -> None:
    """None takes a default of the client back."""
    options = merged({"model": "m", "dimensions": 64, "user": "u"}, {"dimensions": None})
    assert (options.model, options.dimensions, options.user) == ("m", None, "u")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"dimensions": 0}, "dimensions is 0, an integer from 1 to"),
        ({"dimensions": True}, "dimensions is True"),
        ({"dimensions": 1.5}, "dimensions is 1.5"),
        ({"dimensions": 10**30}, "dimensions is 1000"),
        ({"batch_size": 0}, "batch_size is 0, an integer from 1 to"),
        ({"concurrency": 0}, "concurrency is 0, an integer from 1 to"),
        ({"max_retries": -1}, "max_retries is -1, an integer from 0 to"),
        ({"timeout": 0}, "timeout is 0, a number of seconds > 0"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"timeout": None}, "timeout is None"),
        ({"deadline": float("inf")}, "deadline is inf"),
        ({"timeout": 1e10}, "up to 10⁶"),
        ({"timeout": 10**400}, "timeout is 1000"),
        ({"deadline": True}, "deadline is True"),
        ({"model": 5}, "model is 5, a str"),
        ({"user": 5}, "user is 5, a str"),
        ({"input_type": b"x"}, "input_type is b'x', a str"),
        ({"encoding_format": "base32"}, '"base64" and "float" are known'),
    ],
)
def test_an_option_that_cannot_be_right_is_refused(wrong: dict[str, Any], words: str) -> None:
    """By name, with what would be right."""
    with pytest.raises(InputError, match=words):
        Options(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"max_price": {"prompt": 1}}, {"sort": 5}, {"zdr": "yes"}, {"order": "OpenAI"}]
)
def test_the_generated_model_is_checked_too(wrong: dict[str, Any]) -> None:
    """It takes anything when it is made; fields that it does not know yet are passed on."""
    with pytest.raises(InputError, match="provider: "):
        Options(model="m", provider=ProviderPreferences(**wrong)).request_fields()
    new = ProviderPreferences(zdr=True)
    new["novelty"] = 1
    sent = Options(model="m", provider=new).request_fields()["provider"]
    assert sent == {"zdr": True, "novelty": 1}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dimension", "did you mean dimensions?"),
        ("modle", "did you mean model?"),
        ("x", "known are"),
    ],
)
def test_an_unknown_option_is_a_type_error_that_helps(name: str, words: str) -> None:
    """As Python does for keywords, with the nearest name."""
    with pytest.raises(TypeError, match=f"^{name} is no option; {re.escape(words)}"):
        merged({}, {name: 1})  # type: ignore[misc]


def test_a_call_without_a_model_is_refused() -> None:
    """The API has no default model."""
    with pytest.raises(InputError, match="no model; say model="):
        Options().request_fields()


def test_provider_preferences_pass_in_either_form() -> None:
    """The generated model and the equal mapping send the same; nulls send nothing."""
    mapping = {
        "order": ("OpenAI", "somebody-new"),
        "only": None,
        "sort": {"by": "price", "partition": None},
        "max_price": {"prompt": Decimal("0.02"), "image": 1},
        "preferred_max_latency": {"p50": 1},
        "data_collection": "deny",
        "zdr": False,
    }
    wanted = {
        "order": ["OpenAI", "somebody-new"],
        "sort": {"by": "price"},
        "max_price": {"prompt": "0.02", "image": 1},
        "preferred_max_latency": {"p50": 1},
        "data_collection": "deny",
        "zdr": False,
    }
    assert Options(model="m", provider=mapping).request_fields()["provider"] == wanted
    typed = ProviderPreferences.from_dict({**wanted, "only": None})
    assert Options(model="m", provider=typed).request_fields()["provider"] == wanted


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"zrd": True}, "zrd is not known; known are .*zdr"),
        ({"max_price": {"promt": "1"}}, "max_price.promt is not known; known are .*prompt"),
        ({"preferred_max_latency": {"p51": 1}}, "preferred_max_latency.p51 is not known"),
        ({"sort": {"order": "price"}}, "sort.order is not known"),
        ({"data_collection": "denny"}, "'denny', 'allow' or 'deny' is needed"),
        ({"sort": "cheapest"}, "sort is 'cheapest'"),
        ({"quantizations": ["int3"]}, r"quantizations is \['int3'\]"),
        ({"order": "OpenAI"}, "order is 'OpenAI', a list of str is needed"),
        ({"zdr": "yes"}, "zdr is 'yes', bool is needed"),
        ({"preferred_min_throughput": float("nan")}, "preferred_min_throughput is nan"),
        ({"preferred_min_throughput": True}, "preferred_min_throughput is True"),
        ({"max_price": 5}, "max_price is 5, an object is needed"),
        ({"max_price": {"image": object()}}, "cannot be sent as JSON"),
        ({"sort": 5}, "sort is 5, .* or an object is needed"),
        ([("zdr", True)], "provider is a list; a mapping is needed"),
    ],
)
def test_a_preference_that_cannot_be_right_is_refused(wrong: Any, words: str) -> None:
    """The service ignores what it does not know: a misspelt `zdr` would send data anywhere."""
    with pytest.raises(InputError, match=words):
        Options(model="m", provider=wrong).request_fields()
