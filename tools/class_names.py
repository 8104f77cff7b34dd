"""Names classes after their place in a message: `response.usage` is `Usage`.

The table `names` in generator-config.yaml names some places. The name of any other place is the
name of the enclosing class, followed by the words of the path from there.
"""

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tools.message_paths import SchemaNode, is_class, pascal, walk_schemas
from tools.openapi import Json, Pointer, SpecError, dereference

MAX_LENGTH = 40  # characters of a generated name
# The generated modules import or define these names.
_RESERVED = frozenset(
    {
        *("Any", "AuthenticatedClient", "BinaryIO", "Client", "File", "Generator", "HTTPStatus"),
        *("Literal", "Mapping", "None", "Response", "T", "TextIO", "TypeVar", "Unset", "UUID"),
    }
)


@dataclass(frozen=True)
class NamedClass:
    """A generated class and where it comes from.

    Attributes:
        name: its name.
        places: its places in messages.
        origin: the keys that lead to it in the document.
    """

    name: str
    places: list[str]
    origin: Pointer


def check_table(table: Mapping[str, Json]) -> None:
    """Raise SpecError for an invalid class name."""
    for place, name in table.items():
        example = name.replace("{status}", "Some") if isinstance(name, str) else ""
        if not example or pascal(example) != example or example in _RESERVED:
            raise SpecError(
                f"names: {place}: {name!r} is not a valid class name",
                place=("names",),
                remedy="use a name such as EmbeddingItem",
            )


def move_classes_to_components(
    document: dict[str, Json], table: Mapping[str, str], order: Iterable[str] = ()
) -> tuple[dict[str, Json], list[NamedClass]]:
    """Move every schema that becomes a class to a component named by its place; inline the rest.

    So the generator makes up no names, and the publisher's components and their keys do not matter.

    Args:
        document: the generator's input, after its rules.
        table: names by place; `error.*` matches every status, `{status}` is its name.
        order: operations such as `POST /embeddings`; places of the first have no prefix.

    Returns:
        A new document, and its classes in the order of the walk.
    """
    classes = [node for node in walk_schemas(document, order) if is_class(node.schema)]
    _give_names(classes, table)
    rebuild = _Rewriter(document, {id(node.schema): node.name for node in classes})
    made = rebuild.document({node.name: node.schema for node in classes})
    return made, [NamedClass(node.name, node.places, node.origin) for node in classes]


def _give_names(classes: list[SchemaNode], table: Mapping[str, str]) -> None:
    """Assign names from the table first, so that no generated name takes one of them."""
    taken: dict[str, dict[str, Json]] = {name: {} for name in _RESERVED}
    for node in classes:
        name = next(filter(None, (_from_table(table, place, node) for place in node.places)), "")
        # equal schemas may share a name
        if name and taken.get(name, node.schema) == node.schema:
            node.name = name
            taken[name] = node.schema
    for node in classes:
        if not node.name:
            node.name = _by_rule(node, table, taken)
            taken[node.name] = node.schema


def _from_table(table: Mapping[str, str], place: str, node: SchemaNode) -> str:
    anywhere = re.sub(r"\berror\.[^.(\[]+", "error.*", place, count=1)
    found = table.get(place) or table.get(anywhere) or ""
    return found.replace("{status}", node.status())


def _by_rule(node: SchemaNode, table: Mapping[str, str], taken: Mapping[str, Json]) -> str:
    default = _short(_stem(node.parent, {}) + node.name_part)
    numbered = (f"{default}{number}" for number in itertools.count(2))
    names = (_short(_stem(node.parent, table) + node.name_part), default)
    return next(name for name in itertools.chain(names, numbered) if name not in taken)


def _short(name: str) -> str:
    """Drop the first words of a name that is too long."""
    words = re.findall(r"[A-Z][^A-Z]*|[^A-Z]+", name) or ["Anonymous"]
    while len(words) > 1 and len("".join(words)) > MAX_LENGTH:
        words = words[1:]
    return pascal("".join(words))


def _stem(node: SchemaNode | None, table: Mapping[str, str]) -> str:
    """The prefix of the names below a schema."""
    if node is None:
        return ""
    if node.name:
        return node.name
    if not is_class(node.schema):  # the table may name a union or list
        for place in node.places:
            if name := _from_table(table, place, node):
                return name
    return _stem(node.parent, table) + node.name_part


class _Rewriter:
    """Rewrites a document: named schemas become its components, all others are inlined."""

    def __init__(self, document: dict[str, Json], names: dict[int, str]) -> None:
        self._document = document
        self._names = names

    def document(self, components: dict[str, dict[str, Json]]) -> dict[str, Json]:
        """Rewrite the whole document."""
        others = {k: v for k, v in self._document.items() if k not in ("paths", "components")}
        kept = {k: v for k, v in self._document.get("components", {}).items() if k != "schemas"}
        schemas = {
            name: {**self._inside(schema, ()), "title": name}
            for name, schema in sorted(components.items())
        }
        return {
            **others,
            "paths": self._non_schema(self._document.get("paths", {})),
            "components": {**self._non_schema(kept), "schemas": schemas},
        }

    def _non_schema(self, node: Json) -> Json:
        """Rewrite the schemas in a node that is not a schema."""
        if isinstance(node, dict):
            return {
                key: self._schema(value, ()) if key == "schema" else self._non_schema(value)
                for key, value in node.items()
            }
        return [self._non_schema(item) for item in node] if isinstance(node, list) else node

    def _schema(self, schema: Json, above: tuple[int, ...]) -> Json:
        node = dereference(self._document, schema)
        if not isinstance(node, dict):  # `true` is also a schema
            return {}
        notes = {key: value for key, value in schema.items() if key == "description"}
        if name := self._names.get(id(node)):
            return {"$ref": f"#/components/schemas/{name}", **notes}
        if id(node) in above:  # a recursive union or list
            return {}
        return {**self._inside(node, above), **notes}

    def _inside(self, schema: dict[str, Json], above: tuple[int, ...]) -> dict[str, Json]:
        inner = (*above, id(schema))
        made: dict[str, Json] = {}
        for key, value in schema.items():
            if key == "properties":
                # sorted, so that the publisher's order does not matter
                made[key] = {name: self._schema(value[name], inner) for name in sorted(value)}
            elif key in ("anyOf", "oneOf", "allOf"):
                made[key] = [self._schema(alternative, inner) for alternative in value]
            elif key in ("items", "additionalProperties") and isinstance(value, dict) and value:
                made[key] = self._schema(value, inner)
            elif key != "title":
                made[key] = value
        return made
