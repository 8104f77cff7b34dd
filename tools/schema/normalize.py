"""Schemas without references and unions: a schema as the alternatives that it stands for."""

from __future__ import annotations

import json
import math
from itertools import product
from textwrap import shorten
from typing import TYPE_CHECKING

from tools.openapi import Json, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable

FlatSchema = dict[str, Json]  # one alternative: a schema without $ref, allOf, anyOf and oneOf

AT_LEAST = frozenset({"minLength", "minItems", "minProperties", "minimum"})
AT_MOST = frozenset({"maxLength", "maxItems", "maxProperties", "maximum"})
LIMITS: dict[str, tuple[str, ...]] = {
    "string": ("minLength", "maxLength", "pattern"),
    "number": ("minimum", "maximum", "multipleOf"),
    "boolean": (),
    "object": ("minProperties", "maxProperties"),
    "list": ("minItems", "maxItems", "uniqueItems"),
}
# Conditions of another kind, told apart by their text: what is new in one may allow more or less.
CONDITIONS: dict[str, tuple[str, ...]] = {
    "string": ("format",),
    "object": (
        *("patternProperties", "propertyNames", "unevaluatedProperties"),
        *("dependentRequired", "dependentSchemas"),
    ),
    "list": ("prefixItems", "contains", "minContains", "maxContains", "unevaluatedItems"),
    "": ("not", "if", "then", "else"),
}
_CONDITIONS = frozenset(keyword for keywords in CONDITIONS.values() for keyword in keywords)
_TYPED = ("date-time", "date", "uuid", "binary")  # formats of which the generator makes types
_WORDS = frozenset(
    {"title", "description", "example", "examples", "default", "deprecated", "$comment"}
)
_STRUCTURE = ("type", "enum", "properties", "required", "items", "additionalProperties")
_SAID = ("default", "example", "examples")  # annotations: they narrow nothing
_READ = frozenset({*_STRUCTURE, *_SAID, *(limit for limits in LIMITS.values() for limit in limits)})
_MOST = 200  # alternatives of one place; a union of unions of more is read as far as this


_NUMBERS = frozenset({"integer", "number"})


def json_text(value: Json) -> str:
    """A value as JSON: what it is told apart by."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def hashable(values: Iterable[Json]) -> tuple[Json, ...]:
    """Values that can be hashed: lists and objects as JSON."""
    return tuple(json_text(v) if isinstance(v, dict | list) else v for v in values)


def format_choice(choice: Iterable[Iterable[str]]) -> str:
    """`dimensions or user`."""
    return " or ".join(" and ".join(sorted(names)) for names in choice)


def format_limit(keyword: str, value: Json) -> str:
    """A limit as the contract spells it: `minimum 1`."""
    if keyword in ("minimum", "maximum"):
        number, exclusive = value
        name = f"exclusive{keyword.capitalize()}" if exclusive else keyword
        return f"{name} {number}"
    if keyword in _CONDITIONS:
        return f"{keyword}: {shorten(value, 80, placeholder=' …')}"
    return f"{keyword} {value}"


def is_condition(keyword: str) -> bool:
    """Whether two values of a keyword are the same or not, and neither allows less."""
    return keyword in _CONDITIONS


def is_tighter(keyword: str, one: Json, other: Json) -> bool | None:
    """Whether one value of a limit allows less than another; None where that cannot be said."""
    if keyword == "minimum":
        return bool(one > other)
    if keyword == "maximum":
        return bool((one[0], not one[1]) < (other[0], not other[1]))
    if keyword in AT_LEAST:
        return bool(one > other)
    if keyword == "multipleOf":
        return True if divides(other, one) else False if divides(one, other) else None
    return bool(one < other) if keyword in AT_MOST else None


class Normalizer:
    """Takes the schemas of one document apart."""

    def __init__(self, document: dict[str, Json]) -> None:
        self._document = document
        # kept, so that a schema that contains itself is known again by its identity
        self._joined: dict[tuple[int, int], Json] = {}

    def of(self, schema: Json, above: frozenset[str] = frozenset()) -> list[FlatSchema]:
        """A schema as plain alternatives, one of which holds."""
        if not isinstance(schema, dict):
            return [] if schema is False else [{}]
        found = [plain] if (plain := _prune(self._own(schema))) is not None else []
        if isinstance(reference := schema.get("$ref"), str):
            if reference in above:  # a circle adds nothing
                return []
            there = resolve(self._document, reference)
            found = self._intersect(found, self.of(there, above | {reference}))
        for part in schema.get("allOf", ()):
            found = self._intersect(found, self.of(part, above))
        for union in ("anyOf", "oneOf"):
            if union in schema:
                parts = [a for part in schema[union] for a in self.of(part, above)]
                found = self._intersect(found, parts)
        return found[:_MOST]

    def _own(self, schema: dict[str, Json]) -> FlatSchema:
        """What a schema says by itself, its limits in one spelling."""
        plain = {key: _whole(value) for key, value in schema.items() if key in _READ}
        for key in _CONDITIONS & schema.keys():
            if key != "format" or schema[key] in _TYPED:
                said = self._said(schema[key], frozenset())
                plain[key] = said if isinstance(said, str) else json_text(said)
        if "const" in schema:
            plain["enum"] = [schema["const"]]
        if "type" in plain:
            kinds = plain["type"]
            plain["type"] = frozenset([kinds] if isinstance(kinds, str) else kinds)
        for key, sign in (("minimum", 1), ("maximum", -1)):
            bounds = [(schema[key], False)] if key in schema else []
            strict = f"exclusive{key.capitalize()}"
            bounds += [(schema[strict], True)] if strict in schema else []
            if bounds:
                plain[key] = max(bounds, key=lambda bound: (sign * bound[0], bound[1]))
        return plain

    def _said(self, node: Json, above: frozenset[str]) -> Json:
        """What a schema says without words for people, and whatever its components are called."""
        if isinstance(node, list):
            return [self._said(one, above) for one in node]
        if not isinstance(node, dict):
            return node
        said = {  # a field may be called `title`, and is a schema then
            key: self._said(value, above)
            for key, value in node.items()
            if key != "$ref" and (key not in _WORDS or isinstance(value, dict))
        }
        reference = node.get("$ref")
        if not isinstance(reference, str):
            return said
        if reference in above:
            return {**said, "$ref": "a circle"}
        there = self._said(resolve(self._document, reference), above | {reference})
        return {**there, **said} if isinstance(there, dict) else there

    def _intersect(self, some: list[FlatSchema], others: list[FlatSchema]) -> list[FlatSchema]:
        """What satisfies one of each."""
        both = [self._merge(one, other) for one, other in product(some, others)]
        return [plain for plain in both if plain is not None]

    def _merge(self, one: FlatSchema, other: FlatSchema) -> FlatSchema | None:
        """What satisfies both; None where nothing can."""
        merged = {**one, **other}
        for keyword in one.keys() & other.keys():
            merged[keyword] = self._merge_keyword(keyword, one[keyword], other[keyword])
        return _prune(merged)

    def _merge_keyword(self, keyword: str, one: Json, other: Json) -> Json:
        if keyword == "type":
            integers = {"integer"} if {"integer", "number"} <= one | other else set()
            return (one & other) | (integers if one & _NUMBERS and other & _NUMBERS else set())
        if keyword == "enum":
            allowed = {json_text(value) for value in other}
            return [value for value in one if json_text(value) in allowed]
        if keyword == "properties":
            return {
                name: self._all_of(one[name], other[name])
                if name in one and name in other
                else {**one, **other}[name]
                for name in {**one, **other}
            }
        if keyword == "required":
            return [*dict.fromkeys([*one, *other])]
        if keyword in ("items", "additionalProperties"):
            return self._all_of(one, other)
        tighter = is_tighter(keyword, one, other)
        if tighter is None:
            return other if keyword in _SAID or one == other else f"{one} and {other}"
        return one if tighter else other

    def _all_of(self, one: Json, other: Json) -> Json:
        if one is False or other is False:
            return False
        return self._joined.setdefault((id(one), id(other)), {"allOf": [one, other]})


def _prune(plain: FlatSchema) -> FlatSchema | None:
    """Types and values without those that the rest does not allow; None where nothing is left."""
    kinds = plain.get("type")
    if "enum" in plain:
        limits = [key for key in _OF_VALUES if key in plain]
        values = [v for v in plain["enum"] if all(allows(k, plain[k], v) for k in limits)]
        plain["enum"] = [v for v in values if kinds is None or types_of(v) & kinds]
        found = frozenset[str]().union(*map(types_of, plain["enum"]))
        plain["type"] = kinds = found if kinds is None else kinds & found
        for key in limits:  # the values that are left keep them
            del plain[key]
    return None if kinds == frozenset() else plain


def allows(keyword: str, limit: Json, value: Json) -> bool:
    """Whether a value keeps a limit of texts or numbers; of other kinds it says nothing."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match keyword:
        case "minLength":
            return not isinstance(value, str) or len(value) >= limit
        case "maxLength":
            return not isinstance(value, str) or len(value) <= limit
        case "minimum":
            return not is_number or (value > limit[0] if limit[1] else value >= limit[0])
        case "maximum":
            return not is_number or (value < limit[0] if limit[1] else value <= limit[0])
    return not is_number or isinstance(limit, str) or divides(limit, value)


_OF_VALUES = ("minLength", "maxLength", *LIMITS["number"])


def divides(one: Json, other: Json) -> bool:
    """Whether a number is a multiple of one; limits of several alternatives are words."""
    if isinstance(one, str) or isinstance(other, str):
        return False
    return math.isclose(other / one, round(other / one)) if one else False


def _whole(value: Json) -> Json:
    """`minLength: 1.0` is 1."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def types_of(value: Json) -> frozenset[str]:
    """The JSON types that a value has; a whole number has two."""
    if isinstance(value, bool):
        return frozenset({"boolean"})
    if isinstance(value, int | float):
        return _NUMBERS if float(value).is_integer() else frozenset({"number"})
    kinds: dict[type, str] = {str: "string", dict: "object", list: "array", type(None): "null"}
    return frozenset({kinds[type(value)]})
