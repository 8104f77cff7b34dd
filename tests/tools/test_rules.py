"""The rules: what each one changes, and what the contract allows after all of them."""

import copy
from typing import Any

import jsonschema_rs
import pytest

from tests.tools.published_document import document_of
from tests.tools.real_editions import REAL, edition
from tools.openapi import dereference, mappings, validate
from tools.rules import Rule, apply, generator_input, repair

ALL = [*repair.RULES, *generator_input.RULES]


def operation(**changed: Any) -> dict[str, Any]:
    """Make a document whose operation has these keys; None removes one."""
    made = document_of({"type": "object"})
    post = {**made["paths"]["/embeddings"]["post"], **changed}
    made["paths"]["/embeddings"]["post"] = {k: v for k, v in post.items() if v is not None}
    return made


def response(of: Any, **media: Any) -> dict[str, Any]:
    """Make a document whose response has this schema."""
    content = {**media, "application/json": {"schema": of}}
    return operation(responses={"200": {"description": "ok", "content": content}})


REF = {"$ref": "#/components/schemas/X"}
TEXT = {"type": "string"}
X = {"type": "object", "properties": {"a": TEXT}}
NULL = {"type": "null"}
BODY = {"content": {"application/json": {"schema": TEXT}}}
AUTHORIZATION = {"name": "authorization", "in": "header", "schema": TEXT}
SCHEMES = {"securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer"}}}

# For each rule: the schema of a request, and what it becomes.
SCHEMAS: list[tuple[Rule, Any, Any]] = [
    (repair.nullable_to_null, {"type": "string", "nullable": True}, {"type": ["string", "null"]}),
    (repair.nullable_to_null, {**TEXT, "nullable": False}, TEXT),
    (
        repair.nullable_to_null,
        {**TEXT, "enum": ["a"], "nullable": True},
        {"type": ["string", "null"], "enum": ["a", None]},
    ),
    (repair.nullable_to_null, {**REF, "nullable": True}, {"anyOf": [REF, NULL]}),
    (
        repair.nullable_to_null,
        {"allOf": [REF, {"description": "d"}], "nullable": True},
        {"anyOf": [{"allOf": [REF, {"description": "d"}]}, NULL]},
    ),
    (repair.nullable_to_null, {"anyOf": [TEXT, {"nullable": True}]}, {"anyOf": [TEXT, NULL]}),
    (
        repair.nullable_to_null,
        {"type": "object", "additionalProperties": {"nullable": True}},
        {"type": "object", "additionalProperties": {}},
    ),
    (
        repair.exclusive_limits_to_numbers,
        {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
        {"type": "integer", "exclusiveMinimum": 0},
    ),
    (
        repair.exclusive_limits_to_numbers,
        {"type": "integer", "maximum": 9, "exclusiveMaximum": False},
        {"type": "integer", "maximum": 9},
    ),
    (
        repair.unwrap_enum_values,
        {"enum": [{"value": "float"}, {"value": "base64"}]},
        {"enum": ["float", "base64"]},
    ),
    (
        repair.one_of_to_any_of,
        {"oneOf": [TEXT, {"enum": ["a"]}]},
        {"anyOf": [TEXT, {"enum": ["a"]}]},
    ),
    (
        repair.drop_any_type_alternatives,
        {"anyOf": [TEXT, {"description": "Any type"}]},
        {"anyOf": [TEXT]},
    ),
    (
        repair.drop_members_of_their_own_union,
        {"allOf": [REF, {"anyOf": [REF, TEXT]}]},
        {"allOf": [{"anyOf": [REF, TEXT]}]},
    ),
    (
        repair.empty_object_to_any_value,
        {"type": "object", "properties": {}, "title": "Price"},
        {"title": "Price"},
    ),
    (
        generator_input.unwrap_annotated_references,
        {"allOf": [REF, {"description": "d"}]},
        {"description": "d", **REF},
    ),
    (
        generator_input.merge_objects_of_all_of,
        {"allOf": [REF, {"properties": {"b": TEXT}, "required": ["b"]}]},
        {"type": "object", "properties": {"a": TEXT, "b": TEXT}, "required": ["b"]},
    ),
    (
        generator_input.drop_other_all_of,
        {"allOf": [TEXT, {"enum": ["a"]}], "description": "d"},
        {"description": "d"},
    ),
    (generator_input.require_array_items, {"type": "array"}, {"type": "array", "items": {}}),
    (
        generator_input.move_null_to_alternative,
        {"type": ["object", "null"], "properties": {"a": TEXT}, "description": "d"},
        {"description": "d", "anyOf": [X, NULL]},
    ),
    (
        generator_input.move_null_to_alternative,
        {"type": ["string", "null"], "enum": ["a", "b", None]},
        {"anyOf": [{**TEXT, "enum": ["a", "b"]}, NULL]},
    ),
    (
        generator_input.move_null_to_alternative,
        {
            "type": ["object", "null"],
            "properties": {"a": {"type": ["string", "null"], "enum": ["a", None]}},
        },
        {
            "anyOf": [
                {
                    "type": "object",
                    "properties": {"a": {"anyOf": [{**TEXT, "enum": ["a"]}, NULL]}},
                },
                NULL,
            ]
        },
    ),
    (generator_input.move_null_to_alternative, {"type": ["string"]}, TEXT),
    (generator_input.drop_mixed_enums, {"enum": ["a", 1]}, {}),
    (generator_input.drop_mixed_enums, {"type": "boolean", "enum": [True]}, {"type": "boolean"}),
    (
        generator_input.flatten_unions,
        {"anyOf": [TEXT, {"anyOf": [NULL, REF]}]},
        {"anyOf": [TEXT, NULL, REF]},
    ),
    (
        generator_input.merge_enum_alternatives,
        {"anyOf": [{**TEXT, "enum": ["a"]}, {**TEXT, "enum": ["b"]}]},
        {**TEXT, "enum": ["a", "b"]},
    ),
    (
        generator_input.merge_array_alternatives,
        {"anyOf": [{"type": "array", "items": TEXT}, {"type": "array", "items": X}, TEXT]},
        {"anyOf": [TEXT, {"type": "array", "items": {"anyOf": [TEXT, X]}}]},
    ),
    (generator_input.allow_additional_properties, {**X, "additionalProperties": False}, X),
    (
        generator_input.drop_defaults,
        {"type": "object", "properties": {"default": {**TEXT, "default": "a"}}},
        {"type": "object", "properties": {"default": TEXT}},
    ),
    (generator_input.drop_string_formats, {**TEXT, "format": "date-time"}, TEXT),
    (
        generator_input.tags_to_constants,
        {"type": "object", "properties": {"type": {**TEXT, "enum": ["text"]}}},
        {"type": "object", "properties": {"type": {"const": "text", "default": "text"}}},
    ),
]
# The same for whole documents.
DOCUMENTS: list[tuple[Rule, dict[str, Any], dict[str, Any]]] = [
    (repair.declare_version_3_1, {**document_of(TEXT), "openapi": "3.0.3"}, document_of(TEXT)),
    (
        repair.inline_path_items,
        {
            **operation(),
            "paths": {"/embeddings": {"$ref": "#/components/pathItems/E"}},
            "components": {"pathItems": {"E": operation()["paths"]["/embeddings"]}},
        },
        {**operation(), "components": {"pathItems": {"E": operation()["paths"]["/embeddings"]}}},
    ),
    (repair.flatten_tags, operation(tags=[["x"], "y"]), operation(tags=["x", "y"])),
    (
        repair.apply_declared_security,
        {**operation(parameters=[AUTHORIZATION]), "components": SCHEMES},
        {**operation(security=[{"apiKey": []}]), "components": SCHEMES},
    ),
    (
        repair.require_the_body,
        operation(requestBody=BODY),
        operation(requestBody={**BODY, "required": True}),
    ),
    (
        generator_input.inline_message_references,
        {
            **operation(requestBody={"$ref": "#/components/requestBodies/B"}),
            "components": {"requestBodies": {"B": BODY}},
        },
        {**operation(requestBody=BODY), "components": {"requestBodies": {"B": BODY}}},
    ),
    (
        generator_input.keep_json_only,
        response(TEXT, **{"text/event-stream": {"schema": TEXT}}),
        response(TEXT),
    ),
    (
        generator_input.merge_enum_alternatives,
        document_of({"anyOf": [REF, {**TEXT, "enum": ["b"]}]}, X={**TEXT, "enum": ["a"]}),
        document_of({**TEXT, "enum": ["a", "b"]}, X={**TEXT, "enum": ["a"]}),
    ),
    (
        generator_input.accept_null_for_optional_response_fields,
        response({"type": "object", "properties": {"a": TEXT, "b": TEXT}, "required": ["b"]}),
        response(
            {
                "type": "object",
                "properties": {"a": {"anyOf": [TEXT, NULL]}, "b": TEXT},
                "required": ["b"],
            }
        ),
    ),
    (generator_input.tag_operations_by_path, operation(tags=["subpackage_x"]), operation()),
    (generator_input.tag_operations_by_path, operation(tags=None), operation()),
]
EXAMPLES = [
    *((rule, document_of(before, X=X), document_of(after, X=X)) for rule, before, after in SCHEMAS),
    *DOCUMENTS,
]


@pytest.mark.parametrize(
    ("rule", "before", "after"), EXAMPLES, ids=[rule.__name__ for rule, _, _ in EXAMPLES]
)
def test_a_rule_changes_its_example(
    rule: Rule, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """It changes the example as shown, returns the places, and finds nothing the second time."""
    made = copy.deepcopy(before)
    places = list(rule(made))
    assert made == after
    assert places
    assert list(rule(copy.deepcopy(made))) == []


def test_every_rule_has_an_example_and_a_docstring() -> None:
    """Every rule is in EXAMPLES, and its docstring states the reason."""
    assert {rule for rule, _, _ in EXAMPLES} == {*ALL}
    assert all(len(rule.__doc__ or "") > 40 for rule in ALL)


def test_a_rule_without_effect_is_reported() -> None:
    """The log has a line for it, because the publisher may fix the specification."""
    said: list[str] = []
    apply(document_of(TEXT), [repair.nullable_to_null], said.append)
    assert said == ["nullable to null: no change"]


def test_a_rule_reports_where_it_changed_something() -> None:
    """The log has the first place as a JSON Pointer, and the number of others."""
    said: list[str] = []
    twice = {"type": "object", "properties": {"a": {"oneOf": [TEXT]}, "b": {"oneOf": [TEXT]}}}
    apply(document_of(twice), [repair.one_of_to_any_of], said.append)
    place = "#/paths/~1embeddings/post/requestBody/content/application~1json/schema/properties/a"
    assert said == [f"one of to any of: {place} and 1 more"]


def test_examples_are_not_changed() -> None:
    """Examples, defaults and enum values that look like schemas are not changed."""
    example = {"nullable": True, "oneOf": [1], "enum": [{"value": 1}]}
    given = document_of(
        {"type": "object", "example": example, "default": example, "enum": [example]}
    )
    assert apply(given, repair.DIALECT) == given


def test_a_field_may_have_the_name_of_a_keyword() -> None:
    """The keys of `properties` are names, not keywords."""
    names = {"nullable": TEXT, "enum": TEXT, "default": TEXT, "oneOf": TEXT, "example": TEXT}
    given = document_of({"type": "object", "properties": names})
    assert apply(given, ALL) == given


def test_rules_do_not_change_the_original() -> None:
    """The rules work on a copy."""
    given = document_of({**TEXT, "nullable": True})
    before = copy.deepcopy(given)
    assert apply(given, repair.RULES) != before
    assert given == before


def test_annotations_beside_a_reference_are_kept() -> None:
    """Unwrapping an allOf keeps its description and example."""
    given = document_of({"allOf": [REF, {"description": "d"}], "example": "e"}, X=X)
    made = apply(given, [generator_input.unwrap_annotated_references])
    body = made["paths"]["/embeddings"]["post"]["requestBody"]
    meant = {"description": "d", "example": "e", **REF}
    assert body["content"]["application/json"]["schema"] == meant


def allows(document: dict[str, Any], request: Any) -> bool:
    """Whether the request schema of a document accepts a request."""
    body = dereference(document, document["paths"]["/embeddings"]["post"]["requestBody"])
    wanted = body["content"]["application/json"]["schema"]
    return jsonschema_rs.Draft202012Validator(
        {**wanted, "components": document["components"]}
    ).is_valid(request)


def request(**provider: Any) -> dict[str, Any]:
    """Make a request with these preferences."""
    return {"input": "a", "model": "m", "provider": provider}


# What the documentation shows, and what it never could mean, in every edition.
MEANT: list[tuple[Any, bool]] = [
    (request(preferred_max_latency=1.5), True),
    (request(preferred_max_latency={"p50": 1}), True),
    (request(preferred_max_latency="x"), False),
    (request(preferred_min_throughput={"p50": 1}), True),
    (request(preferred_min_throughput="x"), False),
    (request(sort="price"), True),
    (request(sort={"by": "price"}), True),
    (request(sort="bogus"), False),
    (request(sort=5), False),
    (request(order=["OpenAI"]), True),
    (request(only=["somebody-new"]), True),
    (request(ignore=[5]), False),
    (request(data_collection="deny"), True),
    (request(zdr=None), True),
    (request(max_price={"prompt": "0.1"}), True),
    (request(max_price={"image": "2"}), True),
    ({"input": ["a", "b"], "model": "m"}, True),
    ({"input": [1, 2], "model": "m"}, True),
    ({"input": [[1, 2], [3]], "model": "m"}, True),
    ({"input": "a", "model": "m", "dimensions": 64, "encoding_format": "base64"}, True),
    ({"input": "a", "model": "m", "dimensions": "64"}, False),
    ({"input": "a", "model": "m", "encoding_format": "int4"}, False),
    ({"model": "m"}, False),
]


@pytest.mark.parametrize("origin", REAL)
def test_the_contract_allows_what_the_documentation_shows(origin: str) -> None:
    """In every edition, documented values are valid and wrong ones are not."""
    meant = edition(origin).contract
    assert [value for value, right in MEANT if allows(meant, value) is not right] == []


FORMER = {"oneOf": [{"type": "number"}, REF, {"description": "Any type"}]}


def test_the_old_page_format_is_repaired() -> None:
    """The old renderer's output rejects a number and allows all else, unlike the contract."""
    printed = document_of({"type": "object", "properties": {"latency": FORMER}}, X=X)
    repaired = apply(printed, repair.RULES)
    tried = [{"latency": 1.5}, {"latency": {"a": "b"}}, {"latency": "x"}]
    assert [allows(printed, each) for each in tried] == [False, False, True]
    assert [allows(repaired, each) for each in tried] == [True, True, False]


@pytest.mark.parametrize("origin", REAL)
def test_the_rules_give_valid_and_stable_documents(origin: str) -> None:
    """Contract and generator's input are valid, and applying the rules again changes neither."""
    repaired = edition(origin).contract
    bent = apply(repaired, generator_input.RULES)
    validate(repaired)
    validate(bent)
    assert apply(repaired, repair.RULES) == repaired
    assert apply(bent, generator_input.RULES) == bent


@pytest.mark.parametrize("origin", REAL)
def test_the_generators_input_has_nothing_that_it_misreads(origin: str) -> None:
    """It has no null types or values, no second array alternative and no closed object."""
    bent = apply(edition(origin).contract, generator_input.RULES)
    for _, node in mappings(bent):
        assert not isinstance(node.get("type"), list)
        assert None not in (node.get("enum") or [])
        assert node.get("additionalProperties") is not False
        alternatives = [dereference(bent, a) for a in node.get("anyOf") or []]
        assert sum(a.get("type") == "array" for a in alternatives) < 2


def test_the_contract_ships_as_package_data() -> None:
    """The stand-in reads the contract that the rules derive."""
    from openrouter_embeddings.local.contract import shipped

    assert shipped().document == edition("openapi.yaml").contract
