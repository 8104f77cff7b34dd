"""An edition of the specification: the text that is kept, and the contract that it means."""

import copy
import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from tools.openapi import (
    Json,
    Pointer,
    SpecError,
    as_yaml,
    dereference,
    extract,
    find,
    is_json,
    load,
    mappings,
    one_line,
    operation_name,
    operations,
    parse_pointer,
    pluralize,
    pointer,
    resolve,
    validate,
)
from tools.rules import apply, repair


@dataclass(frozen=True)
class Edition:
    """A document that was read and found sound.

    Attributes:
        text: what becomes openapi.yaml.
        given: what it was read from, for the lines of errors.
        lines_before: lines of the page before that.
        document: what the publisher wrote.
        contract: what it means.
        repairs: what each rule of the contract did, a line each.
        left_out: what was not taken from a whole document, in a line; "" where it was all.
    """

    text: bytes
    given: bytes
    lines_before: int
    document: dict[str, Json]
    contract: dict[str, Json]
    repairs: list[str] = field(default_factory=list)
    omitted: str = ""

    def with_line(self, error: SpecError) -> SpecError:
        """The same error with the line of its place in what was given."""
        return _with_line(self.given, self.lines_before, error)


def parse_edition(page: bytes, wanted: Iterable[str] = (), name: str = "") -> Edition:
    """The edition in a page or document.

    Args:
        page: a documentation page, or the document itself as YAML or JSON.
        wanted: operations that are taken out of a whole document; all of them, by default. The
            text in a page is always kept byte for byte.
        name: where it comes from, for the comment above what was taken out.

    Raises SpecError with the place in `page`.
    """
    given, lines_before = extract(page)
    try:
        document, text, omitted = load(given, lines_before), given, ""
        if given == page and (is_json(given) or _has_other_operations(document, wanted)):
            document, omitted = cut(document, wanted)
            text = _written(document, page, name, omitted)
        repairs: list[str] = []
        plain = apply(document, repair.DIALECT, repairs.append)
        validate(plain)
        repaired = apply(plain, repair.REPAIRS, repairs.append)
    except SpecError as error:
        raise _with_line(given, lines_before, error) from None
    except Exception as error:  # noqa: BLE001 - a document can be odd in more ways than we know
        reason = f"{type(error).__name__}: {one_line(str(error))}"
        raise SpecError(f"not a usable OpenAPI document: {reason}") from None
    return Edition(text, given, lines_before, document, repaired, repairs, omitted)


def _with_line(given: bytes, lines_before: int, error: SpecError) -> SpecError:
    if error.line is None and error.place and (found := find(given, error.place)):
        error.place, line = found
        error.line = line + lines_before
    return error


def _has_other_operations(document: dict[str, Json], wanted: Iterable[str]) -> bool:
    wanted = set(wanted)
    found = {operation_name(path) for path, _ in operations(document)}
    return bool(wanted) and bool(found - wanted)


def cut(document: dict[str, Json], wanted: Iterable[str]) -> tuple[dict[str, Json], str]:
    """The wanted operations and what they reach, keys sorted; and what is left out, in a line."""
    every = dict(operations(document))
    wanted = set(wanted) or {operation_name(path) for path in every}
    kept = [path for path in every if operation_name(path) in wanted]
    found = {operation_name(path) for path in kept}
    if missing := sorted(wanted - found):
        raise SpecError(
            f"the document has no {missing[0]}",
            place=("paths",),
            remedy="name a document that has it, or remove it from `operations` in "
            "generator-config.yaml",
        )
    paths: dict[str, Json] = {}
    for route in {path[1] for path in kept}:
        others = {path[2] for path in every if path[1] == route and path not in kept}
        item = dereference(document, document["paths"][route])
        paths[route] = {key: value for key, value in item.items() if key not in others}
    small = {key: document[key] for key in _HEAD if key in document}
    small["paths"] = copy.deepcopy(paths)
    if components := _used_components(document, small):
        small["components"] = components
    return _sorted(small), _omitted(document, len(every) - len(kept), components)


# The order in which people read it; everything below is sorted.
_HEAD = ("openapi", "info", "servers", "security", "externalDocs")
_DEEPEST = 40  # references into other operations, of what such references lead to


def _used_components(document: dict[str, Json], start: Json) -> dict[str, dict[str, Json]]:
    """Copies of the components that `start` refers to, directly or through others.

    What refers into another operation, which is left out, gets a copy of what stands there.
    """
    found: dict[str, dict[str, Json]] = {}
    waiting: list[tuple[Pointer, Json]] = [((), start)]
    while waiting:
        origin, node = waiting.pop()
        for path, inner in mappings(node):
            if _inline_path_reference(document, inner):
                waiting.append(((*origin, *path), inner))
            for kind, name in _references(document, inner):
                if name not in found.get(kind, {}):
                    place = ("components", kind, name)
                    component = _component(document, place, (*origin, *path))
                    found.setdefault(kind, {})[name] = component
                    waiting.append((place, component))
    if schemes := document.get("components", {}).get("securitySchemes"):
        found["securitySchemes"] = schemes
    return found


def _inline_path_reference(document: dict[str, Json], node: dict[str, Json]) -> bool:
    """Replace a reference into an operation by what stands there; whether it was one."""
    copied = False
    for _ in range(_DEEPEST):
        reference = node.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/paths/"):
            break
        with suppress(KeyError):  # said by the validation
            there = copy.deepcopy(resolve(document, reference))
            del node["$ref"]
            node.update(there if isinstance(there, dict) else {})
            copied = True
    return copied


def _references(document: dict[str, Json], node: dict[str, Json]) -> list[tuple[str, str]]:
    """The kinds and names of the components that a node refers to."""
    given = [node.get("$ref")]
    discriminator = node.get("discriminator")
    if isinstance(discriminator, dict) and isinstance(discriminator.get("mapping"), dict):
        # a bare name is that of a schema: https://spec.openapis.org/oas/v3.1.1.html, 4.8.25
        named = document.get("components", {}).get("schemas", {}).keys()
        given += [
            f"#/components/schemas/{value}" if value in named else value
            for value in discriminator["mapping"].values()
        ]
    local = [g for g in given if isinstance(g, str) and g.startswith("#/components/")]
    places = [parse_pointer(reference) for reference in local]
    return [(place[1], place[2]) for place in places if len(place) >= 3]


def _component(document: dict[str, Json], place: Pointer, origin: Pointer) -> Json:
    try:
        return copy.deepcopy(resolve(document, pointer(place)))
    except KeyError:
        said = f"the reference to {'.'.join(place)} points at nothing"
        raise SpecError(said, place=(*origin, "$ref")) from None


def _omitted(document: dict[str, Json], operations_: int, kept: dict[str, dict[str, Json]]) -> str:
    all_of_them = sum(len(kind) for kind in document.get("components", {}).values())
    components = all_of_them - sum(len(kind) for kind in kept.values())
    if not operations_ and not components:
        return ""
    return f"{pluralize(operations_, 'other operation')} and {pluralize(components, 'component')} left out"


def _sorted(document: dict[str, Json]) -> dict[str, Json]:
    def below(node: Json) -> Json:
        if isinstance(node, dict):
            return {key: below(node[key]) for key in sorted(node)}
        return [below(item) for item in node] if isinstance(node, list) else node

    return {key: below(value) for key, value in document.items()}


def _written(document: dict[str, Json], page: bytes, name: str, omitted: str) -> bytes:
    """The document as YAML, under a comment that says what it was made from."""
    what = ", ".join(sorted(operation_name(path) for path, _ in operations(document)))
    digest = hashlib.sha256(page).hexdigest()
    head = f"# {what} and what it reaches, taken by `make spec` from\n# {name or 'a document'}, "
    head += f"sha256 {digest}.\n" + (f"# {omitted}.\n" if omitted else "")
    return (head + as_yaml(document)).encode()
