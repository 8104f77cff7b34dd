"""Random edits of a contract: SPELLINGS keep its meaning, MEANINGS change it."""

import copy
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from tests.tools.published_document import SchemaSlot
from tools.openapi import resolve

Contract = dict[str, Any]
Edit = Callable[[Contract, SchemaSlot, Random], None]


def schemas_of(contract: Contract) -> list[SchemaSlot]:
    """List every schema of the operation's messages as its container and its key there."""
    operation = contract["paths"]["/embeddings"]["post"]
    messages = [operation["requestBody"], *operation["responses"].values()]
    kinds = [message.get("content", {}).get("application/json", {}) for message in messages]
    seen: set[int] = set()
    return [
        hop
        for kind in kinds
        if "schema" in kind
        for hop in schemas_below(contract, (kind, "schema"), seen)
    ]


def schemas_below(contract: Contract, hop: SchemaSlot, seen: set[int]) -> Iterator[SchemaSlot]:
    """Yield a schema and those in it, except for the content of those `seen` before."""
    yield hop
    node = hop[0][hop[1]]
    if not isinstance(node, dict) or id(node) in seen:
        return
    seen.add(id(node))
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        yield from schemas_below(contract, (contract["components"]["schemas"], name), seen)
    for union in ("anyOf", "oneOf", "allOf"):
        for number in range(len(node.get(union, ()))):
            yield from schemas_below(contract, (node[union], number), seen)
    for name in node.get("properties", {}):
        yield from schemas_below(contract, (node["properties"], name), seen)
    if "items" in node:
        yield from schemas_below(contract, (node, "items"), seen)


def edited_at_random(contract: Contract, edits: list[Edit], count: int, random: Random) -> Contract:
    """Return a copy with some edits at random places."""
    found = copy.deepcopy(contract)
    for _ in range(count):
        random.choice(edits)(found, random.choice(schemas_of(found)), random)
    return found


def hoist(contract: Contract, hop: SchemaSlot, _: Random) -> None:
    """Move an inline schema to a component."""
    name = f"Hoisted{len(contract['components']['schemas'])}"
    contract["components"]["schemas"][name] = hop[0][hop[1]]
    hop[0][hop[1]] = {"$ref": f"#/components/schemas/{name}"}


def inline(contract: Contract, hop: SchemaSlot, _: Random) -> None:
    """Replace a reference by its target."""
    node = hop[0][hop[1]]
    if "$ref" in node:
        hop[0][hop[1]] = copy.deepcopy(resolve(contract, node["$ref"]))


def wrap(_: Contract, hop: SchemaSlot, random: Random) -> None:
    """Wrap a schema in a union or an allOf."""
    union = random.choice(["anyOf", "allOf", "oneOf"])
    beside = [{"description": "Said here alone."}] if union == "allOf" else []
    hop[0][hop[1]] = {union: [hop[0][hop[1]], *beside], "title": "Wrapped"}


def shuffle(_: Contract, hop: SchemaSlot, random: Random) -> None:
    """Shuffle fields, alternatives and values."""
    node = hop[0][hop[1]]
    for key in ("required", "enum", "anyOf", "oneOf", "allOf"):
        if key in node:
            node[key] = random.sample(node[key], len(node[key]))
    if "properties" in node:
        names = [*node["properties"]]
        node["properties"] = {n: node["properties"][n] for n in random.sample(names, len(names))}


def say(_: Contract, hop: SchemaSlot, random: Random) -> None:
    """Change the description and other annotations."""
    words = random.choice(["One thing.", "Another."])
    hop[0][hop[1]].update(description=words, format="words", deprecated=False)


def respell_null(_: Contract, hop: SchemaSlot, __: Random) -> None:
    """Make the null of `type: [x, null]` an alternative."""
    node = hop[0][hop[1]]
    kinds = node.get("type")
    if isinstance(kinds, list) and "null" in kinds and len(kinds) == 2:
        rest = {key: value for key, value in node.items() if key != "type"}
        rest["type"] = next(kind for kind in kinds if kind != "null")
        if "enum" in rest:
            rest["enum"] = [value for value in rest["enum"] if value is not None]
        has_null = None in node.get("enum", [None])
        hop[0][hop[1]] = {"anyOf": [rest, {"type": "null"}]} if has_null else rest
    elif isinstance(kinds, str) and kinds != "null" and "enum" in node:
        node["enum"] = [*node["enum"], None]  # has no effect: the type does not allow it


SPELLINGS: list[Edit] = [hoist, inline, wrap, shuffle, say, respell_null]


def retype(_: Contract, hop: SchemaSlot, random: Random) -> None:
    """Change the type."""
    node = hop[0][hop[1]]
    if isinstance(node.get("type"), str) and "enum" not in node:
        node["type"] = random.choice(["string", "integer", "number", "boolean", "object"])


def narrow(_: Contract, hop: SchemaSlot, random: Random) -> None:
    """Add a limit."""
    limits: dict[Any, dict[str, Any]] = {
        "string": {"minLength": random.randrange(3), "pattern": random.choice(["", "^x", "y$"])},
        "integer": {"minimum": random.randrange(-1, 4)},
        "number": {"maximum": random.randrange(3)},
        "array": {random.choice(["minItems", "maxItems"]): random.randrange(3)},
        "object": {"additionalProperties": random.choice([False, True, {"type": "string"}])},
    }
    node = hop[0][hop[1]]
    kinds = node.get("type")
    kind = random.choice(kinds) if isinstance(kinds, list) else kinds
    if kind in limits and "enum" not in node:
        node.update([random.choice([*limits[kind].items()])])


def refield(_: Contract, hop: SchemaSlot, random: Random) -> None:
    """Add or remove a field, or change whether it is required."""
    node = hop[0][hop[1]]
    if not (names := [*node.get("properties", {})]):
        return
    required = node.setdefault("required", [])
    match random.randrange(4):
        case 0:
            node["properties"]["strange"] = {"type": "string"}
            required += random.choice([[], ["strange"]])
        case 1:
            gone = random.choice(names)
            del node["properties"][gone]
            node["required"] = [name for name in required if name != gone]
        case 2:
            node["required"] = [*dict.fromkeys([*required, random.choice(names)])]
        case _ if required:
            required.remove(random.choice(required))


def revalue(_: Contract, hop: SchemaSlot, random: Random) -> None:
    """Add or remove values, alternatives or null."""
    node = hop[0][hop[1]]
    for key in ("enum", "anyOf"):
        if len(node.get(key, ())) > 1 and random.randrange(2):
            node[key].remove(random.choice(node[key]))
    if "enum" in node and "string" in node.get("type", ()):
        node["enum"] += random.choice([[], ["strange"]])
    if isinstance(node.get("type"), str) and node["type"] != "null" and "enum" not in node:
        node["type"] = random.choice([node["type"], [node["type"], "null"]])
    elif isinstance(node.get("type"), list):
        node["type"] = random.choice([node["type"], node["type"][0]])


MEANINGS: list[Edit] = [retype, narrow, refield, revalue]
