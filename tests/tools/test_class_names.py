"""Names by place: readable, unique, and the same however the publisher writes an edition."""

import copy
import json
import keyword
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.real_editions import REAL, edition
from tools import class_names
from tools.class_names import NamedClass, hoist
from tools.generate import CONFIG, read_config
from tools.message_paths import is_class
from tools.openapi import SPEC, SpecError, mappings, pointer, resolve, validate
from tools.rules import apply, generator_input

CONFIGURED = read_config(CONFIG)


def document(request: Any, schemas: Any = None, responses: Any = None) -> dict[str, Any]:
    """A document with one operation that is sent `request`."""
    ok = {"200": {"description": "ok"}}
    body = {"required": True, "content": {"application/json": {"schema": request}}}
    operation = {"operationId": "embed", "requestBody": body, "responses": responses or ok}
    return {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "paths": {"/embeddings": {"post": operation}},
        "components": {"schemas": schemas or {}},
    }


def fields(**properties: Any) -> dict[str, Any]:
    """An object with these fields."""
    return {"type": "object", "properties": properties}


def tagged(tag: str) -> dict[str, Any]:
    """An object that a tag tells from others."""
    return fields(type={"const": tag}, x={"type": "string"})


def answers(**schemas: Any) -> dict[str, Any]:
    """Responses by status: `s408` for 408."""
    return {
        status.removeprefix("s"): {
            "description": "d",
            "content": {"application/json": {"schema": schema}},
        }
        for status, schema in schemas.items()
    }


def named(given: dict[str, Any], table: dict[str, str] | None = None) -> dict[str, str]:
    """The names of a document's classes by place."""
    return {place: c.name for c in hoist(given, table or {})[1] for place in c.places}


def generator_input_of(contract: dict[str, Any]) -> tuple[dict[str, Any], list[NamedClass]]:
    """The generator's input and the classes, with the project's table."""
    simplified = apply(contract, generator_input.RULES)
    return hoist(simplified, CONFIGURED.names, CONFIGURED.operations)


def places_of(contract: dict[str, Any]) -> dict[str, str]:
    """The class names by place, with the project's table."""
    return {place: c.name for c in generator_input_of(contract)[1] for place in c.places}


TODAY = edition(SPEC.name).contract
NAMES_TODAY = places_of(TODAY)
COMPONENTS_TODAY = json.dumps(generator_input_of(TODAY)[0]["components"])


def test_a_field_is_named_after_the_class_around_it() -> None:
    """The table names a place, and the rule goes on from there."""
    given = document(fields(provider=fields(price=fields(), sort={"enum": ["a", "b"]})))
    assert named(given, {"request.provider": "Preferences"}) == {
        "request": "EmbedRequest",
        "request.provider": "Preferences",
        "request.provider.price": "PreferencesPrice",
        "request.provider.sort": "PreferencesSort",
    }


def test_items_and_values_say_so() -> None:
    """So that a list and what is in it have different names."""
    given = document(
        fields(
            links={"type": "array", "items": fields()},
            more=fields() | {"additionalProperties": fields()},
        )
    )
    assert named(given)["request.links[]"] == "EmbedRequestLinksItem"
    assert named(given)["request.more.*"] == "EmbedRequestMoreValue"


def test_alternatives_are_told_apart_by_their_tags() -> None:
    """A new kind of part has a name that says which."""
    parts = {"type": "array", "items": {"anyOf": [tagged("text"), tagged("input_smell")]}}
    found = named(document(fields(content=parts)), {"request.content[]": "ContentPart"})
    assert found["request.content[](text)"] == "ContentPartText"
    assert found["request.content[](input_smell)"] == "ContentPartInputSmell"


def test_a_field_of_an_alternative_has_the_place_of_the_union() -> None:
    """`request.content[].image_url`, as one would say it."""
    image = fields(type={"const": "image_url"}, image_url=fields(url={"type": "string"}))
    parts = {"type": "array", "items": {"anyOf": [tagged("text"), image]}}
    assert "request.content[].image_url" in named(document(fields(content=parts)))


def test_every_class_knows_where_it_stands_in_the_document() -> None:
    """So that an error leads there."""
    shared = {"$ref": "#/components/schemas/E"}
    parameter = {"in": "query", "name": "kind", "schema": {"enum": ["a", "b"]}}
    given = document(fields(x=fields()), {"E": fields(y=fields())}, answers(s400=shared))
    given["paths"]["/embeddings"]["post"]["parameters"] = [parameter]
    for found in hoist(given, {})[1]:
        assert is_class(resolve(given, pointer(found.origin)))


@pytest.mark.parametrize(
    ("alternatives", "words"),
    [
        ([{"enum": ["a", "b"]}, fields(x={})], ["EmbedRequestSort", "EmbedRequestSortObject"]),
        (
            [fields(a={}, c={}), fields(b={}, c={})],
            ["EmbedRequestSortWithA", "EmbedRequestSortWithB"],
        ),
        ([fields(a={}), fields(a={})], ["EmbedRequestSortForm1", "EmbedRequestSortForm2"]),
        ([fields(a={}), {"type": "string"}], ["EmbedRequestSort"]),
    ],
)
def test_alternatives_without_tags_are_told_apart(
    alternatives: list[Any], words: list[str]
) -> None:
    """By what they are, by a field that no other has, or by their order."""
    given = document(fields(sort={"anyOf": alternatives}))
    assert [c.name for c in hoist(given, {})[1]][1:] == words


def test_errors_are_named_after_their_status() -> None:
    """`error.*` in the table stands for all of them."""
    body = fields(error=fields(metadata=fields()))
    given = document(fields(), responses=answers(s408=body, s5XX=copy.deepcopy(body)))
    table = {"error.*": "{status}Response", "error.*.error.metadata": "{status}Metadata"}
    found = named(given, table)
    assert found["error.408"] == "RequestTimeoutResponse"
    assert found["error.408.error.metadata"] == "RequestTimeoutMetadata"
    assert found["error.408.error"] == "RequestTimeoutResponseError"
    assert found["error.5XX.error.metadata"] == "ServerErrorMetadata"


def test_an_error_that_statuses_share_is_named_after_none_of_them() -> None:
    """`BadRequestResponse` would be a wrong name for a 503."""
    shared = {"$ref": "#/components/schemas/E"}
    given = document(
        fields(),
        {"E": fields(error=fields(metadata=fields()))},
        answers(s400=shared, s503=shared, default=shared),
    )
    found = named(given, dict(CONFIGURED.names))
    assert found["error.400"] == found["error.default"] == "ErrorResponse"
    assert found["error.400.error.metadata"] == "ErrorMetadata"


def test_one_name_at_equal_places_is_one_class() -> None:
    """An old edition writes the names of providers out three times."""
    names_ = {"enum": ["a", "b"]}
    given = document(fields(x=copy.deepcopy(names_), y=copy.deepcopy(names_)))
    found = named(given, {"request.x": "Provider", "request.y": "Provider"})
    assert found["request.x"] == found["request.y"] == "Provider"


def test_one_name_at_different_places_is_given_once() -> None:
    """The other place gets its name by the rule."""
    given = document(fields(x={"enum": ["a", "b"]}, y={"enum": ["a", "c"]}))
    found = named(given, {"request.x": "Provider", "request.y": "Provider"})
    assert found["request.x"] == "Provider"
    assert found["request.y"] == "EmbedRequestY"


def test_the_first_place_by_name_gets_a_name_that_two_would_have() -> None:
    """In whichever order the publisher lists the fields."""
    given = document(fields(y={"enum": ["a", "c"]}, x={"enum": ["a", "b"]}))
    found = named(given, {"request.x": "Provider", "request.y": "Provider"})
    assert found == {
        "request": "EmbedRequest",
        "request.x": "Provider",
        "request.y": "EmbedRequestY",
    }


def test_fields_that_python_spells_alike_have_names_of_their_own() -> None:
    """`max_price` and `maxPrice` are both MaxPrice."""
    given = document(fields(max_price=fields(), maxPrice=fields()))
    found = named(given)
    assert found["request.max_price"] != found["request.maxPrice"]


def test_long_names_lose_their_first_words() -> None:
    """What is nearest says most."""
    deep: Any = fields(the_innermost_thing=fields())
    for word in ("gamma_gamma", "beta_beta_beta", "alpha_alpha_alpha"):
        deep = fields(**{word: deep})
    found = named(document(deep))
    place = "request.alpha_alpha_alpha.beta_beta_beta.gamma_gamma.the_innermost_thing"
    assert found[place].endswith("GammaGammaTheInnermostThing")
    assert len(found[place]) <= class_names.MAX_LENGTH


def test_operations_but_the_first_have_a_prefix() -> None:
    """So that `request.model` of one is not that of the other."""
    given = document(fields())
    other = copy.deepcopy(given["paths"]["/embeddings"]["post"]) | {"operationId": "rerank"}
    given["paths"]["/rerank"] = {"post": other}
    found = {p: c.name for c in hoist(given, {}, ["POST /embeddings"])[1] for p in c.places}
    assert found == {"request": "EmbedRequest", "POST /rerank request": "RerankRequest"}


def test_a_schema_that_holds_itself_is_a_component_that_refers_to_itself() -> None:
    """A union that holds itself has no class, and ends as any value."""
    tree = fields(children={"type": "array", "items": {"$ref": "#/components/schemas/Tree"}})
    value = {"anyOf": [{"type": "string"}, {"$ref": "#/components/schemas/Value"}]}
    to_tree, to_value = ({"$ref": f"#/components/schemas/{name}"} for name in ("Tree", "Value"))
    given = document(fields(tree=to_tree, v=to_value), {"Tree": tree, "Value": value})
    made, _ = hoist(given, {})
    validate(made)
    inner = made["components"]["schemas"]["EmbedRequestTree"]["properties"]["children"]["items"]
    assert inner == {"$ref": "#/components/schemas/EmbedRequestTree"}
    assert made["components"]["schemas"]["EmbedRequest"]["properties"]["v"]["anyOf"][1] == {}


@pytest.mark.parametrize("name", ["image_url", "Response", "", 5, "Two Words"])
def test_a_name_that_is_no_class_name_is_refused(name: Any) -> None:
    """With its place in the table."""
    with pytest.raises(SpecError, match=r"names: request\.x: "):
        class_names.check_table({"request.x": name})


@pytest.mark.parametrize("origin", REAL)
def test_names_of_real_editions_are_readable_and_unique(origin: str) -> None:
    """No number that the generator counted, nothing longer than a line wants."""
    made, classes = generator_input_of(edition(origin).contract)
    validate(made)
    found = [c.name for c in classes]
    assert len({*found}) == len(found)
    assert all(name.isidentifier() and not keyword.iskeyword(name) for name in found)
    assert not [n for n in found if any(c.isdigit() for c in n) or len(n) > class_names.MAX_LENGTH]


@pytest.mark.parametrize("origin", REAL)
def test_places_that_editions_share_have_one_name(origin: str) -> None:
    """So the wrapper finds what it imports, whichever edition the client was made from."""
    found = places_of(edition(origin).contract)
    shared = found.keys() & NAMES_TODAY.keys()
    assert {place: found[place] for place in shared} == {p: NAMES_TODAY[p] for p in shared}


def inlined(given: dict[str, Any], _: Any) -> dict[str, Any]:
    """Every reference replaced by what it points at."""

    def below(node: Any) -> Any:
        if isinstance(node, dict) and "$ref" in node:
            return below(given["components"]["schemas"][node["$ref"].rsplit("/", 1)[-1]])
        if isinstance(node, dict):
            return {key: below(value) for key, value in node.items()}
        return [below(item) for item in node] if isinstance(node, list) else node

    made: dict[str, Any] = below({k: v for k, v in given.items() if k != "components"})
    return {**made, "components": {**given["components"], "schemas": {}}}


def reordered(given: dict[str, Any], draw: Any) -> dict[str, Any]:
    """Fields, statuses and components in another order."""
    made = copy.deepcopy(given)
    for _, node in mappings(made):
        for key in ("properties", "responses", "schemas"):
            if isinstance(node.get(key), dict):
                items = draw(st.permutations(sorted(node[key].items())))
                node[key] = dict(items)
    return made


def renamed(given: dict[str, Any], draw: Any) -> dict[str, Any]:
    """Components with other keys."""
    made = copy.deepcopy(given)
    schemas = made["components"]["schemas"]
    keys = {key: f"C{number}" for number, key in enumerate(draw(st.permutations(sorted(schemas))))}
    made["components"]["schemas"] = {keys[key]: schema for key, schema in schemas.items()}
    for _, node in mappings(made):
        if "$ref" in node:
            node["$ref"] = "#/components/schemas/" + keys[node["$ref"].rsplit("/", 1)[-1]]
    return made


@pytest.mark.parametrize("rewrite", [inlined, reordered, renamed])
@given(data=st.data())
def test_how_the_publisher_writes_an_edition_changes_no_name(
    rewrite: Callable[[dict[str, Any], Any], dict[str, Any]], data: st.DataObject
) -> None:
    """Inlining, renaming and reordering keep every place and every name."""
    given = rewrite(TODAY, data.draw)
    assert places_of(given) == NAMES_TODAY


@given(data=st.data())
def test_the_order_of_fields_changes_nothing_for_the_generator(data: st.DataObject) -> None:
    """What it is given is the same, byte for byte."""
    made, _ = generator_input_of(reordered(TODAY, data.draw))
    assert json.dumps(made["components"]) == COMPONENTS_TODAY
