"""Makes sample values that a schema allows, and values that violate one of its limits."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tools.openapi import Json
from tools.schema.model import AllowedValues, SchemaReader, Variant
from tools.schema.normalize import FlatSchema, allows

URL = "https://example.org/x.png"
# Values for common field names; the wrapper may validate them.
_BY_NAME: Mapping[str, Json] = {"url": URL, "data": URL, "embedding": "AACAPw==", "index": 0}
_TEXTS = ("x", "1", "1.5", URL, "a@example.org", "2026-01-31", "2026-01-31T00:00:00Z", "en", "A1")
_MAX_SIZE = 100_000  # letters or items of a sample; larger limits are not tried


@dataclass(frozen=True)
class Place:
    """A place in a message.

    Attributes:
        path: `input[].content[].text`.
        allowed: the values that it allows.
        message_with: makes a minimal message with a given value at this place.
        required: whether it is required.
        tag: the value of the discriminator of its alternative, if there is one.
    """

    path: str
    allowed: AllowedValues
    message_with: Callable[[Json], Json]
    required: bool = True
    tag: str = ""

    @property
    def name(self) -> str:
        """The last field of the path."""
        return self.path.replace("[]", "").rpartition(".")[2]


@dataclass(frozen=True)
class Alternative:
    """One alternative of an object, identified by the value of its discriminator `tag`."""

    objects: Sequence[FlatSchema]
    tag: str = ""
    value: str = ""


class Sampler:
    """Makes sample messages for one document.

    Args:
        reader: the reader of the document.
        known: discriminator values; alternatives with one of them come first.
    """

    def __init__(self, reader: SchemaReader, known: Collection[Json] = ()) -> None:
        self._reader = reader
        self._known = known
        self._above: list[frozenset[int]] = []

    def whole(self, schema: Json) -> Place:
        """Return the place of the message itself."""
        return Place("", self._reader.read(schema), lambda value: value)

    def items(self, place: Place, variant: Variant) -> Place:
        """Return the place of the items of a list."""
        items = variant.items or AllowedValues(anything=True)
        more = [self.smallest(items, place.name)] * (int(variant.limits.get("minItems", 1)) - 1)
        message_with = place.message_with
        return Place(f"{place.path}[]", items, lambda value: message_with([value, *more]))

    def alternatives(self, variant: Variant) -> list[Alternative]:
        """Return the alternatives of an object, or all as one if it has no discriminator."""
        found = self._reader.by_discriminator(variant.objects) if len(variant.objects) > 1 else None
        if found is None:
            return [Alternative(variant.objects)]
        tag, by_value = found
        values = sorted(by_value, key=lambda value: value not in self._known)
        return [Alternative(by_value[value], tag, value) for value in values]

    def fields(self, place: Place, one: Alternative) -> Iterator[Place]:
        """Yield the places of the fields, except the discriminator."""
        base = self.object(one)
        for name, (allowed, required) in self._reader.fields(one.objects).items():
            if name != one.tag:
                path = f"{place.path}.{name}".lstrip(".")
                message_with = _setting(place.message_with, base, name)
                yield Place(path, allowed, message_with, required, one.value)

    def is_closed(self, one: Alternative) -> bool:
        """Whether an object allows no additional properties."""
        return self._reader.additional(one.objects) is None

    def choice(self, one: Alternative) -> list[frozenset[str]]:
        """Return the sets of fields of which an object needs one; empty if there is no choice."""
        return self._reader.choice(one.objects)

    def object(self, one: Alternative) -> dict[str, Json]:
        """Make the smallest valid object."""
        chosen = next(iter(self.choice(one)), frozenset())
        required = {
            name: self.smallest(allowed, name)
            for name, (allowed, needed) in self._reader.fields(one.objects).items()
            if (needed or name in chosen) and name != one.tag
        }
        return {one.tag: one.value, **required} if one.tag else required

    def smallest(self, allowed: AllowedValues, name: str = "") -> Json:
        """Make the smallest valid value; end the recursion of a recursive schema."""
        if not allowed.variants:
            return _BY_NAME.get(name, "x") if allowed.anything else None
        variants = [*allowed.variants.values()]
        if allowed.source in self._above:
            if allowed.null:
                return None
            variants.sort(key=lambda variant: (variant.kind == "object", variant.kind == "list"))
            if variants[0].kind in ("list", "object"):
                return [] if variants[0].kind == "list" else {}
        self._above.append(allowed.source)
        try:
            return self.value(variants[0], name)
        finally:
            self._above.pop()

    def value(self, variant: Variant, name: str = "") -> Json:
        """Make a valid value of a variant."""
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
                items = self.smallest(variant.items or AllowedValues(anything=True), name)
                return [items] * max(1, int(variant.limits.get("minItems", 1)))
            case "object":
                return self.object(self.alternatives(variant)[0])

    def violating(self, variant: Variant, keyword: str, name: str = "") -> Json:
        """Make a value that violates only this limit; None if no such value is known."""
        limit = variant.limits[keyword]
        match keyword:
            case "minLength":
                return "x" * (limit - 1)
            case "maxLength" if limit < _MAX_SIZE:
                return "x" * (limit + 1)
            case "pattern":
                return next((t for t in (*_TEXTS, "", " ") if not _matches(limit, t)), None)
            case "minimum" | "maximum":
                number, exclusive = limit
                step = 1 if keyword == "maximum" else -1
                return number if exclusive else number + step
            case "minItems":
                return [self.smallest(variant.items or AllowedValues(), name)] * (limit - 1)
            case "maxItems" if limit < _MAX_SIZE:
                return [self.smallest(variant.items or AllowedValues(), name)] * (limit + 1)
            case "uniqueItems":
                return [self.smallest(variant.items or AllowedValues(), name)] * 2
            case "multipleOf" if not isinstance(limit, str):
                return limit / 2
        return None


def _setting(
    message_with: Callable[[Json], Json], base: dict[str, Json], name: str
) -> Callable[[Json], Json]:
    return lambda value: message_with({**base, name: value})


def _text(variant: Variant, name: str) -> str:
    given = [example for example in variant.examples if isinstance(example, str)]
    least, most = variant.limits.get("minLength", 0), variant.limits.get("maxLength", _MAX_SIZE)
    for text in (str(_BY_NAME.get(name, "x")), *given, *_TEXTS):
        fitting = text.ljust(least, "x")[:most] if "pattern" not in variant.limits else text
        if _matches(variant.limits.get("pattern", ""), fitting) and least <= len(fitting) <= most:
            return fitting
    return "x".ljust(least, "x")


def _number(variant: Variant, name: str) -> Json:
    """Prefer an integer, because tokens and counts are integers."""
    tried = [_BY_NAME.get(name), 1, *variant.examples]
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
    except re.error:  # a pattern that Python does not support
        return False
