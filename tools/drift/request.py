"""Compares the requests of the contract with the requests of the wrapper."""

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from tools.drift.finding import WRAPPER, Finding, values_at
from tools.drift.recording_client import RecordingClient, Sent, calls
from tools.openapi import Json
from tools.schema.model import AllowedValues, SchemaReader, Variant
from tools.schema.normalize import format_choice, format_limit, hashable, json_text
from tools.schema.samples import Alternative, Place, Sampler

_OPTIONS = f"{WRAPPER}/core/options.py"
_INPUTS = f"{WRAPPER}/core/validate.py"
_PARTS = f"{WRAPPER}/inputs.py"
_UNKNOWN_FIELD = "a_field_that_nobody_knows"
_ANYTHING: tuple[Json, ...] = ("1", 1, True, {}, ["x"])


@dataclass(frozen=True)
class _Extra:
    kind: str
    path: str
    named: str = ""

    @property
    def place(self) -> str:
        """The place, as in a `Change`."""
        return f"{self.path}.{self.named}" if self.kind == "part" else self.path


class RequestDrift:
    """Calls the wrapper with requests that the contract allows, and with some that it rejects."""

    def __init__(self, reader: SchemaReader, schema: Json, wrapper: RecordingClient) -> None:
        self._wrapper = wrapper
        self._sent = [
            body for inputs, options in calls() for body in wrapper.embed(inputs, options).bodies
        ]
        self._sampler = Sampler(reader, {*_texts(self._sent)})
        self._body = self._sampler.whole(schema)
        self._extras = [
            extra for body in self._sent for extra in self._extras_in(self._body.allowed, body, "")
        ]
        self._omitted = {extra.path for extra in self._extras if extra.kind == "required"}
        self._unsupported: set[str] = set()
        self._above: list[frozenset[int]] = []

    def findings(self) -> Iterator[Finding]:
        """Yield what the contract has, then what only the wrapper sends."""
        variant = self._body.allowed.variants.get("object")
        if variant is None:
            sentence = "the contract no longer accepts a JSON object"
            yield Finding("request body", "request", "", sentence, _OPTIONS, is_offered=False)
            return
        limits = [self._limit(self._body, variant, *limit) for limit in variant.limits.items()]
        found = [*limits, *self._object(self._body, variant)]
        yield from found
        missing = [finding for finding in found if not finding.is_offered]
        lost = {finding.place for finding in missing if finding.key.startswith("request field ")}
        yield from self._only_sent(lost)

    def _sends(self, message: Json) -> Sent:
        """Send a message without the required fields that no option supports."""
        kept = {name: value for name, value in message.items() if name not in self._unsupported}
        most = len(kept["input"]) if isinstance(kept.get("input"), list) else 1
        return self._wrapper.send(kept, **({"batch_size": most} if most > 1 else {}))

    def _object(self, place: Place, variant: Variant) -> Iterator[Finding]:
        for one in self._sampler.alternatives(variant):
            if one.tag:
                part = self._part(place, one)
                yield part
                if not part.is_offered:
                    continue
            fields = [*self._sampler.fields(place, one)]
            if place is self._body:
                self._unsupported = {f.path for f in fields if self._is_unsupported(f)}
            for field in fields:
                yield from self._field(field)
                if field.required:
                    yield self._required(field)
            if choice := self._sampler.choice(one):
                yield self._choice(place, one, choice)
            if self._sampler.is_closed(one):
                yield self._closed(place, one)

    def _is_unsupported(self, field: Place) -> bool:
        values = self._samples(field)
        messages = ({"input": "x", field.name: value} for _, value in values)
        return field.name != "input" and all(self._wrapper.send(m).refusal for m in messages)

    def _samples(self, place: Place) -> list[tuple[Variant | None, Json]]:
        if place.allowed.anything:
            return [(None, value) for value in _ANYTHING]
        variants = place.allowed.variants.values()
        return [(variant, self._sampler.value(variant, place.name)) for variant in variants]

    def _field(self, place: Place) -> Iterator[Finding]:
        if place.path in self._unsupported:
            yield self._finding("field", place, "no option sends it", file=_OPTIONS)
            return
        samples = self._samples(place)
        tried = [(variant, self._sends(place.message_with(value))) for variant, value in samples]
        taken = [variant for variant, sent in tried if self._has(sent, place.path)]
        if not taken:
            refused = next((sent for _, sent in tried if sent.refusal), Sent())
            yield self._finding("field", place, _why_not(refused), file=refused.refused_in)
            return
        yield self._finding("field", place, "callers can set it", is_offered=True)
        for variant, sent in tried:
            if variant is not None and variant not in taken:
                kind, file = variant.words, sent.refused_in
                words = f"as {kind}: {_why_not(sent)}"
                yield self._finding("type", place, words, named=kind, file=file, detail=(kind,))
        if not place.allowed.anything:
            yield from self._typed(place)
        if place.allowed.source not in self._above:  # not a recursive schema
            self._above.append(place.allowed.source)
            yield from self._within(place, [variant for variant in taken if variant is not None])
            self._above.pop()

    def _typed(self, place: Place) -> Iterator[Finding]:
        """Whether strings and numbers are sent in a type that the contract allows."""
        sent = [self._sends(place.message_with(value)) for value in ("1", 1, 1.5, True)]
        values = [v for one in sent for body in one.bodies for v in values_at(body, place.path)]
        if values and not any(True for v in values for _ in self._extras_in(place.allowed, v, "")):
            words = "strings and numbers are sent as an allowed type, or rejected"
            yield self._finding("typed", place, words, is_offered=True)

    def _within(self, place: Place, variants: list[Variant]) -> Iterator[Finding]:
        """Check the null, values, limits and fields of a place that callers can set."""
        if place.allowed.null and not place.allowed.anything:
            sent = self._sends(place.message_with(None))
            has_null = any(None in values_at(body, place.path) for body in sent.bodies)
            words = "null is sent" if has_null else "null is never sent: None leaves it out"
            yield self._finding("null", place, words, is_offered=has_null)
        for variant in variants:
            for value in (variant.values or {}).values():
                yield self._value(place, value)
            for keyword, limit in variant.limits.items():
                yield self._limit(place, variant, keyword, limit)
            if variant.items is not None:
                inner = self._sampler.items(place, variant)
                yield from self._within(inner, [*inner.allowed.variants.values()])
            if variant.kind == "object":
                yield from self._object(place, variant)

    def _part(self, place: Place, one: Alternative) -> Finding:
        """Check a tagged alternative, such as a content part, for which there should be a class."""
        made = {tag for body in self._sent for tag in values_at(body, f"{place.path}.{one.tag}")}
        sent = self._sends(place.message_with(self._sampler.object(one)))
        words = "an input class creates it"
        if one.value not in made:
            words = "no input class creates it; only a dict in the API's form works"
            words = f"no input class creates it; {_why_not(sent)}" if sent.refusal else words
        is_content = place.path.endswith("content[]")
        return Finding(
            f"content part {one.value}" if is_content else f"request alternative {one.value}",
            "request",
            f"{place.path}.{one.value}",
            words,
            _PARTS,
            one.value in made,
            (one.value,),
        )

    def _value(self, place: Place, value: Json) -> Finding:
        sent = self._sends(place.message_with(value))
        is_sent = any(value in values_at(body, place.path) for body in sent.bodies)
        words = "callers can set it" if is_sent else _why_not(sent)
        name = value if isinstance(value, str) else json_text(value)
        file, detail = sent.refused_in, hashable([value])
        return self._finding(
            "value", place, words, named=name, file=file, is_offered=is_sent, detail=detail
        )

    def _choice(self, place: Place, one: Alternative, choice: list[frozenset[str]]) -> Finding:
        """Try an object without any of the fields of which it needs one."""
        chosen = frozenset[str]().union(*choice)
        least = {k: v for k, v in self._sampler.object(one).items() if k not in chosen}
        sent = self._sends(place.message_with(least))
        objects = [value for body in sent.bodies for value in values_at(body, place.path)]
        respected = all(any(names <= {*value} for names in choice) for value in objects)
        detail = ("required", format_choice(choice))
        words = "sends objects without any of them"
        return self._limit_finding(place, " ".join(detail), words, detail, respected=respected)

    def _limit(self, place: Place, variant: Variant, keyword: str, limit: Json) -> Finding:
        named, detail = format_limit(keyword, limit), (keyword, limit)
        value = self._sampler.violating(variant, keyword, place.name)
        if value is None:
            words = "no test value was found; check by hand whether the wrapper respects it"
            return self._finding("limit", place, words, named=named, detail=detail)
        sent = self._sends(place.message_with(value))
        respected = not any(value in values_at(body, place.path) for body in sent.bodies)
        return self._limit_finding(
            place, named, "sends values that violate it", detail, respected=respected
        )

    def _closed(self, place: Place, one: Alternative) -> Finding:
        message = place.message_with({**self._sampler.object(one), _UNKNOWN_FIELD: "x"})
        sent = self._sends(message)
        path = f"{place.path}.{_UNKNOWN_FIELD}".lstrip(".")
        respected = not self._has(sent, path)
        named, words = "no other fields", "sends unknown fields"
        return self._limit_finding(place, named, words, ("closed",), respected=respected)

    def _limit_finding(
        self,
        place: Place,
        named: str,
        violation: str,
        detail: tuple[Any, ...],
        *,
        respected: bool,
    ) -> Finding:
        words = f"the wrapper {'respects it' if respected else violation}"
        return self._finding(
            "limit", place, words, named=named, is_offered=respected, detail=detail
        )

    def _required(self, field: Place) -> Finding:
        respected = field.path not in self._omitted
        words = "always sent" if respected else "the wrapper sends it only if the caller sets it"
        return self._finding("required", field, words, is_offered=respected)

    def _only_sent(self, lost: set[str]) -> Iterator[Finding]:
        """Yield what the wrapper sends and the contract does not have."""
        for extra in self._extras:
            if extra.kind == "required" or extra.path in lost:
                continue  # reported already
            key = f"sent {extra.kind} {extra.path} {extra.named}".rstrip()
            if extra.kind == "part":
                key = f"sent part {extra.named}"
            file = _INPUTS if extra.path.startswith("input") else _OPTIONS
            words = "the wrapper sends it, but the contract does not have it"
            yield Finding(key, "request", extra.place, words, file, is_offered=False)

    def _extras_in(self, allowed: AllowedValues, value: Json, path: str) -> Iterator[_Extra]:
        """Yield the parts of a value that the contract does not name, even if it allows them."""
        if allowed.anything or (value is None and allowed.null):
            return
        variant = next(
            (variant for key, variant in allowed.variants.items() if key == _key_of(value)), None
        )
        if isinstance(value, list) and not value:
            return
        if variant is None:
            yield _Extra("type", path, _key_of(value))
        elif isinstance(value, list):
            for item in value:
                yield from self._extras_in(
                    variant.items or AllowedValues(anything=True), item, f"{path}[]"
                )
        elif isinstance(value, dict):
            yield from self._extra_fields(variant, value, path)
        elif variant.values is not None and json_text(value) not in variant.values:
            yield _Extra("value", path, str(value))

    def _extra_fields(
        self, variant: Variant, value: dict[str, Json], path: str
    ) -> Iterator[_Extra]:
        alternatives = self._sampler.alternatives(variant)
        tag = alternatives[0].tag
        if tag:
            alternatives = [one for one in alternatives if one.value == value.get(tag)]
            if not alternatives:
                yield _Extra("part", path, str(value.get(tag)))
                return
        fields = {place.name: place for place in self._sampler.fields(_HERE, alternatives[0])}
        for name in {**value, **fields}:
            below = f"{path}.{name}".lstrip(".")
            if name not in value:
                yield from [_Extra("required", below)] * fields[name].required
            elif name in fields:
                yield from self._extras_in(fields[name].allowed, value[name], below)
            elif fields and name != tag:
                yield _Extra("field", below)

    def _has(self, sent: Sent, path: str) -> bool:
        return any(True for body in sent.bodies for _ in values_at(body, path))

    def _finding(
        self,
        kind: str,
        place: Place,
        sentence: str,
        *,
        named: str = "",
        file: str = "",
        is_offered: bool = False,
        detail: tuple[Any, ...] = (),
    ) -> Finding:
        path = place.path or "the root"
        key = f"request {kind} {path} {named}".rstrip()
        file = file or (_INPUTS if path.startswith("input") else _OPTIONS)
        return Finding(key, "request", place.path, sentence, file, is_offered, detail)


_HERE = Place("", AllowedValues(), lambda value: value)


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _why_not(sent: Sent) -> str:
    if not sent.refusal:
        return "the wrapper drops it"
    return f"the wrapper rejects it: {shorten(sent.refusal, 120, placeholder=' …')}"


def _key_of(value: Json) -> str:
    """Return the key of the variant of a value."""
    if isinstance(value, list):
        return f"list of {_key_of(value[0]) if value else 'anything'}"
    if isinstance(value, dict):
        return "object"
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "null" if value is None else "number"
