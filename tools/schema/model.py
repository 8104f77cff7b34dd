"""What a schema means, however it is written.

References, unions, `allOf` and null are resolved, so two spellings of one meaning give equal
shapes, whatever their components are called. A contract after its rules is expected.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

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

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tools.openapi import Json

    # of a list, its items as a schema and as it was read
    _Listed = tuple["Variant", Json, "AllowedValues | None"]

Kind = Literal["string", "number", "boolean", "object", "list"]
# What a schema without a type is about, told by its other keywords.
_TELLS: dict[str, tuple[str, ...]] = {
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
    """One form that a value may have at a place.

    Attributes:
        kind: its JSON type.
        words: that type as people say it: "integer", "list of strings".
        values: the only values that are allowed, by their JSON text; None for any.
        known: values that are named although any other is allowed.
        limits: what narrows it otherwise, by keyword.
        examples: values that the publisher gives.
        objects: of an object, its alternatives.
        items: of a list, what it holds.
    """

    kind: Kind
    words: str
    values: dict[str, Json] | None = None
    known: dict[str, Json] = field(default_factory=dict)
    limits: dict[str, Json] = field(default_factory=dict)
    examples: list[Json] = field(default_factory=list)
    objects: list[FlatSchema] = field(default_factory=list)
    items: AllowedValues | None = None


@dataclass
class AllowedValues:
    """What may stand at a place.

    Attributes:
        forms: the forms of a value, by kind; a list by the kind of its items.
        null: whether null may stand there.
        anything: whether every value may stand there; there are no forms then.
        defaults: what leaving it out means, as JSON texts.
        mixed: the kinds that a single list may hold together.
        named: whether it is a component, under a name.
        source: what tells this place from others, for schemas that contain themselves.
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
        """Whether nothing may stand there."""
        return not (self.variants or self.null or self.anything)


class SchemaReader:
    """Reads the schemas of one document."""

    def __init__(self, document: dict[str, Json]) -> None:
        self._alternatives = Normalizer(document)

    def read(self, *schemas: Json) -> AllowedValues:
        """What may stand where one of `schemas` is asked for."""
        return self._read(schemas, frozenset())

    def paths(self, schema: Json) -> set[str]:
        """The path of every field that a message names: `usage.cost`, `data[].index`."""
        return {*self._paths(self.read(schema), "", frozenset())}

    def _paths(self, allowed: AllowedValues, path: str, above: frozenset[int]) -> Iterator[str]:
        if allowed.source <= above:  # a schema that contains itself
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
        """The fields of an object with these alternatives, and whether each is required.

        What one of several alternatives requires is not required of the whole. A field that may
        hold nothing is none; one that is required without a name may hold what others do.
        """
        required = {
            name: all(name in o.get("required", ()) for o in objects) for name in _all(objects)
        }
        found: dict[str, tuple[AllowedValues, bool]] = {}
        for name, needed in required.items():
            schemas = [_names(o)[name] for o in objects if name in _names(o)]
            if schemas or needed:
                others = [o.get("additionalProperties", True) for o in objects]
                allowed = self.read(*(schemas or others))
                if not allowed.is_empty:
                    found[name] = (allowed, needed)
        return found

    def choice(self, objects: Sequence[FlatSchema]) -> list[frozenset[str]]:
        """The sets of fields of which an object needs one; none where there is no choice."""
        needed = {frozenset(o.get("required", ())) for o in objects}
        least = [one for one in needed if not any(other < one for other in needed)]
        common = frozenset.intersection(*least) if least else frozenset()
        return sorted((one - common for one in least), key=sorted) if len(least) > 1 else []

    def others(self, objects: Sequence[FlatSchema]) -> AllowedValues | None:
        """What fields that an object does not name may hold; None where there can be none."""
        schemas = [o.get("additionalProperties", True) for o in objects]
        return self.read(*schemas) if any(s is not False for s in schemas) else None

    def by_discriminator(
        self, objects: Sequence[FlatSchema]
    ) -> tuple[str, dict[str, list[FlatSchema]]] | None:
        """The field that tells alternatives of an object apart, and they by its values.

        None where no field does: each alternative has to allow a few texts alone there, and not
        all of them the same.
        """
        first = _names(objects[0]) if objects else {}
        for name in first:
            found: dict[str, list[FlatSchema]] = {}
            for one in objects:
                allowed = self.read(_names(one)[name]) if name in _names(one) else AllowedValues()
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
        plains = [plain for schema in schemas for plain in self._alternatives.of(schema)]
        defaults = {json_text(p["default"]) for p in plains if p.get("default") is not None}
        allowed.defaults = frozenset(defaults)
        sorted_out: dict[str, list[_Listed]] = {}
        for plain in plains:
            kinds = plain.get("type") or _told(plain)
            if kinds is None:
                return AllowedValues(null=True, anything=True, source=allowed.source)
            allowed.null |= "null" in kinds
            for kind in sorted(kinds & _VARIANT_KINDS.keys()):
                if kind == "array":
                    self._add_list(plain, above | allowed.source, allowed, sorted_out)
                else:
                    variant = _variant(_VARIANT_KINDS[kind], kind, plain)
                    sorted_out.setdefault(variant.kind, []).append((variant, None, None))
        for key, found in sorted_out.items():
            allowed.variants[key] = _union([variant for variant, _, _ in found])
            if any(items is not None for _, items, _ in found):
                allowed.variants[key].items = self._items(found, key, above | allowed.source)
        return allowed

    def _add_list(
        self,
        plain: FlatSchema,
        above: frozenset[int],
        allowed: AllowedValues,
        sorted_out: dict[str, list[_Listed]],
    ) -> None:
        """A list is a form for each kind of its items."""
        items = plain.get("items", True)
        of_itself = id(items) in above
        inner = AllowedValues(anything=True) if of_itself else self._read([items], above)
        kinds = {key: _plural(variant) for key, variant in inner.variants.items()} or {
            "anything": "anything"
        }
        if len(kinds) > 1:
            allowed.mixed |= {frozenset(kinds)}
        for key, words in kinds.items():
            variant = _variant("list", f"list of {words}", plain)
            sorted_out.setdefault(f"list of {key}", []).append((variant, items, inner))

    def _items(self, found: list[_Listed], key: str, above: frozenset[int]) -> AllowedValues:
        """What the lists of one kind hold: of their items, those of that kind."""
        schemas = [items for _, items, _ in found]
        if any(id(items) in above for items in schemas):
            return AllowedValues(anything=True)
        # read once where there is one list: lists of lists would be read twice at each depth
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


def _names(plain: FlatSchema) -> dict[str, Json]:
    names: dict[str, Json] = plain.get("properties", {})
    return names


def _all(objects: Sequence[FlatSchema]) -> list[str]:
    """Every field that some alternatives name, then what they require without a name."""
    named = [name for o in objects for name in _names(o)]
    return list(dict.fromkeys([*named, *(n for o in objects for n in o.get("required", ()))]))


def _told(plain: FlatSchema) -> frozenset[str] | None:
    """The kind of a schema that names none; None where it may be any."""
    return next(
        (frozenset({kind}) for kind, keys in _TELLS.items() if plain.keys() & {*keys}), None
    )


def _variant(kind: Kind, words: str, plain: FlatSchema) -> Variant:
    whole = words == "integer"
    limits = {
        key: _whole(key, plain[key]) if whole else plain[key]
        for key in (*LIMITS[kind], *CONDITIONS.get(kind, ()), *CONDITIONS[""])
        if key in plain and not _allows_everything(key, plain[key], whole=whole)
    }
    values = plain.get("enum")
    ours = {json_text(v): v for v in values or () if _VARIANT_KINDS.get(min(types_of(v))) == kind}
    examples = [*([plain["example"]] if "example" in plain else []), *plain.get("examples", ())]
    objects = [plain] if kind == "object" else []
    closed = None if values is None else ours
    return Variant(kind, words, closed, ours, limits, examples, objects)


def _allows_everything(key: str, value: Json, *, whole: bool) -> bool:
    """Whether a limit refuses nothing."""
    if value is False or (key in AT_LEAST and value == 0):
        return True
    if value in ("true", "{}", "[]"):  # the text of a condition
        return key not in ("not", "contains")
    return whole and key == "multipleOf" and divides(value, 1)


def _whole(key: str, value: Json) -> Json:
    """A bound of integers, which includes its number: `exclusiveMinimum: 0` is `minimum: 1`."""
    if key not in ("minimum", "maximum"):
        return value
    number, exclusive = value
    if key == "minimum":
        return (math.floor(number) + 1 if exclusive else math.ceil(number), False)
    return (math.ceil(number) - 1 if exclusive else math.floor(number), False)


def _union(variants: list[Variant]) -> Variant:
    """One form for several of a kind: it allows what any of them does."""
    first = variants[0]
    words = "number" if any(variant.words == "number" for variant in variants) else first.words
    known = {text: value for variant in variants for text, value in variant.known.items()}
    is_closed = all(variant.values is not None for variant in variants)
    # values that are named beside any other are not what a limit is for
    limited = [variant for variant in variants if variant.values is None] or variants
    limits = {
        key: _loosest(key, [variant.limits[key] for variant in limited])
        for key in limited[0].limits
        if all(key in variant.limits for variant in limited)
    }
    objects = [plain for variant in variants for plain in variant.objects]
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
