"""Classes are named after their place in a message: `response.usage` is `Usage`.

The table `names` in generator-config.yaml gives nicer names to some places. For every other place
the rule is: the name of the class around it, then the words that lead on from there.
"""

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tools.message_paths import SchemaNode, is_class, pascal, walk_schemas
from tools.openapi import Json, Pointer, SpecError, dereference

MAX_LENGTH = 40  # characters of a name that the rule makes
# What the generated modules import or define under these names.
_RESERVED = frozenset(
    {
        *("Any", "AuthenticatedClient", "BinaryIO", "Client", "File", "Generator", "HTTPStatus"),
        *("Literal", "Mapping", "None", "Response", "T", "TextIO", "TypeVar", "Unset", "UUID"),
    }
)


@dataclass(frozen=True)
class NamedClass:
    """What a class was made from.

    Attributes:
        name: the class.
        places: the places in messages where it stands.
        origin: the keys that lead to it in the document.
    """

    name: str
    places: list[str]
    origin: Pointer


def check_table(table: Mapping[str, Json]) -> None:
    """Raise SpecError for a name that is no class name."""
    for place, name in table.items():
        plain = name.replace("{status}", "Some") if isinstance(name, str) else ""
        if not plain or pascal(plain) != plain or plain in _RESERVED:
            raise SpecError(
                f"names: {place}: {name!r} is not a class name of the generated client",
                place=("names",),
                remedy="write a name such as EmbeddingItem",
            )


def hoist(
    document: dict[str, Json], table: Mapping[str, str], order: Iterable[str] = ()
) -> tuple[dict[str, Json], list[NamedClass]]:
    """Make a component, named by its place, of every schema that becomes a class; inline the rest.

    The generator then has no name to make up, and it makes no difference which schemas the
    publisher has as components, or under which keys.

    Args:
        document: the generator's input, after its rules.
        table: names by place; `error.*` stands for every status, `{status}` for its words.
        order: operations as `POST /embeddings`; the first one's places have no prefix.

    Returns:
        A new document, and the classes in the order in which they were met.
    """
    classes = [visit for visit in walk_schemas(document, order) if is_class(visit.schema)]
    _give_names(classes, table)
    rebuild = _Rewriter(document, {id(visit.schema): visit.name for visit in classes})
    made = rebuild.document({visit.name: visit.schema for visit in classes})
    return made, [NamedClass(visit.name, visit.places, visit.origin) for visit in classes]


def _give_names(classes: list[SchemaNode], table: Mapping[str, str]) -> None:
    """From the table first, so that no name that the rule makes takes one of the table's."""
    taken: dict[str, dict[str, Json]] = {name: {} for name in _RESERVED}
    for visit in classes:
        name = next(filter(None, (_from_table(table, place, visit) for place in visit.places)), "")
        # one name at several places is one class, where they say the same
        if name and taken.get(name, visit.schema) == visit.schema:
            visit.name = name
            taken[name] = visit.schema
    for visit in classes:
        if not visit.name:
            visit.name = _by_rule(visit, table, taken)
            taken[visit.name] = visit.schema


def _from_table(table: Mapping[str, str], place: str, visit: SchemaNode) -> str:
    anywhere = re.sub(r"\berror\.[^.(\[]+", "error.*", place, count=1)
    found = table.get(place) or table.get(anywhere) or ""
    return found.replace("{status}", visit.status())


def _by_rule(visit: SchemaNode, table: Mapping[str, str], taken: Mapping[str, Json]) -> str:
    plain = _short(_stem(visit.parent, {}) + visit.words)
    numbered = (f"{plain}{number}" for number in itertools.count(2))
    names = (_short(_stem(visit.parent, table) + visit.words), plain)
    return next(name for name in itertools.chain(names, numbered) if name not in taken)


def _short(name: str) -> str:
    """The name without its first words, if it would be too long with them."""
    words = re.findall(r"[A-Z][^A-Z]*|[^A-Z]+", name) or ["Anonymous"]
    while len(words) > 1 and len("".join(words)) > MAX_LENGTH:
        words = words[1:]
    return pascal("".join(words))


def _stem(visit: SchemaNode | None, table: Mapping[str, str]) -> str:
    """What the names below a schema begin with."""
    if visit is None:
        return ""
    if visit.name:
        return visit.name
    if not is_class(visit.schema):  # a union or list may have its name in the table
        for place in visit.places:
            if name := _from_table(table, place, visit):
                return name
    return _stem(visit.parent, table) + visit.words


class _Rewriter:
    """A document with the named schemas as its components, and every other one inline."""

    def __init__(self, document: dict[str, Json], names: dict[int, str]) -> None:
        self._document = document
        self._names = names

    def document(self, components: dict[str, dict[str, Json]]) -> dict[str, Json]:
        """The whole of it."""
        others = {k: v for k, v in self._document.items() if k not in ("paths", "components")}
        kept = {k: v for k, v in self._document.get("components", {}).items() if k != "schemas"}
        schemas = {
            name: {**self._inside(schema, ()), "title": name}
            for name, schema in sorted(components.items())
        }
        return {
            **others,
            "paths": self._plain(self._document.get("paths", {})),
            "components": {**self._plain(kept), "schemas": schemas},
        }

    def _plain(self, node: Json) -> Json:
        """What is no schema, with the schemas in it rewritten."""
        if isinstance(node, dict):
            return {
                key: self._schema(value, ()) if key == "schema" else self._plain(value)
                for key, value in node.items()
            }
        return [self._plain(item) for item in node] if isinstance(node, list) else node

    def _schema(self, given: Json, above: tuple[int, ...]) -> Json:
        node = dereference(self._document, given)
        if not isinstance(node, dict):  # `true` is a schema, too
            return {}
        notes = {key: value for key, value in given.items() if key == "description"}
        if name := self._names.get(id(node)):
            return {"$ref": f"#/components/schemas/{name}", **notes}
        if id(node) in above:  # a union or list that holds itself
            return {}
        return {**self._inside(node, above), **notes}

    def _inside(self, schema: dict[str, Json], above: tuple[int, ...]) -> dict[str, Json]:
        inner = (*above, id(schema))
        made: dict[str, Json] = {}
        for key, value in schema.items():
            if key == "properties":
                # in one order, whichever the publisher's renderer has
                made[key] = {name: self._schema(value[name], inner) for name in sorted(value)}
            elif key in ("anyOf", "oneOf", "allOf"):
                made[key] = [self._schema(alternative, inner) for alternative in value]
            elif key in ("items", "additionalProperties") and isinstance(value, dict) and value:
                made[key] = self._schema(value, inner)
            elif key != "title":
                made[key] = value
        return made
