"""An edition of the specification: its text, and the contract that the rules make of it."""

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
    """A valid edition.

    Attributes:
        text: the content of openapi.yaml.
        source: the document that was read, which the lines in errors refer to.
        lines_before: lines of the page before the document.
        document: the parsed document, as published.
        contract: the document after the repair rules.
        repairs: a line for each rule, with what it changed.
        omitted: a line that counts what was left out of a whole document; "" if nothing was.
    """

    text: bytes
    source: bytes
    lines_before: int
    document: dict[str, Json]
    contract: dict[str, Json]
    repairs: list[str] = field(default_factory=list)
    omitted: str = ""

    def with_line(self, error: SpecError) -> SpecError:
        """Add the line in `source` to an error with a place."""
        return _with_line(self.source, self.lines_before, error)


def parse_edition(page: bytes, wanted: Iterable[str] = (), name: str = "") -> Edition:
    """Parse the edition in a page or document.

    Args:
        page: a documentation page, or the document itself as YAML or JSON.
        wanted: the operations to select from a whole document; all of them by default. The
            document in a page is always kept byte for byte.
        name: the origin, for the comment above the selected operations.

    Raises SpecError with the place in `page`.
    """
    source, lines_before = extract(page)
    try:
        document, text, omitted = load(source, lines_before), source, ""
        if source == page and (is_json(source) or _has_other_operations(document, wanted)):
            document, omitted = select_operations(document, wanted)
            text = _render(document, page, name, omitted)
        repairs: list[str] = []
        modern = apply(document, repair.DIALECT, repairs.append)
        validate(modern)
        repaired = apply(modern, repair.REPAIRS, repairs.append)
    except SpecError as error:
        raise _with_line(source, lines_before, error) from None
    except Exception as error:  # noqa: BLE001 - a document may be malformed in any way
        reason = f"{type(error).__name__}: {one_line(str(error))}"
        raise SpecError(f"not a usable OpenAPI document: {reason}") from None
    return Edition(text, source, lines_before, document, repaired, repairs, omitted)


def _with_line(source: bytes, lines_before: int, error: SpecError) -> SpecError:
    if error.line is None and error.place and (found := find(source, error.place)):
        error.place, line = found
        error.line = line + lines_before
    return error


def _has_other_operations(document: dict[str, Json], wanted: Iterable[str]) -> bool:
    wanted = set(wanted)
    found = {operation_name(path) for path, _ in operations(document)}
    return bool(wanted) and bool(found - wanted)


def select_operations(
    document: dict[str, Json], wanted: Iterable[str]
) -> tuple[dict[str, Json], str]:
    """Keep the wanted operations and the components they use, with sorted keys.

    Returns the document, and a line that counts what was left out.
    """
    every = dict(operations(document))
    wanted = set(wanted) or {operation_name(path) for path in every}
    kept = [path for path in every if operation_name(path) in wanted]
    found = {operation_name(path) for path in kept}
    if missing := sorted(wanted - found):
        raise SpecError(
            f"the document has no {missing[0]}",
            place=("paths",),
            remedy="pass a document that has it, or remove it from `operations` in "
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


# In the order in which people read them; everything below is sorted.
_HEAD = ("openapi", "info", "servers", "security", "externalDocs")
_DEEPEST = 40  # how many references from one left-out operation into another are followed


def _used_components(document: dict[str, Json], start: Json) -> dict[str, dict[str, Json]]:
    """Copy the components that `start` refers to, directly or indirectly.

    A reference into another operation, which is left out, is replaced by a copy of its target.
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
    """Replace a reference into an operation by its target; return whether it was one."""
    copied = False
    for _ in range(_DEEPEST):
        reference = node.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/paths/"):
            break
        with suppress(KeyError):  # validate() reports it
            there = copy.deepcopy(resolve(document, reference))
            del node["$ref"]
            node.update(there if isinstance(there, dict) else {})
            copied = True
    return copied


def _references(document: dict[str, Json], node: dict[str, Json]) -> list[tuple[str, str]]:
    """List the kinds and names of the components that a node refers to."""
    references = [node.get("$ref")]
    discriminator = node.get("discriminator")
    if isinstance(discriminator, dict) and isinstance(discriminator.get("mapping"), dict):
        # a bare name is the name of a schema: https://spec.openapis.org/oas/v3.1.1.html, 4.8.25
        named = document.get("components", {}).get("schemas", {}).keys()
        references += [
            f"#/components/schemas/{value}" if value in named else value
            for value in discriminator["mapping"].values()
        ]
    local = [r for r in references if isinstance(r, str) and r.startswith("#/components/")]
    places = [parse_pointer(reference) for reference in local]
    return [(place[1], place[2]) for place in places if len(place) >= 3]


def _component(document: dict[str, Json], place: Pointer, origin: Pointer) -> Json:
    try:
        return copy.deepcopy(resolve(document, pointer(place)))
    except KeyError:
        problem = f"the reference to {'.'.join(place)} points to nothing"
        raise SpecError(problem, place=(*origin, "$ref")) from None


def _omitted(document: dict[str, Json], others: int, kept: dict[str, dict[str, Json]]) -> str:
    total = sum(len(kind) for kind in document.get("components", {}).values())
    components = total - sum(len(kind) for kind in kept.values())
    if not others and not components:
        return ""
    operations_left_out = pluralize(others, "other operation")
    return f"{operations_left_out} and {pluralize(components, 'component')} left out"


def _sorted(document: dict[str, Json]) -> dict[str, Json]:
    def below(node: Json) -> Json:
        if isinstance(node, dict):
            return {key: below(node[key]) for key in sorted(node)}
        return [below(item) for item in node] if isinstance(node, list) else node

    return {key: below(value) for key, value in document.items()}


def _render(document: dict[str, Json], page: bytes, name: str, omitted: str) -> bytes:
    """Write the document as YAML below a comment that names its source."""
    what = ", ".join(sorted(operation_name(path) for path, _ in operations(document)))
    digest = hashlib.sha256(page).hexdigest()
    head = f"# {what} and the components it uses, selected by `make spec` from\n"
    head += f"# {name or 'a document'}, sha256 {digest}.\n" + (f"# {omitted}.\n" if omitted else "")
    return (head + as_yaml(document)).encode()
