"""Models which values a schema allows, independent of how it is written.

References, unions, `allOf` and null are resolved, so equivalent schemas give equal results,
whatever their components are called. It expects a contract after the repair rules.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tools.openapi import Json
from tools.schema.normalize import (
    AT_LEAST,
    CONDITIONS,
    LIMITS,
    FlatSchema,
    Normalizer,
    divides,
    is_tighter,
    json_text,
    types_of,
)

Kind = Literal["string", "number", "boolean", "object", "list"]
# The type of a schema without `type` follows from these keywords.
_TYPE_KEYWORDS: dict[str, tuple[str, ...]] = {
    "object": (
        *("properties", "required", "additionalProperties"),
        *(*LIMITS["object"], *CONDITIONS["object"]),
    ),
    "array": ("items", *LIMITS["list"], *CONDITIONS["list"]),
    "string": LIMITS["string"],
    "number": LIMITS["number"],
}


@dataclass
class Variant:
    """One type of value that a schema allows.

    Attributes:
        kind: the JSON type.
        words: the type in words: "integer", "list of strings".
        values: the only allowed values, by their JSON text; None allows any.
        known: the listed values, even if any other is allowed.
        limits: all other restrictions, by keyword.
        examples: the publisher's examples.
        objects: the alternatives of an object.
        items: the allowed items of a list.
    """

    kind: Kind
    words: str
    values: dict[str, Json] | None = None
    known: dict[str, Json] = field(default_factory=dict)
    limits: dict[str, Json] = field(default_factory=dict)
    examples: list[Json] = field(default_factory=list)
    objects: list[FlatSchema] = field(default_factory=list)
    items: "AllowedValues | None" = None


@dataclass
class AllowedValues:
    """The values that a schema allows.

    Attributes:
        variants: the allowed types by kind; lists by the kind of their items.
        null: whether null is allowed.
        anything: whether any value is allowed; `variants` is empty then.
        defaults: the default values, as JSON.
        mixed: the kinds that one list may mix.
        named: whether the schema is a component.
        source: identifies the schema, to detect recursion.
    """

    variants: dict[str, Variant] = field(default_factory=dict)
    null: bool = False
    anything: bool = False
    defaults: frozenset[str] = frozenset()
    mixed: frozenset[frozenset[str]] = frozenset()
    named: bool = False
    source: frozenset[int] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether no value is allowed."""
        return not (self.variants or self.null or self.anything)


# a variant; for a list also the schema of its items and their allowed values
_Read = tuple[Variant, Json, AllowedValues | None]


class SchemaReader:
    """Reads the schemas of one document."""

    def __init__(self, document: dict[str, Json]) -> None:
        self._normalizer = Normalizer(document)

    def read(self, *schemas: Json) -> AllowedValues:
        """Return the values that at least one of the schemas allows."""
        return self._read(schemas, frozenset())

    def paths(self, schema: Json) -> set[str]:
        """Return the path of every named field: `usage.cost`, `data[].index`."""
        return {*self._paths(self.read(schema), "", frozenset())}

    def _paths(self, allowed: AllowedValues, path: str, above: frozenset[int]) -> Iterator[str]:
        if allowed.source <= above:  # a recursive schema
            return
        above |= allowed.source
        for variant in allowed.variants.values():
            if variant.items is not None:
                yield from self._paths(variant.items, f"{path}[]", above)
            for name, (inner, _) in self.fields(variant.objects).items():
                below = f"{path}.{name}".lstrip(".")
                yield below
                yield from self._paths(inner, below, above)

    def fields(self, objects: Sequence[FlatSchema]) -> dict[str, tuple[AllowedValues, bool]]:
        """Return the fields of an object with these alternatives, and whether each is required.

        A field is required if every alternative requires it. A field that allows no value is left
        out; a required field without a schema allows what additional properties allow.
        """
        required = {
            name: all(name in o.get("required", ()) for o in objects) for name in _all(objects)
        }
        found: dict[str, tuple[AllowedValues, bool]] = {}
        for name, needed in required.items():
            schemas = [_properties(o)[name] for o in objects if name in _properties(o)]
            if schemas or needed:
                others = [o.get("additionalProperties", True) for o in objects]
                allowed = self.read(*(schemas or others))
                if not allowed.is_empty:
                    found[name] = (allowed, needed)
        return found

    def choice(self, objects: Sequence[FlatSchema]) -> list[frozenset[str]]:
        """For an object that needs one of several sets of fields, return these sets; else empty."""
        needed = {frozenset(o.get("required", ())) for o in objects}
        least = [one for one in needed if not any(other < one for other in needed)]
        common = frozenset.intersection(*least) if least else frozenset()
        return sorted((one - common for one in least), key=sorted) if len(least) > 1 else []

    def additional(self, objects: Sequence[FlatSchema]) -> AllowedValues | None:
        """Return the values of additional properties; None if there can be none."""
        schemas = [o.get("additionalProperties", True) for o in objects]
        return self.read(*schemas) if any(s is not False for s in schemas) else None

    def by_discriminator(
        self, objects: Sequence[FlatSchema]
    ) -> tuple[str, dict[str, list[FlatSchema]]] | None:
        """Return the field that discriminates the alternatives, and the alternatives by its value.

        None if there is no such field: every alternative must list its strings, and the strings
        must differ.
        """
        first = _properties(objects[0]) if objects else {}
        for name in first:
            found: dict[str, list[FlatSchema]] = {}
            for one in objects:
                allowed = (
                    self.read(_properties(one)[name])
                    if name in _properties(one)
                    else AllowedValues()
                )
                values = (
                    allowed.variants["string"].values if [*allowed.variants] == ["string"] else None
                )
                if not values:
                    break
                for value in values.values():
                    found.setdefault(value, []).append(one)
            else:
                if len(objects) == 1 or any(len(those) < len(objects) for those in found.values()):
                    return name, found
        return None

    def _read(self, schemas: Iterable[Json], above: frozenset[int]) -> AllowedValues:
        schemas = list(schemas)
        named = any(isinstance(schema, dict) and "$ref" in schema for schema in schemas)
        allowed = AllowedValues(named=named, source=frozenset(map(id, schemas)))
        flats = [flat for schema in schemas for flat in self._normalizer.alternatives(schema)]
        defaults = {json_text(p["default"]) for p in flats if p.get("default") is not None}
        allowed.defaults = frozenset(defaults)
        by_kind: dict[str, list[_Read]] = {}
        for flat in flats:
            kinds = flat.get("type") or _inferred_type(flat)
            if kinds is None:
                return AllowedValues(null=True, anything=True, source=allowed.source)
            allowed.null |= "null" in kinds
            for kind in sorted(kinds & _VARIANT_KINDS.keys()):
                if kind == "array":
                    self._add_list(flat, above | allowed.source, allowed, by_kind)
                else:
                    variant = _variant(_VARIANT_KINDS[kind], kind, flat)
                    by_kind.setdefault(variant.kind, []).append((variant, None, None))
        for key, found in by_kind.items():
            allowed.variants[key] = _union([variant for variant, _, _ in found])
            if any(items is not None for _, items, _ in found):
                allowed.variants[key].items = self._items(found, key, above | allowed.source)
        return allowed

    def _add_list(
        self,
        flat: FlatSchema,
        above: frozenset[int],
        allowed: AllowedValues,
        by_kind: dict[str, list[_Read]],
    ) -> None:
        """Add a list as one variant for each kind of its items."""
        items = flat.get("items", True)
        of_itself = id(items) in above
        inner = AllowedValues(anything=True) if of_itself else self._read([items], above)
        kinds = {key: _plural(variant) for key, variant in inner.variants.items()} or {
            "anything": "anything"
        }
        if len(kinds) > 1:
            allowed.mixed |= {frozenset(kinds)}
        for key, words in kinds.items():
            variant = _variant("list", f"list of {words}", flat)
            by_kind.setdefault(f"list of {key}", []).append((variant, items, inner))

    def _items(self, found: list[_Read], key: str, above: frozenset[int]) -> AllowedValues:
        """Return the items of all lists of one kind."""
        schemas = [items for _, items, _ in found]
        if any(id(items) in above for items in schemas):
            return AllowedValues(anything=True)
        # a single list is not read again, or nested lists would take exponential time
        known = found[0][2] if len(found) == 1 else None
        inner = known or self._read(schemas, above)
        kind = key.removeprefix("list of ")
        return replace(
            inner, variants={k: variant for k, variant in inner.variants.items() if k == kind}
        )


_VARIANT_KINDS: dict[str, Kind] = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "object": "object",
    "array": "list",
}


def _properties(flat: FlatSchema) -> dict[str, Json]:
    names: dict[str, Json] = flat.get("properties", {})
    return names


def _all(objects: Sequence[FlatSchema]) -> list[str]:
    """List every named field, then the required fields without a schema."""
    named = [name for o in objects for name in _properties(o)]
    return list(dict.fromkeys([*named, *(n for o in objects for n in o.get("required", ()))]))


def _inferred_type(flat: FlatSchema) -> frozenset[str] | None:
    """Infer the type of a schema without one; None if any type is allowed."""
    return next(
        (frozenset({kind}) for kind, keys in _TYPE_KEYWORDS.items() if flat.keys() & {*keys}), None
    )


def _variant(kind: Kind, words: str, flat: FlatSchema) -> Variant:
    whole = words == "integer"
    limits = {
        key: _integer_bound(key, flat[key]) if whole else flat[key]
        for key in (*LIMITS[kind], *CONDITIONS.get(kind, ()), *CONDITIONS[""])
        if key in flat and not _allows_everything(key, flat[key], whole=whole)
    }
    values = flat.get("enum")
    ours = {json_text(v): v for v in values or () if _VARIANT_KINDS.get(min(types_of(v))) == kind}
    examples = [*([flat["example"]] if "example" in flat else []), *flat.get("examples", ())]
    objects = [flat] if kind == "object" else []
    closed = None if values is None else ours
    return Variant(kind, words, closed, ours, limits, examples, objects)


def _allows_everything(key: str, value: Json, *, whole: bool) -> bool:
    """Whether a limit excludes nothing."""
    if value is False or (key in AT_LEAST and value == 0):
        return True
    if value in ("true", "{}", "[]"):  # a condition as JSON
        return key not in ("not", "contains")
    return whole and key == "multipleOf" and divides(value, 1)


def _integer_bound(key: str, value: Json) -> Json:
    """Convert a bound of integers to an inclusive one: `exclusiveMinimum: 0` is `minimum: 1`."""
    if key not in ("minimum", "maximum"):
        return value
    number, exclusive = value
    if key == "minimum":
        return (math.floor(number) + 1 if exclusive else math.ceil(number), False)
    return (math.ceil(number) - 1 if exclusive else math.floor(number), False)


def _union(variants: list[Variant]) -> Variant:
    """Merge variants of one kind into one that allows what any of them allows."""
    first = variants[0]
    words = "number" if any(variant.words == "number" for variant in variants) else first.words
    known = {text: value for variant in variants for text, value in variant.known.items()}
    is_closed = all(variant.values is not None for variant in variants)
    # only variants that allow any value have limits that matter
    limited = [variant for variant in variants if variant.values is None] or variants
    limits = {
        key: _loosest(key, [variant.limits[key] for variant in limited])
        for key in limited[0].limits
        if all(key in variant.limits for variant in limited)
    }
    objects = [flat for variant in variants for flat in variant.objects]
    examples = [example for variant in variants for example in variant.examples]
    return Variant(
        first.kind, words, known if is_closed else None, known, limits, examples, objects
    )


def _loosest(key: str, values: list[Json]) -> Json:
    loosest = values[0]
    for value in values[1:]:
        tighter = is_tighter(key, loosest, value)
        if tighter is None and value != loosest:
            loosest = " or ".join(sorted({str(loosest), str(value)}))
        elif tighter:
            loosest = value
    return loosest


def _plural(variant: Variant) -> str:
    if variant.kind == "list":
        return variant.words.replace("list", "lists", 1)
    return f"{variant.words}s"
