"""What changed between two contracts, for the person who takes a new edition."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tools.documents import Json, operations, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NEXT = {
    "service": "the address is in transport/_httpx.py; a key is sent as a bearer token",
    "operations": "a new one needs a method of its own, or a line in tests/contract/gaps.toml",
    "request": "a new field needs an option in core/options.py, or a line in gaps.toml",
    "response": "core/decode.py reads it, and takes a missing or null field but for the vectors; "
    "what is new stays readable in `served[…].body`",
    "errors": "a new status needs its exception, if it has none: errors.py, core/policy.py and "
    "EXCEPTIONS in tests/contract/test_client.py",
}
_BROKEN = "make typecheck test says what of ours relies on it; CHANGELOG.md tells who else does"


@dataclass(frozen=True)
class Change:
    """One difference: in which group, in words, and whether it can break a caller."""

    group: str
    text: str
    breaks: bool


def _fine(group: str, text: str) -> Change:
    return Change(group, text, breaks=False)


def _breaks(group: str, text: str) -> Change:
    return Change(group, text, breaks=True)


@dataclass
class Field:
    """What the contract says of one place in a message."""

    required: bool
    kinds: set[str] = field(default_factory=set)
    values: set[str] = field(default_factory=set)
    limits: set[str] = field(default_factory=set)


# What narrows a value without changing its type; `default` changes what leaving it out means.
_LIMITS = frozenset(
    {
        *("const", "default", "exclusiveMaximum", "exclusiveMinimum", "maxItems", "maxLength"),
        *("maximum", "minItems", "minLength", "minimum", "multipleOf", "pattern", "uniqueItems"),
    }
)


def compare(old: dict[str, Json], new: dict[str, Json]) -> list[Change]:
    """Every difference that a program can meet; texts and examples are left out."""
    before, after = operations_by_name(old), operations_by_name(new)
    found = _compare_service(old, new)
    found += [_fine("operations", f"{name} is new") for name in after.keys() - before.keys()]
    found += [_breaks("operations", f"{name} is gone") for name in before.keys() - after.keys()]
    for name in sorted(before.keys() & after.keys()):
        found += _compare_operation((old, before[name]), (new, after[name]))
    order = list(NEXT)
    return sorted(found, key=lambda c: (order.index(c.group), not c.breaks, c.text))


def account(changes: Iterable[Change]) -> str:
    """The changes by group, with what can break a caller marked, and what to do about them."""
    changes = list(changes)
    if not changes:
        return "no difference that a program could meet"
    broken = any(change.breaks for change in changes)
    lines: list[str] = []
    for group, advice in NEXT.items():
        if mine := [change for change in changes if change.group == group]:
            lines += [f"{group}:"]
            lines += [f"  {'BREAKS' if c.breaks else 'ok    '}  {c.text}" for c in mine]
            lines += [f"          → {advice}"]
    if broken:
        lines += [f"BREAKS → {_BROKEN}"]
    return "\n".join(lines)


def operations_by_name(document: dict[str, Json]) -> dict[str, Json]:
    """Every operation as `POST /embeddings`, with the parameters that its path has for all."""
    found: dict[str, Json] = {}
    for path, operation in operations(document):
        shared = document["paths"][path[1]].get("parameters", [])
        parameters = [*shared, *operation.get("parameters", [])]
        found[f"{path[2].upper()} {path[1]}"] = {**operation, "parameters": parameters}
    return found


def _compare_service(old: dict[str, Json], new: dict[str, Json]) -> list[Change]:
    addresses = [[s.get("url") for s in side.get("servers", [])] for side in (old, new)]
    schemes = [side.get("components", {}).get("securitySchemes", {}) for side in (old, new)]
    kinds = [sorted(f"{s.get('type')} {s.get('scheme', '')}" for s in x.values()) for x in schemes]
    found = []
    if addresses[0] != addresses[1]:
        found.append(_breaks("service", f"its address is {_spell(addresses[1]) or 'unsaid'} now"))
    if kinds[0] != kinds[1]:
        found.append(
            _breaks("service", f"a key is sent as {_spell(kinds[1]) or 'nobody says'} now")
        )
    return found


Side = tuple[dict[str, Json], Json]  # a document, and an operation or schema in it


def _compare_operation(old: Side, new: Side) -> Iterator[Change]:
    names = [side[1].get("operationId", "") for side in (old, new)]
    if names[0] != names[1]:
        yield _breaks("operations", f"{names[0]} is called {names[1]} now")
    yield from _compare_parameters(*(side[1].get("parameters", []) for side in (old, new)))
    yield from _compare_media(
        "request", "", *(side[1].get("requestBody", {}) for side in (old, new))
    )
    yield from _compare_messages("request", "", _request(old), _request(new))
    was, now = (side[1].get("responses", {}) for side in (old, new))
    for status in sorted(now.keys() ^ was.keys()):
        text = f"status {status} is {'new' if status in now else 'gone'}"
        success = status.startswith("2")
        yield Change("response" if success else "errors", text, breaks=success)
    for status in sorted(was.keys() & now.keys()):
        group = "response" if status.startswith("2") else "errors"
        place = "" if status == "200" else f"{status}: "
        yield from _compare_media(group, place, was[status], now[status])
        sides = [fields_of(d, json_schema(o[status])) for (d, _), o in ((old, was), (new, now))]
        yield from _compare_messages(group, place, *sides)


def _compare_media(group: str, place: str, old: Json, new: Json) -> Iterator[Change]:
    was, now = (set(side.get("content", {})) for side in (old, new))
    for media_type in sorted(now - was):
        yield Change(group, f"{place}may be {media_type} now", breaks=group != "request")
    for media_type in sorted(was - now):
        yield _breaks(group, f"{place}is no longer {media_type}")


def _compare_parameters(old: list[Json], new: list[Json]) -> Iterator[Change]:
    was, now = ({f"{p.get('in')} {p.get('name')}": p for p in side} for side in (old, new))
    for name in sorted(now.keys() - was.keys()):
        required = bool(now[name].get("required"))
        yield Change("request", f"{name} is new{' and required' * required}", required)
    for name in sorted(was.keys() - now.keys()):
        yield _breaks("request", f"{name} is gone")


def _request(side: Side) -> dict[str, Field]:
    document, operation = side
    return fields_of(document, json_schema(operation.get("requestBody", {})))


def json_schema(message: Json) -> Json:
    """The schema of a request's or response's JSON; one that takes anything where there is none."""
    return message.get("content", {}).get("application/json", {}).get("schema", {})


def fields_of(document: dict[str, Json], schema: Json) -> dict[str, Field]:
    """Every place in a message by its path: `provider.sort`, `data[].index`."""
    collector = _Collector(document)
    collector.collect(schema, "", (), required=True)
    return collector.found


class _Collector:
    def __init__(self, document: dict[str, Json]) -> None:
        self._document = document
        self.found: dict[str, Field] = {}

    def collect(
        self,
        schema: Json,
        path: str,
        above: tuple[str, ...],
        *,
        required: bool,
        one_of_many: bool = False,
    ) -> None:
        """Note a schema at `path` and all in it; `above` are the references that led here.

        What one of many alternatives requires is not required of the whole.
        """
        while isinstance(schema, dict) and isinstance(reference := schema.get("$ref"), str):
            if reference in above:  # a schema that contains itself
                return
            above = (*above, reference)
            schema = resolve(self._document, reference)
        if not isinstance(schema, dict):
            schema = {}
        if alternatives := [*schema.get("anyOf", []), *schema.get("allOf", [])]:
            several = sum("properties" in self._resolved(a) for a in alternatives) > 1
            for alternative in alternatives:
                self.collect(alternative, path, above, required=required, one_of_many=several)
            if not schema.keys() & {"type", "properties", "items"}:
                return
        self._note(schema, path, required=required)
        for name, inner in schema.get("properties", {}).items():
            needed = name in schema.get("required", []) and not one_of_many
            self.collect(inner, f"{path}.{name}".lstrip("."), above, required=needed)
        if "items" in schema:
            self.collect(schema["items"], f"{path}[]", above, required=True)

    def _resolved(self, schema: Json) -> Json:
        return resolve(self._document, schema["$ref"]) if "$ref" in schema else schema

    def _note(self, schema: Json, path: str, *, required: bool) -> None:
        here = self.found.setdefault(path, Field(required))
        kind = schema.get("type", "anything")
        here.kinds |= set(kind) if isinstance(kind, list) else {kind}
        if "number" in here.kinds:  # which integers are, too
            here.kinds.add("integer")
        here.values |= {str(value) for value in schema.get("enum", [])}
        here.limits |= {f"{key} {schema[key]}" for key in _LIMITS & schema.keys()}
        if schema.get("additionalProperties") is False:
            here.limits.add("no room for other fields")


def _compare_messages(
    group: str, place: str, old: dict[str, Field], new: dict[str, Field]
) -> Iterator[Change]:
    sent = group == "request"
    for path in sorted(new.keys() - old.keys()):
        if path.rpartition(".")[0] in new.keys() - old.keys():
            continue  # said with the field that holds it
        must = " and required" if new[path].required else ""
        yield Change(group, f"{place}{path} is new{must}", sent and new[path].required)
    for path in sorted(old.keys() - new.keys()):
        if path.rpartition(".")[0] not in old.keys() - new.keys():
            yield _breaks(group, f"{place}{path} is gone")
    for path in sorted(old.keys() & new.keys()):
        yield from _compare_field(group, f"{place}{path or 'the whole'}", old[path], new[path])


def _compare_field(group: str, name: str, old: Field, new: Field) -> Iterator[Change]:
    sent = group == "request"
    if old.required != new.required:
        what = "required" if new.required else "optional"
        yield Change(group, f"{name} is {what} now", sent == new.required)
    if gone := old.kinds - new.kinds:
        yield Change(
            group, f"{name} is no longer {_spell(gone)}", sent or not new.kinds < old.kinds
        )
    if added := new.kinds - old.kinds:
        yield Change(group, f"{name} may be {_spell(added)} now", not sent)
    if gone := old.values - new.values:
        yield Change(group, f"{name} no longer has the value {_spell(gone)}", sent)
    if added := new.values - old.values:
        yield Change(group, f"{name} has the new value {_spell(added)}", not sent)
    if gone := old.limits - new.limits:
        yield Change(group, f"{name} no longer has {_spell(gone)}", not sent)
    if added := new.limits - old.limits:
        yield Change(group, f"{name} has {_spell(added)} now", sent)


def _spell(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
