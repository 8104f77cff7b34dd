"""Values that a contract allows, and values that break one limit of it, each at one place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.schema.model import AllowedValues, SchemaReader, Variant
from tools.schema.normalize import allows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from tools.openapi import Json
    from tools.schema.normalize import FlatSchema

URL = "https://example.org/x.png"
# What a text is by the name that APIs give it; programs that send it may look into it.
_NAMED: Mapping[str, Json] = {"url": URL, "data": URL, "embedding": "AACAPw==", "index": 0}
_TEXTS = ("x", "1", "1.5", URL, "a@example.org", "2026-01-31", "2026-01-31T00:00:00Z", "en", "A1")
_MOST = 100_000  # letters or items that are made; no limit beyond it is tried


@dataclass(frozen=True)
class Place:
    """A place in a message.

    Attributes:
        path: `input[].content[].text`.
        shape: what may stand there.
        into: from a value to a whole message that has it there, and else the least that is allowed.
        required: whether the message has to have it.
        tag: the alternative that it is in, where a field tells alternatives apart.
    """

    path: str
    allowed: AllowedValues
    into: Callable[[Json], Json]
    required: bool = True
    tag: str = ""

    @property
    def name(self) -> str:
        """The last field of the path."""
        return self.path.replace("[]", "").rpartition(".")[2]


@dataclass(frozen=True)
class Alternative:
    """One alternative of an object, told by `tag` where there are several to be told apart."""

    objects: Sequence[FlatSchema]
    tag: str = ""
    value: str = ""


class Sampler:
    """Makes messages of one document.

    Args:
        reader: of that document.
        known: values of tags: where there is a choice, alternatives with one of these come first.
    """

    def __init__(self, reader: SchemaReader, known: Collection[Json] = ()) -> None:
        self._reader = reader
        self._known = known
        self._above: list[frozenset[int]] = []

    def whole(self, schema: Json) -> Place:
        """The place of a message itself."""
        return Place("", self._reader.read(schema), lambda value: value)

    def items(self, place: Place, variant: Variant) -> Place:
        """The place of what a list holds."""
        items = variant.items or AllowedValues(anything=True)
        more = [self.least(items, place.name)] * (int(variant.limits.get("minItems", 1)) - 1)
        into = place.into
        return Place(f"{place.path}[]", items, lambda value: into([value, *more]))

    def alternatives(self, variant: Variant) -> list[Alternative]:
        """The alternatives of an object that a tag tells apart; else all of them as one."""
        found = self._reader.by_discriminator(variant.objects) if len(variant.objects) > 1 else None
        if found is None:
            return [Alternative(variant.objects)]
        tag, by_value = found
        values = sorted(by_value, key=lambda value: value not in self._known)
        return [Alternative(by_value[value], tag, value) for value in values]

    def fields(self, place: Place, one: Alternative) -> Iterator[Place]:
        """The places of an object's fields, but for its tag."""
        base = self.object(one)
        for name, (allowed, required) in self._reader.fields(one.objects).items():
            if name != one.tag:
                path = f"{place.path}.{name}".lstrip(".")
                into = _setting(place.into, base, name)
                yield Place(path, allowed, into, required, one.value)

    def is_closed(self, one: Alternative) -> bool:
        """Whether an object may have no fields but those that are named."""
        return self._reader.others(one.objects) is None

    def choice(self, one: Alternative) -> list[frozenset[str]]:
        """The sets of fields of which an object needs one; none where there is no choice."""
        return self._reader.choice(one.objects)

    def object(self, one: Alternative) -> dict[str, Json]:
        """The least object that is allowed."""
        chosen = next(iter(self.choice(one)), frozenset())
        required = {
            name: self.least(allowed, name)
            for name, (allowed, needed) in self._reader.fields(one.objects).items()
            if (needed or name in chosen) and name != one.tag
        }
        return {one.tag: one.value, **required} if one.tag else required

    def least(self, allowed: AllowedValues, name: str = "") -> Json:
        """The least value that is allowed at a place; in one that contains itself, the way out."""
        if not allowed.variants:
            return _NAMED.get(name, "x") if allowed.anything else None
        variants = [*allowed.variants.values()]
        if allowed.source in self._above:
            if allowed.null:
                return None
            variants.sort(key=lambda variant: (variant.kind == "object", variant.kind == "list"))
            if variants[0].kind in ("list", "object"):
                return [] if variants[0].kind == "list" else {}
        self._above.append(allowed.source)
        try:
            return self.of(variants[0], name)
        finally:
            self._above.pop()

    def of(self, variant: Variant, name: str = "") -> Json:
        """A value of a form."""
        if variant.values:
            return next(iter(variant.values.values()))
        match variant.kind:
            case "string":
                return _text(variant, name)
            case "number":
                return _number(variant, name)
            case "boolean":
                return True
            case "list":
                items = self.least(variant.items or AllowedValues(anything=True), name)
                return [items] * max(1, int(variant.limits.get("minItems", 1)))
            case "object":
                return self.object(self.alternatives(variant)[0])

    def breaking(self, variant: Variant, keyword: str, name: str = "") -> Json:
        """A value that breaks one limit of a form and no other; None where none is known."""
        limit = variant.limits[keyword]
        match keyword:
            case "minLength":
                return "x" * (limit - 1)
            case "maxLength" if limit < _MOST:
                return "x" * (limit + 1)
            case "pattern":
                return next((t for t in (*_TEXTS, "", " ") if not _matches(limit, t)), None)
            case "minimum" | "maximum":
                number, exclusive = limit
                step = 1 if keyword == "maximum" else -1
                return number if exclusive else number + step
            case "minItems":
                return [self.least(variant.items or AllowedValues(), name)] * (limit - 1)
            case "maxItems" if limit < _MOST:
                return [self.least(variant.items or AllowedValues(), name)] * (limit + 1)
            case "uniqueItems":
                return [self.least(variant.items or AllowedValues(), name)] * 2
            case "multipleOf" if not isinstance(limit, str):
                return limit / 2
        return None


def _setting(
    into: Callable[[Json], Json], base: dict[str, Json], name: str
) -> Callable[[Json], Json]:
    return lambda value: into({**base, name: value})


def _text(variant: Variant, name: str) -> str:
    given = [example for example in variant.examples if isinstance(example, str)]
    least, most = variant.limits.get("minLength", 0), variant.limits.get("maxLength", _MOST)
    for text in (str(_NAMED.get(name, "x")), *given, *_TEXTS):
        fitting = text.ljust(least, "x")[:most] if "pattern" not in variant.limits else text
        if _matches(variant.limits.get("pattern", ""), fitting) and least <= len(fitting) <= most:
            return fitting
    return "x".ljust(least, "x")


def _number(variant: Variant, name: str) -> Json:
    """A whole number where that is allowed: tokens are, and counts."""
    tried = [_NAMED.get(name), 1, *variant.examples]
    for keyword, step in (("minimum", 1), ("maximum", -1)):
        if keyword in variant.limits:
            number, exclusive = variant.limits[keyword]
            tried.append(number + step if exclusive else number)
    tried += [variant.limits["multipleOf"]] if "multipleOf" in variant.limits else []
    numbers = [number for number in tried if isinstance(number, int | float)]
    return next((number for number in numbers if _within(variant, number)), numbers[-1])


def _within(variant: Variant, number: float) -> bool:
    low, below = variant.limits.get("minimum", (float("-inf"), False))
    high, above = variant.limits.get("maximum", (float("inf"), False))
    fits = (low < number if below else low <= number) and (
        number < high if above else number <= high
    )
    return fits and allows("multipleOf", variant.limits.get("multipleOf", number or 1), number)


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:  # of another dialect
        return False
