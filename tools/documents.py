"""Reading an OpenAPI document: out of a page, strictly, with the place of whatever is wrong."""

import io
import re
from collections.abc import Iterator
from typing import Any, cast

import jsonschema_rs
from openapi_spec_validator import OpenAPIV31SpecValidator
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from tools import ROOT

SPEC = ROOT / "openapi.yaml"

Json = Any  # a parsed document: whatever YAML holds
Path_ = tuple[str, ...]

_FENCED = re.compile(
    rb"^(?P<fence>`{3,})ya?ml\b[^\r\n]*\r?\n(?P<text>.*?)^(?P=fence)[ \t]*\r?$",
    re.DOTALL | re.MULTILINE,
)
_IS_OPENAPI = re.compile(rb"^openapi:", re.MULTILINE)
_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


class SpecError(Exception):
    """The document cannot be used; the text says in one line what is wrong and where."""


def extract(page: bytes) -> tuple[bytes, int]:
    """The OpenAPI document in `page`, byte for byte, and the number of lines before it.

    `page` is a documentation page with the document in a fenced yaml block, or the bare document.
    """
    blocks = [m for m in _FENCED.finditer(page) if _IS_OPENAPI.search(m["text"])]
    if len(blocks) > 1:
        raise SpecError(f"{len(blocks)} fenced yaml blocks hold an OpenAPI document, one is needed")
    if blocks:
        return blocks[0]["text"], page[: blocks[0].start("text")].count(b"\n")
    if _IS_OPENAPI.search(page) and b"\n```" not in page:
        return page, 0
    if re.search(rb"^```+ya?ml", page, re.MULTILINE) and _IS_OPENAPI.search(page):
        raise SpecError("the fenced yaml block with the OpenAPI document is not closed")
    if page.lstrip().startswith((b"{", b"<")):
        raise SpecError("this is JSON or HTML; the page as Markdown, or YAML, is needed")
    raise SpecError("no OpenAPI document found: neither a fenced ```yaml block nor a bare document")


def load(text: bytes, lines_before: int = 0) -> dict[str, Json]:
    """Parse `text`, refusing what PyYAML would pass over in silence: two equal keys."""
    yaml = YAML(typ="safe", pure=True)
    try:
        document = yaml.load(io.BytesIO(text))
    except MarkedYAMLError as error:
        line = (error.problem_mark.line if error.problem_mark else 0) + 1 + lines_before
        problem = (error.problem or "not YAML").splitlines()[0]
        raise SpecError(f"line {line}: {problem}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(document, dict):
        raise SpecError("not an OpenAPI document: the top level is no mapping")
    for path, node in walk(document):
        if isinstance(node, dict) and (odd := [key for key in node if not isinstance(key, str)]):
            raise SpecError(f"{pointer(path)}: the key {odd[0]} is no text; quote it")
        if not isinstance(node, str | int | float | bool | None | dict | list):
            raise SpecError(f"{pointer(path)}: a {type(node).__name__} is not JSON; quote it")
    return cast("dict[str, Json]", document)


def pointer(path: Path_) -> str:
    """The place of a node as a person would say it: `components.schemas.Usage.type`."""
    return ".".join(path) or "the top level"


def walk(node: Json, path: Path_ = ()) -> Iterator[tuple[Path_, Json]]:
    """Every node below and including `node`, parents first, each with its place."""
    yield path, node
    if isinstance(node, dict):
        for key, child in node.items():
            yield from walk(child, (*path, str(key)))
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from walk(child, (*path, str(number)))


def mappings(document: dict[str, Json]) -> list[tuple[Path_, dict[str, Json]]]:
    """Every mapping in a document with its place, listed before any of them is changed."""
    return [(path, node) for path, node in walk(document) if isinstance(node, dict)]


def resolve(document: dict[str, Json], reference: str) -> Json:
    """What a local `$ref` points at; KeyError where nothing is there."""
    if not reference.startswith("#/"):
        raise KeyError(reference)
    node: Json = document
    for part in reference[2:].split("/"):
        if not isinstance(node, dict):
            raise KeyError(reference)
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def root_schemas(document: dict[str, Json]) -> Iterator[tuple[Path_, Json]]:
    """Every schema that is not part of another one."""
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        yield ("components", "schemas", name), schema
    for path, node in walk(document):
        if path and path[-1] == "schema" and path[:2] != ("components", "schemas"):
            yield path, node


def operations(document: dict[str, Json]) -> Iterator[tuple[Path_, dict[str, Json]]]:
    """Every operation with its place."""
    for route, item in document.get("paths", {}).items():
        for method, operation in item.items():
            if method in _METHODS:
                yield ("paths", route, method), operation


def validate(document: dict[str, Json]) -> None:
    """Raise SpecError for a dangling reference, a schema that is none, or a wrong structure."""
    _check_references(document)
    for path, schema in root_schemas(document):
        _check_schema(path, schema)
    try:
        OpenAPIV31SpecValidator(cast("Any", document)).validate()
    except OpenAPIValidationError as error:
        place = tuple(map(str, error.absolute_path))
        raise SpecError(f"{pointer(place)}: {_one_line(error.message)}") from None
    if ("paths", "/embeddings", "post") not in dict(operations(document)):
        raise SpecError("paths./embeddings.post: missing; it is what this project is about")


def _check_references(document: dict[str, Json]) -> None:
    for path, node in walk(document):
        if isinstance(node, dict) and isinstance(reference := node.get("$ref"), str):
            try:
                resolve(document, reference)
            except KeyError:
                message = f"{pointer(path)}: the reference {reference} points at nothing"
                raise SpecError(message) from None


def _check_schema(path: Path_, schema: Json) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise SpecError(f"{pointer(path)}: a schema is a mapping, not {schema!r:.40}")
    try:
        jsonschema_rs.meta.validate({"$schema": _DIALECT, **schema})
    except jsonschema_rs.ValidationError as error:
        place = (*path, *map(str, error.instance_path))
        raise SpecError(f"{pointer(place)}: {_one_line(error.message)}") from None


_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:199] + "…"
