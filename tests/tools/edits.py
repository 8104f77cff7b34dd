"""Edits of a published document, each of which says in words where it has nothing to do."""

import copy
from contextlib import suppress
from typing import Any

from tests.tools.published_document import DocumentEditor, Edit, NotApplicable, Schema
from tools.openapi import mappings, resolve

_NULLS: list[Schema] = [{"type": "null"}, {"nullable": True}]


def add_field(place: str, name: str, schema: Schema, *, required: bool = False) -> Edit:
    """A new field of an object, the first of all."""

    def edit(parse_edition: DocumentEditor) -> None:
        holder = parse_edition.object_at(place)
        if name in holder["properties"]:
            raise NotApplicable(f"{place} has {name} already")
        holder["properties"] = {name: copy.deepcopy(schema), **holder["properties"]}
        if required:
            holder["required"] = [name, *holder.get("required", [])]

    return edit


def remove(place: str, name: str) -> Edit:
    """A field that an object loses."""

    def edit(parse_edition: DocumentEditor) -> None:
        holder = parse_edition.object_at(place)
        if name not in holder["properties"]:
            raise NotApplicable(f"{place} has no {name}")
        del holder["properties"][name]
        if name in holder.get("required", []):
            holder["required"].remove(name)

    return edit


def require(place: str, name: str, *, required: bool = True) -> Edit:
    """A field that has to be there, or need not be any more."""

    def edit(parse_edition: DocumentEditor) -> None:
        holder = parse_edition.object_at(place)
        names = holder.setdefault("required", [])
        if (name in names) == required or name not in holder["properties"]:
            raise NotApplicable(f"{place}.{name} is so already, or not there")
        names.append(name) if required else names.remove(name)

    return edit


def add_required(place: str, name: str) -> Edit:
    """A field that has to be there, and has no schema."""

    def edit(parse_edition: DocumentEditor) -> None:
        parse_edition.object_at(place).setdefault("required", []).append(name)

    return edit


def set_keys(place: str, **keys: Any) -> Edit:
    """Keywords of a schema, set or changed."""

    def edit(parse_edition: DocumentEditor) -> None:
        parse_edition.at(place).update(copy.deepcopy(keys))

    return edit


def anew(place: str, schema: Schema) -> Edit:
    """Another schema at a place."""

    def edit(parse_edition: DocumentEditor) -> None:
        node = parse_edition.at(place)
        node.clear()
        node.update(copy.deepcopy(schema))

    return edit


def add_value(place: str, value: str) -> Edit:
    """A new value where a few are listed."""

    def edit(parse_edition: DocumentEditor) -> None:
        values = parse_edition.at(f"{place}:enum")["enum"]
        if value in values:
            raise NotApplicable(f"{place} has the value {value} already")
        values.append(value)

    return edit


def remove_value(place: str, value: str) -> Edit:
    """A value that is no longer listed."""

    def edit(parse_edition: DocumentEditor) -> None:
        values = parse_edition.at(f"{place}:enum")["enum"]
        if value not in values:
            raise NotApplicable(f"{place} does not have the value {value}")
        values.remove(value)

    return edit


def add_alternative(place: str, schema: Schema, *, first: bool = False) -> Edit:
    """Another alternative."""

    def edit(parse_edition: DocumentEditor) -> None:
        alternatives = parse_edition.alternatives_at(place)
        if schema in alternatives:
            raise NotApplicable(f"{place} has this alternative already")
        alternatives.insert(0 if first else len(alternatives), copy.deepcopy(schema))

    return edit


def keep_alternatives(place: str, count: int) -> Edit:
    """Only the first alternatives, in the order in which all editions have them."""

    def edit(parse_edition: DocumentEditor) -> None:
        alternatives = parse_edition.alternatives_at(place)
        if len(alternatives) <= count:
            raise NotApplicable(f"{place} has no more than {count} alternatives")
        del alternatives[count:]

    return edit


def turned(place: str) -> Edit:
    """The alternatives in another order."""

    def edit(parse_edition: DocumentEditor) -> None:
        parse_edition.alternatives_at(place).reverse()

    return edit


def add_null(place: str) -> Edit:
    """Null as another alternative of whatever stands at a place."""

    def edit(parse_edition: DocumentEditor) -> None:
        if _takes_null(parse_edition, parse_edition.at(place)):
            raise NotApplicable(f"{place} may be null already")
        parse_edition.alternatives_at(place).append({"type": "null"})

    return edit


def remove_null(place: str) -> Edit:
    """Null, in whatever way it is spelt, gone."""

    def edit(parse_edition: DocumentEditor) -> None:
        node = parse_edition.at(place)
        if not _takes_null(parse_edition, node):
            raise NotApplicable(f"{place} may not be null")
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
    """Null at a place that allows it, in another spelling of the same."""

    def edit(parse_edition: DocumentEditor) -> None:
        remove_null(place)(parse_edition)
        set_keys(place, **spelling)(parse_edition)

    return edit


def null_in_enum(place: str) -> Edit:
    """Values and null as one list of values."""

    def edit(parse_edition: DocumentEditor) -> None:
        values = [v for v in parse_edition.at(f"{place}:enum")["enum"] if v is not None]
        anew(place, {"type": ["string", "null"], "enum": [*values, None]})(parse_edition)

    return edit


def exclusive(place: str) -> Edit:
    """A limit in the way of OpenAPI 3.0."""

    def edit(parse_edition: DocumentEditor) -> None:
        node = parse_edition.at(place)
        if "minimum" in node:
            raise NotApplicable(f"{place} has a minimum already")
        node.update(minimum=0, exclusiveMinimum=True)

    return edit


def recursive(place: str, name: str) -> Edit:
    """A field that holds a list of what it is in."""

    def edit(parse_edition: DocumentEditor) -> None:
        node = parse_edition.object_at(place)
        reference = {"$ref": "#/components/schemas/Again"}
        whole = copy.deepcopy(node)
        whole["properties"][name] = {"type": "array", "items": reference}
        parse_edition.schemas["Again"] = whole
        node.clear()
        node.update(reference)

    return edit


def chain(place: str, name: str) -> Edit:
    """A field that holds an object, which has to hold another one, or null."""

    def edit(parse_edition: DocumentEditor) -> None:
        reference = {"$ref": "#/components/schemas/Chain"}
        after = {"anyOf": [reference, {"type": "null"}]}
        linked = {"type": "object", "properties": {"after": after}, "required": ["after"]}
        parse_edition.schemas["Chain"] = linked
        add_field(place, name, reference)(parse_edition)

    return edit


def all_of(place: str) -> Edit:
    """A schema as `allOf` of itself and a description."""

    def edit(parse_edition: DocumentEditor) -> None:
        node = parse_edition.at(place)
        if "allOf" in node:
            raise NotApplicable(f"{place} is an allOf already")
        whole = dict(node)
        node.clear()
        node["allOf"] = [whole, {"description": "Said of this place alone."}]

    return edit


def as_mappings(place: str) -> Edit:
    """`enum: [text]` as `enum: [{value: text}]`."""

    def edit(parse_edition: DocumentEditor) -> None:
        node = parse_edition.at(f"{place}:enum")
        node["enum"] = [{"value": value} for value in node["enum"]]

    return edit


def operation(**keys: Any) -> Edit:
    """Keywords of the operation."""

    def edit(parse_edition: DocumentEditor) -> None:
        parse_edition.operation.update(copy.deepcopy(keys))

    return edit


def status(name: str, response: Schema, *, instead_of: str = "") -> Edit:
    """A status that is answered; the body of another one where that is named."""

    def edit(parse_edition: DocumentEditor) -> None:
        responses = parse_edition.operation["responses"]
        if name in responses:
            raise NotApplicable(f"status {name} is there already")
        responses[name] = responses.pop(instead_of) if instead_of else copy.deepcopy(response)

    return edit


def response(status: str, **keys: Any) -> Edit:
    """Keys of the answer with a status."""

    def edit(parse_edition: DocumentEditor) -> None:
        parse_edition.operation["responses"][status].update(copy.deepcopy(keys))

    return edit


def media_type(message: str, name: str, *, instead: bool = False) -> Edit:
    """A media type beside JSON, or in its place."""

    def edit(parse_edition: DocumentEditor) -> None:
        content = parse_edition.content(message)
        if name in content:
            raise NotApplicable(f"{message} may be {name} already")
        content[name] = content.pop("application/json") if instead else {"schema": {}}

    return edit


def document(**keys: Any) -> Edit:
    """Keys of the whole document."""

    def edit(parse_edition: DocumentEditor) -> None:
        parse_edition.document.update(copy.deepcopy(keys))

    return edit


def path(route: str, **keys: Any) -> Edit:
    """Keys of a path."""

    def edit(parse_edition: DocumentEditor) -> None:
        parse_edition.document["paths"].setdefault(route, {}).update(copy.deepcopy(keys))

    return edit


def security_scheme(name: str, /, **keys: Any) -> Edit:
    """A way to send the key: another one, or the one there is, changed."""

    def edit(parse_edition: DocumentEditor) -> None:
        schemes = parse_edition.document["components"]["securitySchemes"]
        like = {} if "type" in keys else next(iter(schemes.values()))
        schemes[name] = copy.deepcopy({**schemes.get(name, like), **keys})

    return edit


def rename_components(parse_edition: DocumentEditor) -> None:
    """Every component under another name."""
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
    """Every component where it is used, and none besides."""

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


def spell_unions(parse_edition: DocumentEditor) -> None:
    """`oneOf` for `anyOf` and the other way round."""
    other = {"oneOf": "anyOf", "anyOf": "oneOf"}
    for _, node in mappings(parse_edition.document):
        if node.keys() & other.keys():
            items = [(other.get(key, key), value) for key, value in node.items()]
            node.clear()
            node.update(items)


def other_words(parse_edition: DocumentEditor) -> None:
    """Another description everywhere."""
    for place, node in mappings(parse_edition.document):
        said = node.get("description")
        # "Any type" is the renderer's, and means something
        if isinstance(said, str) and said != "Any type" and place[-1:] != ("properties",):
            node["description"] = f"{said} In other words."


def swap_names(parse_edition: DocumentEditor) -> None:
    """The operation's name in the other of two spellings."""
    name = parse_edition.operation["operationId"]
    words = name.split("-")
    spelt = words[0] + "".join(word.capitalize() for word in words[1:])
    dashed = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)
    parse_edition.operation["operationId"] = spelt if "-" in name else dashed


def component(name: str) -> Edit:
    """Another component, which nothing uses."""

    def edit(parse_edition: DocumentEditor) -> None:
        parse_edition.schemas[name] = {"type": "string"}

    return edit


def where_applicable(*edits: Edit) -> Edit:
    """Those of several edits that have something to do."""

    def edit(parse_edition: DocumentEditor) -> None:
        for one in edits:
            with suppress(NotApplicable):
                one(parse_edition)

    return edit


def printed_before(parse_edition: DocumentEditor) -> None:
    """The document as the renderer of the former form printed it."""
    key = {"name": "Authorization", "in": "header", "required": True, "schema": {"type": "string"}}
    parse_edition.operation["parameters"] = [key]
    responses = parse_edition.operation["responses"]
    for status in [status for status in responses if status in ("524", "529")]:
        del responses[status]
    for _, node in mappings(parse_edition.document):
        _print_before(node)
    where_applicable(remove_null("request.provider"), remove_null("request.provider:object"))(
        parse_edition
    )
    for name in parse_edition.object_at("request.provider.max_price")["properties"]:
        anew(f"request.provider.max_price.{name}", {"type": "object", "properties": {}})(
            parse_edition
        )


def _print_before(node: Schema) -> None:
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


def printed_today(parse_edition: DocumentEditor) -> None:
    """The document without a trace of that renderer."""
    rename_components(parse_edition)
    parse_edition.operation.pop("parameters", None)
    for _, node in mappings(parse_edition.document):
        for union in ("anyOf", "oneOf"):
            if union in node:
                node[union] = [one for one in node[union] if one != {"description": "Any type"}]
        if node.get("additionalProperties") == {"description": "Any type"}:
            node["additionalProperties"] = {}


def as_printed_in_2025(parse_edition: DocumentEditor) -> None:
    """The oldest pages: without an address, a scheme of the key, and the bodies of errors."""
    for key in ("servers", "security"):
        parse_edition.document.pop(key, None)
        parse_edition.operation.pop(key, None)
    parse_edition.document["components"].pop("securitySchemes", None)
    for name, response in parse_edition.operation["responses"].items():
        if not name.startswith("2"):
            response.pop("content", None)
