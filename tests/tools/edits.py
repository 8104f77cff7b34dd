"""Edits of a published document; each raises NotApplicable with a reason if it cannot apply."""

import copy
from contextlib import suppress
from typing import Any

from tests.tools.published_document import DocumentEditor, Edit, NotApplicable, Schema
from tools.openapi import mappings, resolve

_NULLS: list[Schema] = [{"type": "null"}, {"nullable": True}]


def add_field(place: str, name: str, schema: Schema, *, required: bool = False) -> Edit:
    """Add a field as the first of an object."""

    def edit(parse_edition: DocumentEditor) -> None:
        holder = parse_edition.object_at(place)
        if name in holder["properties"]:
            raise NotApplicable(f"{place} already has {name}")
        holder["properties"] = {name: copy.deepcopy(schema), **holder["properties"]}
        if required:
            holder["required"] = [name, *holder.get("required", [])]

    return edit


def remove(place: str, name: str) -> Edit:
    """Remove a field."""

    def edit(parse_edition: DocumentEditor) -> None:
        holder = parse_edition.object_at(place)
        if name not in holder["properties"]:
            raise NotApplicable(f"{place} has no {name}")
        del holder["properties"][name]
        if name in holder.get("required", []):
            holder["required"].remove(name)

    return edit


def require(place: str, name: str, *, required: bool = True) -> Edit:
    """Make a field required or optional."""

    def edit(parse_edition: DocumentEditor) -> None:
        holder = parse_edition.object_at(place)
        names = holder.setdefault("required", [])
        if (name in names) == required or name not in holder["properties"]:
            raise NotApplicable(f"{place}.{name} does not change, or does not exist")
        names.append(name) if required else names.remove(name)

    return edit


def add_required(place: str, name: str) -> Edit:
    """Require a field without a schema."""

    def edit(parse_edition: DocumentEditor) -> None:
        parse_edition.object_at(place).setdefault("required", []).append(name)

    return edit


def set_keys(place: str, **keys: Any) -> Edit:
    """Set keywords of a schema."""

    def edit(parse_edition: DocumentEditor) -> None:
        parse_edition.at(place).update(copy.deepcopy(keys))

    return edit


def replace_schema(place: str, schema: Schema) -> Edit:
    """Replace a schema."""

    def edit(parse_edition: DocumentEditor) -> None:
        node = parse_edition.at(place)
        node.clear()
        node.update(copy.deepcopy(schema))

    return edit


def add_value(place: str, value: str) -> Edit:
    """Add an enum value."""

    def edit(parse_edition: DocumentEditor) -> None:
        values = parse_edition.at(f"{place}:enum")["enum"]
        if value in values:
            raise NotApplicable(f"{place} already has the value {value}")
        values.append(value)

    return edit


def remove_value(place: str, value: str) -> Edit:
    """Remove an enum value."""

    def edit(parse_edition: DocumentEditor) -> None:
        values = parse_edition.at(f"{place}:enum")["enum"]
        if value not in values:
            raise NotApplicable(f"{place} does not have the value {value}")
        values.remove(value)

    return edit


def add_alternative(place: str, schema: Schema, *, first: bool = False) -> Edit:
    """Add an alternative."""

    def edit(parse_edition: DocumentEditor) -> None:
        alternatives = parse_edition.alternatives_at(place)
        if schema in alternatives:
            raise NotApplicable(f"{place} already has this alternative")
        alternatives.insert(0 if first else len(alternatives), copy.deepcopy(schema))

    return edit


def keep_alternatives(place: str, count: int) -> Edit:
    """Keep the first alternatives; all editions have the same order."""

    def edit(parse_edition: DocumentEditor) -> None:
        alternatives = parse_edition.alternatives_at(place)
        if len(alternatives) <= count:
            raise NotApplicable(f"{place} has no more than {count} alternatives")
        del alternatives[count:]

    return edit


def reverse_alternatives(place: str) -> Edit:
    """Reverse the alternatives."""

    def edit(parse_edition: DocumentEditor) -> None:
        parse_edition.alternatives_at(place).reverse()

    return edit


def add_null(place: str) -> Edit:
    """Add null as an alternative."""

    def edit(parse_edition: DocumentEditor) -> None:
        if _takes_null(parse_edition, parse_edition.at(place)):
            raise NotApplicable(f"{place} already allows null")
        parse_edition.alternatives_at(place).append({"type": "null"})

    return edit


def remove_null(place: str) -> Edit:
    """Remove null in any spelling."""

    def edit(parse_edition: DocumentEditor) -> None:
        node = parse_edition.at(place)
        if not _takes_null(parse_edition, node):
            raise NotApplicable(f"{place} does not allow null")
        node.pop("nullable", None)
        if isinstance(node.get("type"), list):
            node["type"] = next(kind for kind in node["type"] if kind != "null")
        for union in ("anyOf", "oneOf"):
            if union in node:
                node[union] = [one for one in node[union] if one not in _NULLS]
        if None in node.get("enum", ()):
            node["enum"].remove(None)

    return edit


def _takes_null(parse_edition: DocumentEditor, node: Any) -> bool:
    if "$ref" in node:
        return _takes_null(parse_edition, resolve(parse_edition.document, node["$ref"]))
    unions = (one for union in ("anyOf", "oneOf", "allOf") for one in node.get(union, ()))
    kinds = node.get("type", ())
    return (
        node.get("nullable") is True
        or "null" in ([kinds] if isinstance(kinds, str) else kinds)
        or any(_takes_null(parse_edition, one) for one in unions)
    )


def spell_null(place: str, **spelling: Any) -> Edit:
    """Change the spelling of null."""

    def edit(parse_edition: DocumentEditor) -> None:
        remove_null(place)(parse_edition)
        set_keys(place, **spelling)(parse_edition)

    return edit


def null_in_enum(place: str) -> Edit:
    """List null among the enum values."""

    def edit(parse_edition: DocumentEditor) -> None:
        values = [v for v in parse_edition.at(f"{place}:enum")["enum"] if v is not None]
        replace_schema(place, {"type": ["string", "null"], "enum": [*values, None]})(parse_edition)

    return edit


def add_exclusive_minimum(place: str) -> Edit:
    """Add an exclusive limit in the syntax of OpenAPI 3.0."""

    def edit(parse_edition: DocumentEditor) -> None:
        node = parse_edition.at(place)
        if "minimum" in node:
            raise NotApplicable(f"{place} already has a minimum")
        node.update(minimum=0, exclusiveMinimum=True)

    return edit


def add_recursive_list(place: str, name: str) -> Edit:
    """Add a field with a list of the enclosing object."""

    def edit(parse_edition: DocumentEditor) -> None:
        node = parse_edition.object_at(place)
        reference = {"$ref": "#/components/schemas/Again"}
        whole = copy.deepcopy(node)
        whole["properties"][name] = {"type": "array", "items": reference}
        parse_edition.schemas["Again"] = whole
        node.clear()
        node.update(reference)

    return edit


def add_linked_list(place: str, name: str) -> Edit:
    """Add a field with a linked list: an object that requires the next one, or null."""

    def edit(parse_edition: DocumentEditor) -> None:
        reference = {"$ref": "#/components/schemas/Chain"}
        after = {"anyOf": [reference, {"type": "null"}]}
        linked = {"type": "object", "properties": {"after": after}, "required": ["after"]}
        parse_edition.schemas["Chain"] = linked
        add_field(place, name, reference)(parse_edition)

    return edit


def all_of(place: str) -> Edit:
    """Wrap a schema in an `allOf` with a description."""

    def edit(parse_edition: DocumentEditor) -> None:
        node = parse_edition.at(place)
        if "allOf" in node:
            raise NotApplicable(f"{place} already is an allOf")
        whole = dict(node)
        node.clear()
        node["allOf"] = [whole, {"description": "Said of this place alone."}]

    return edit


def enum_as_mappings(place: str) -> Edit:
    """Print `enum: [text]` as `enum: [{value: text}]`."""

    def edit(parse_edition: DocumentEditor) -> None:
        node = parse_edition.at(f"{place}:enum")
        node["enum"] = [{"value": value} for value in node["enum"]]

    return edit


def operation(**keys: Any) -> Edit:
    """Set keys of the operation."""

    def edit(parse_edition: DocumentEditor) -> None:
        parse_edition.operation.update(copy.deepcopy(keys))

    return edit


def status(name: str, response: Schema, *, instead_of: str = "") -> Edit:
    """Add a status, or rename the status `instead_of`."""

    def edit(parse_edition: DocumentEditor) -> None:
        responses = parse_edition.operation["responses"]
        if name in responses:
            raise NotApplicable(f"status {name} already exists")
        responses[name] = responses.pop(instead_of) if instead_of else copy.deepcopy(response)

    return edit


def response(status: str, **keys: Any) -> Edit:
    """Set keys of a response."""

    def edit(parse_edition: DocumentEditor) -> None:
        parse_edition.operation["responses"][status].update(copy.deepcopy(keys))

    return edit


def media_type(message: str, name: str, *, instead: bool = False) -> Edit:
    """Add a media type, or replace JSON."""

    def edit(parse_edition: DocumentEditor) -> None:
        content = parse_edition.content(message)
        if name in content:
            raise NotApplicable(f"{message} already allows {name}")
        content[name] = content.pop("application/json") if instead else {"schema": {}}

    return edit


def document(**keys: Any) -> Edit:
    """Set keys of the document."""

    def edit(parse_edition: DocumentEditor) -> None:
        parse_edition.document.update(copy.deepcopy(keys))

    return edit


def path(route: str, **keys: Any) -> Edit:
    """Set keys of a path."""

    def edit(parse_edition: DocumentEditor) -> None:
        parse_edition.document["paths"].setdefault(route, {}).update(copy.deepcopy(keys))

    return edit


def security_scheme(name: str, /, **keys: Any) -> Edit:
    """Add or change a security scheme."""

    def edit(parse_edition: DocumentEditor) -> None:
        schemes = parse_edition.document["components"]["securitySchemes"]
        like = {} if "type" in keys else next(iter(schemes.values()))
        schemes[name] = copy.deepcopy({**schemes.get(name, like), **keys})

    return edit


def rename_components(parse_edition: DocumentEditor) -> None:
    """Rename all components."""
    names = {
        f"#/components/schemas/{name}": f"Renamed{i}"
        for i, name in enumerate(parse_edition.schemas)
    }
    for _, node in mappings(parse_edition.document):
        if node.get("$ref") in names:
            node["$ref"] = f"#/components/schemas/{names[node['$ref']]}"
    renamed = zip(names.values(), [*parse_edition.schemas.values()], strict=True)
    parse_edition.document["components"]["schemas"] = dict(renamed)


def inline(parse_edition: DocumentEditor) -> None:
    """Inline all components."""

    def inlined(node: Any) -> Any:
        if isinstance(node, list):
            return [inlined(one) for one in node]
        if not isinstance(node, dict):
            return node
        if isinstance(node.get("$ref"), str):
            beside = {key: value for key, value in node.items() if key != "$ref"}
            return inlined({**resolve(parse_edition.document, node["$ref"]), **beside})
        return {key: inlined(value) for key, value in node.items()}

    parse_edition.document["paths"] = inlined(parse_edition.document["paths"])
    parse_edition.document["components"]["schemas"] = {}


def swap_unions(parse_edition: DocumentEditor) -> None:
    """Swap `oneOf` and `anyOf`."""
    other = {"oneOf": "anyOf", "anyOf": "oneOf"}
    for _, node in mappings(parse_edition.document):
        if node.keys() & other.keys():
            items = [(other.get(key, key), value) for key, value in node.items()]
            node.clear()
            node.update(items)


def reword(parse_edition: DocumentEditor) -> None:
    """Change all descriptions."""
    for place, node in mappings(parse_edition.document):
        said = node.get("description")
        # the renderer's "Any type" has a meaning
        if isinstance(said, str) and said != "Any type" and place[-1:] != ("properties",):
            node["description"] = f"{said} In other words."


def respell_operation_id(parse_edition: DocumentEditor) -> None:
    """Convert the operation ID between camel case and dashes."""
    name = parse_edition.operation["operationId"]
    words = name.split("-")
    spelt = words[0] + "".join(word.capitalize() for word in words[1:])
    dashed = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)
    parse_edition.operation["operationId"] = spelt if "-" in name else dashed


def component(name: str) -> Edit:
    """Add an unused component."""

    def edit(parse_edition: DocumentEditor) -> None:
        parse_edition.schemas[name] = {"type": "string"}

    return edit


def where_applicable(*edits: Edit) -> Edit:
    """Apply only the applicable edits."""

    def edit(parse_edition: DocumentEditor) -> None:
        for one in edits:
            with suppress(NotApplicable):
                one(parse_edition)

    return edit


def to_old_format(parse_edition: DocumentEditor) -> None:
    """Convert the document to the old page format."""
    key = {"name": "Authorization", "in": "header", "required": True, "schema": {"type": "string"}}
    parse_edition.operation["parameters"] = [key]
    responses = parse_edition.operation["responses"]
    for status in [status for status in responses if status in ("524", "529")]:
        del responses[status]
    for _, node in mappings(parse_edition.document):
        _to_old_format(node)
    where_applicable(remove_null("request.provider"), remove_null("request.provider:object"))(
        parse_edition
    )
    for name in parse_edition.object_at("request.provider.max_price")["properties"]:
        replace_schema(f"request.provider.max_price.{name}", {"type": "object", "properties": {}})(
            parse_edition
        )


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


def to_current_format(parse_edition: DocumentEditor) -> None:
    """Remove all traces of the old page format."""
    rename_components(parse_edition)
    parse_edition.operation.pop("parameters", None)
    for _, node in mappings(parse_edition.document):
        for union in ("anyOf", "oneOf"):
            if union in node:
                node[union] = [one for one in node[union] if one != {"description": "Any type"}]
        if node.get("additionalProperties") == {"description": "Any type"}:
            node["additionalProperties"] = {}


def to_2025_format(parse_edition: DocumentEditor) -> None:
    """Convert the document to a page of 2025: no servers, security schemes or error bodies."""
    for key in ("servers", "security"):
        parse_edition.document.pop(key, None)
        parse_edition.operation.pop(key, None)
    parse_edition.document["components"].pop("securitySchemes", None)
    for name, response in parse_edition.operation["responses"].items():
        if not name.startswith("2"):
            response.pop("content", None)
