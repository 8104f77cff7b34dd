"""Extracts an OpenAPI document from a page, parses, walks and validates it, and locates errors."""

import io
import json
import re
from collections.abc import Iterator
from datetime import date
from typing import Any, cast
from urllib.parse import unquote

import jsonschema_rs
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from tools import ROOT

SPEC = ROOT / "openapi.yaml"

Json = Any  # a parsed document: whatever YAML holds
Pointer = tuple[str, ...]

_FENCED = re.compile(
    rb"^(?P<fence>`{3,})ya?ml\b[^\r\n]*\r?\n(?P<text>.*?)^(?P=fence)[ \t]*\r?$",
    re.DOTALL | re.MULTILINE,
)
_IS_OPENAPI = re.compile(rb"^(?:\xef\xbb\xbf)?['\"]?openapi['\"]?:", re.MULTILINE)
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
DEFAULT_REMEDY = "download the page again, or report the error to the publisher"


class SpecError(Exception):
    """A document, an option or a name is invalid.

    Attributes:
        file: the invalid file of this repository; "" for the document that was passed in.
        problem: what is wrong, in one sentence.
        place: where it is in the publisher's document, as the keys that lead there.
        remedy: what the reader should do.
        line: the line of that place in the input file.
    """

    def __init__(
        self,
        problem: str,
        *,
        place: Pointer = (),
        remedy: str = DEFAULT_REMEDY,
        line: int | None = None,
    ) -> None:
        super().__init__(problem)
        self.file = ""
        self.problem = problem
        self.place = place
        self.remedy = remedy
        self.line = line

    def __str__(self) -> str:
        """One line: `#/paths (line 7): … What to do: …`."""
        line = f"line {self.line}" if self.line else ""
        where = f"{pointer(self.place)} ({line})" if self.place and line else line
        where = where or (pointer(self.place) if self.place else "")
        parts = [self.file, where, f"{self.problem}. What to do: {self.remedy}"]
        return ": ".join(filter(None, parts))


def extract(page: bytes) -> tuple[bytes, int]:
    """Return the OpenAPI document in `page`, byte for byte, and the number of lines before it.

    `page` is a documentation page with the document in a fenced yaml block, or the document itself.
    """
    if not page.strip():
        raise SpecError("the input is empty", remedy="pass a page or a document: FROM=…")
    blocks = [m for m in _FENCED.finditer(page) if _IS_OPENAPI.search(m["text"])]
    if len(blocks) > 1:
        raise SpecError(
            f"the page has {len(blocks)} fenced yaml blocks with an OpenAPI document, not one",
            remedy="keep only one of them in a copy of the page, and pass the copy: FROM=…",
        )
    if blocks:
        return blocks[0]["text"], page[: blocks[0].start("text")].count(b"\n")
    if page.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return page, 0
    if _IS_OPENAPI.search(page) and b"\n```" not in page:
        return page, 0
    if re.search(rb"^```+ya?ml", page, re.MULTILINE) and _IS_OPENAPI.search(page):
        raise SpecError("the fenced yaml block with the OpenAPI document is not closed")
    if page.lstrip().startswith(b"<"):
        raise SpecError(
            "the page is HTML", remedy="download it as Markdown: append .md to its address"
        )
    raise SpecError(
        "no OpenAPI document found: neither a fenced ```yaml block nor a bare document",
        remedy="pass the page of the operation, or the whole document as YAML or JSON",
    )


def is_json(text: bytes) -> bool:
    """Whether a document is written as JSON."""
    return text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def load(text: bytes, lines_before: int = 0) -> dict[str, Json]:
    """Parse `text` as YAML or JSON; unlike most parsers, reject duplicate keys."""
    document = _load_json(text) if is_json(text) else _load_yaml(text, lines_before)
    if not isinstance(document, dict):
        raise SpecError("not an OpenAPI document: the top level is not a mapping")
    return cast("dict[str, Json]", _to_json(document, ()))


def _to_json(node: Json, path: Pointer) -> Json:
    """Convert YAML values that JSON lacks, such as numeric keys and dates, to strings."""
    if isinstance(node, dict):
        made: dict[str, Json] = {}
        for key, value in node.items():
            name = str(key) if type(key) is int else key
            if not isinstance(name, str) or name in made:
                raise SpecError(
                    f"the key {key} is not a string, or appears twice",
                    place=path,
                    remedy="put the key in quotes",
                )
            made[name] = _to_json(value, (*path, name))
        return made
    if isinstance(node, list):
        return [_to_json(item, (*path, str(number))) for number, item in enumerate(node)]
    if isinstance(node, date):  # or a datetime
        return node.isoformat()
    if not isinstance(node, str | int | float | bool | None):
        raise SpecError(
            f"JSON has no {type(node).__name__}", place=path, remedy="put the value in quotes"
        )
    return node


def _load_yaml(text: bytes, lines_before: int) -> Json:
    try:
        return _parser().load(io.BytesIO(text))
    except MarkedYAMLError as error:
        line = (error.problem_mark.line if error.problem_mark else 0) + 1 + lines_before
        problem = (error.problem or "not YAML").splitlines()[0]
        raise SpecError(problem, line=line) from None
    except (YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise SpecError(f"not YAML: {str(error).splitlines()[0]}") from None


def _load_json(text: bytes) -> Json:
    try:
        return json.loads(text.decode("utf-8-sig"), object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        raise SpecError(f"not JSON: {error.msg}", line=error.lineno) from None
    except (ValueError, RecursionError) as error:  # also for an integer of thousands of digits
        raise SpecError(f"not JSON: {str(error).splitlines()[0]}") from None


def _unique_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise SpecError(f'found duplicate key "{twice}"')
    return found


def _parser() -> YAML:
    return YAML(typ="safe", pure=True)


def as_yaml(document: dict[str, Json]) -> str:
    """Write a document as YAML, with its keys in order and without folding lines."""
    yaml = _parser()
    yaml.default_flow_style = False
    yaml.width = 1 << 20
    # annotated as None, but used as a boolean
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def find(text: bytes, place: Pointer) -> tuple[Pointer, int] | None:
    """Return how much of `place` exists in `text`, and its line; None if `text` cannot be parsed.

    A rule may have replaced a keyword, or wrapped a schema in a union.
    """
    try:
        node: Node = _parser().compose(io.BytesIO(text))
    except (YAMLError, RecursionError):
        return None
    line: int = node.start_mark.line
    there: Pointer = ()
    waiting = list(place)
    while waiting:
        key = waiting.pop(0)
        if (found := _below(node, key)) is not None:
            line, node = found
            there = (*there, key)
        elif key in _UNIONS and waiting[:1] and waiting[0].isdigit():
            waiting.pop(0)
        else:
            break
    return there, line + 1


_UNIONS = ("anyOf", "oneOf", "allOf")


def _below(node: Node, key: str) -> tuple[int, Node] | None:
    """Return the line and the value of a key or a list item."""
    if isinstance(node, MappingNode):
        for name, value in node.value:
            if name.value == key or (name.value in _UNIONS and key in _UNIONS):
                return name.start_mark.line, value
    if isinstance(node, SequenceNode) and key.isdigit() and int(key) < len(node.value):
        return node.value[int(key)].start_mark.line, node.value[int(key)]
    return None


def pointer(path: Pointer) -> str:
    """Format keys as a JSON Pointer: `#/components/schemas/Usage/type`.

    https://www.rfc-editor.org/rfc/rfc6901
    """
    return "#" + "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path)


def walk(node: Json, path: Pointer = ()) -> Iterator[tuple[Pointer, Json]]:
    """Yield `node` and every node below it with its place, parents first."""
    yield path, node
    if isinstance(node, dict):
        for key, child in node.items():
            yield from walk(child, (*path, str(key)))
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from walk(child, (*path, str(number)))


# These hold example values; a mapping inside them is never a schema.
_VALUES = frozenset({"const", "default", "enum", "example", "examples"})


def mappings(document: dict[str, Json]) -> list[tuple[Pointer, dict[str, Json]]]:
    """List every mapping in a document with its place, so that callers may change them."""
    found: list[tuple[Pointer, dict[str, Json]]] = []
    waiting: list[tuple[Pointer, Json]] = [((), document)]
    while waiting:
        path, node = waiting.pop()
        if isinstance(node, dict):
            found.append((path, node))
            names = bool(path) and path[-1] in _NAMED
            inner = [(k, v) for k, v in node.items() if names or k not in _VALUES]
        else:
            inner = [(str(n), v) for n, v in enumerate(node)] if isinstance(node, list) else []
        waiting += [((*path, key), value) for key, value in reversed(inner)]
    return found


def lists(
    document: dict[str, Json], keyword: str
) -> Iterator[tuple[Pointer, dict[str, Json], Json]]:
    """Yield every mapping with a list under `keyword`: its place, itself and the list."""
    for path, node in mappings(document):
        if isinstance(value := node.get(keyword), list):
            yield path, node, value


_NAMED = frozenset({"properties", "schemas", "patternProperties", "$defs"})  # keys are names


def resolve(document: dict[str, Json], reference: str) -> Json:
    """Return the target of a local `$ref`. Raises KeyError if there is none."""
    if not reference.startswith("#/"):
        raise KeyError(reference)
    node: Json = document
    for key in parse_pointer(reference):
        if isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, dict):
            node = node[key]
        else:
            raise KeyError(reference)
    return node


def parse_pointer(reference: str) -> Pointer:
    """Split a local reference into its keys."""
    return tuple(
        unquote(part).replace("~1", "/").replace("~0", "~") for part in reference[2:].split("/")
    )


def dereference(document: dict[str, Json], node: Json) -> Json:
    """Follow the references of a node; circular references give `{}`, which allows anything."""
    seen: set[str] = set()
    while isinstance(node, dict) and isinstance(reference := node.get("$ref"), str):
        if reference in seen:
            return {}
        seen.add(reference)
        node = resolve(document, reference)
    return node


def root_schemas(document: dict[str, Json]) -> Iterator[tuple[Pointer, Json]]:
    """Yield every schema that is not nested in another one."""
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        yield ("components", "schemas", name), schema
    for path, node in mappings(document):
        if "schema" in node and path[:2] != ("components", "schemas"):
            yield (*path, "schema"), node["schema"]


def operations(document: dict[str, Json]) -> Iterator[tuple[Pointer, dict[str, Json]]]:
    """Yield every operation with its place."""
    for route, given in (document.get("paths") or {}).items():
        try:
            item = dereference(document, given)
        except KeyError:  # validate() reports it
            continue
        for method, operation in item.items() if isinstance(item, dict) else ():
            if method in _METHODS and isinstance(operation, dict):
                yield ("paths", route, method), operation


def operation_name(place: Pointer) -> str:
    """Format an operation: `POST /embeddings`."""
    return f"{place[2].upper()} {place[1]}"


def validate(document: dict[str, Json]) -> None:
    """Raise SpecError for a dangling reference, an invalid schema or an invalid structure."""
    # here, because the tests of core use this module and need no PyYAML, which comes with this
    from openapi_spec_validator import OpenAPIV31SpecValidator  # noqa: PLC0415
    from openapi_spec_validator.validation.exceptions import OpenAPIValidationError  # noqa: PLC0415

    _check_references(document)
    for path, schema in root_schemas(document):
        _check_schema(path, schema)
    try:
        OpenAPIV31SpecValidator(cast("Any", document)).validate()
    except OpenAPIValidationError as error:
        place = tuple(map(str, error.absolute_path))
        message = error.message.partition("Failed validating")[0]
        raise SpecError(one_line(message), place=place) from None
    if ("paths", "/embeddings", "post") not in dict(operations(document)):
        raise SpecError(
            "the document has no POST /embeddings, which this project needs",
            place=("paths", "/embeddings", "post"),
            remedy="pass the page of that operation, or the whole document",
        )


def _check_references(document: dict[str, Json]) -> None:
    for path, node in mappings(document):
        if isinstance(reference := node.get("$ref"), str):
            try:
                resolve(document, reference)
            except KeyError:
                message = f"the reference {reference} points to nothing"
                raise SpecError(message, place=(*path, "$ref")) from None


def _check_schema(path: Pointer, schema: Json) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise SpecError(f"expected a schema, which is a mapping, got {schema!r:.40}", place=path)
    try:
        jsonschema_rs.meta.validate({"$schema": _DIALECT, **schema})
    except jsonschema_rs.ValidationError as error:
        place = (*path, *map(str, error.instance_path))
        message = error.message
        if " is not valid under any of the schemas " in message:  # it would list the meta-schema
            message = f"JSON Schema does not allow {error.instance!r:.60} for `{place[-1]}`"
        raise SpecError(one_line(message), place=place) from None


_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def pluralize(number: int, noun: str) -> str:
    """Return `1 file` or `2 files`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def one_line(text: str, longest: int = 200) -> str:
    """Join the lines of a text, and shorten it."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
