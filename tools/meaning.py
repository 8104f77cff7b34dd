"""What a schema means, however it is written.

References, unions, `allOf` and null are resolved, so two spellings of one meaning give equal
shapes, whatever their components are called. A contract after its rules is expected.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from tools.plain import (
    AT_LEAST,
    CONDITIONS,
    LIMITS,
    Alternatives,
    Plain,
    divides,
    is_tighter,
    kinds_of,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tools.documents import Json

    # of a list, its items as a schema and as it was read
    _Listed = tuple["Form", Json, "Shape | None"]

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
class Form:
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
    objects: list[Plain] = field(default_factory=list)
    items: Shape | None = None


@dataclass
class Shape:
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

    forms: dict[str, Form] = field(default_factory=dict)
    null: bool = False
    anything: bool = False
    defaults: frozenset[str] = frozenset()
    mixed: frozenset[frozenset[str]] = frozenset()
    named: bool = False
    source: frozenset[int] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether nothing may stand there."""
        return not (self.forms or self.null or self.anything)


class Reader:
    """Reads the schemas of one document."""

    def __init__(self, document: dict[str, Json]) -> None:
        self._alternatives = Alternatives(document)

    def shape(self, *schemas: Json) -> Shape:
        """What may stand where one of `schemas` is asked for."""
        return self._shape(schemas, frozenset())

    def paths(self, schema: Json) -> set[str]:
        """The path of every field that a message names: `usage.cost`, `data[].index`."""
        return {*self._paths(self.shape(schema), "", frozenset())}

    def _paths(self, shape: Shape, path: str, above: frozenset[int]) -> Iterator[str]:
        if shape.source <= above:  # a schema that contains itself
            return
        above |= shape.source
        for form in shape.forms.values():
            if form.items is not None:
                yield from self._paths(form.items, f"{path}[]", above)
            for name, (inner, _) in self.fields(form.objects).items():
                below = f"{path}.{name}".lstrip(".")
                yield below
                yield from self._paths(inner, below, above)

    def fields(self, objects: Sequence[Plain]) -> dict[str, tuple[Shape, bool]]:
        """The fields of an object with these alternatives, and whether each is required.

        What one of several alternatives requires is not required of the whole. A field that may
        hold nothing is none; one that is required without a name may hold what others do.
        """
        required = {
            name: all(name in o.get("required", ()) for o in objects) for name in _all(objects)
        }
        found: dict[str, tuple[Shape, bool]] = {}
        for name, needed in required.items():
            schemas = [_names(o)[name] for o in objects if name in _names(o)]
            if schemas or needed:
                others = [o.get("additionalProperties", True) for o in objects]
                shape = self.shape(*(schemas or others))
                if not shape.is_empty:
                    found[name] = (shape, needed)
        return found

    def choice(self, objects: Sequence[Plain]) -> list[frozenset[str]]:
        """The sets of fields of which an object needs one; none where there is no choice."""
        needed = {frozenset(o.get("required", ())) for o in objects}
        least = [one for one in needed if not any(other < one for other in needed)]
        common = frozenset.intersection(*least) if least else frozenset()
        return sorted((one - common for one in least), key=sorted) if len(least) > 1 else []

    def others(self, objects: Sequence[Plain]) -> Shape | None:
        """What fields that an object does not name may hold; None where there can be none."""
        schemas = [o.get("additionalProperties", True) for o in objects]
        return self.shape(*schemas) if any(s is not False for s in schemas) else None

    def by_tag(self, objects: Sequence[Plain]) -> tuple[str, dict[str, list[Plain]]] | None:
        """The field that tells alternatives of an object apart, and they by its values.

        None where no field does: each alternative has to allow a few texts alone there, and not
        all of them the same.
        """
        first = _names(objects[0]) if objects else {}
        for name in first:
            found: dict[str, list[Plain]] = {}
            for one in objects:
                shape = self.shape(_names(one)[name]) if name in _names(one) else Shape()
                values = shape.forms["string"].values if [*shape.forms] == ["string"] else None
                if not values:
                    break
                for value in values.values():
                    found.setdefault(value, []).append(one)
            else:
                if len(objects) == 1 or any(len(those) < len(objects) for those in found.values()):
                    return name, found
        return None

    def _shape(self, schemas: Iterable[Json], above: frozenset[int]) -> Shape:
        schemas = list(schemas)
        named = any(isinstance(schema, dict) and "$ref" in schema for schema in schemas)
        shape = Shape(named=named, source=frozenset(map(id, schemas)))
        plains = [plain for schema in schemas for plain in self._alternatives.of(schema)]
        defaults = {text_of(p["default"]) for p in plains if p.get("default") is not None}
        shape.defaults = frozenset(defaults)
        sorted_out: dict[str, list[_Listed]] = {}
        for plain in plains:
            kinds = plain.get("type") or _told(plain)
            if kinds is None:
                return Shape(null=True, anything=True, source=shape.source)
            shape.null |= "null" in kinds
            for kind in sorted(kinds & _FORMS.keys()):
                if kind == "array":
                    self._add_list(plain, above | shape.source, shape, sorted_out)
                else:
                    form = _form(_FORMS[kind], kind, plain)
                    sorted_out.setdefault(form.kind, []).append((form, None, None))
        for key, found in sorted_out.items():
            shape.forms[key] = _united([form for form, _, _ in found])
            if any(items is not None for _, items, _ in found):
                shape.forms[key].items = self._items(found, key, above | shape.source)
        return shape

    def _add_list(
        self,
        plain: Plain,
        above: frozenset[int],
        shape: Shape,
        sorted_out: dict[str, list[_Listed]],
    ) -> None:
        """A list is a form for each kind of its items."""
        items = plain.get("items", True)
        of_itself = id(items) in above
        inner = Shape(anything=True) if of_itself else self._shape([items], above)
        kinds = {key: _plural(form) for key, form in inner.forms.items()} or {
            "anything": "anything"
        }
        if len(kinds) > 1:
            shape.mixed |= {frozenset(kinds)}
        for key, words in kinds.items():
            form = _form("list", f"list of {words}", plain)
            sorted_out.setdefault(f"list of {key}", []).append((form, items, inner))

    def _items(self, found: list[_Listed], key: str, above: frozenset[int]) -> Shape:
        """What the lists of one kind hold: of their items, those of that kind."""
        schemas = [items for _, items, _ in found]
        if any(id(items) in above for items in schemas):
            return Shape(anything=True)
        # read once where there is one list: lists of lists would be read twice at each depth
        known = found[0][2] if len(found) == 1 else None
        inner = known or self._shape(schemas, above)
        kind = key.removeprefix("list of ")
        return replace(inner, forms={k: form for k, form in inner.forms.items() if k == kind})


_FORMS: dict[str, Kind] = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "object": "object",
    "array": "list",
}


def _names(plain: Plain) -> dict[str, Json]:
    names: dict[str, Json] = plain.get("properties", {})
    return names


def _all(objects: Sequence[Plain]) -> list[str]:
    """Every field that some alternatives name, then what they require without a name."""
    named = [name for o in objects for name in _names(o)]
    return list(dict.fromkeys([*named, *(n for o in objects for n in o.get("required", ()))]))


def _told(plain: Plain) -> frozenset[str] | None:
    """The kind of a schema that names none; None where it may be any."""
    return next(
        (frozenset({kind}) for kind, keys in _TELLS.items() if plain.keys() & {*keys}), None
    )


def _form(kind: Kind, words: str, plain: Plain) -> Form:
    whole = words == "integer"
    limits = {
        key: _whole(key, plain[key]) if whole else plain[key]
        for key in (*LIMITS[kind], *CONDITIONS.get(kind, ()), *CONDITIONS[""])
        if key in plain and not _is_idle(key, plain[key], whole=whole)
    }
    values = plain.get("enum")
    ours = {text_of(v): v for v in values or () if _FORMS.get(min(kinds_of(v))) == kind}
    examples = [*([plain["example"]] if "example" in plain else []), *plain.get("examples", ())]
    objects = [plain] if kind == "object" else []
    closed = None if values is None else ours
    return Form(kind, words, closed, ours, limits, examples, objects)


def _is_idle(key: str, value: Json, *, whole: bool) -> bool:
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


def _united(forms: list[Form]) -> Form:
    """One form for several of a kind: it allows what any of them does."""
    first = forms[0]
    words = "number" if any(form.words == "number" for form in forms) else first.words
    known = {text: value for form in forms for text, value in form.known.items()}
    is_closed = all(form.values is not None for form in forms)
    # values that are named beside any other are not what a limit is for
    limited = [form for form in forms if form.values is None] or forms
    limits = {
        key: _loosest(key, [form.limits[key] for form in limited])
        for key in limited[0].limits
        if all(key in form.limits for form in limited)
    }
    objects = [plain for form in forms for plain in form.objects]
    examples = [example for form in forms for example in form.examples]
    return Form(first.kind, words, known if is_closed else None, known, limits, examples, objects)


def _loosest(key: str, values: list[Json]) -> Json:
    loosest = values[0]
    for value in values[1:]:
        tighter = is_tighter(key, loosest, value)
        if tighter is None and value != loosest:
            loosest = " or ".join(sorted({str(loosest), str(value)}))
        elif tighter:
            loosest = value
    return loosest


def _plural(form: Form) -> str:
    if form.kind == "list":
        return form.words.replace("list", "lists", 1)
    return f"{form.words}s"
