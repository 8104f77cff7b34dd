"""Compares two schemas place by place."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tools.openapi import Json
from tools.schema.model import AllowedValues, SchemaReader, Variant
from tools.schema.normalize import (
    FlatSchema,
    format_choice,
    format_limit,
    hashable,
    is_condition,
    is_tighter,
)

Effect = Literal["breaks", "fine", "note", "format"]
Omitted = Literal["", "always", "sometimes"]
Group = Literal["service", "operations", "request", "response", "errors"]


@dataclass(frozen=True)
class Change:
    """One difference between two contracts.

    Attributes:
        group: the part of the contract: "request", "errors".
        place: the place in it: "usage.is_byok", "GET /embeddings/models", "status 413".
        kind: the kind of change: "new", "gone", "required", "optional", "type", "null", "value",
            "limit", "closed", "mixed", "default", or "other".
        text: the change in words.
        effect: "breaks" callers, is "fine", a "note", or "format": the old page format could not
            express it.
        detail: the value, the type, or the keyword and value of a limit.
        on: the side that has it, if only one has.
        omitted: whether the old page format omits such a thing.
    """

    group: Group
    place: str
    kind: str
    text: str
    effect: Effect
    detail: tuple[Json, ...] = ()
    on: Literal["old", "new", ""] = ""
    omitted: Omitted = ""

    @property
    def breaks(self) -> bool:
        """Whether it can break callers."""
        return self.effect == "breaks"


class Comparison:
    """Compares schemas of two documents.

    Requests may become wider, responses narrower, without breaking callers.
    """

    def __init__(
        self, group: Group, old: SchemaReader, new: SchemaReader, prefix: str = ""
    ) -> None:
        self.group: Group = group
        self._sent = group == "request"
        self._old = old
        self._new = new
        self._prefix = prefix
        self._above: set[tuple[frozenset[int], frozenset[int]]] = set()

    def compare(self, old: Json, new: Json) -> Iterator[Change]:
        """Yield every difference between two schemas."""
        return self._types(self._old.read(old), self._new.read(new), "")

    def _change(
        self,
        place: str,
        kind: str,
        words: str,
        *,
        effect: Effect,
        detail: tuple[Json, ...] = (),
        on: Literal["old", "new", ""] = "",
    ) -> Change:
        text = f"{self._prefix}{place or 'the root'} {words}"
        return Change(self.group, place, kind, text, effect, detail, on)

    def _wider(self, place: str, kind: str, words: str, *detail: Json) -> Change:
        """A change that allows more."""
        effect: Effect = "fine" if self._sent else "breaks"
        return self._change(place, kind, words, effect=effect, detail=detail, on="new")

    def _narrower(self, place: str, kind: str, words: str, *detail: Json) -> Change:
        """A change that allows less."""
        effect: Effect = "breaks" if self._sent else "fine"
        return self._change(place, kind, words, effect=effect, detail=detail, on="old")

    def _types(self, old: AllowedValues, new: AllowedValues, place: str) -> Iterator[Change]:
        here = (old.source, new.source)
        if here in self._above:  # a recursive schema
            return
        self._above.add(here)
        yield from self._variants(old, new, place)
        self._above.discard(here)

    def _variants(self, old: AllowedValues, new: AllowedValues, place: str) -> Iterator[Change]:
        if self._sent and old.defaults != new.defaults:
            now, was = (", ".join(sorted(allowed.defaults)) for allowed in (new, old))
            words = f"has the default {now} now" if now else f"no longer has the default {was}"
            on: Literal["old", "new"] = "new" if now else "old"
            yield self._change(place, "default", words, effect="breaks", on=on)
        if old.anything and new.anything:
            return
        if old.anything:
            text = f"must be {_either(new)} now; before, any value was allowed"
            change = self._narrower(place, "typed", text)
            yield replace(change, on="new", omitted="sometimes" if self._sent else "always")
            return
        if new.anything:
            change = self._wider(place, "typed", "allows any value now")
            yield replace(change, on="old", omitted="sometimes" if self._sent else "always")
            return
        if old.null != new.null:
            yield self._null(old, new, place)
        yield from self._kinds(old, new, place)
        yield from self._mixtures(old, new, place)
        found = {
            key: [*self._same_kind(old.variants[key], new.variants[key], place)]
            for key in old.variants
            if key in new.variants
        }
        lists = {key: _a(new.variants[key]) for key in found if new.variants[key].kind == "list"}
        yield from _merge_alternatives(
            found, lambda change: lists if change.place == place else {}, lists.get
        )

    def _null(self, old: AllowedValues, new: AllowedValues, place: str) -> Change:
        if new.null:
            change, lacking = self._wider(place, "null", "may be null now"), old
        else:
            change, lacking = self._narrower(place, "null", "may no longer be null"), new
        # the old page format lost null in components, objects and unions
        is_object = any(variant.kind == "object" for variant in lacking.variants.values())
        lost = self._sent and (lacking.named or is_object or len(lacking.variants) > 1)
        return replace(change, omitted="sometimes" if lost else "")

    def _kinds(self, old: AllowedValues, new: AllowedValues, place: str) -> Iterator[Change]:
        gone = [old.variants[key] for key in old.variants if key not in new.variants]
        added = [new.variants[key] for key in new.variants if key not in old.variants]
        numbers = [
            allowed.variants["number"] for allowed in (old, new) if "number" in allowed.variants
        ]
        if len(numbers) == 2 and numbers[0].words != numbers[1].words:
            (gone if numbers[0].words == "number" else added).append(
                numbers[0 if numbers[0].words == "number" else 1]
            )
        for variant in gone:
            change = self._narrower(place, "type", f"is no longer {_a(variant)}", variant.words)
            # callers may rely on lists and objects; and another type replaces this one
            if variant.kind in ("list", "object") or added:
                change = replace(change, effect="breaks")
            yield change
        for variant in added:
            yield self._wider(place, "type", f"may be {_a(variant)} now", variant.words)

    def _mixtures(self, old: AllowedValues, new: AllowedValues, place: str) -> Iterator[Change]:
        for side, other, words in ((old, new, "no longer"), (new, old, "now")):
            for mixture in sorted(side.mixed, key=sorted):
                known = {f"list of {kind}" for kind in mixture} <= other.variants.keys()
                if known and not any(mixture <= one for one in other.mixed):
                    kinds = " and ".join(sorted(mixture))
                    if side is old:
                        yield self._narrower(place, "mixed", f"may {words} mix {kinds}")
                    else:
                        yield self._wider(place, "mixed", f"may mix {kinds} {words}")

    def _same_kind(self, old: Variant, new: Variant, place: str) -> Iterator[Change]:
        yield from self._values(old, new, place)
        yield from self._limits(old, new, place)
        if old.items is not None and new.items is not None:
            yield from self._types(old.items, new.items, f"{place}[]")
        if old.objects and new.objects:
            yield from self._objects(old.objects, new.objects, place)

    def _values(self, old: Variant, new: Variant, place: str) -> Iterator[Change]:
        gone = [value for text, value in old.known.items() if text not in new.known]
        added = [value for text, value in new.known.items() if text not in old.known]
        if old.values is None and new.values is not None:
            words = f"must be one of {_listed(new.values.values(), 8)} now; before, any {new.words}"
            yield self._narrower(place, "value", words)
        elif old.values is not None and new.values is None:
            yield self._wider(place, "value", f"allows any {new.words} now")
        elif new.values is None:
            words = f"no longer lists {_listed(gone)}; any {new.words} is still allowed"
            if gone:
                yield self._change(place, "known", words, effect="note", detail=hashable(gone))
            if added:
                words = f"has the new {_value_list(added)}"
                effect: Effect = "fine" if self._sent else "note"
                yield self._change(
                    place, "known", words, effect=effect, detail=hashable(added), on="new"
                )
        else:
            if gone:
                words = f"no longer has the {_value_list(gone)}"
                yield self._narrower(place, "value", words, *hashable(gone))
            if added:
                words = f"has the new {_value_list(added)}"
                yield self._wider(place, "value", words, *hashable(added))

    def _limits(self, old: Variant, new: Variant, place: str) -> Iterator[Change]:
        for key in sorted(old.limits.keys() | new.limits.keys()):
            was, now = old.limits.get(key), new.limits.get(key)
            if was != now:
                change = self._limit(key, was, now, place)
                # only a person can tell what a condition allows
                yield replace(change, effect="breaks") if is_condition(key) else change

    def _limit(self, key: str, was: Json, now: Json, place: str) -> Change:
        if now is None:
            change = self._wider(
                place, "limit", f"no longer has {format_limit(key, was)}", key, was
            )
            return replace(change, on="old", omitted=_omitted(key))
        if was is None:
            change = self._narrower(place, "limit", f"has {format_limit(key, now)} now", key, now)
            return replace(change, on="new", omitted=_omitted(key))
        words = f"has {format_limit(key, now)} now, not {format_limit(key, was)}"
        narrower = is_tighter(key, now, was)
        if narrower is None:
            return self._change(place, "limit", words, effect="breaks", detail=(key, now))
        change = (self._narrower if narrower else self._wider)(place, "limit", words, key, now)
        return replace(change, on="")

    def _choice(self, old: list[FlatSchema], new: list[FlatSchema], place: str) -> Iterator[Change]:
        """Compare the sets of fields of which an object needs one."""
        was, now = format_choice(self._old.choice(old)), format_choice(self._new.choice(new))
        if was == now:
            return
        if now:
            change = self._narrower(place, "limit", f"needs {now} now", "required", now)
            # the fields that sufficed before may not suffice
            yield replace(change, on="new", effect="breaks" if was else change.effect)
        else:
            change = self._wider(place, "limit", f"no longer needs {was}", "required", was)
            yield replace(change, on="old")

    def _objects(
        self, old: list[FlatSchema], new: list[FlatSchema], place: str
    ) -> Iterator[Change]:
        was, now = self._old.by_discriminator(old), self._new.by_discriminator(new)
        several = len(old) > 1 or len(new) > 1
        if several and was and now and was[0] == now[0]:
            yield from self._tagged(was[0], was[1], now[1], place)
        else:
            yield from self._fields(old, new, place)

    def _tagged(
        self,
        tag: str,
        old: dict[str, list[FlatSchema]],
        new: dict[str, list[FlatSchema]],
        place: str,
    ) -> Iterator[Change]:
        name = place or "the root"
        for value in [value for value in old if value not in new]:
            words = f"{name} may no longer have the {tag} {value}"
            yield self._alternative(f"{place}.{value}", words, value, "gone")
        for value in [value for value in new if value not in old]:
            words = f"{name} may have the {tag} {value} now"
            yield self._alternative(f"{place}.{value}", words, value, "new")
        found = {
            value: [*self._fields(old[value], new[value], place, tag)]
            for value in old
            if value in new
        }

        def holders(change: Change) -> Collection[str]:
            """Return the alternatives that have the field; for a required field, all of them."""
            if change.kind in ("new", "gone", "required", "optional"):
                return found
            name = change.place.removeprefix(place).lstrip(".").split(".")[0].partition("[")[0]
            return [v for v in found if any(name in o.get("properties", ()) for o in new[v])]

        yield from _merge_alternatives(found, holders, lambda value: f"where {tag} is {value}")

    def _alternative(self, place: str, words: str, value: str, kind: str) -> Change:
        text = f"{self._prefix}{words}"
        effect: Effect = "fine" if self._sent and kind == "new" else "breaks"
        on: Literal["old", "new"] = "new" if kind == "new" else "old"
        return Change(self.group, place.lstrip("."), kind, text, effect, (value,), on)

    def _fields(
        self, old: list[FlatSchema], new: list[FlatSchema], place: str, tag: str = ""
    ) -> Iterator[Change]:
        was, now = self._old.fields(old), self._new.fields(new)
        for name in dict.fromkeys([*was, *now]):
            path = f"{place}.{name}".lstrip(".")
            if name not in was:
                required = now[name][1]
                words = f"is new{' and required' * required}"
                effect: Effect = "breaks" if self._sent and required else "fine"
                yield self._change(path, "new", words, effect=effect, on="new")
            elif name not in now:
                yield self._change(path, "gone", "is gone", effect="breaks", on="old")
            else:
                yield from self._field(was[name], now[name], path, is_tag=name == tag)
        yield from self._choice(old, new, place)
        yield from self._others(self._old.additional(old), self._new.additional(new), place)

    def _field(
        self,
        old: tuple[AllowedValues, bool],
        new: tuple[AllowedValues, bool],
        path: str,
        *,
        is_tag: bool,
    ) -> Iterator[Change]:
        if old[1] != new[1]:
            kind = "required" if new[1] else "optional"
            effect: Effect = "breaks" if self._sent == new[1] else "fine"
            yield self._change(path, kind, f"is {kind} now", effect=effect)
        if not is_tag:  # its values select the alternatives
            yield from self._types(old[0], new[0], path)

    def _others(
        self, old: AllowedValues | None, new: AllowedValues | None, place: str
    ) -> Iterator[Change]:
        """Compare the additional properties."""
        if old is None and new is not None:
            words = "allows other fields now"
            yield replace(self._wider(place, "closed", words), on="old", omitted="always")
        elif old is not None and new is None:
            words = "no longer allows other fields"
            yield replace(self._narrower(place, "closed", words), on="new", omitted="always")
        elif old is not None and new is not None:
            yield from self._types(old, new, f"{place}.*".lstrip("."))


def _merge_alternatives(
    found: dict[str, list[Change]],
    holders: Callable[[Change], Collection[str]],
    words: Callable[[str], str | None],
) -> Iterator[Change]:
    """Yield each change once, and name the alternatives if not all of them have it."""
    having: dict[Change, list[str]] = {}
    for key, changes in found.items():
        for change in changes:
            having.setdefault(change, []).append(key)
    for change, keys in having.items():
        where = ", ".join(filter(None, map(words, keys)))
        everywhere = not where or {*holders(change)} <= {*keys}
        yield change if everywhere else replace(change, text=f"{change.text} ({where})")


def _omitted(limit: str) -> Omitted:
    return "always" if limit in ("minimum", "maximum") else ""


def _a(variant: Variant) -> str:
    return f"a {variant.words}" if variant.kind == "list" else variant.words


def _either(allowed: AllowedValues) -> str:
    kinds = [*map(_a, allowed.variants.values()), *(["null"] if allowed.null else [])]
    return " or ".join(kinds) or "nothing"


def _value_list(values: list[Json]) -> str:
    return f"value{'s' * (len(values) > 1)} {_listed(values)}"


def _listed(values: Iterable[Json], most: int = 1000) -> str:
    words = sorted(str(value) for value in values)
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return f"{', '.join(words[:most])}{more}"
