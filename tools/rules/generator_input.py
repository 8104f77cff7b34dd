"""Rules that rewrite the contract into what openapi-python-client can express.

None of this is part of the contract. Each rule works around one limitation of the generator, which
its docstring names. `tools.class_names` names the classes afterwards.
"""

import copy
import re
from collections.abc import Iterator

from tools.openapi import (
    Json,
    Pointer,
    dereference,
    lists,
    mappings,
    operations,
    parse_pointer,
    resolve,
    walk,
)
from tools.rules import Rule


def inline_message_references(document: dict[str, Json]) -> Iterator[Pointer]:
    """Inline references to bodies and responses, which the generator ignores."""
    for path, operation in operations(document):
        places = [(operation, "requestBody")] if "requestBody" in operation else []
        places += [(operation["responses"], status) for status in operation.get("responses", {})]
        for holder, key in places:
            if "$ref" in holder[key]:
                holder[key] = copy.deepcopy(dereference(document, holder[key]))
                yield (*path, key)


def keep_json_only(document: dict[str, Json]) -> Iterator[Pointer]:
    """Keep only JSON; the generator would use whichever media type comes first."""
    for path, node in mappings(document):
        content = node.get("content")
        if isinstance(content, dict) and "application/json" in content and len(content) > 1:
            node["content"] = {"application/json": content["application/json"]}
            yield (*path, "content")


def unwrap_annotated_references(document: dict[str, Json]) -> Iterator[Pointer]:
    """Unwrap `allOf: [$ref, {description}]`, which the generator rejects unless it is an object."""
    for path, node, members in lists(document, "allOf"):
        meant = [m for m in members if isinstance(m, dict) and set(m) - _ANNOTATIONS]
        if len(meant) == 1 and not set(node) - _ANNOTATIONS - {"allOf"}:
            notes = {k: v for m in members for k, v in m.items() if k in _ANNOTATIONS}
            kept = {k: v for k, v in node.items() if k != "allOf"}
            node.clear()
            node.update({**notes, **kept, **meant[0]})
            yield path


_ANNOTATIONS = frozenset(
    {"title", "description", "example", "examples", "deprecated", "readOnly", "writeOnly"}
)


def merge_objects_of_all_of(document: dict[str, Json]) -> Iterator[Pointer]:
    """Merge the objects of an allOf; the generator needs them as components."""
    for path, node, members in lists(document, "allOf"):
        objects = [dereference(document, m) for m in members]
        if not all(isinstance(o, dict) and not set(o) - _OBJECT for o in objects):
            continue
        objects = [*objects, {k: v for k, v in node.items() if k in _OBJECT}]
        del node["allOf"]
        properties = {k: v for o in objects for k, v in o.get("properties", {}).items()}
        required = list(dict.fromkeys(k for o in objects for k in o.get("required", [])))
        node.update(copy.deepcopy({"type": "object", "properties": properties}))
        node.update({"required": required} if required else {})
        yield path


_OBJECT = _ANNOTATIONS | {"type", "properties", "required", "additionalProperties"}


def drop_other_all_of(document: dict[str, Json]) -> Iterator[Pointer]:
    """Allow any value for every other allOf; the generator can only merge objects."""
    for path, node, _ in lists(document, "allOf"):
        kept = {key: value for key, value in node.items() if key in _ANNOTATIONS}
        node.clear()
        node.update(kept)
        yield path


def require_array_items(document: dict[str, Json]) -> Iterator[Pointer]:
    """Give every array `items`, which the generator requires."""
    for path, node in mappings(document):
        kinds = node.get("type")
        is_array = kinds == "array" or (isinstance(kinds, list) and "array" in kinds)
        if is_array and not node.keys() & {"items", "prefixItems"}:
            node["items"] = {}
            yield path


def move_null_to_alternative(document: dict[str, Json]) -> Iterator[Pointer]:
    """Make null an alternative: otherwise a list of types gives two classes, an enum three."""
    for path, node in reversed(mappings(document)):  # inner nodes first, because they are copied
        kinds, values = node.get("type"), node.get("enum")
        several = isinstance(kinds, list)
        values = values if isinstance(values, list) else []
        holds_null = None in values
        if not (several or holds_null):
            continue
        kinds = [kinds] if isinstance(kinds, str) else kinds or [None]
        notes = {k: node.pop(k) for k in list(node) if k in _ANNOTATIONS}
        rest = {k: v for k, v in node.items() if k not in ("type", "enum")}
        values = [value for value in values if value is not None]
        fixed = {"enum": values} if values else {}
        alternatives: list[dict[str, Json]] = [
            {**({"type": kind} if kind else {}), **fixed, **copy.deepcopy(rest)}
            for kind in kinds
            if kind != "null" and (values or not holds_null)
        ]
        if holds_null or "null" in kinds:
            alternatives.append({"type": "null"})
        node.clear()
        node.update({**notes, **(alternatives[0] if len(alternatives) == 1 else {})})
        if len(alternatives) > 1:
            node["anyOf"] = alternatives
        yield path


def drop_mixed_enums(document: dict[str, Json]) -> Iterator[Pointer]:
    """Drop mixed enums; the generator supports only enums of strings or of integers."""
    for path, node, values in lists(document, "enum"):
        distinct = list(dict.fromkeys(map(repr, values)))
        kinds = {type(value) for value in values}
        if kinds not in ({str}, {int}) or not values:
            del node["enum"]
            yield (*path, "enum")
        elif len(distinct) < len(values):
            node["enum"] = list(dict.fromkeys(values))
            yield (*path, "enum")


def flatten_unions(document: dict[str, Json]) -> Iterator[Pointer]:
    """Flatten nested unions, so that merge_array_alternatives finds all their arrays."""
    for path, node, given in lists(document, "anyOf"):
        flat = _alternatives(document, node, (id(node),))
        if len(flat) != len(given):
            node["anyOf"] = flat
            yield path


def _alternatives(
    document: dict[str, Json], union: dict[str, Json], above: tuple[int, ...]
) -> list[Json]:
    found: list[Json] = []
    for alternative in union["anyOf"]:
        meant = dereference(document, alternative)
        only_union = isinstance(meant, dict) and not set(meant) - _ANNOTATIONS - {"anyOf"}
        if only_union and isinstance(meant.get("anyOf"), list):
            if id(meant) not in above:
                found += _alternatives(document, meant, (*above, id(meant)))
        else:
            found.append(alternative)
    return found


def merge_enum_alternatives(document: dict[str, Json]) -> Iterator[Pointer]:
    """Merge `anyOf: [{enum: [float]}, {enum: [base64]}]` into one enum, not a class for each."""
    for path, node, alternatives in lists(document, "anyOf"):
        meant = [dereference(document, a) for a in alternatives]
        enums = [m for m in meant if isinstance(m, dict) and "enum" in m]
        kinds = {type(value) for each in enums for value in each["enum"]}
        if len(enums) > 1 and len(kinds) == 1:
            values = list(dict.fromkeys(value for each in enums for value in each["enum"]))
            rest = [a for a, m in zip(alternatives, meant, strict=True) if m not in enums]
            merged = {**enums[0], "enum": values}
            if rest:
                node["anyOf"] = [merged, *rest]
            else:
                del node["anyOf"]
                node.update(merged)
            yield path


def merge_array_alternatives(document: dict[str, Json]) -> Iterator[Pointer]:
    """Merge array alternatives; the generator's `isinstance(x, list)` always picks the first.

    One array of a union of items generates correct code in both directions.
    """
    for path, node, alternatives in lists(document, "anyOf"):
        arrays = [a for a in alternatives if _kind(document, a) == "array"]
        if len(arrays) < 2:
            continue
        items = [copy.deepcopy(dereference(document, a).get("items", {})) for a in arrays]
        rest = [a for a in alternatives if a not in arrays]
        merged = {"type": "array", "items": {"anyOf": items}}
        node["anyOf"] = [*rest, merged]
        yield path


def allow_additional_properties(document: dict[str, Json]) -> Iterator[Pointer]:
    """Allow additional properties, so that `model["new"] = value` sends newer fields."""
    for path, node in mappings(document):
        if node.get("additionalProperties") is False:
            del node["additionalProperties"]
            yield (*path, "additionalProperties")


def drop_string_formats(document: dict[str, Json]) -> Iterator[Pointer]:
    """Drop string formats; the generated parsers (of dates, for example) are too strict."""
    for path, node in mappings(document):
        if node.get("type") == "string" and isinstance(node.get("format"), str):
            del node["format"]
            yield (*path, "format")


def tags_to_constants(document: dict[str, Json]) -> Iterator[Pointer]:
    """Turn one-value enums into constants with a default, so that callers need not pass tags."""
    for path, node in mappings(document):
        properties = node.get("properties")
        if not isinstance(properties, dict) or path[-1:] == ("properties",):
            continue
        for name, schema in properties.items():
            meant = dereference(document, schema)
            values = meant.get("enum") if isinstance(meant, dict) else None
            if isinstance(values, list) and len(values) == 1:
                properties[name] = {"const": values[0], "default": values[0]}
                yield (*path, "properties", name)


def drop_defaults(document: dict[str, Json]) -> Iterator[Pointer]:
    """Drop defaults; the generated client would send values that the caller did not set."""
    for path, node in mappings(document):
        in_schema = "schema" in path or path[:2] == ("components", "schemas")
        fixed = "const" in node or path[-1:] == ("properties",)
        if "default" in node and in_schema and not fixed:
            del node["default"]
            yield (*path, "default")


def accept_null_for_optional_response_fields(document: dict[str, Json]) -> Iterator[Pointer]:
    """Allow null for optional response fields; servers send it, and `from_dict` would raise."""
    for path, node in _response_schemas(document):
        properties = node.get("properties", {})
        for name, schema in properties.items():
            if name not in node.get("required", []) and not _takes_null(document, schema):
                kept = {k: v for k, v in schema.items() if k == "description"}
                properties[name] = {**kept, "anyOf": [schema, {"type": "null"}]}
                yield (*path, "properties", name)


def tag_operations_by_path(document: dict[str, Json]) -> Iterator[Pointer]:
    """Tag operations by their path; a tag becomes a folder, and editions have different tags."""
    for path, operation in operations(document):
        first = next((part for part in path[1].split("/") if part), "")
        tags = [re.sub(r"\W+", "_", first)] if first else []
        if operation.get("tags") != tags:
            operation["tags"] = tags
            yield (*path, "tags")


RULES: tuple[Rule, ...] = (
    inline_message_references,
    keep_json_only,
    unwrap_annotated_references,
    merge_objects_of_all_of,
    drop_other_all_of,
    require_array_items,
    move_null_to_alternative,
    drop_mixed_enums,
    flatten_unions,
    merge_enum_alternatives,
    merge_array_alternatives,
    allow_additional_properties,
    drop_defaults,
    drop_string_formats,
    tags_to_constants,
    accept_null_for_optional_response_fields,
    tag_operations_by_path,
)


def _kind(document: dict[str, Json], schema: Json) -> Json:
    found = dereference(document, schema)
    return found.get("type") if isinstance(found, dict) else None  # `true` is also a schema


def _takes_null(document: dict[str, Json], schema: Json, seen: tuple[int, ...] = ()) -> bool:
    found = dereference(document, schema)
    if not isinstance(found, dict) or id(found) in seen:
        return True
    if "anyOf" in found or "allOf" in found:
        inner = found["allOf"] if "allOf" in found else found["anyOf"]
        several = all if "allOf" in found else any
        return several(_takes_null(document, each, (*seen, id(found))) for each in inner)
    kind = found.get("type")
    untyped = kind is None and not found.keys() & {"enum", "const", "properties"}
    return untyped or kind == "null" or (isinstance(kind, list) and "null" in kind)


def _response_schemas(document: dict[str, Json]) -> list[tuple[Pointer, dict[str, Json]]]:
    """List the schemas that only responses use, each once."""
    responses: list[Json] = []
    requests: list[Json] = []
    for _, operation in operations(document):
        responses.append(operation.get("responses", {}))
        requests.append([operation.get("requestBody", {}), operation.get("parameters", [])])
    sent = {id(node) for _, node in _reachable(document, requests)}
    return [(p, node) for p, node in _reachable(document, responses) if id(node) not in sent]


def _reachable(document: dict[str, Json], start: Json) -> list[tuple[Pointer, dict[str, Json]]]:
    found: dict[int, tuple[Pointer, dict[str, Json]]] = {}
    waiting: list[tuple[Pointer, Json]] = [((), start)]
    while waiting:
        origin, root = waiting.pop()
        for path, node in walk(root, origin):
            if not isinstance(node, dict) or id(node) in found:
                continue
            found[id(node)] = (path, node)
            if isinstance(node.get("$ref"), str):
                waiting.append((parse_pointer(node["$ref"]), resolve(document, node["$ref"])))
    return list(found.values())
