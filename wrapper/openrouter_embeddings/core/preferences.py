"""Checks the API's provider preferences and converts them to JSON.

The service ignores unknown keys, so a misspelt `zdr` would send data to providers it must not
reach. The annotations of the generated `ProviderPreferences`, and so the edition of the
specification that the package was generated from, decide which keys and values are valid.
"""

import copy
import math
import operator
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from numbers import Integral, Number
from typing import (
    Any,
    Literal,
    TypeAlias,
    TypedDict,
    get_args,
    get_origin,
    get_type_hints,
)

import attrs
from openrouter_embeddings_api import models
from openrouter_embeddings_api.models import ProviderPreferences
from openrouter_embeddings_api.types import Unset

from openrouter_embeddings.errors import InputError

from .plain_json import plain_json

__all__ = [
    "CheckedPreferences",
    "ProviderPreferences",
    "ProviderPreferencesParam",
    "checked_preferences",
    "decimal_text",
]

_PRICES = "max_price"
_MAX_DIGITS = 400  # on either side of the decimal point; a float has up to 324


Names: TypeAlias = list[str] | tuple[str, ...] | None
Price: TypeAlias = float | Decimal | str


class MaxPriceParam(TypedDict, total=False):
    """Prices in US dollars: per million tokens for `prompt` and `completion`, else per unit."""

    audio: Price
    completion: Price
    image: Price
    prompt: Price
    request: Price


class PercentilesParam(TypedDict, total=False):
    """A bound for each percentile, in seconds or in tokens per second."""

    p50: float | None
    p75: float | None
    p90: float | None
    p99: float | None


class ProviderSortParam(TypedDict, total=False):
    """What to sort providers by, and whether to sort each model's providers separately."""

    by: str | None
    partition: str | None


class ProviderPreferencesParam(TypedDict, total=False):
    """Provider preferences as a mapping, so that type checkers flag a misspelt key.

    At run time the mapping is checked against the edition of the specification that the package was
    generated from. It may have more preferences: pass those in a `ProviderPreferences`, or `cast`.
    """

    allow_fallbacks: bool | None
    data_collection: Literal["allow", "deny"] | None
    enforce_distillable_text: bool | None
    ignore: Names
    max_price: MaxPriceParam
    only: Names
    order: Names
    preferred_max_latency: float | PercentilesParam | None
    preferred_min_throughput: float | PercentilesParam | None
    quantizations: Names
    require_parameters: bool | None
    sort: str | ProviderSortParam | None
    zdr: bool | None


class CheckedPreferences(dict[str, Any]):
    """What `checked_preferences` returns: a copy in plain JSON that needs no second check."""

    __slots__ = ()


class _Price(str):
    """A number as decimal text. The service accepts it whatever the annotations say."""

    __slots__ = ()


class _Plain(dict[str, Any]):
    """A mapping in a field where the generated class expects another generated class."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """As the generated classes have it."""
        return self


def checked_preferences(preferences: Any) -> CheckedPreferences:
    """The preferences as they are sent. Raises InputError.

    Nulls are dropped, because the service treats them like absent keys. A mapping must have only
    known keys; set a new field with `ProviderPreferences()[name] = value`. Numbers in `max_price`
    become decimal text, which every edition of the specification accepts.
    """
    if isinstance(preferences, CheckedPreferences):
        return preferences
    typed = isinstance(preferences, ProviderPreferences)
    mapping = _as_mapping(preferences) if typed else preferences
    if not isinstance(mapping, Mapping):
        raise InputError(f"provider: expected a mapping, got {type(preferences).__name__}")
    prices = mapping.get(_PRICES)
    numbers: dict[Any, str] = {}
    if isinstance(prices, Mapping):
        numbers = {n: _price(n, price) for n, price in prices.items() if isinstance(price, Number)}
        mapping = {**mapping, _PRICES: {**prices, **numbers}}
    try:
        plain = CheckedPreferences(_without_nulls(plain_json(mapping, "provider")))
    except ValueError as error:
        raise InputError(str(error)) from None
    to_check = {**plain}
    if numbers:
        prices = {name: _Price(text) for name, text in numbers.items()}
        to_check[_PRICES] = {**plain[_PRICES], **prices}
    if problems := list(_problems(ProviderPreferences, to_check, "", extras=typed)):
        raise InputError(f"provider: {'; '.join(problems)}")
    return plain


def _as_mapping(preferences: ProviderPreferences) -> dict[str, Any]:
    """An object of the generated class as a mapping. Its fields may hold mappings as well."""
    fields: Any = copy.copy(preferences)
    for name, value in attrs.asdict(preferences, recurse=False).items():
        if isinstance(value, Mapping) and name != "additional_properties":
            setattr(fields, name, _Plain(value))
    try:
        mapping: dict[str, Any] = fields.to_dict()
    except (AttributeError, TypeError):  # a field holds a value of the wrong type
        raise InputError(
            "provider: a field has the wrong type; pass a mapping to learn which one"
        ) from None
    return mapping


def _price(name: Any, price: Any) -> str:
    if isinstance(price, Integral) and not isinstance(price, bool):
        price = operator.index(price)  # numpy's integers as well
    if not isinstance(price, int | float | Decimal):
        raise InputError(
            f"provider: {_PRICES}.{name!s:.60}: expected an int, float or Decimal, got "
            f"{type(price).__name__}"
        )
    try:
        return decimal_text(price)
    except ValueError:
        # repr fails for integers of thousands of digits
        shown = price if isinstance(price, bool | float) else f"{Decimal(price):.6g}"
        raise InputError(
            f"provider: {_PRICES}.{name!s:.60}: expected US dollars ≥ 0, got {shown}"
        ) from None


def decimal_text(number: float | Decimal) -> str:
    """A number ≥ 0 with all its digits and without an exponent: 1e-7 → "0.0000001".

    Equal numbers give equal texts: "1" for 1, 1.0 and Decimal("1.00"). For a float, the shortest
    decimal that rounds to it. Raises ValueError for a bool, NaN, infinity, a negative number and
    one of more than 400 digits.
    """
    if isinstance(number, bool):
        raise ValueError("a bool is not a number")
    exact = Decimal(repr(float(number)) if isinstance(number, float) else number)
    if exact.is_zero():
        return "0"
    if not exact.is_finite() or exact < 0 or abs(exact.adjusted()) > _MAX_DIGITS:
        raise ValueError("not a number ≥ 0, or too many digits")
    text = f"{exact:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _problems(model: Any, mapping: dict[str, Any], path: str, *, extras: bool) -> Iterator[str]:
    """Where a mapping does not fit the annotations of a generated class."""
    annotations = _annotations(model)
    known = [field.name for field in attrs.fields(model) if field.init]
    if not known:  # the specification allows any key
        return
    for name, value in mapping.items():
        if name not in known:
            if not extras:
                yield f"unknown key {path}{name:.60}; expected one of {', '.join(known)}"
            continue
        nested = [a for a in (annotations[name], *get_args(annotations[name])) if attrs.has(a)]
        if isinstance(value, dict) and nested:
            below = f"{path}{name}."
            alternatives = [[*_problems(one, value, below, extras=extras)] for one in nested]
            yield from min(alternatives, key=len)
        elif not _fits(value, annotations[name]):
            yield f"{path}{name}: expected {_describe(annotations[name])}, got {value!r:.60}"


@cache
def _annotations(model: Any) -> dict[str, Any]:
    return get_type_hints(model, localns=vars(models))


def _fits(value: Any, annotation: Any) -> bool:
    if annotation is Any or isinstance(value, _Price):
        return True
    arguments, origin = get_args(annotation), get_origin(annotation)
    if origin is Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if arguments:
        return any(_fits(value, alternative) for alternative in arguments)
    if isinstance(value, bool):
        return annotation is bool
    if annotation is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, annotation)


def _describe(annotation: Any) -> str:
    """An annotation in the words of the API's documentation."""
    if get_origin(annotation) is Literal:
        return " or ".join(sorted(map(repr, get_args(annotation))))
    if get_origin(annotation) is list:
        return f"a list of {_describe(get_args(annotation)[0])}"
    if arguments := [a for a in get_args(annotation) if a not in (Unset, type(None))]:
        # a union of known names and str accepts any string
        return "str" if str in arguments else " or ".join(map(_describe, arguments))
    if annotation is bool:
        return "true or false"
    return "an object" if attrs.has(annotation) else str(annotation.__name__)


def _without_nulls(value: Any) -> Any:
    """A value without nulls, with sorted keys, so that equal preferences give equal bytes."""
    if isinstance(value, Mapping):
        items = sorted(value.items(), key=lambda item: str(item[0]))
        return {name: _without_nulls(inner) for name, inner in items if inner is not None}
    return [*map(_without_nulls, value)] if isinstance(value, list | tuple) else value
