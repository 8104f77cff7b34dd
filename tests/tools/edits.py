"""Edits of a published document; each raises NotApplicable with a reason if it cannot apply."""

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec

from tests.tools.published_document import DocumentEditor, Edit, NotApplicable, Schema
from tools.openapi import mappings, resolve

P = ParamSpec("P")
_NULLS: list[Schema] = [{"type": "null"}, {"nullable": True}]


def edit(change: Callable[Concatenate[DocumentEditor, P], None]) -> Callable[P, Edit]:
    """Decorate a function so that a call with all arguments but the editor returns an edit."""

    def edit_with(*arguments: P.args, **options: P.kwargs) -> Edit:
        return lambda editor: change(editor, *arguments, **options)

    return edit_with


@edit
def add_field(
    editor: DocumentEditor, place: str, name: str, schema: Schema, *, required: bool = False
) -> None:
    """Add a field as the first of an object."""
    holder = editor.object_at(place)
    if name in holder["properties"]:
        raise NotApplicable(f"{place} already has {name}")
    holder["properties"] = {name: copy.deepcopy(schema), **holder["properties"]}
    if required:
        holder["required"] = [name, *holder.get("required", [])]


@edit
def remove(editor: DocumentEditor, place: str, name: str) -> None:
    """Remove a field."""
    holder = editor.object_at(place)
    if name not in holder["properties"]:
        raise NotApplicable(f"{place} has no {name}")
    del holder["properties"][name]
    if name in holder.get("required", []):
        holder["required"].remove(name)


@edit
def require(editor: DocumentEditor, place: str, name: str, *, required: bool = True) -> None:
    """Make a field required or optional."""
    holder = editor.object_at(place)
    names = holder.setdefault("required", [])
    if (name in names) == required or name not in holder["properties"]:
        raise NotApplicable(f"{place}.{name} does not change, or does not exist")
    names.append(name) if required else names.remove(name)


@edit
def add_required(editor: DocumentEditor, place: str, name: str) -> None:
    """Require a field without a schema."""
    editor.object_at(place).setdefault("required", []).append(name)


@edit
def set_keys(editor: DocumentEditor, /, place: str, **keys: Any) -> None:
    """Set keywords of a schema."""
    editor.at(place).update(copy.deepcopy(keys))


@edit
def replace_schema(editor: DocumentEditor, place: str, schema: Schema) -> None:
    """Replace a schema."""
    node = editor.at(place)
    node.clear()
    node.update(copy.deepcopy(schema))


@edit
def add_value(editor: DocumentEditor, place: str, value: str) -> None:
    """Add an enum value."""
    values = editor.at(f"{place}:enum")["enum"]
    if value in values:
        raise NotApplicable(f"{place} already has the value {value}")
    values.append(value)


@edit
def remove_value(editor: DocumentEditor, place: str, value: str) -> None:
    """Remove an enum value."""
    values = editor.at(f"{place}:enum")["enum"]
    if value not in values:
        raise NotApplicable(f"{place} does not have the value {value}")
    values.remove(value)


@edit
def add_alternative(
    editor: DocumentEditor, place: str, schema: Schema, *, first: bool = False
) -> None:
    """Add an alternative."""
    alternatives = editor.alternatives_at(place)
    if schema in alternatives:
        raise NotApplicable(f"{place} already has this alternative")
    alternatives.insert(0 if first else len(alternatives), copy.deepcopy(schema))


@edit
def keep_alternatives(editor: DocumentEditor, place: str, count: int) -> None:
    """Keep the first alternatives; all editions have the same order."""
    alternatives = editor.alternatives_at(place)
    if len(alternatives) <= count:
        raise NotApplicable(f"{place} has no more than {count} alternatives")
    del alternatives[count:]


@edit
def reverse_alternatives(editor: DocumentEditor, place: str) -> None:
    """Reverse the alternatives."""
    editor.alternatives_at(place).reverse()


@edit
def add_null(editor: DocumentEditor, place: str) -> None:
    """Add null as an alternative."""
    if _takes_null(editor, editor.at(place)):
        raise NotApplicable(f"{place} already allows null")
    editor.alternatives_at(place).append({"type": "null"})


@edit
def remove_null(editor: DocumentEditor, place: str) -> None:
    """Remove null in any spelling."""
    node = editor.at(place)
    if not _takes_null(editor, node):
        raise NotApplicable(f"{place} does not allow null")
    node.pop("nullable", None)
    if isinstance(node.get("type"), list):
        node["type"] = next(kind for kind in node["type"] if kind != "null")
    for union in ("anyOf", "oneOf"):
        if union in node:
            node[union] = [one for one in node[union] if one not in _NULLS]
    if None in node.get("enum", ()):
        node["enum"].remove(None)


def _takes_null(editor: DocumentEditor, node: Any) -> bool:
    if "$ref" in node:
        return _takes_null(editor, resolve(editor.document, node["$ref"]))
    unions = (one for union in ("anyOf", "oneOf", "allOf") for one in node.get(union, ()))
    kinds = node.get("type", ())
    return (
        node.get("nullable") is True
        or "null" in ([kinds] if isinstance(kinds, str) else kinds)
        or any(_takes_null(editor, one) for one in unions)
    )


@edit
def spell_null(editor: DocumentEditor, /, place: str, **spelling: Any) -> None:
    """Change the spelling of null."""
    remove_null(place)(editor)
    set_keys(place, **spelling)(editor)


@edit
def null_in_enum(editor: DocumentEditor, place: str) -> None:
    """List null among the enum values."""
    values = [v for v in editor.at(f"{place}:enum")["enum"] if v is not None]
    replace_schema(place, {"type": ["string", "null"], "enum": [*values, None]})(editor)


@edit
def add_exclusive_minimum(editor: DocumentEditor, place: str) -> None:
    """Add an exclusive limit in the syntax of OpenAPI 3.0."""
    node = editor.at(place)
    if "minimum" in node:
        raise NotApplicable(f"{place} already has a minimum")
    node.update(minimum=0, exclusiveMinimum=True)


@edit
def add_recursive_list(editor: DocumentEditor, place: str, name: str) -> None:
    """Add a field with a list of the enclosing object."""
    node = editor.object_at(place)
    reference = {"$ref": "#/components/schemas/Again"}
    whole = copy.deepcopy(node)
    whole["properties"][name] = {"type": "array", "items": reference}
    editor.schemas["Again"] = whole
    node.clear()
    node.update(reference)


@edit
def add_linked_list(editor: DocumentEditor, place: str, name: str) -> None:
    """Add a field with a linked list: an object that requires the next one, or null."""
    reference = {"$ref": "#/components/schemas/Chain"}
    after = {"anyOf": [reference, {"type": "null"}]}
    linked = {"type": "object", "properties": {"after": after}, "required": ["after"]}
    editor.schemas["Chain"] = linked
    add_field(place, name, reference)(editor)


@edit
def all_of(editor: DocumentEditor, place: str) -> None:
    """Wrap a schema in an `allOf` with a description."""
    node = editor.at(place)
    if "allOf" in node:
        raise NotApplicable(f"{place} already is an allOf")
    whole = dict(node)
    node.clear()
    node["allOf"] = [whole, {"description": "Said of this place alone."}]


@edit
def enum_as_mappings(editor: DocumentEditor, place: str) -> None:
    """Print `enum: [text]` as `enum: [{value: text}]`."""
    node = editor.at(f"{place}:enum")
    node["enum"] = [{"value": value} for value in node["enum"]]


@edit
def operation(editor: DocumentEditor, /, **keys: Any) -> None:
    """Set keys of the operation."""
    editor.operation.update(copy.deepcopy(keys))


@edit
def status(editor: DocumentEditor, name: str, response: Schema, *, instead_of: str = "") -> None:
    """Add a status, or rename the status `instead_of`."""
    responses = editor.operation["responses"]
    if name in responses:
        raise NotApplicable(f"status {name} already exists")
    responses[name] = responses.pop(instead_of) if instead_of else copy.deepcopy(response)


@edit
def response(editor: DocumentEditor, /, status: str, **keys: Any) -> None:
    """Set keys of a response."""
    editor.operation["responses"][status].update(copy.deepcopy(keys))


@edit
def media_type(editor: DocumentEditor, message: str, name: str, *, instead: bool = False) -> None:
    """Add a media type, or replace JSON."""
    content = editor.content(message)
    if name in content:
        raise NotApplicable(f"{message} already allows {name}")
    content[name] = content.pop("application/json") if instead else {"schema": {}}


@edit
def document(editor: DocumentEditor, /, **keys: Any) -> None:
    """Set keys of the document."""
    editor.document.update(copy.deepcopy(keys))


@edit
def path(editor: DocumentEditor, /, route: str, **keys: Any) -> None:
    """Set keys of a path."""
    editor.document["paths"].setdefault(route, {}).update(copy.deepcopy(keys))


@edit
def security_scheme(editor: DocumentEditor, name: str, /, **keys: Any) -> None:
    """Add or change a security scheme."""
    schemes = editor.document["components"]["securitySchemes"]
    like = {} if "type" in keys else next(iter(schemes.values()))
    schemes[name] = copy.deepcopy({**schemes.get(name, like), **keys})


def rename_components(editor: DocumentEditor) -> None:
    """Rename all components."""
    names = {f"#/components/schemas/{name}": f"Renamed{i}" for i, name in enumerate(editor.schemas)}
    for _, node in mappings(editor.document):
        if node.get("$ref") in names:
            node["$ref"] = f"#/components/schemas/{names[node['$ref']]}"
    renamed = zip(names.values(), [*editor.schemas.values()], strict=True)
    editor.document["components"]["schemas"] = dict(renamed)


def inline(editor: DocumentEditor) -> None:
    """Inline all components."""

    def inlined(node: Any) -> Any:
        if isinstance(node, list):
            return [inlined(one) for one in node]
        if not isinstance(node, dict):
            return node
        if isinstance(node.get("$ref"), str):
            beside = {key: value for key, value in node.items() if key != "$ref"}
            return inlined({**resolve(editor.document, node["$ref"]), **beside})
        return {key: inlined(value) for key, value in node.items()}

    editor.document["paths"] = inlined(editor.document["paths"])
    editor.document["components"]["schemas"] = {}


def swap_unions(editor: DocumentEditor) -> None:
    """Swap `oneOf` and `anyOf`."""
    other = {"oneOf": "anyOf", "anyOf": "oneOf"}
    for _, node in mappings(editor.document):
        if node.keys() & other.keys():
            items = [(other.get(key, key), value) for key, value in node.items()]
            node.clear()
            node.update(items)


def reword(editor: DocumentEditor) -> None:
    """Change all descriptions."""
    for place, node in mappings(editor.document):
        said = node.get("description")
        # the renderer's "Any type" has a meaning
        if isinstance(said, str) and said != "Any type" and place[-1:] != ("properties",):
            node["description"] = f"{said} In other words."


def respell_operation_id(editor: DocumentEditor) -> None:
    """Convert the operation ID between camel case and dashes."""
    name = editor.operation["operationId"]
    words = name.split("-")
    spelt = words[0] + "".join(word.capitalize() for word in words[1:])
    dashed = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)
    editor.operation["operationId"] = spelt if "-" in name else dashed


@edit
def component(editor: DocumentEditor, name: str) -> None:
    """Add an unused component."""
    editor.schemas[name] = {"type": "string"}


@edit
def where_applicable(editor: DocumentEditor, *edits: Edit) -> None:
    """Apply only the applicable edits."""
    for one in edits:
        with suppress(NotApplicable):
            one(editor)


def to_old_format(editor: DocumentEditor) -> None:
    """Convert the document to the old page format."""
    key = {"name": "Authorization", "in": "header", "required": True, "schema": {"type": "string"}}
    editor.operation["parameters"] = [key]
    responses = editor.operation["responses"]
    for status in [status for status in responses if status in ("524", "529")]:
        del responses[status]
    for _, node in mappings(editor.document):
        _to_old_format(node)
    where_applicable(remove_null("request.provider"), remove_null("request.provider:object"))(
        editor
    )
    for name in editor.object_at("request.provider.max_price")["properties"]:
        empty = {"type": "object", "properties": {}}
        replace_schema(f"request.provider.max_price.{name}", empty)(editor)


def _to_old_format(node: Schema) -> None:
    for limit in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        node.pop(limit, None)
    if node.get("additionalProperties") is False:
        del node["additionalProperties"]
    for beside in [name for name in node if "application/json" in node]:
        if beside != "application/json":
            del node[beside]
    anything = {"description": "Any type"}
    for union in ("anyOf", "oneOf"):
        if len(node.get(union, ())) > 2:
            node[union] = [anything if one in _NULLS else one for one in node[union]]
        if union in node and node.pop("nullable", False):
            node[union].append(anything)


def to_current_format(editor: DocumentEditor) -> None:
    """Remove all traces of the old page format."""
    rename_components(editor)
    editor.operation.pop("parameters", None)
    for _, node in mappings(editor.document):
        for union in ("anyOf", "oneOf"):
            if union in node:
                node[union] = [one for one in node[union] if one != {"description": "Any type"}]
        if node.get("additionalProperties") == {"description": "Any type"}:
            node["additionalProperties"] = {}


def to_2025_format(editor: DocumentEditor) -> None:
    """Convert the document to a page of 2025: no servers, security schemes or error bodies."""
    for key in ("servers", "security"):
        editor.document.pop(key, None)
        editor.operation.pop(key, None)
    editor.document["components"].pop("securitySchemes", None)
    for name, response in editor.operation["responses"].items():
        if not name.startswith("2"):
            response.pop("content", None)
