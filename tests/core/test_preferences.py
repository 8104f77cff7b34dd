"""Provider preferences: checked against the generated class, sent as plain JSON."""

import re
from decimal import Decimal, FloatOperation, Inexact, localcontext
from fractions import Fraction
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings import InputError, ProviderPreferences
from openrouter_embeddings.core import preferences
from openrouter_embeddings.core.options import Options
from openrouter_embeddings.core.preferences import (
    MaxPriceParam,
    PercentilesParam,
    ProviderPreferencesParam,
    checked_preferences,
    decimal_text,
)

PRICES = st.one_of(
    st.integers(0, 10**60),
    st.floats(0, allow_nan=False, allow_infinity=False),
    st.decimals(0, 10**12, allow_nan=False, allow_infinity=False),
    st.builds(
        lambda digits, e: Decimal(digits).scaleb(e), st.integers(0, 10**40), st.integers(-90, 90)
    ),
)


@given(PRICES)
def test_decimal_text_has_every_digit(price: float | Decimal) -> None:
    """It reads back as the same number, in any decimal context."""
    with localcontext(prec=3):
        text = decimal_text(price)
    assert re.fullmatch(r"\d+(\.\d+)?", text)
    assert float(text) == price if isinstance(price, float) else Decimal(text) == price


@pytest.mark.parametrize(
    ("price", "text"),
    [
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (1e22, "10000000000000000000000"),
        (5e-324, f"0.{'0' * 323}5"),
        (-0.0, "0"),
        (Decimal("0E-500"), "0"),
        (Decimal("0E+500"), "0"),
        (3, "3"),
        (1.0, "1"),
        (Decimal("1.00"), "1"),
        (100.0, "100"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0.10"), "0.1"),
        (np.int64(7), "7"),
        (np.float64(0.25), "0.25"),
    ],
)
def test_prices_are_written_without_an_exponent(price: float | Decimal, text: str) -> None:
    """Equal numbers give equal texts; a float gives its shortest decimal."""
    sent = Options(model="m", provider={"max_price": {"prompt": price}}).request_fields()
    assert sent["provider"] == {"max_price": {"prompt": text}}


@pytest.mark.parametrize(
    "wrong",
    [
        True,
        False,
        -1,
        -1e-9,
        Decimal("-0.01"),
        float("nan"),
        float("inf"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("-Infinity"),
        Decimal("1E+999999"),
        Decimal("1E-999999"),
        10**5000,
    ],
    ids=lambda wrong: type(wrong).__name__,
)
@pytest.mark.parametrize("name", ["prompt", "image"])
def test_invalid_prices_are_rejected(wrong: Any, name: str) -> None:
    """Whatever the annotations of an edition allow."""
    with pytest.raises(InputError, match=rf"max_price\.{name}: expected US dollars ≥ 0, got"):
        checked_preferences({"max_price": {name: wrong}})


@pytest.mark.parametrize(
    "wrong", [{"max_price": 1}, {"sort": 5}, {"zdr": "yes"}, {"order": "OpenAI"}]
)
def test_the_generated_class_is_checked_as_well(wrong: dict[str, Any]) -> None:
    """It accepts any value when it is made; its additional fields are sent."""
    with pytest.raises(InputError, match="provider: "):
        Options(model="m", provider=ProviderPreferences(**wrong)).request_fields()
    new = ProviderPreferences(zdr=True)
    new["novelty"] = 1
    sent = Options(model="m", provider=new).request_fields()["provider"]
    assert sent == {"zdr": True, "novelty": 1}


@pytest.mark.parametrize(
    ("price", "kind"), [(Fraction(1, 3), "Fraction"), (np.float32(0.1), "float32"), (1j, "complex")]
)
def test_other_types_of_numbers_are_rejected_as_prices(price: Any, kind: str) -> None:
    """They have no exact decimal, or not the intended one."""
    with pytest.raises(InputError, match=rf"image: expected an int, float or Decimal, got {kind}"):
        checked_preferences({"max_price": {"image": price}})


@pytest.mark.parametrize("price", [float("nan"), -1.23456789, True, Decimal("sNaN")])
def test_a_callers_decimal_context_does_not_matter(price: Any) -> None:
    """The context's precision and traps have no effect."""
    with localcontext(prec=3) as context:
        context.traps[FloatOperation] = context.traps[Inexact] = True
        assert checked_preferences({"max_price": {"image": 0.123456789}}) == {
            "max_price": {"image": "0.123456789"}
        }
        with pytest.raises(InputError, match="expected US dollars ≥ 0"):
            checked_preferences({"max_price": {"image": price}})


def endless() -> dict[str, Any]:
    """Preferences that contain themselves."""
    order: list[Any] = []
    order.append(order)
    return {"order": order}


def deep() -> dict[str, Any]:
    """Preferences nested thousands of levels deep."""
    whole: dict[str, Any] = {}
    inner = whole
    for _ in range(5000):
        inner["sort"] = inner = {}
    return whole


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (endless(), "nested more than 100 levels"),
        (deep(), "nested more than 100 levels"),
        ({"sort": np.array(["price", "x"])}, "provider.sort: JSON cannot represent ndarray"),
        ({"order": np.array(["a", "b"])}, "provider.order: JSON cannot represent ndarray"),
        ({"max_price": np.zeros(2)}, "provider.max_price: JSON cannot represent ndarray"),
        ({"max_price": {1: 2}}, "provider.max_price: expected keys of type str, got 1"),
        ({1: 2}, "provider: expected keys of type str, got 1"),
    ],
)
def test_values_that_json_cannot_represent_are_rejected(wrong: dict[Any, Any], words: str) -> None:
    """This is checked first, for the generated class and for a mapping."""
    with pytest.raises(InputError, match=words):
        checked_preferences(wrong)
    if all(isinstance(name, str) for name in wrong):
        with pytest.raises(InputError, match="provider"):
            checked_preferences(ProviderPreferences(**wrong))


def test_a_field_of_the_generated_class_may_be_a_mapping() -> None:
    """It is sent like a mapping and not modified."""
    prices: Any = {"prompt": 1e-7}
    typed = ProviderPreferences(max_price=prices)
    assert checked_preferences(typed) == checked_preferences({"max_price": prices})
    assert typed.max_price is prices
    with pytest.raises(InputError, match=r"max_price\.prompt: expected US dollars ≥ 0, got -1"):
        checked_preferences(ProviderPreferences(max_price={"prompt": -1}))  # type: ignore[arg-type]


def test_preferences_are_copied() -> None:
    """Later changes to the caller's mapping have no effect."""
    order = ["a"]
    options = Options(model="m", provider={"order": order})
    order.append("b")
    assert options.request_fields()["provider"] == {"order": ["a"]}


def test_both_forms_of_preferences_send_the_same() -> None:
    """The generated class and the equal mapping agree; nulls are not sent."""
    mapping = {
        "order": ("OpenAI", "somebody-new"),
        "only": None,
        "sort": {"by": "price", "partition": None},
        "max_price": {"prompt": Decimal("0.02"), "image": 1, "request": "0.5", "audio": 0.1},
        "preferred_max_latency": {"p50": 1},
        "data_collection": "deny",
        "zdr": False,
    }
    expected = {
        "order": ["OpenAI", "somebody-new"],
        "sort": {"by": "price"},
        "max_price": {"prompt": "0.02", "image": "1", "request": "0.5", "audio": "0.1"},
        "preferred_max_latency": {"p50": 1},
        "data_collection": "deny",
        "zdr": False,
    }
    assert Options(model="m", provider=mapping).request_fields()["provider"] == expected
    typed = ProviderPreferences.from_dict({**expected, "only": None})
    sent = Options(model="m", provider=typed).request_fields()["provider"]
    assert sent == expected
    assert [*sent] == sorted(sent)  # equal preferences are equal bytes
    backwards = {name: mapping[name] for name in reversed(mapping)}
    assert str(Options(model="m", provider=backwards).request_fields()["provider"]) == str(sent)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"zrd": True}, "unknown key zrd; expected one of .*zdr"),
        ({"max_price": {"promt": "1"}}, "unknown key max_price.promt; expected one of .*prompt"),
        ({"preferred_max_latency": {"p51": 1}}, "unknown key preferred_max_latency.p51"),
        ({"sort": {"order": "price"}}, "unknown key sort.order"),
        ({"data_collection": "denny"}, "expected 'allow' or 'deny', got 'denny'"),
        ({"sort": "cheapest"}, "sort: .* got 'cheapest'"),
        ({"quantizations": ["int3"]}, r"quantizations: .* got \['int3'\]"),
        ({"order": "OpenAI"}, "order: expected a list of str, got 'OpenAI'"),
        ({"zdr": "yes"}, "zdr: expected true or false, got 'yes'"),
        ({"preferred_min_throughput": float("nan")}, "throughput: JSON cannot represent nan"),
        ({"preferred_min_throughput": True}, "preferred_min_throughput: .* got True"),
        ({"max_price": 5}, "max_price: expected an object, got 5"),
        ({"max_price": {"image": object()}}, "max_price.image: "),
        ({"max_price": {"image": [float("nan")]}}, "max_price.image"),
        ({"sort": 5}, "sort: expected .* or an object, got 5"),
        ([("zdr", True)], "provider: expected a mapping, got list"),
    ],
)
def test_invalid_preferences_are_rejected(wrong: Any, words: str) -> None:
    """The service would ignore them, and a misspelt `zdr` would send data anywhere."""
    with pytest.raises(InputError, match=words):
        Options(model="m", provider=wrong).request_fields()


@attrs.define
class Limits:
    """Of another edition: an object that allows any key."""

    additional_properties: dict[str, int] = attrs.field(init=False, factory=dict)


@attrs.define
class Sorting:
    """Of another edition."""

    by: str = ""


@attrs.define
class Latency:
    """Of another edition: the other alternative of a field."""

    p50: float = 0.0


@attrs.define
class Prices:
    """Of another edition, where a price is a number."""

    prompt: float | None = None


@attrs.define
class Closed:
    """Preferences of another edition that allows no other fields."""

    zdr: bool | None = None
    sort: Sorting | Latency | None = None
    limits: Limits | None = None
    max_price: Prices | None = None

    def to_dict(self) -> dict[str, Any]:
        """As the generated classes have it."""
        return {name: value for name, value in attrs.asdict(self).items() if value is not None}


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"zdr": True, "sort": {"by": "price"}}, None),
        ({"sort": {"p50": 2}}, None),
        ({"limits": {"anything": 3}}, None),
        ({"max_price": {"prompt": 0.5}}, None),
        ({"max_price": {"promt": 0.5}}, "unknown key max_price.promt"),
        ({"sort": {"p51": 2}}, "unknown key sort.p51"),
        ({"zrd": True}, "unknown key zrd; expected one of zdr, sort, limits, max_price"),
    ],
)
def test_classes_of_other_editions_are_used_for_checks(
    given_: dict[str, Any], words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed classes, unions of objects, open keys and prices of another type."""
    monkeypatch.setattr(preferences, "ProviderPreferences", Closed)
    if words is None:
        expected = given_ if "max_price" not in given_ else {"max_price": {"prompt": "0.5"}}
        assert checked_preferences(given_) == expected
    else:
        with pytest.raises(InputError, match=words):
            checked_preferences(given_)
    assert checked_preferences(Closed(zdr=True)) == {"zdr": True}


def test_everything_that_type_checkers_accept_is_accepted() -> None:
    """Every preference in the annotations, in every form they allow."""
    percentiles: PercentilesParam = {"p50": 1, "p75": 1.5, "p90": None, "p99": 3}
    prices: MaxPriceParam = {
        "audio": 1, "completion": 0.5, "image": Decimal("0.1"), "prompt": "0.2", "request": 0,
    }  # fmt: skip
    whole: ProviderPreferencesParam = {
        "allow_fallbacks": True,
        "data_collection": "deny",
        "enforce_distillable_text": False,
        "ignore": ["a"],
        "max_price": prices,
        "only": ("b", "c"),
        "order": ["OpenAI"],
        "preferred_max_latency": percentiles,
        "preferred_min_throughput": 10,
        "quantizations": ["fp8"],
        "require_parameters": None,
        "sort": {"by": "price", "partition": "none"},
        "zdr": True,
    }
    assert {*whole} == {*ProviderPreferencesParam.__annotations__}
    assert {*prices} == {*MaxPriceParam.__annotations__}
    sent = checked_preferences(whole)
    assert {*sent} == {*whole} - {"require_parameters"}
    assert sent["only"] == ["b", "c"]
    assert checked_preferences({"sort": "latency", "preferred_max_latency": 2.5})
