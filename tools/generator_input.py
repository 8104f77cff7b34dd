"""The generator's input: the contract, bent to what openapi-python-client can express.

None of this is part of the contract. Each rule names the limit of the generator that it is for.
"""

import copy
import re

from openapi_python_client.schema.untrusted_string import UntrustedString
from openapi_python_client.strings import ClassName

from tools.documents import Json, Path_, SpecError, mappings, operations, resolve, walk
from tools.rules import Rule


def class_name(component: str) -> str:
    """The class that the generator would make of a component's key."""
    return str(ClassName(UntrustedString(component), "field_"))


def merge_array_alternatives(document: dict[str, Json]) -> list[Path_]:
    """The generator tells alternatives apart by `isinstance(x, list)`: the first list form wins.

    One array of a union of items generates correct code both ways.
    """
    changed: list[Path_] = []
    for path, node in mappings(document):
        alternatives = node.get("anyOf")
        if not isinstance(alternatives, list):
            continue
        arrays = [a for a in alternatives if _target(document, a).get("type") == "array"]
        if len(arrays) < 2:
            continue
        items = [copy.deepcopy(_target(document, a)["items"]) for a in arrays]
        rest = [a for a in alternatives if a not in arrays]
        node["anyOf"] = [*rest, {"type": "array", "items": {"anyOf": items}}]
        changed.append(path)
    return changed


def inline_tags_as_constants(document: dict[str, Json]) -> list[Path_]:
    """A one-value enum is a tag that nobody should have to spell: a constant with a default."""
    changed: list[Path_] = []
    for path, node in mappings(document):
        properties = node.get("properties")
        if not isinstance(properties, dict):
            continue
        for name, schema in properties.items():
            values = _target(document, schema).get("enum")
            if isinstance(values, list) and len(values) == 1:
                properties[name] = {"const": values[0], "default": values[0]}
                changed.append((*path, "properties", name))
    return changed


def accept_null_for_optional_response_fields(document: dict[str, Json]) -> list[Path_]:
    """Servers send null for what they leave out; `from_dict` would raise for `usage: null`."""
    changed: list[Path_] = []
    for path, node in _response_schemas(document):
        properties = node.get("properties", {})
        for name, schema in properties.items():
            if name not in node.get("required", []) and not _takes_null(document, schema):
                kept = {k: v for k, v in schema.items() if k == "description"}
                properties[name] = {**kept, "anyOf": [schema, {"type": "null"}]}
                changed.append((*path, "properties", name))
    return changed


def plain_tags(document: dict[str, Json]) -> list[Path_]:
    """`subpackage_x` is how the docs site spells the tag x; it would be a folder's name."""
    changed: list[Path_] = []
    for path, operation in operations(document):
        tags = [re.sub(r"^subpackage_", "", tag) for tag in operation.get("tags", [])]
        if tags != operation.get("tags", []):
            operation["tags"] = tags
            changed.append((*path, "tags"))
    return changed


def drop_unreferenced_components(document: dict[str, Json]) -> list[Path_]:
    """Components that only the rules above made idle would still become modules."""
    changed: list[Path_] = []
    schemas = document.get("components", {}).get("schemas", {})
    while True:
        used = {n["$ref"].rsplit("/", 1)[-1] for _, n in mappings(document) if _is_ref(n)}
        idle = [name for name in schemas if name not in used]
        if not idle:
            return changed
        for name in idle:
            del schemas[name]
            changed.append(("components", "schemas", name))


RULES: tuple[Rule, ...] = (
    merge_array_alternatives,
    inline_tags_as_constants,
    accept_null_for_optional_response_fields,
    plain_tags,
    drop_unreferenced_components,
)


def rename_components(document: dict[str, Json], names: dict[str, str]) -> set[str]:
    """Rename components (key and title) by the class names they would get; returns those used.

    Overriding the class alone would leave the key in the generated code's local variables, which
    are then a hundred characters long.
    """
    schemas: dict[str, Json] = document.get("components", {}).get("schemas", {})
    renamed = {key: names[class_name(key)] for key in schemas if class_name(key) in names}
    taken = [renamed.get(key, key) for key in schemas]
    if twice := sorted({name for name in taken if taken.count(name) > 1}):
        raise SpecError(f"two components would be called {twice[0]}; name one of them otherwise")
    for key in list(schemas):
        schema = schemas.pop(key)
        new = renamed.get(key, key)
        if isinstance(schema, dict) and "title" in schema:
            schema["title"] = new
        schemas[new] = schema
    for _, node in mappings(document):
        if _is_ref(node):
            head, key = node["$ref"].rsplit("/", 1)
            node["$ref"] = f"{head}/{renamed.get(key, key)}"
    return {class_name(key) for key in renamed}


def _is_ref(node: dict[str, Json]) -> bool:
    return isinstance(node.get("$ref"), str)


def _target(document: dict[str, Json], schema: Json) -> dict[str, Json]:
    while isinstance(schema, dict) and _is_ref(schema):
        schema = resolve(document, schema["$ref"])
    return schema if isinstance(schema, dict) else {}  # `true` is a schema, too


def _takes_null(document: dict[str, Json], schema: dict[str, Json]) -> bool:
    target = _target(document, schema)
    kind = target.get("type")
    if "anyOf" in target:
        return any(_takes_null(document, alternative) for alternative in target["anyOf"])
    return kind is None or kind == "null" or (isinstance(kind, list) and "null" in kind)


def _response_schemas(document: dict[str, Json]) -> list[tuple[Path_, dict[str, Json]]]:
    """The schemas that only responses use, each once."""
    responses: list[Json] = []
    requests: list[Json] = []
    for _, operation in operations(document):
        responses.append(operation.get("responses", {}))
        requests.append([operation.get("requestBody", {}), operation.get("parameters", [])])
    sent = {id(node) for _, node in _reachable(document, requests)}
    return [(p, node) for p, node in _reachable(document, responses) if id(node) not in sent]


def _reachable(document: dict[str, Json], start: Json) -> list[tuple[Path_, dict[str, Json]]]:
    found: dict[int, tuple[Path_, dict[str, Json]]] = {}
    waiting: list[tuple[Path_, Json]] = [((), start)]
    while waiting:
        origin, root = waiting.pop()
        for path, node in walk(root, origin):
            if not isinstance(node, dict) or id(node) in found:
                continue
            found[id(node)] = (path, node)
            if _is_ref(node):
                place = tuple(node["$ref"][2:].split("/"))
                waiting.append((place, resolve(document, node["$ref"])))
    return list(found.values())
