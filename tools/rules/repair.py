"""Rules that repair the published document into the contract: what the publisher means.

The rules are general and name no field, so they work for new editions as well. The tests and the
stand-in rely on the contract, never on the generator's input.

The DIALECT rules translate other spellings to OpenAPI 3.1; the document is validated after them.
The REPAIRS undo errors of the publisher's page renderer.
"""

import copy
from collections.abc import Iterator
from contextlib import suppress

from tools.openapi import Json, Pointer, dereference, lists, mappings, operations
from tools.rules import Rule


def declare_version_3_1(document: dict[str, Json]) -> Iterator[Pointer]:
    """Declare a 3.0 document as 3.1; the next rules translate the syntax that differs."""
    if str(document.get("openapi", "")).startswith("3.0"):
        document["openapi"] = "3.1.0"
        yield ("openapi",)


def inline_path_items(document: dict[str, Json]) -> Iterator[Pointer]:
    """Replace references in `paths` by their path items, where later code looks for operations."""
    for route, item in (document.get("paths") or {}).items():
        if isinstance(item, dict) and "$ref" in item:
            with suppress(KeyError):  # validate() reports it
                others = {key: value for key, value in item.items() if key != "$ref"}
                document["paths"][route] = {**copy.deepcopy(dereference(document, item)), **others}
                yield ("paths", route)


def nullable_to_null(document: dict[str, Json]) -> Iterator[Pointer]:
    """Translate `nullable: true` of OpenAPI 3.0; in 3.1 it has no effect, so null would be invalid.

    https://www.openapis.org/blog/2021/02/16/migrating-from-openapi-3-0-to-3-1-0
    """
    for path, node in mappings(document):
        if not isinstance(node.get("nullable"), bool) or path[-1:] == ("properties",):
            continue
        yield path
        if not node.pop("nullable"):
            continue
        if not node.keys() - _ANNOTATIONS and path[-2:-1] in (("anyOf",), ("oneOf",)):
            node["type"] = "null"  # an alternative with nothing but null
        elif isinstance(kind := node.get("type"), str | list):
            kinds = [kind] if isinstance(kind, str) else kind
            node["type"] = [*kinds, *(["null"] if "null" not in kinds else [])]
            if isinstance(values := node.get("enum"), list) and None not in values:
                node["enum"] = [*values, None]
        elif node.keys() & {"$ref", "allOf", "anyOf", "oneOf"}:
            kept = {k: node.pop(k) for k in ("$ref", "allOf", "anyOf", "oneOf") if k in node}
            node["anyOf"] = [kept, {"type": "null"}]


_ANNOTATIONS = {"title", "description", "example", "examples"}


def exclusive_limits_to_numbers(document: dict[str, Json]) -> Iterator[Pointer]:
    """Translate `minimum: 0, exclusiveMinimum: true` of OpenAPI 3.0 to `exclusiveMinimum: 0`."""
    for path, node in mappings(document):
        for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if isinstance(strict := node.get(exclusive), bool):
                yield (*path, exclusive)
                del node[exclusive]
                if strict and limit in node:
                    node[exclusive] = node.pop(limit)


def unwrap_enum_values(document: dict[str, Json]) -> Iterator[Pointer]:
    """Undo an old renderer's `enum: [{value: text}]` for `enum: [text]`."""
    for path, node, values in lists(document, "enum"):
        if any(isinstance(v, dict) and "value" in v for v in values):
            yield (*path, "enum")
            node["enum"] = [
                v["value"] if isinstance(v, dict) and "value" in v else v for v in values
            ]


def flatten_tags(document: dict[str, Json]) -> Iterator[Pointer]:
    """Flatten an old renderer's `tags: [[x]]`; a tag is a string."""
    for path, operation in operations(document):
        tags = operation.get("tags")
        if isinstance(tags, list) and any(isinstance(tag, list) for tag in tags):
            flat = [tag for item in tags for tag in (item if isinstance(item, list) else [item])]
            operation["tags"] = flat
            yield (*path, "tags")


def apply_declared_security(document: dict[str, Json]) -> Iterator[Pointer]:
    """Apply the declared security scheme; OpenAPI 3.1 ignores an Authorization header parameter.

    https://spec.openapis.org/oas/v3.1.1.html#parameter-object
    """
    schemes = document.get("components", {}).get("securitySchemes", {})
    for path, operation in operations(document):
        parameters = operation.get("parameters", [])
        kept = [p for p in parameters if not _is_authorization(dereference(document, p))]
        if len(kept) < len(parameters):
            yield (*path, "parameters")
            operation["parameters"] = kept
            if not kept:
                del operation["parameters"]
        if schemes and "security" not in operation and "security" not in document:
            yield (*path, "security")
            operation["security"] = [{name: []} for name in schemes]


def _is_authorization(parameter: Json) -> bool:
    name = str(parameter.get("name", ""))
    return bool(parameter.get("in") == "header" and name.lower() == "authorization")


def require_the_body(document: dict[str, Json]) -> Iterator[Pointer]:
    """Require the request body; the renderer omits `required: true`."""
    for path, operation in operations(document):
        body = dereference(document, operation.get("requestBody"))
        if body is not None and not body.get("required"):
            body["required"] = True
            yield (*path, "requestBody")


def one_of_to_any_of(document: dict[str, Json]) -> Iterator[Pointer]:
    """Replace oneOf, which the renderer prints for every union; alternatives may overlap.

    `"OpenAI"` is both a known provider name and a string; `[]` matches four kinds of input.
    """
    for path, node, _ in lists(document, "oneOf"):
        if "anyOf" not in node:
            # rebuilt, to keep the order of the keys
            items = [("anyOf" if key == "oneOf" else key, value) for key, value in node.items()]
            node.clear()
            node.update(items)
            yield path


def drop_any_type_alternatives(document: dict[str, Json]) -> Iterator[Pointer]:
    """Drop `{description: Any type}`, the renderer's output for unknown types."""
    for path, node, alternatives in lists(document, "anyOf"):
        kept = [a for a in alternatives if not isinstance(a, dict) or a.keys() - _ANNOTATIONS]
        if kept and len(kept) < len(alternatives):
            node["anyOf"] = kept
            yield path


def drop_members_of_their_own_union(document: dict[str, Json]) -> Iterator[Pointer]:
    """Drop the first A of `allOf: [A, {anyOf: [A, B]}]`: the publisher means A or B.

    As written it allows only A, so `sort: {by: price}`, which the description allows, is invalid.
    """
    for path, node, members in lists(document, "allOf"):
        unions = [m["anyOf"] for m in members if isinstance(m, dict) and "anyOf" in m]
        kept = [m for m in members if not any(m in union for union in unions)]
        if len(kept) < len(members):
            node["allOf"] = kept
            yield (*path, "allOf")


def empty_object_to_any_value(document: dict[str, Json]) -> Iterator[Pointer]:
    """Allow any value for `{type: object, properties: {}}`, the renderer's output for prices."""
    for path, node in mappings(document):
        if (
            node.get("type") == "object"
            and node.get("properties") == {}
            and "additionalProperties" not in node
        ):
            del node["type"], node["properties"]
            yield path


DIALECT: tuple[Rule, ...] = (
    declare_version_3_1,
    inline_path_items,
    nullable_to_null,
    exclusive_limits_to_numbers,
    unwrap_enum_values,
    flatten_tags,
)
REPAIRS: tuple[Rule, ...] = (
    apply_declared_security,
    require_the_body,
    one_of_to_any_of,
    drop_any_type_alternatives,
    drop_members_of_their_own_union,
    empty_object_to_any_value,
)
RULES = (*DIALECT, *REPAIRS)
