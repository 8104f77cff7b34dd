"""Class names: readable, unique, and independent of how the publisher writes an edition."""

import copy
import json
import keyword
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools import edits
from tests.tools.published_document import DocumentEditor, document_of
from tests.tools.real_editions import REAL, edition
from tools import class_names
from tools.class_names import NamedClass, move_classes_to_components
from tools.generate import CONFIG, read_config
from tools.message_paths import is_class
from tools.openapi import SPEC, SpecError, mappings, pointer, resolve, validate
from tools.rules import apply, generator_input

CONFIGURED = read_config(CONFIG)


def fields(**properties: Any) -> dict[str, Any]:
    """Make an object schema with these fields."""
    return {"type": "object", "properties": properties}


def tagged(tag: str) -> dict[str, Any]:
    """Make an object schema with a tag."""
    return fields(type={"const": tag}, x={"type": "string"})


def responses_of(**schemas: Any) -> dict[str, Any]:
    """Make responses by status: `s408` for 408."""
    return {
        status.removeprefix("s"): {
            "description": "d",
            "content": {"application/json": {"schema": schema}},
        }
        for status, schema in schemas.items()
    }


def named(given: dict[str, Any], table: dict[str, str] | None = None) -> dict[str, str]:
    """Return the class names of a document by place."""
    classes = move_classes_to_components(given, table or {})[1]
    return {place: c.name for c in classes for place in c.places}


def generator_input_of(contract: dict[str, Any]) -> tuple[dict[str, Any], list[NamedClass]]:
    """The generator's input and the classes, with the project's table."""
    simplified = apply(contract, generator_input.RULES)
    return move_classes_to_components(simplified, CONFIGURED.names, CONFIGURED.operations)


def places_of(contract: dict[str, Any]) -> dict[str, str]:
    """The class names by place, with the project's table."""
    return {place: c.name for c in generator_input_of(contract)[1] for place in c.places}


TODAY = edition(SPEC.name).contract
NAMES_TODAY = places_of(TODAY)
COMPONENTS_TODAY = json.dumps(generator_input_of(TODAY)[0]["components"])


def test_a_field_is_named_after_the_enclosing_class() -> None:
    """A name from the table is the prefix of the names below it."""
    given = document_of(fields(provider=fields(price=fields(), sort={"enum": ["a", "b"]})))
    assert named(given, {"request.provider": "Preferences"}) == {
        "request": "EmbedRequest",
        "request.provider": "Preferences",
        "request.provider.price": "PreferencesPrice",
        "request.provider.sort": "PreferencesSort",
    }


def test_items_and_values_have_a_suffix() -> None:
    """A list and its items have different names, and so have an object and its values."""
    given = document_of(
        fields(
            links={"type": "array", "items": fields()},
            more=fields() | {"additionalProperties": fields()},
        )
    )
    assert named(given)["request.links[]"] == "EmbedRequestLinksItem"
    assert named(given)["request.more.*"] == "EmbedRequestMoreValue"


def test_tagged_alternatives_are_named_after_their_tags() -> None:
    """A new kind of content part has its tag in the name."""
    parts = {"type": "array", "items": {"anyOf": [tagged("text"), tagged("input_smell")]}}
    found = named(document_of(fields(content=parts)), {"request.content[]": "ContentPart"})
    assert found["request.content[](text)"] == "ContentPartText"
    assert found["request.content[](input_smell)"] == "ContentPartInputSmell"


def test_a_field_of_an_alternative_has_the_place_of_the_union() -> None:
    """The place is `request.content[].image_url`, without the alternative."""
    image = fields(type={"const": "image_url"}, image_url=fields(url={"type": "string"}))
    parts = {"type": "array", "items": {"anyOf": [tagged("text"), image]}}
    assert "request.content[].image_url" in named(document_of(fields(content=parts)))


def test_every_class_has_its_origin_in_the_document() -> None:
    """The origin leads to the schema, so that errors can point there."""
    shared = {"$ref": "#/components/schemas/E"}
    parameter = {"in": "query", "name": "kind", "schema": {"enum": ["a", "b"]}}
    given = document_of(fields(x=fields()), responses_of(s400=shared), E=fields(y=fields()))
    given["paths"]["/embeddings"]["post"]["parameters"] = [parameter]
    for found in move_classes_to_components(given, {})[1]:
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
def test_untagged_alternatives_have_different_names(
    alternatives: list[Any], words: list[str]
) -> None:
    """They are named after their type, a field that no other has, or their order."""
    given = document_of(fields(sort={"anyOf": alternatives}))
    assert [c.name for c in move_classes_to_components(given, {})[1]][1:] == words


def test_errors_are_named_after_their_status() -> None:
    """`error.*` in the table matches every status."""
    body = fields(error=fields(metadata=fields()))
    given = document_of(fields(), responses=responses_of(s408=body, s5XX=copy.deepcopy(body)))
    table = {"error.*": "{status}Response", "error.*.error.metadata": "{status}Metadata"}
    found = named(given, table)
    assert found["error.408"] == "RequestTimeoutResponse"
    assert found["error.408.error.metadata"] == "RequestTimeoutMetadata"
    assert found["error.408.error"] == "RequestTimeoutResponseError"
    assert found["error.5XX.error.metadata"] == "ServerErrorMetadata"


def test_an_error_that_several_statuses_share_is_named_error() -> None:
    """`BadRequestResponse` would be a wrong name for a 503."""
    shared = {"$ref": "#/components/schemas/E"}
    given = document_of(
        fields(),
        responses_of(s400=shared, s503=shared, default=shared),
        E=fields(error=fields(metadata=fields())),
    )
    found = named(given, dict(CONFIGURED.names))
    assert found["error.400"] == found["error.default"] == "ErrorResponse"
    assert found["error.400.error.metadata"] == "ErrorMetadata"


def test_equal_schemas_share_a_name_from_the_table() -> None:
    """An old edition repeats the provider names in three places."""
    names_ = {"enum": ["a", "b"]}
    given = document_of(fields(x=copy.deepcopy(names_), y=copy.deepcopy(names_)))
    found = named(given, {"request.x": "Provider", "request.y": "Provider"})
    assert found["request.x"] == found["request.y"] == "Provider"


def test_different_schemas_do_not_share_a_name() -> None:
    """The second schema gets a generated name."""
    given = document_of(fields(x={"enum": ["a", "b"]}, y={"enum": ["a", "c"]}))
    found = named(given, {"request.x": "Provider", "request.y": "Provider"})
    assert found["request.x"] == "Provider"
    assert found["request.y"] == "EmbedRequestY"


def test_a_contested_name_goes_to_the_first_field_by_name() -> None:
    """The order in which the publisher lists the fields does not matter."""
    given = document_of(fields(y={"enum": ["a", "c"]}, x={"enum": ["a", "b"]}))
    found = named(given, {"request.x": "Provider", "request.y": "Provider"})
    assert found == {
        "request": "EmbedRequest",
        "request.x": "Provider",
        "request.y": "EmbedRequestY",
    }


def test_fields_with_the_same_python_name_have_different_classes() -> None:
    """`max_price` and `maxPrice` would both be MaxPrice."""
    given = document_of(fields(max_price=fields(), maxPrice=fields()))
    found = named(given)
    assert found["request.max_price"] != found["request.maxPrice"]


def test_long_names_lose_their_first_words() -> None:
    """The last words of a path are the most specific."""
    deep: Any = fields(the_innermost_thing=fields())
    for word in ("gamma_gamma", "beta_beta_beta", "alpha_alpha_alpha"):
        deep = fields(**{word: deep})
    found = named(document_of(deep))
    place = "request.alpha_alpha_alpha.beta_beta_beta.gamma_gamma.the_innermost_thing"
    assert found[place].endswith("GammaGammaTheInnermostThing")
    assert len(found[place]) <= class_names.MAX_LENGTH


def test_places_of_other_operations_have_a_prefix() -> None:
    """`request.model` of one operation is not that of another."""
    given = document_of(fields())
    other = copy.deepcopy(given["paths"]["/embeddings"]["post"]) | {"operationId": "rerank"}
    given["paths"]["/rerank"] = {"post": other}
    _, classes = move_classes_to_components(given, {}, ["POST /embeddings"])
    found = {place: c.name for c in classes for place in c.places}
    assert found == {"request": "EmbedRequest", "POST /rerank request": "RerankRequest"}


def test_recursive_schemas_are_supported() -> None:
    """A recursive class refers to itself; a recursive union has no class and allows anything."""
    tree = fields(children={"type": "array", "items": {"$ref": "#/components/schemas/Tree"}})
    value = {"anyOf": [{"type": "string"}, {"$ref": "#/components/schemas/Value"}]}
    to_tree, to_value = ({"$ref": f"#/components/schemas/{name}"} for name in ("Tree", "Value"))
    given = document_of(fields(tree=to_tree, v=to_value), Tree=tree, Value=value)
    made, _ = move_classes_to_components(given, {})
    validate(made)
    inner = made["components"]["schemas"]["EmbedRequestTree"]["properties"]["children"]["items"]
    assert inner == {"$ref": "#/components/schemas/EmbedRequestTree"}
    assert made["components"]["schemas"]["EmbedRequest"]["properties"]["v"]["anyOf"][1] == {}


@pytest.mark.parametrize("name", ["image_url", "Response", "", 5, "Two Words"])
def test_an_invalid_class_name_in_the_table_is_rejected(name: Any) -> None:
    """The error names the place in the table."""
    with pytest.raises(SpecError, match=r"names: request\.x: "):
        class_names.check_table({"request.x": name})


@pytest.mark.parametrize("origin", REAL)
def test_names_of_real_editions_are_readable_and_unique(origin: str) -> None:
    """No name has a number, and none is too long."""
    made, classes = generator_input_of(edition(origin).contract)
    validate(made)
    found = [c.name for c in classes]
    assert len({*found}) == len(found)
    assert all(name.isidentifier() and not keyword.iskeyword(name) for name in found)
    assert not [n for n in found if any(c.isdigit() for c in n) or len(n) > class_names.MAX_LENGTH]


@pytest.mark.parametrize("origin", REAL)
def test_a_place_has_the_same_name_in_every_edition(origin: str) -> None:
    """The wrapper finds what it imports, whichever edition the client is made from."""
    found = places_of(edition(origin).contract)
    shared = found.keys() & NAMES_TODAY.keys()
    assert {place: found[place] for place in shared} == {p: NAMES_TODAY[p] for p in shared}


def inlined(given: dict[str, Any], _: Any) -> dict[str, Any]:
    """Replace every reference by its target."""
    editor = DocumentEditor(given)
    edits.inline(editor)
    return editor.document


def reordered(given: dict[str, Any], draw: Any) -> dict[str, Any]:
    """Shuffle fields, statuses and components."""
    made = copy.deepcopy(given)
    for _, node in mappings(made):
        for key in ("properties", "responses", "schemas"):
            if isinstance(node.get(key), dict):
                items = draw(st.permutations(sorted(node[key].items())))
                node[key] = dict(items)
    return made


def renamed(given: dict[str, Any], draw: Any) -> dict[str, Any]:
    """Rename all components."""
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
def test_equivalent_editions_have_the_same_names(
    rewrite: Callable[[dict[str, Any], Any], dict[str, Any]], data: st.DataObject
) -> None:
    """Inlining, renaming and reordering keep every place and every name."""
    given = rewrite(TODAY, data.draw)
    assert places_of(given) == NAMES_TODAY


@given(data=st.data())
def test_the_order_of_fields_does_not_change_the_generators_input(data: st.DataObject) -> None:
    """The generator's input is the same, byte for byte."""
    made, _ = generator_input_of(reordered(TODAY, data.draw))
    assert json.dumps(made["components"]) == COMPONENTS_TODAY
