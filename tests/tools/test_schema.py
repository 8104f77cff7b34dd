"""Reading schemas: which ones are equivalent, what differs, and samples of their values."""

import copy
from typing import Any

import jsonschema_rs
import pytest

from tools.diff.schemas import Comparison
from tools.schema.model import SchemaReader
from tools.schema.normalize import Normalizer
from tools.schema.samples import Sampler

STRING = {"type": "string"}
NUMBER = {"type": "number"}
NULL = {"type": "null"}
INTEGER = {"type": "integer"}
A, B = {"type": "string", "enum": ["a"]}, {"type": "string", "enum": ["b"]}


def of(**properties: Any) -> dict[str, Any]:
    """Make an object schema with these fields."""
    return {"type": "object", "properties": properties}


def requiring(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Make an object schema that requires a field."""
    return {**schema, "required": [name]}


def list_of(items: Any, **more: Any) -> dict[str, Any]:
    """Make a list schema."""
    return {"type": "array", "items": items, **more}


def any_of(*alternatives: Any) -> dict[str, Any]:
    """Make a union."""
    return {"anyOf": [*alternatives]}


COMPONENTS = {
    "Text": STRING,
    "Circle": any_of({"$ref": "#/components/schemas/Circle"}, STRING),
    "Tree": of(children=list_of({"$ref": "#/components/schemas/Tree"})),
    "Lists": list_of({"$ref": "#/components/schemas/Lists"}),
    "Chain": requiring("next", of(next=any_of({"$ref": "#/components/schemas/Chain"}, NULL))),
    "Named": requiring("of", of(of=any_of({"$ref": "#/components/schemas/Named"}, STRING))),
    "Branch": requiring("kids", of(kids=list_of({"$ref": "#/components/schemas/Branch"}))),
}


def ref(name: str) -> dict[str, Any]:
    """Make a reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def changed(old: Any, new: Any, *, sent: bool = True) -> dict[str, bool]:
    """Return the changes between two schemas, and whether each breaks callers."""
    readers = [
        SchemaReader({"components": {"schemas": copy.deepcopy(COMPONENTS)}}) for _ in range(2)
    ]
    comparison = Comparison("request" if sent else "response", readers[0], readers[1])
    return {change.text: change.breaks for change in comparison.compare(old, new)}


SAME = [
    (STRING, ref("Text")),
    (STRING, ref("Circle")),
    (STRING, {"allOf": [STRING, {"description": "words"}]}),
    (STRING, any_of(STRING, STRING)),
    ({"type": "string", "const": "a"}, A),
    ({"enum": ["a"]}, A),
    (any_of(A, B), {"type": "string", "enum": ["b", "a"]}),
    ({"type": ["string", "null"]}, any_of({"type": "null"}, STRING)),
    ({"type": ["string", "null"], "enum": ["a", None]}, any_of(A, {"type": "null"})),
    ({"type": "string", "enum": ["a", None]}, A),
    ({"type": ["object", "null"], "properties": {}}, any_of({"type": "object"}, {"type": "null"})),
    ({"properties": {"x": STRING}}, of(x=STRING)),
    ({"type": "object"}, {"type": "object", "additionalProperties": True}),
    ({"type": "object"}, {"type": "object", "additionalProperties": {}}),
    ({}, {"description": "whatever"}),
    ({}, any_of(STRING, {})),
    ({}, True),
    ({"type": "string", "minLength": 0}, STRING),
    (list_of(STRING, uniqueItems=False), list_of(STRING)),
    ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}),
    ({"type": "integer", "exclusiveMaximum": 9}, {"type": "integer", "maximum": 8}),
    ({"type": "integer", "minimum": 0.5}, {"type": "integer", "minimum": 1}),
    ({"type": "number", "minimum": 1, "exclusiveMinimum": 1}, {**NUMBER, "exclusiveMinimum": 1}),
    (any_of(NUMBER, {"type": "integer"}), NUMBER),
    ({"allOf": [NUMBER, {"type": "integer"}]}, {"type": "integer"}),
    ({"allOf": [of(x=STRING), of(y=STRING)]}, of(x=STRING, y=STRING)),
    ({"allOf": [of(x=STRING), requiring("x", of())]}, requiring("x", of(x=STRING))),
    ({"type": "object", "allOf": [of(x={}), of(x=STRING)]}, of(x=STRING)),
    ({"allOf": [{**STRING, "minLength": 1}, {"minLength": 3}]}, {**STRING, "minLength": 3}),
    ({"type": "object", "anyOf": [of(x=STRING), STRING]}, of(x=STRING)),
    (any_of({**STRING, "maxLength": 3}, {**STRING, "maxLength": 5}), {**STRING, "maxLength": 5}),
    (any_of(A, {**STRING, "minLength": 9}), any_of({**STRING, "minLength": 9}, A)),
    (ref("Tree"), of(children=list_of(ref("Tree")))),
    (ref("Lists"), ref("Lists")),
    ({**STRING, "default": None}, STRING),
    ({**STRING, "format": "uri", "title": "T", "examples": ["x"]}, STRING),
    ({"type": ["string", "null"], "enum": ["a"]}, A),
    ({**A, "minLength": 1}, A),
    ({"enum": [1, 2, 9], "maximum": 2}, {"enum": [1, 2]}),
    ({**INTEGER, "multipleOf": 1}, INTEGER),
    ({**STRING, "minLength": 1.0}, {**STRING, "minLength": 1}),
    (of(x=False), of()),
    (any_of(of(x=STRING), requiring("x", of(x=STRING))), of(x=STRING)),
    ({**STRING, "not": A}, {**STRING, "not": {**A, "description": "words"}}),
    (
        {**of(), "patternProperties": {"^x": ref("Text")}},
        {**of(), "patternProperties": {"^x": STRING}},
    ),
    ({**of(), "unevaluatedProperties": True, "propertyNames": {}}, of()),
]


@pytest.mark.parametrize(("one", "other"), SAME)
@pytest.mark.parametrize("sent", [True, False])
def test_equivalent_schemas_do_not_differ(one: Any, other: Any, sent: bool) -> None:
    """Two spellings of a schema give no change in either direction."""
    assert changed(one, other, sent=sent) == changed(other, one, sent=sent) == {}


XY = of(x=STRING, y=STRING)
NEEDS = any_of({"required": ["x"]}, {"required": ["y"]})
# From the first schema to the second, and whether that breaks who sends it, and who reads it.
DIFFERENT: list[tuple[Any, Any, str, bool, bool]] = [
    (STRING, NUMBER, "the root is no longer string", True, True),
    (STRING, any_of(STRING, NUMBER), "the root may be number now", False, True),
    (NUMBER, {"type": "integer"}, "the root is no longer number", True, False),
    ({"type": "integer"}, NUMBER, "the root may be number now", False, True),
    (any_of(A, NUMBER), A, "the root is no longer number", True, False),
    (any_of(A, of(x=A)), A, "the root is no longer object", True, True),
    ({}, STRING, "the root must be string now; before, any value was allowed", True, False),
    (STRING, {}, "the root allows any value now", False, True),
    (STRING, any_of(STRING, {"type": "null"}), "the root may be null now", False, True),
    ({"type": ["string", "null"]}, STRING, "the root may no longer be null", True, False),
    (A, any_of(A, B), "the root has the new value b", False, True),
    (any_of(A, B), A, "the root no longer has the value b", True, False),
    (A, STRING, "the root allows any string now", False, True),
    (STRING, A, "the root must be one of a now; before, any string", True, False),
    (
        any_of(A, B, STRING),
        any_of(A, STRING),
        "the root no longer lists b; any string is still allowed",
        False,
        False,
    ),
    (any_of(A, STRING), any_of(A, B, STRING), "the root has the new value b", False, False),
    (STRING, {**STRING, "minLength": 2}, "the root has minLength 2 now", True, False),
    ({**STRING, "minLength": 2}, STRING, "the root no longer has minLength 2", False, True),
    (
        {**STRING, "minLength": 1},
        {**STRING, "minLength": 2},
        "the root has minLength 2 now, not minLength 1",
        True,
        False,
    ),
    (
        {**STRING, "maxLength": 1},
        {**STRING, "maxLength": 2},
        "the root has maxLength 2 now, not maxLength 1",
        False,
        True,
    ),
    (
        {**NUMBER, "minimum": 1},
        {**NUMBER, "exclusiveMinimum": 1},
        "the root has exclusiveMinimum 1 now, not minimum 1",
        True,
        False,
    ),
    (
        {**NUMBER, "maximum": 1},
        {**NUMBER, "exclusiveMaximum": 1},
        "the root has exclusiveMaximum 1 now, not maximum 1",
        True,
        False,
    ),
    (
        {**STRING, "pattern": "a"},
        {**STRING, "pattern": "b"},
        "the root has pattern b now, not pattern a",
        True,
        True,
    ),
    (
        any_of({**STRING, "maxLength": 3}, {**STRING, "maxLength": 5}),
        {**STRING, "maxLength": 3},
        "the root has maxLength 3 now, not maxLength 5",
        True,
        False,
    ),
    (
        any_of(A, STRING),
        any_of(A, {**STRING, "minLength": 2}),
        "the root has minLength 2 now",
        True,
        False,
    ),
    (NUMBER, {**NUMBER, "multipleOf": 2}, "the root has multipleOf 2 now", True, False),
    (STRING, {**STRING, "default": "x"}, 'the root has the default "x" now', True, False),
    ({**STRING, "default": "x"}, STRING, 'the root no longer has the default "x"', True, False),
    (
        {**INTEGER, "multipleOf": 8},
        {**INTEGER, "multipleOf": 4},
        "the root has multipleOf 4 now, not multipleOf 8",
        False,
        True,
    ),
    (
        {**INTEGER, "multipleOf": 8},
        {**INTEGER, "multipleOf": 3},
        "the root has multipleOf 3 now, not multipleOf 8",
        True,
        True,
    ),
    (
        {"type": ["string", "null"], "enum": ["a", None]},
        {"type": ["string", "null"], "enum": ["a"]},
        "the root may no longer be null",
        True,
        False,
    ),
    (A, {"type": ["string", "null"], "enum": ["a", None]}, "the root may be null", False, True),
    ({"enum": [{"a": 1}]}, {"enum": [{"a": 1}, [2]]}, "the root may be a list", False, True),
    ({"enum": [{"a": 1}]}, {"enum": [{"a": 1}, {"b": 2}]}, "the root has the new", False, True),
    (XY, {**XY, **NEEDS}, "the root needs x or y now", True, False),
    ({**XY, **NEEDS}, XY, "the root no longer needs x or y", False, True),
    (of(), requiring("x", of()), "x is new and required", True, False),
    (of(x=STRING), of(x=False), "x is gone", True, True),
    (of(), of(x=STRING), "x is new", False, False),
    (of(), requiring("x", of(x=STRING)), "x is new and required", True, False),
    (of(x=STRING), of(), "x is gone", True, True),
    (of(x=STRING), requiring("x", of(x=STRING)), "x is required now", True, False),
    (requiring("x", of(x=STRING)), of(x=STRING), "x is optional now", False, True),
    (of(), {**of(), "additionalProperties": False}, "the root no longer allows other", True, False),
    ({**of(), "additionalProperties": False}, of(), "the root allows other fields", False, True),
    (of(), {**of(), "additionalProperties": STRING}, "* must be string now", True, False),
    (of(x=of(y=STRING)), of(x=of(y=NUMBER)), "x.y is no longer string", True, True),
    (list_of(STRING), list_of(NUMBER), "the root is no longer a list of strings", True, True),
    (list_of(STRING), list_of(STRING, maxItems=2), "the root has maxItems 2 now", True, False),
    (
        any_of(list_of(STRING), list_of(NUMBER)),
        any_of(list_of(STRING, maxItems=2), list_of(NUMBER)),
        "the root has maxItems 2 now (a list of strings)",
        True,
        False,
    ),
    (
        list_of(any_of(STRING, NUMBER)),
        any_of(list_of(STRING), list_of(NUMBER)),
        "the root may no longer mix number and string",
        True,
        False,
    ),
    (
        any_of(list_of(STRING), list_of(NUMBER)),
        list_of(any_of(STRING, NUMBER)),
        "the root may mix number and string now",
        False,
        True,
    ),
    (list_of(A), list_of(any_of(A, B)), "[] has the new value b", False, True),
    (any_of(of(t=A), of(t=B)), of(t=A), "the root may no longer have the t b", True, True),
    (of(t=A), any_of(of(t=A), of(t=B)), "the root may have the t b now", False, True),
    (
        any_of(of(t=A), of(t=B)),
        any_of(of(t=A), requiring("x", of(t=B, x=STRING))),
        "x is new and required (where t is b)",
        True,
        False,
    ),
    (
        any_of(of(t=A, x=A), of(t=B, x=A)),
        any_of(of(t=A, x=STRING), of(t=B, x=STRING)),
        "x allows any string now",
        False,
        True,
    ),
    (
        any_of(of(x=STRING), of(x=STRING, y=STRING)),
        any_of(requiring("x", of(x=STRING)), of(x=NUMBER, y=STRING)),
        "x may be number now",
        False,
        True,
    ),
]


@pytest.mark.parametrize(("old", "new", "said", "sender", "reader"), DIFFERENT)
def test_a_difference_breaks_the_right_side(
    old: Any, new: Any, said: str, sender: bool, reader: bool
) -> None:
    """Narrower requests and wider responses break callers; both are reported."""
    for sent, breaks in ((True, sender), (False, reader)):
        found = changed(old, new, sent=sent)
        if sent or "the default" not in said:
            (text,) = [text for text in found if text.startswith(said)]
            assert found[text] == breaks


CONDITIONS: list[tuple[Any, str, Any]] = [
    *((STRING, "format", name) for name in ("date-time", "date", "uuid", "binary")),
    (of(), "patternProperties", {"^x": STRING}),
    (of(), "propertyNames", {"pattern": "^x"}),
    (of(), "unevaluatedProperties", False),
    (of(), "dependentRequired", {"x": ["y"]}),
    (of(), "dependentSchemas", {"x": {"required": ["y"]}}),
    (list_of(STRING), "prefixItems", [A]),
    (list_of(STRING), "contains", A),
    (list_of(STRING), "minContains", 2),
    (list_of(STRING), "maxContains", 2),
    (list_of(STRING), "unevaluatedItems", False),
    *((kind, "not", A) for kind in (STRING, NUMBER, of(), list_of(STRING))),
    *((STRING, keyword, A) for keyword in ("if", "then", "else")),
]


@pytest.mark.parametrize(("schema", "keyword", "value"), CONDITIONS)
@pytest.mark.parametrize("sent", [True, False])
def test_a_condition_breaks_in_both_directions(
    schema: Any, keyword: str, value: Any, sent: bool
) -> None:
    """It is unknown whether a condition allows more or less, so both directions break."""
    other = {**schema, keyword: value}
    for one, two in ((schema, other), (other, schema)):
        ((text, breaks),) = changed(one, two, sent=sent).items()
        assert f" {keyword}: " in text
        assert breaks


def test_a_component_in_a_condition_is_compared_by_content() -> None:
    """Its content counts, not its name, even if it is recursive."""
    schema = {**of(), "patternProperties": {"^x": ref("X"), "^tree": ref("Tree")}}
    readers = [
        SchemaReader({"components": {"schemas": {**COMPONENTS, "X": x}}}) for x in (STRING, NUMBER)
    ]
    (change,) = Comparison("request", readers[0], readers[1]).compare(schema, schema)
    assert change.text.startswith("the root has patternProperties: ")
    assert change.breaks


def test_nested_lists_are_read_in_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every level of a nested list is read once."""
    schema: Any = STRING
    for _ in range(12):
        schema = list_of(schema)
    read: list[Any] = []
    real = Normalizer.alternatives

    def counting(self: Normalizer, schema: Any, above: frozenset[str] = frozenset()) -> list[Any]:
        read.append(schema)
        return real(self, schema, above)

    monkeypatch.setattr(Normalizer, "alternatives", counting)
    (variant,) = SchemaReader({}).read(schema).variants.values()
    assert variant.words == "list of " + "lists of " * 11 + "strings"
    assert len(read) == 13


@pytest.mark.parametrize(
    "schema",
    [
        *(ref(name) for name in ("Chain", "Named", "Branch", "Tree")),
        of(x=ref("Chain")),
        {**XY, **NEEDS},
        {**XY, **NEEDS, "required": ["y"]},
        {**STRING, "minLength": 2.0, "maxLength": 4.0},
        list_of(STRING, minItems=2.0),
    ],
)
def test_the_smallest_value_is_valid(schema: Any) -> None:
    """This includes recursive schemas, choices of required fields, and limits such as 2.0."""
    document = {"components": {"schemas": COMPONENTS}}
    reader = SchemaReader(document)
    value = Sampler(reader).smallest(reader.read(schema))
    assert jsonschema_rs.Draft202012Validator({**schema, **document}).is_valid(value), value


def test_a_field_that_one_alternative_requires_is_not_required() -> None:
    """Without a discriminator, a field is required only if every alternative requires it."""
    one = any_of(requiring("x", of(x=STRING)), of(x=STRING, y=STRING))
    assert changed(of(x=STRING, y=STRING), one) == {}


@pytest.mark.parametrize("keyword", ["minLength", "maxLength", "pattern"])
def test_a_value_that_violates_a_string_limit_is_invalid(keyword: str) -> None:
    """JSON Schema rejects the violating value and accepts the normal one."""
    schema = {**STRING, "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"}
    _try(schema, keyword)


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "integer", "minimum": 3}, "minimum"),
        ({"type": "integer", "maximum": -3}, "maximum"),
        ({**NUMBER, "exclusiveMinimum": 2}, "minimum"),
        ({**NUMBER, "exclusiveMaximum": 2}, "maximum"),
        ({"type": "integer", "minimum": 7, "multipleOf": 10}, "multipleOf"),
        (list_of(STRING, minItems=2), "minItems"),
        (list_of(STRING, minItems=2.0), "minItems"),
        (list_of(STRING, maxItems=2.0), "maxItems"),
        ({**STRING, "minLength": 2.0}, "minLength"),
        ({**STRING, "maxLength": 2.0}, "maxLength"),
        (list_of(of(x=STRING), maxItems=2), "maxItems"),
        (list_of(STRING, uniqueItems=True), "uniqueItems"),
    ],
)
def test_a_value_that_violates_a_number_or_list_limit_is_invalid(schema: Any, keyword: str) -> None:
    """JSON Schema rejects the violating value and accepts the normal one."""
    _try(schema, keyword)


def _try(schema: Any, keyword: str) -> None:
    reader = SchemaReader({})
    sampler, allowed = Sampler(reader), reader.read(schema)
    (variant,) = allowed.variants.values()
    allows = jsonschema_rs.Draft202012Validator(schema)
    assert allows.is_valid(sampler.value(variant))
    assert not allows.is_valid(sampler.violating(variant, keyword))


@pytest.mark.parametrize(
    ("schema", "paths"),
    [
        (of(a=of(b=list_of(of(c=STRING)))), {"a", "a.b", "a.b[].c"}),
        (any_of(of(t=A, x=A), of(t=B, y=A)), {"t", "x", "y"}),
        (ref("Tree"), {"children", "children[].children"}),
        (STRING, set()),
    ],
)
def test_paths_lists_every_named_field(schema: Any, paths: set[str]) -> None:
    """A recursive schema is listed once."""
    assert SchemaReader({"components": {"schemas": COMPONENTS}}).paths(schema) == paths
