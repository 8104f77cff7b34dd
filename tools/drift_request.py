"""What the contract says of requests, held against what the wrapper sends."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from tools.findings import WRAPPER, Finding, values_at
from tools.meaning import Form, Shape
from tools.plain import either_of, frozen, spelled, text_of
from tools.probes import Sent, Wrapper, calls
from tools.samples import Alternative, Place, Sampler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.documents import Json
    from tools.meaning import Reader

_OPTIONS = f"{WRAPPER}/core/options.py"
_INPUTS = f"{WRAPPER}/core/validate.py"
_PARTS = f"{WRAPPER}/inputs.py"
_STRANGER = "a_field_that_nobody_knows"
_ANYTHING: tuple[Json, ...] = ("1", 1, True, {}, ["x"])


class RequestDrift:
    """Probes the wrapper with messages that a contract allows, and some that it refuses."""

    def __init__(self, reader: Reader, schema: Json, wrapper: Wrapper) -> None:
        self._wrapper = wrapper
        self._sent = [
            body for inputs, options in calls() for body in wrapper.embeds(inputs, options).bodies
        ]
        self._sampler = Sampler(reader, {*_texts(self._sent)})
        self._whole = self._sampler.whole(schema)
        self._strays = [
            stray for body in self._sent for stray in self._strays_in(self._whole.shape, body, "")
        ]
        self._left_out = {stray.path for stray in self._strays if stray.kind == "required"}
        self._strangers: set[str] = set()
        self._above: list[frozenset[int]] = []

    def findings(self) -> Iterator[Finding]:
        """Everything that the contract says of requests, then what it does not say."""
        form = self._whole.shape.forms.get("object")
        if form is None:
            sentence = "the contract takes no JSON object any more"
            yield Finding("request body", "request", "", sentence, _OPTIONS, is_offered=False)
            return
        found = [*self._limits(self._whole, form), *self._object(self._whole, form)]
        yield from found
        missing = [finding for finding in found if not finding.is_offered]
        lost = {finding.place for finding in missing if finding.key.startswith("request field ")}
        yield from self._only_sent(lost)

    def _sends(self, message: Json) -> Sent:
        """What goes out for a message, without required fields that have no option at all."""
        kept = {name: value for name, value in message.items() if name not in self._strangers}
        most = len(kept["input"]) if isinstance(kept.get("input"), list) else 1
        return self._wrapper.sends(kept, **({"batch_size": most} if most > 1 else {}))

    def _object(self, place: Place, form: Form) -> Iterator[Finding]:
        for one in self._sampler.alternatives(form):
            if one.tag:
                part = self._part(place, one)
                yield part
                if not part.is_offered:
                    continue
            fields = [*self._sampler.fields(place, one)]
            if place is self._whole:
                self._strangers = {f.path for f in fields if self._is_stranger(f)}
            for field in fields:
                yield from self._field(field)
                if field.required:
                    yield self._required(field)
            if choice := self._sampler.choice(one):
                yield self._choice(place, one, choice)
            if self._sampler.is_closed(one):
                yield self._closed(place, one)

    def _is_stranger(self, field: Place) -> bool:
        values = self._samples(field)
        messages = ({"input": "x", field.name: value} for _, value in values)
        return field.name != "input" and all(self._wrapper.sends(m).refusal for m in messages)

    def _samples(self, place: Place) -> list[tuple[Form | None, Json]]:
        if place.shape.anything:
            return [(None, value) for value in _ANYTHING]
        return [(form, self._sampler.of(form, place.name)) for form in place.shape.forms.values()]

    def _field(self, place: Place) -> Iterator[Finding]:
        if place.path in self._strangers:
            yield self._finding("field", place, "no option sends it", file=_OPTIONS)
            return
        tried = [(form, self._sends(place.into(value))) for form, value in self._samples(place)]
        taken = [form for form, sent in tried if self._has(sent, place.path)]
        if not taken:
            refused = next((sent for _, sent in tried if sent.refusal), Sent())
            yield self._finding("field", place, _why_not(refused), file=refused.refused_in)
            return
        yield self._finding("field", place, "callers can set it", is_offered=True)
        for form, sent in tried:
            if form is not None and form not in taken:
                words = f"as {form.words}: {_why_not(sent)}"
                yield self._finding(
                    "form",
                    place,
                    words,
                    named=form.words,
                    file=sent.refused_in,
                    detail=(form.words,),
                )
        if not place.shape.anything:
            yield from self._typed(place)
        if place.shape.source not in self._above:  # else it contains itself
            self._above.append(place.shape.source)
            yield from self._within(place, [form for form in taken if form is not None])
            self._above.pop()

    def _typed(self, place: Place) -> Iterator[Finding]:
        """Whether texts and numbers of a caller go out there in a form that the contract has."""
        sent = [self._sends(place.into(value)) for value in ("1", 1, 1.5, True)]
        values = [v for one in sent for body in one.bodies for v in values_at(body, place.path)]
        if values and not any(True for v in values for _ in self._strays_in(place.shape, v, "")):
            words = "texts and numbers go out in a form that is allowed, or are refused"
            yield self._finding("typed", place, words, is_offered=True)

    def _within(self, place: Place, forms: list[Form]) -> Iterator[Finding]:
        """What the contract says of a place that callers can reach."""
        if place.shape.null and not place.shape.anything:
            sent = self._sends(place.into(None))
            has_null = any(None in values_at(body, place.path) for body in sent.bodies)
            words = "null is sent as such" if has_null else "null is never sent: None leaves it out"
            yield self._finding("null", place, words, is_offered=has_null)
        for form in forms:
            for value in (form.values or {}).values():
                yield self._value(place, value)
            yield from self._limits(place, form)
            if form.items is not None:
                inner = self._sampler.items(place, form)
                yield from self._within(inner, [*inner.shape.forms.values()])
            if form.kind == "object":
                yield from self._object(place, form)

    def _part(self, place: Place, one: Alternative) -> Finding:
        """An alternative that a tag tells: a kind of part, for which there should be a class."""
        made = {tag for body in self._sent for tag in values_at(body, f"{place.path}.{one.tag}")}
        sent = self._sends(place.into(self._sampler.object(one)))
        words = "an input makes it"
        if one.value not in made:
            words = "no input makes it; it is taken in the API's own form alone"
            words = f"no input makes it; {_why_not(sent)}" if sent.refusal else words
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
        sent = self._sends(place.into(value))
        is_sent = any(value in values_at(body, place.path) for body in sent.bodies)
        words = "callers can say it" if is_sent else _why_not(sent)
        name = value if isinstance(value, str) else text_of(value)
        return self._finding(
            "value",
            place,
            words,
            named=name,
            file=sent.refused_in,
            is_offered=is_sent,
            detail=frozen([value]),
        )

    def _limits(self, place: Place, form: Form) -> Iterator[Finding]:
        for keyword, limit in form.limits.items():
            yield self._limit(place, form, keyword, limit)

    def _choice(self, place: Place, one: Alternative, choice: list[frozenset[str]]) -> Finding:
        """An object has none of the fields of which it needs one."""
        chosen = frozenset[str]().union(*choice)
        least = {k: v for k, v in self._sampler.object(one).items() if k not in chosen}
        sent = self._sends(place.into(least))
        objects = [value for body in sent.bodies for value in values_at(body, place.path)]
        is_kept = all(any(names <= {*value} for names in choice) for value in objects)
        words = "kept" if is_kept else "the wrapper sends objects without any of them"
        detail = ("required", either_of(choice))
        return self._finding(
            "limit", place, words, named=" ".join(detail), is_offered=is_kept, detail=detail
        )

    def _limit(self, place: Place, form: Form, keyword: str, limit: Json) -> Finding:
        named, detail = spelled(keyword, limit), (keyword, limit)
        value = self._sampler.breaking(form, keyword, place.name)
        if value is None:
            words = "nothing was found to try it with; see by hand whether the wrapper keeps it"
            return self._finding("limit", place, words, named=named, detail=detail)
        sent = self._sends(place.into(value))
        is_kept = not any(value in values_at(body, place.path) for body in sent.bodies)
        words = "kept" if is_kept else "the wrapper sends what breaks it"
        return self._finding("limit", place, words, named=named, is_offered=is_kept, detail=detail)

    def _closed(self, place: Place, one: Alternative) -> Finding:
        message = place.into({**self._sampler.object(one), _STRANGER: "x"})
        sent = self._sends(message)
        path = f"{place.path}.{_STRANGER}".lstrip(".")
        is_kept = not self._has(sent, path)
        words = "unknown fields are refused" if is_kept else "the wrapper sends unknown fields"
        return self._finding(
            "limit", place, words, named="no other fields", is_offered=is_kept, detail=("closed",)
        )

    def _required(self, field: Place) -> Finding:
        is_kept = field.path not in self._left_out
        words = "always sent" if is_kept else "the wrapper leaves it out unless a caller gives it"
        return self._finding("required", field, words, is_offered=is_kept)

    def _only_sent(self, lost: set[str]) -> Iterator[Finding]:
        """What the wrapper sends and the contract does not have."""
        for stray in self._strays:
            if stray.kind == "required" or stray.path in lost:
                continue  # said already
            key = f"sent {stray.kind} {stray.path} {stray.named}".rstrip()
            if stray.kind == "part":
                key = f"sent part {stray.named}"
            file = _INPUTS if stray.path.startswith("input") else _OPTIONS
            words = "the wrapper sends it, and the contract does not have it"
            yield Finding(key, "request", stray.place, words, file, is_offered=False)

    def _strays_in(self, shape: Shape, value: Json, path: str) -> Iterator[_Stray]:
        """What of a value the contract does not name, though it may let it pass."""
        if shape.anything or (value is None and shape.null):
            return
        form = next((form for key, form in shape.forms.items() if key == _key_of(value)), None)
        if isinstance(value, list) and not value:
            return
        if form is None:
            yield _Stray("form", path, _key_of(value))
        elif isinstance(value, list):
            for item in value:
                yield from self._strays_in(form.items or Shape(anything=True), item, f"{path}[]")
        elif isinstance(value, dict):
            yield from self._stray_fields(form, value, path)
        elif form.values is not None and text_of(value) not in form.values:
            yield _Stray("value", path, str(value))

    def _stray_fields(self, form: Form, value: dict[str, Json], path: str) -> Iterator[_Stray]:
        alternatives = self._sampler.alternatives(form)
        tag = alternatives[0].tag
        if tag:
            alternatives = [one for one in alternatives if one.value == value.get(tag)]
            if not alternatives:
                yield _Stray("part", path, str(value.get(tag)))
                return
        fields = {place.name: place for place in self._sampler.fields(_HERE, alternatives[0])}
        for name in {**value, **fields}:
            below = f"{path}.{name}".lstrip(".")
            if name not in value:
                yield from [_Stray("required", below)] * fields[name].required
            elif name in fields:
                yield from self._strays_in(fields[name].shape, value[name], below)
            elif fields and name != tag:
                yield _Stray("field", below)

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
        path = place.path or "the whole"
        key = f"request {kind} {path} {named}".rstrip()
        file = file or (_INPUTS if path.startswith("input") else _OPTIONS)
        return Finding(key, "request", place.path, sentence, file, is_offered, detail)


@dataclass(frozen=True)
class _Stray:
    kind: str
    path: str
    named: str = ""

    @property
    def place(self) -> str:
        """As in a `Change`."""
        return f"{self.path}.{self.named}" if self.kind == "part" else self.path


_HERE = Place("", Shape(), lambda value: value)


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _why_not(sent: Sent) -> str:
    if not sent.refusal:
        return "the wrapper drops it"
    return f"the wrapper refuses it: {shorten(sent.refusal, 120, placeholder=' …')}"


def _key_of(value: Json) -> str:
    """The key of the form that a value has."""
    if isinstance(value, list):
        return f"list of {_key_of(value[0]) if value else 'anything'}"
    if isinstance(value, dict):
        return "object"
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "null" if value is None else "number"
