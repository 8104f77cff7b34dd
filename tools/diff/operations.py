"""Compares one operation of two documents."""

from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import Literal

from openapi_python_client.schema.untrusted_string import UntrustedString
from openapi_python_client.strings import PythonIdentifier

from tools.diff.schemas import Change, Comparison, Effect, Group, Omitted
from tools.openapi import Json, dereference, operation_name, operations
from tools.schema.model import SchemaReader


def operations_by_name(document: dict[str, Json]) -> dict[str, Json]:
    """Return the operations by name, completed with the settings of their path and document."""
    found: dict[str, Json] = {}
    for path, operation in operations(document):
        item = document["paths"][path[1]]
        parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
        # an empty list is the same as none
        servers = operation.get("servers") or item.get("servers") or document.get("servers", [])
        whole = {**operation, "parameters": parameters, "servers": servers}
        if "security" in document:
            whole.setdefault("security", document["security"])
        found[operation_name(path)] = whole
    return found


def json_schema(document: dict[str, Json], message: Json) -> Json:
    """Return the JSON schema of a request or response; `{}` if it has none."""
    return _schema(dereference(document, message))


def _schema(message: Json) -> Json:
    content = message.get("content", {})
    return next((content[kind].get("schema", {}) for kind in content if _is_json(kind)), {})


def _is_json(media_type: str) -> bool:
    return _plain_type(media_type) == "application/json"


def _plain_type(media_type: str) -> str:
    """Drop the parameters of a media type, such as the charset."""
    return media_type.partition(";")[0].strip().lower()


def addresses(operation: Json) -> list[str]:
    """Return the server URLs of an operation, with default variables."""
    found = []
    for server in operation["servers"]:
        url = str(server.get("url", ""))
        for name, variable in server.get("variables", {}).items():
            url = url.replace(f"{{{name}}}", str(variable.get("default", "")))
        found.append(url.rstrip("/"))
    return found


NO_KEY = "no key"


def keys(document: dict[str, Json], operation: Json) -> list[str]:
    """Return the authentication schemes of an operation, such as "http bearer"."""
    schemes = document.get("components", {}).get("securitySchemes", {})
    ways = set() if operation.get("security", [{}]) else {NO_KEY}
    for requirement in operation.get("security", ()):
        needed = [dereference(document, schemes.get(name, {})) for name in requirement]
        ways.add(" and ".join(sorted(map(_way, needed))) or NO_KEY)
    return sorted(ways)


def _way(scheme: Json) -> str:
    name = str(scheme.get("name", ""))
    if scheme.get("in") == "header" and name.lower() == "authorization":
        return "http bearer"  # the publisher's spelling in 2025
    words = (scheme.get("type"), scheme.get("scheme", "").lower(), scheme.get("in"), name)
    return " ".join(filter(None, words))


Asked = tuple[dict[str, Json], Json]
"""A document and one of its operations."""


def compare_operation(name: str, old: Asked, new: Asked) -> Iterator[Change]:
    """Yield every difference between two versions of an operation."""
    yield from _compare_service("address", addresses(old[1]), addresses(new[1]))
    yield from _compare_service("key", keys(*old), keys(*new))
    yield from _compare_names(name, old[1], new[1])
    readers = SchemaReader(old[0]), SchemaReader(new[0])
    parameters = _parameters(*old), _parameters(*new)
    yield from _compare_named("request", *parameters, readers)
    bodies = [dereference(d, operation.get("requestBody", {})) for d, operation in (old, new)]
    yield from _compare_message(Comparison("request", *readers), "", *bodies)
    was, now = _responses(*old), _responses(*new)
    for status in sorted(now.keys() ^ was.keys()):
        success = status.startswith("2")
        place, on = f"status {status}", _side(added=status in now)
        text = f"{place} is {'new' if on == 'new' else 'gone'}"
        effect: Effect = "breaks" if success else "fine"
        group: Group = "response" if success else "errors"
        # the old page format only had the standard statuses
        odd = status.isdecimal() and int(status) not in {*HTTPStatus}
        omitted: Omitted = "always" if odd else ""
        yield Change(group, place, "status", text, effect, (status,), on, omitted)
    for status in sorted(was.keys() & now.keys()):
        group = "response" if status.startswith("2") else "errors"
        prefix = "" if status == "200" else f"{status}: "
        answer = Comparison(group, *readers, prefix)
        yield from _compare_message(answer, prefix, was[status], now[status])
        headers = _headers(old[0], was[status]), _headers(new[0], now[status])
        yield from _compare_named(group, *headers, readers, prefix)


def _compare_service(place: str, was: list[str], now: list[str]) -> Iterator[Change]:
    """Compare the addresses or the authentication schemes; losing one of them breaks callers."""
    if {*was} == {*now}:
        return
    words = {"address": ("the address is", "the address"), "key": ("the key is sent as", "the key")}
    verb, subject = words[place]
    text = f"{verb} {' or '.join(now)} now" if now else f"{subject} is no longer documented"
    text = "no key is required now" if now == [NO_KEY] else text
    lost = {*was} - {*now} and NO_KEY not in now
    effect: Effect = "breaks" if not was or lost else "fine"
    is_new = not was or not now
    omitted: Omitted = "sometimes" if is_new else ""
    on = _side(added=not was) if is_new else ""
    yield Change("service", place, "other", text, effect, (*now,), on, omitted)


def _compare_names(name: str, old: Json, new: Json) -> Iterator[Change]:
    """Compare the operation IDs, which programs never send."""
    was, now = old.get("operationId"), new.get("operationId")
    if _python_name(was or name) != _python_name(now or name):
        words = f"is called {now} now" if now else "no longer has a name"
        yield Change("operations", name, "other", f"{was or name} {words}", "note", (was, now))


def _python_name(operation: str) -> str:
    return str(PythonIdentifier(UntrustedString(operation), ""))


def _compare_message(comparison: Comparison, prefix: str, old: Json, new: Json) -> Iterator[Change]:
    """Compare bodies; callers send and request JSON, so other media types rarely matter."""
    group = comparison.group
    was, now = ({*map(_plain_type, side.get("content", {}))} for side in (old, new))
    in_json = [any(map(_is_json, kinds)) for kinds in (was, now)]
    if all(in_json):
        yield from comparison.compare(*(_schema(side) for side in (old, new)))
    for media_type in sorted(now ^ was):
        added = media_type in now
        text = f"{prefix}{'may be' if added else 'is no longer'} {media_type}{' now' * added}"
        beside = group != "request" and all(in_json)
        # an undocumented body may have been the same
        described = group == "errors" and not was
        fine = beside or described or (added and group == "request")
        kind, on = f"media type{' beside' * beside}", _side(added=added)
        format_only = group == "errors" and not (was and now)
        omitted: Omitted = "always" if beside else "sometimes" if format_only else ""
        effect: Effect = "fine" if fine else "breaks"
        yield Change(group, f"{prefix}{media_type}", kind, text, effect, (media_type,), on, omitted)


def _responses(document: dict[str, Json], operation: Json) -> dict[str, Json]:
    found = operation.get("responses", {})
    return {str(status): dereference(document, response) for status, response in found.items()}


def _side(*, added: bool) -> Literal["old", "new"]:
    return "new" if added else "old"


def _compare_named(
    group: Group,
    was: dict[str, Json],
    now: dict[str, Json],
    readers: tuple[SchemaReader, SchemaReader],
    prefix: str = "",
) -> Iterator[Change]:
    """Compare parameters, which callers send, or headers, which they read."""
    sent = group == "request"
    for key in sorted(was.keys() | now.keys()):
        name = (now.get(key) or was[key])["called"]
        place = f"{prefix}{name}"
        needed = [bool(side.get(key, {}).get("required")) for side in (was, now)]
        effect: Effect = "breaks" if needed[1] and sent else "fine"
        if key not in was:
            text = f"{place} is new{' and required' * needed[1]}"
            yield Change(group, name, "new", text, effect, on="new")
            continue
        if key not in now:
            effect = "breaks" if needed[0] or sent else "fine"
            yield Change(group, name, "gone", f"{place} is gone", effect, on="old")
            continue
        if needed[0] != needed[1]:
            kind = "required" if needed[1] else "optional"
            effect = "breaks" if needed[1] == sent else "fine"
            yield Change(group, name, kind, f"{place} is {kind} now", effect)
        if _serialization(was[key]) != _serialization(now[key]):
            yield Change(group, name, "other", f"{place} is serialized differently now", "breaks")
        schemas = [_schema_of_named(side[key]) for side in (was, now)]
        for change in Comparison(group, *readers, f"{place}: ").compare(*schemas):
            yield replace(change, place=f"{name} {change.place}".rstrip())


def _serialization(named: Json) -> tuple[Json, ...]:
    """Return how a value is serialized: as `a,b`, as `a=1&a=2`, or as a media type."""
    usual = "form" if named.get("in") in ("query", "cookie") else "simple"
    style = named.get("style", usual)
    explode = named.get("explode", style == "form")
    kinds = sorted(map(_plain_type, named.get("content", {})))
    return (style, explode, named.get("allowReserved", False), *kinds)


def _schema_of_named(named: Json) -> Json:
    content = next(iter(named.get("content", {}).values()), named)
    return content.get("schema", {})


def _parameters(document: dict[str, Json], operation: Json) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for given in operation["parameters"]:
        parameter = dereference(document, given)
        kind, name = str(parameter.get("in")), str(parameter.get("name"))
        key = name.lower() if kind == "header" else name
        found[f"{kind} {key}"] = {**parameter, "called": f"{kind} {name}"}
    return found


def _headers(document: dict[str, Json], response: Json) -> dict[str, Json]:
    found = response.get("headers", {})
    return {
        name.lower(): {**dereference(document, header), "called": f"header {name}"}
        for name, header in found.items()
    }
