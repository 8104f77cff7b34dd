"""Normalizes schemas: a list of alternatives without references, unions and allOf."""

import json
import math
from collections.abc import Iterable
from itertools import product
from textwrap import shorten

from tools.openapi import Json, resolve

FlatSchema = dict[str, Json]  # one alternative: without $ref, allOf, anyOf and oneOf

AT_LEAST = frozenset({"minLength", "minItems", "minProperties", "minimum"})
AT_MOST = frozenset({"maxLength", "maxItems", "maxProperties", "maximum"})
LIMITS: dict[str, tuple[str, ...]] = {
    "string": ("minLength", "maxLength", "pattern"),
    "number": ("minimum", "maximum", "multipleOf"),
    "boolean": (),
    "object": ("minProperties", "maxProperties"),
    "list": ("minItems", "maxItems", "uniqueItems"),
}
# These are compared by their text only: it is unknown whether a change allows more or less.
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
_FORMATS = ("date-time", "date", "uuid", "binary")  # the generator has types for them
_TEXT_KEYWORDS = frozenset(
    {"title", "description", "example", "examples", "default", "deprecated", "$comment"}
)
_STRUCTURE = ("type", "enum", "properties", "required", "items", "additionalProperties")
_ANNOTATIONS = ("default", "example", "examples")  # they restrict nothing
_KEYWORDS = frozenset(
    {*_STRUCTURE, *_ANNOTATIONS, *(limit for limits in LIMITS.values() for limit in limits)}
)
_MAX_ALTERNATIVES = 200  # alternatives of one schema; further ones are ignored


_NUMBERS = frozenset({"integer", "number"})


def json_text(value: Json) -> str:
    """Format a value as JSON, for comparisons."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def hashable(values: Iterable[Json]) -> tuple[Json, ...]:
    """Make values hashable: lists and objects become JSON."""
    return tuple(json_text(v) if isinstance(v, dict | list) else v for v in values)


def format_choice(choice: Iterable[Iterable[str]]) -> str:
    """Format sets of fields: `dimensions or user`."""
    return " or ".join(" and ".join(sorted(names)) for names in choice)


def format_limit(keyword: str, value: Json) -> str:
    """Format a limit: `minimum 1`."""
    if keyword in ("minimum", "maximum"):
        number, exclusive = value
        name = f"exclusive{keyword.capitalize()}" if exclusive else keyword
        return f"{name} {number}"
    if keyword in _CONDITIONS:
        return f"{keyword}: {shorten(value, 80, placeholder=' …')}"
    return f"{keyword} {value}"


def is_condition(keyword: str) -> bool:
    """Whether values of a keyword can only be compared for equality."""
    return keyword in _CONDITIONS


def is_tighter(keyword: str, one: Json, other: Json) -> bool | None:
    """Whether one value of a limit allows less than another; None if that is unknown."""
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
    """Normalizes the schemas of one document."""

    def __init__(self, document: dict[str, Json]) -> None:
        self._document = document
        # cached, so that a recursive schema keeps its identity
        self._all_ofs: dict[tuple[int, int], Json] = {}

    def alternatives(self, schema: Json, above: frozenset[str] = frozenset()) -> list[FlatSchema]:
        """Return the alternatives of a schema."""
        if not isinstance(schema, dict):
            return [] if schema is False else [{}]
        found = [flat] if (flat := _prune(self._keywords_of(schema))) is not None else []
        if isinstance(reference := schema.get("$ref"), str):
            if reference in above:  # a circular reference adds nothing
                return []
            target = resolve(self._document, reference)
            found = self._intersect(found, self.alternatives(target, above | {reference}))
        for part in schema.get("allOf", ()):
            found = self._intersect(found, self.alternatives(part, above))
        for union in ("anyOf", "oneOf"):
            if union in schema:
                parts = [a for part in schema[union] for a in self.alternatives(part, above)]
                found = self._intersect(found, parts)
        return found[:_MAX_ALTERNATIVES]

    def _keywords_of(self, schema: dict[str, Json]) -> FlatSchema:
        """Return the keywords of the schema itself, with its limits in one spelling."""
        flat = {key: _as_int(value) for key, value in schema.items() if key in _KEYWORDS}
        for key in _CONDITIONS & schema.keys():
            if key != "format" or schema[key] in _FORMATS:
                canonical = self._canonical(schema[key], frozenset())
                flat[key] = canonical if isinstance(canonical, str) else json_text(canonical)
        if "const" in schema:
            flat["enum"] = [schema["const"]]
        if "type" in flat:
            kinds = flat["type"]
            flat["type"] = frozenset([kinds] if isinstance(kinds, str) else kinds)
        for key, sign in (("minimum", 1), ("maximum", -1)):
            bounds = [(schema[key], False)] if key in schema else []
            strict = f"exclusive{key.capitalize()}"
            bounds += [(schema[strict], True)] if strict in schema else []
            if bounds:
                flat[key] = max(bounds, key=lambda bound: (sign * bound[0], bound[1]))
        return flat

    def _canonical(self, node: Json, above: frozenset[str]) -> Json:
        """Drop texts and resolve references, so that names and descriptions do not matter."""
        if isinstance(node, list):
            return [self._canonical(one, above) for one in node]
        if not isinstance(node, dict):
            return node
        canonical = {  # a field may have the name `title`
            key: self._canonical(value, above)
            for key, value in node.items()
            if key != "$ref" and (key not in _TEXT_KEYWORDS or isinstance(value, dict))
        }
        reference = node.get("$ref")
        if not isinstance(reference, str):
            return canonical
        if reference in above:
            return {**canonical, "$ref": "circular"}
        target = self._canonical(resolve(self._document, reference), above | {reference})
        return {**target, **canonical} if isinstance(target, dict) else target

    def _intersect(self, some: list[FlatSchema], others: list[FlatSchema]) -> list[FlatSchema]:
        """Return the alternatives that satisfy one of each list."""
        both = [self._merge(one, other) for one, other in product(some, others)]
        return [flat for flat in both if flat is not None]

    def _merge(self, one: FlatSchema, other: FlatSchema) -> FlatSchema | None:
        """Return the schema that satisfies both; None if no value can."""
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
            return other if keyword in _ANNOTATIONS or one == other else f"{one} and {other}"
        return one if tighter else other

    def _all_of(self, one: Json, other: Json) -> Json:
        if one is False or other is False:
            return False
        return self._all_ofs.setdefault((id(one), id(other)), {"allOf": [one, other]})


def _prune(flat: FlatSchema) -> FlatSchema | None:
    """Drop types and values that the other keywords exclude; None if nothing is left."""
    kinds = flat.get("type")
    if "enum" in flat:
        limits = [key for key in _VALUE_LIMITS if key in flat]
        values = [v for v in flat["enum"] if all(allows(k, flat[k], v) for k in limits)]
        flat["enum"] = [v for v in values if kinds is None or types_of(v) & kinds]
        found = frozenset[str]().union(*map(types_of, flat["enum"]))
        flat["type"] = kinds = found if kinds is None else kinds & found
        for key in limits:  # all remaining values satisfy them
            del flat[key]
    return None if kinds == frozenset() else flat


def allows(keyword: str, limit: Json, value: Json) -> bool:
    """Whether a value satisfies a limit of strings or numbers; other types always do."""
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


_VALUE_LIMITS = ("minLength", "maxLength", *LIMITS["number"])


def divides(one: Json, other: Json) -> bool:
    """Whether `other` is a multiple of `one`; False for text, the limits of merged alternatives."""
    if isinstance(one, str) or isinstance(other, str):
        return False
    return math.isclose(other / one, round(other / one)) if one else False


def _as_int(value: Json) -> Json:
    """Convert `1.0` to `1`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def types_of(value: Json) -> frozenset[str]:
    """Return the JSON types of a value; an integer has two."""
    if isinstance(value, bool):
        return frozenset({"boolean"})
    if isinstance(value, int | float):
        return _NUMBERS if float(value).is_integer() else frozenset({"number"})
    kinds: dict[type, str] = {str: "string", dict: "object", list: "array", type(None): "null"}
    return frozenset({kinds[type(value)]})
