"""`Schemas` makes sample values and completes values."""

import re
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.local import schemas
from openrouter_embeddings.local.schemas import Schemas

from tests.support import in_threads

NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = st.one_of(
    st.just({}),
    st.sampled_from(["string", "integer", "number", "boolean", "null"]).map(lambda t: {"type": t}),
    st.builds(lambda least: {"type": "string", "minLength": least}, st.integers(0, 5)),
    st.builds(
        lambda kind, low, width: {"type": kind, "minimum": low, "maximum": low + width},
        st.sampled_from(["integer", "number"]),
        st.integers(-9, 9),
        st.integers(0, 3),
    ),
    st.builds(
        lambda low: {"type": "integer", "exclusiveMinimum": low, "multipleOf": 3},
        st.integers(-9, 9),
    ),
    st.builds(lambda low: {"type": "number", "exclusiveMaximum": low}, st.integers(-9, 9)),
    st.lists(st.sampled_from(["x", "y", 3, None]), min_size=1).map(lambda v: {"enum": v}),
    st.sampled_from([{"const": 5}, {"type": ["string", "null"]}, {"$ref": "#/components/x~1y"}]),
    st.just({"type": "string", "pattern": "^gen-", "example": "gen-1"}),
)


def _objects(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    properties = st.dictionaries(NAMES, inner, max_size=3)
    whole = st.builds(
        lambda fields, required, closed: {
            "type": "object",
            "properties": fields,
            "required": [name for name in required if name in fields or not closed],
            **({"additionalProperties": False} if closed else {}),
        },
        properties,
        st.lists(NAMES, unique=True),
        st.booleans(),
    )
    return st.one_of(
        whole,
        st.builds(
            lambda items, n: {"type": "array", "items": items, "minItems": n},
            inner,
            st.integers(0, 2),
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda choices: {"anyOf": choices}),
        whole.map(lambda one: {"allOf": [one, {"description": "what it is for"}]}),
    )


SCHEMAS = st.recursive(SCALARS, _objects, max_leaves=6)
WITH_Z = {"type": "object", "properties": {"z": {"type": "integer"}}, "required": ["z"]}
DOCUMENT = {
    "components": {
        "x/y": {"type": "object", "required": ["z"]},
        "with space": WITH_Z,
        "itself": {**WITH_Z, "allOf": [{"$ref": "#/components/itself"}]},
    },
    "paths": {"/x": [{**WITH_Z, "$defs": {"near": WITH_Z}}]},
}


def allows(schema: dict[str, Any], value: Any) -> bool:
    """Whether jsonschema_rs finds the value valid."""
    whole = {**schema, **DOCUMENT}
    return jsonschema_rs.Draft202012Validator(whole).is_valid(value)


@given(SCHEMAS)
def test_a_sample_is_valid(schema: dict[str, Any]) -> None:
    """Samples meet references, alternatives, bounds and required fields."""
    assert allows(schema, Schemas(DOCUMENT).sample(schema))


@given(SCHEMAS, st.dictionaries(NAMES, st.sampled_from([None, {}, []]), max_size=3))
def test_a_complete_value_does_not_change(schema: dict[str, Any], given_: dict[str, Any]) -> None:
    """Completing a value twice has no further effect, and a valid value stays as it is."""
    schemas = Schemas(DOCUMENT)
    completed = schemas.complete(given_, schema)
    assert schemas.complete(completed, schema) == completed
    if allows(schema, given_):
        assert allows(schema, completed)
        assert completed == given_


NUMBER = {"type": "integer"}


def requiring(**properties: Any) -> dict[str, Any]:
    """The schema of an object that requires these properties."""
    return {"type": "object", "properties": properties, "required": [*properties]}


def closed(**properties: Any) -> dict[str, Any]:
    """The same schema, which allows no other properties."""
    return {**requiring(**properties), "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "value", "completed"),
    [
        (
            {"properties": {"a": {"type": "number"}, "b": {"enum": ["x"]}}, "required": ["a", "b"]},
            {"a": 7, "new": 1},
            {"a": 7, "new": 1, "b": "x"},
        ),
        ({"properties": {"a": {"enum": ["x", None]}}, "required": ["a"]}, {}, {"a": "x"}),
        ({"anyOf": [{"type": "object", "required": ["a"]}, {}]}, {}, {}),
        (
            {"properties": {"a": {"properties": {"b": {"minimum": 3}}, "required": ["b"]}}},
            {"a": {}},
            {"a": {"b": None}},
        ),
        ({"additionalProperties": False, "properties": {"a": {}}}, {"a": 1, "new": 1}, {"a": 1}),
        ({"properties": {"a": {"type": "string"}}}, {"a": None}, {}),
        ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"a": None}, {"a": ""}),
        (
            {"items": {"anyOf": [{"type": "null"}, {"type": "object", "required": ["a"]}]}},
            [{}, {"a": 1}],
            [{"a": None}, {"a": 1}],
        ),
        (
            {
                "oneOf": [
                    {"properties": {"k": {"const": 1}}, "required": ["k", "a"]},
                    {"properties": {"k": {"const": 2}}, "required": ["k", "b"]},
                ]
            },
            {"k": 2},
            {"k": 2, "b": None},
        ),
        (
            {
                "allOf": [
                    {"properties": {"a": {"type": "object"}}, "required": ["a"]},
                    {"title": ""},
                ]
            },
            {},
            {"a": {}},
        ),
        ({"$ref": "#/components/x~1y"}, {"a": 1}, {"a": 1, "z": None}),
        ({"$ref": "#/components/x~1y", "required": ["y"]}, {"z": 1}, {"z": 1, "y": None}),
        (True, {"a": 1}, {"a": 1}),
        (
            {
                "$ref": "#/components/x~1y",
                "properties": {"y": {"type": "string"}},
                "required": ["y"],
            },
            {},
            {"y": "", "z": None},
        ),
        (
            {"allOf": [requiring(a=requiring(b=NUMBER)), requiring(a=requiring(c=NUMBER))]},
            {"a": {"d": 1}},
            {"a": {"d": 1, "b": 0, "c": 0}},
        ),
        (
            {"allOf": [requiring(a={"minimum": 3, **NUMBER}), requiring(a={"multipleOf": 7})]},
            {},
            {"a": 7},
        ),
        (
            {
                "allOf": [
                    {"anyOf": [requiring(a=NUMBER), requiring(b=NUMBER)]},
                    {"anyOf": [requiring(c=NUMBER), requiring(d=NUMBER)]},
                ]
            },
            {},
            {"a": 0, "c": 0},
        ),
        (
            {"oneOf": [closed(a=NUMBER), requiring(k={"const": "x"}, b=NUMBER)]},
            {"k": "x", "paid": 1},
            {"k": "x", "paid": 1, "b": 0},
        ),
        (
            {"oneOf": [closed(a=NUMBER), closed(a=NUMBER, paid={"items": requiring(c=NUMBER)})]},
            {"paid": [{"d": 1}], "new": 2},
            {"a": 0, "paid": [{"d": 1, "c": 0}]},
        ),
        ({"$ref": "#/components/with%20space"}, {}, {"z": 0}),
        ({"$ref": "#/paths/~1x/0"}, {}, {"z": 0}),
        ({"$ref": "#/$defs/near"}, {}, {"z": 0}),
        ({"allOf": [{"$ref": "#/components/itself"}]}, {}, {"z": 0}),
        ({"properties": {"a": {"$ref": "#/components/itself"}}}, {"a": {}}, {"a": {"z": 0}}),
    ],
)
def test_required_fields_are_added_and_forbidden_ones_removed(
    schema: Any, value: Any, completed: Any
) -> None:
    """This works in nested objects, lists and alternatives."""
    assert Schemas(DOCUMENT).complete(value, schema) == completed


@pytest.mark.parametrize(
    "reference", ["#/components/nothing", "#/paths/~1x/7", "#/paths/~1x/a", "other.yaml#/x", ""]
)
def test_a_broken_reference_raises(reference: str) -> None:
    """The error quotes the reference, however deep it stands."""
    document = {**DOCUMENT, "components": {"far": {"items": {"$ref": reference}}}}
    schemas = Schemas(document)
    with pytest.raises(ValueError, match=f"the contract refers to '{re.escape(reference)}'"):
        schemas.check({"allOf": [{"$ref": "#/components/far"}]})
    Schemas(DOCUMENT).check({"$ref": "#/components/itself"})


def test_completing_a_schema_that_requires_itself_ends() -> None:
    """It ends with null if the schema allows null, and at a maximum depth otherwise."""
    node: dict[str, Any] = {"type": ["object", "null"], "required": ["next"]}
    node["properties"] = {"next": {"$ref": "#/components/node"}}
    document = {"components": {"node": node}}
    assert Schemas(document).complete({}, node) == {"next": None}
    node["type"] = "object"
    deep = Schemas(document).complete({}, node)
    assert isinstance(deep["next"], dict | None)


def test_a_second_thread_sees_no_unfinished_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one thread still merges a schema, another one completes the same value by all of it."""
    found = Schemas({"components": {}})
    schema = {"allOf": [WITH_Z]}
    others: list[Any] = []

    def interrupted(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
        monkeypatch.undo()
        in_threads(1, lambda: others.append(found.complete({}, schema)))
        return merged(one, other)

    merged = schemas._merged
    monkeypatch.setattr(schemas, "_merged", interrupted)
    assert found.complete({}, schema) == {"z": 0}
    assert others == [{"z": 0}]
