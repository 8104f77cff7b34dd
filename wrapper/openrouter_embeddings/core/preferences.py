"""The API's provider preferences, checked by the annotations of the generated class."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from numbers import Integral, Number
from typing import (
    TYPE_CHECKING,
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

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "CheckedPreferences",
    "ProviderPreferences",
    "ProviderPreferencesParam",
    "checked_preferences",
    "decimal_text",
]

_PRICES = "max_price"
_MOST_DIGITS = 400  # on either side of the point; a float has 324


Names: TypeAlias = list[str] | tuple[str, ...] | None
Price: TypeAlias = float | Decimal | str


class MaxPriceParam(TypedDict, total=False):
    """US dollars: per million tokens for `prompt` and `completion`, else per unit."""

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
    """What to sort providers by, and whether models are sorted apart."""

    by: str | None
    partition: str | None


class ProviderPreferencesParam(TypedDict, total=False):
    """Provider preferences as a mapping, for type checkers: they flag a misspelt key.

    At run time the mapping is checked by the edition of the specification that the package was
    made from, which may know more preferences: pass those in a `ProviderPreferences`, or `cast`.
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
    """What `checked_preferences` gives: plain JSON, a copy of its own, not to be checked again."""

    __slots__ = ()


class _Price(str):
    """A number as decimal text, which the specification takes whatever its annotations say."""

    __slots__ = ()


class _Plain(dict[str, Any]):
    """A mapping where the generated class wants another generated class."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """As generated classes do."""
        return self


def checked_preferences(given: Any) -> CheckedPreferences:
    """What is sent, without nulls: to the service they say what leaving them out says.

    From a mapping only known keys are taken: the service ignores others, and a misspelt `zdr`
    would send data where it must not go. New fields fit in `ProviderPreferences[...] = value`.
    Numbers in `max_price` become decimal text, which every edition of the specification takes.
    Raises InputError.
    """
    if isinstance(given, CheckedPreferences):
        return given
    typed = isinstance(given, ProviderPreferences)
    mapping = _as_mapping(given) if typed else given
    if not isinstance(mapping, Mapping):
        raise InputError(f"provider is a {type(given).__name__}; a mapping is needed")
    prices = mapping.get(_PRICES)
    numbers: dict[Any, str] = {}
    if isinstance(prices, Mapping):
        numbers = {n: _price(n, price) for n, price in prices.items() if isinstance(price, Number)}
        mapping = {**mapping, _PRICES: {**prices, **numbers}}
    try:
        plain = CheckedPreferences(_without_nulls(plain_json(mapping, "provider")))
    except ValueError as error:
        raise InputError(str(error)) from None
    judged = {**plain}
    if numbers:
        judged[_PRICES] = {
            **plain[_PRICES],
            **{n: _Price(text) for n, text in numbers.items()},
        }
    if wrong := list(_complaints(ProviderPreferences, judged, "", extras=typed)):
        raise InputError(f"provider: {'; '.join(wrong)}")
    return plain


def _as_mapping(given: ProviderPreferences) -> dict[str, Any]:
    """Of the generated class, whose fields may hold mappings as well."""
    fields: Any = copy.copy(given)
    for name, value in attrs.asdict(given, recurse=False).items():
        if isinstance(value, Mapping) and name != "additional_properties":
            setattr(fields, name, _Plain(value))
    try:
        mapping: dict[str, Any] = fields.to_dict()
    except (AttributeError, TypeError):  # a field of the model holds what it cannot
        raise InputError("provider: a field of the wrong type; a mapping says which") from None
    return mapping


def _price(name: Any, price: Any) -> str:
    if isinstance(price, Integral) and not isinstance(price, bool):
        price = operator.index(price)  # of numpy, too
    if not isinstance(price, int | float | Decimal):
        kind = type(price).__name__
        raise InputError(
            f"provider: {_PRICES}.{name!s:.60} is a {kind}; give an int, a float or a Decimal"
        )
    try:
        return decimal_text(price)
    except ValueError:
        # repr refuses integers of thousands of digits
        shown = price if isinstance(price, bool | float) else f"{Decimal(price):.6g}"
        raise InputError(
            f"provider: {_PRICES}.{name!s:.60} is {shown}; a number of US dollars ≥ 0 is needed"
        ) from None


def decimal_text(number: float | Decimal) -> str:
    """A number ≥ 0 with all its digits and without an exponent: 1e-7 → "0.0000001".

    Equal numbers give equal texts: "1" is of 1, 1.0 and Decimal("1.00"). Of a float, the shortest
    decimal that is that float. Raises ValueError for what is no such number: a bool, NaN,
    infinity, a negative one, one of hundreds of digits.
    """
    if isinstance(number, bool):
        raise ValueError("a bool is no number")
    exact = Decimal(repr(float(number)) if isinstance(number, float) else number)
    if exact.is_zero():
        return "0"
    if not exact.is_finite() or exact < 0 or abs(exact.adjusted()) > _MOST_DIGITS:
        raise ValueError("no number from 0, or too many digits")
    text = f"{exact:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _complaints(model: Any, given: dict[str, Any], path: str, *, extras: bool) -> Iterator[str]:
    """What is not as the generated model's annotations say."""
    wanted = _annotations(model)
    known = [field.name for field in attrs.fields(model) if field.init]
    if not known:  # an object whose keys the specification leaves open
        return
    for name, value in given.items():
        if name not in known:
            if not extras:
                yield f"{path}{name:.60} is not known; known are {', '.join(known)}"
            continue
        nested = [a for a in (wanted[name], *get_args(wanted[name])) if attrs.has(a)]
        if isinstance(value, dict) and nested:
            below = f"{path}{name}."
            found = [[*_complaints(one, value, below, extras=extras)] for one in nested]
            yield from min(found, key=len)
        elif not _fits(value, wanted[name]):
            yield f"{path}{name} is {value!r:.60}, {_spell(wanted[name])} is needed"


@cache
def _annotations(model: Any) -> dict[str, Any]:
    return get_type_hints(model, localns=vars(models))


def _fits(value: Any, wanted: Any) -> bool:
    if wanted is Any or isinstance(value, _Price):
        return True
    arguments, origin = get_args(wanted), get_origin(wanted)
    if origin is Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if arguments:
        return any(_fits(value, alternative) for alternative in arguments)
    if isinstance(value, bool):
        return wanted is bool
    if wanted is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, wanted)


def _spell(wanted: Any) -> str:
    """The annotation as the API's documentation would put it."""
    if get_origin(wanted) is Literal:
        return " or ".join(sorted(map(repr, get_args(wanted))))
    if get_origin(wanted) is list:
        return f"a list of {_spell(get_args(wanted)[0])}"
    if arguments := [a for a in get_args(wanted) if a not in (Unset, type(None))]:
        # a list of names or any string is, to a reader, any string
        return "str" if str in arguments else " or ".join(map(_spell, arguments))
    if wanted is bool:
        return "true or false"
    return "an object" if attrs.has(wanted) else str(wanted.__name__)


def _without_nulls(value: Any) -> Any:
    """With the keys in one order, so that equal preferences are equal bytes."""
    if isinstance(value, Mapping):
        items = sorted(value.items(), key=lambda item: str(item[0]))
        return {name: _without_nulls(inner) for name, inner in items if inner is not None}
    return [*map(_without_nulls, value)] if isinstance(value, list | tuple) else value
