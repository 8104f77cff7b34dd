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


def text(**limits: Any) -> dict[str, Any]:
    """Make a string schema with these keywords."""
    return {**STRING, **limits}


def requiring(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Make an object schema that requires a field."""
    return {**schema, "required": [name]}


def list_of(items: Any, **more: Any) -> dict[str, Any]:
    """Make a list schema."""
    return {"type": "array", "items": items, **more}


def any_of(*alternatives: Any) -> dict[str, Any]:
    """Make a union."""
    return {"anyOf": [*alternatives]}


def ref(name: str) -> dict[str, Any]:
    """Make a reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


COMPONENTS = {
    "Text": STRING,
    "Circle": any_of(ref("Circle"), STRING),
    "Tree": of(children=list_of(ref("Tree"))),
    "Lists": list_of(ref("Lists")),
    "Chain": requiring("next", of(next=any_of(ref("Chain"), NULL))),
    "Named": requiring("of", of(of=any_of(ref("Named"), STRING))),
    "Branch": requiring("kids", of(kids=list_of(ref("Branch")))),
}
DOCUMENT = {"components": {"schemas": COMPONENTS}}


def changed(old: Any, new: Any, *, sent: bool = True) -> dict[str, bool]:
    """Return the changes between two schemas, and whether each breaks callers."""
    one, other = (SchemaReader(copy.deepcopy(DOCUMENT)) for _ in range(2))
    comparison = Comparison("request" if sent else "response", one, other)
    return {change.text: change.breaks for change in comparison.compare(old, new)}


SAME = [
    (STRING, ref("Text")),
    (STRING, ref("Circle")),
    (STRING, {"allOf": [STRING, {"description": "words"}]}),
    (STRING, any_of(STRING, STRING)),
    ({"type": "string", "const": "a"}, A),
    ({"enum": ["a"]}, A),
    (any_of(A, B), {"type": "string", "enum": ["b", "a"]}),
    ({"type": ["string", "null"]}, any_of(NULL, STRING)),
    ({"type": ["string", "null"], "enum": ["a", None]}, any_of(A, NULL)),
    ({"type": "string", "enum": ["a", None]}, A),
    ({"type": ["object", "null"], "properties": {}}, any_of({"type": "object"}, NULL)),
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
    (any_of(NUMBER, INTEGER), NUMBER),
    ({"allOf": [NUMBER, INTEGER]}, INTEGER),
    ({"allOf": [of(x=STRING), of(y=STRING)]}, of(x=STRING, y=STRING)),
    ({"allOf": [of(x=STRING), requiring("x", of())]}, requiring("x", of(x=STRING))),
    ({"type": "object", "allOf": [of(x={}), of(x=STRING)]}, of(x=STRING)),
    ({"allOf": [text(minLength=1), {"minLength": 3}]}, text(minLength=3)),
    ({"type": "object", "anyOf": [of(x=STRING), STRING]}, of(x=STRING)),
    (any_of(text(maxLength=3), text(maxLength=5)), text(maxLength=5)),
    (any_of(A, text(minLength=9)), any_of(text(minLength=9), A)),
    (ref("Tree"), of(children=list_of(ref("Tree")))),
    (ref("Lists"), ref("Lists")),
    (text(default=None), STRING),
    ({**STRING, "format": "uri", "title": "T", "examples": ["x"]}, STRING),
    ({"type": ["string", "null"], "enum": ["a"]}, A),
    ({**A, "minLength": 1}, A),
    ({"enum": [1, 2, 9], "maximum": 2}, {"enum": [1, 2]}),
    ({**INTEGER, "multipleOf": 1}, INTEGER),
    (text(minLength=1.0), text(minLength=1)),
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
# Whether a change breaks who sends the message, and who reads it.
SENDER, READER, BOTH, NEITHER = (True, False), (False, True), (True, True), (False, False)
# From the first schema to the second, and whom that breaks.
DIFFERENT: list[tuple[Any, Any, str, tuple[bool, bool]]] = [
    (STRING, NUMBER, "the root is no longer string", BOTH),
    (STRING, any_of(STRING, NUMBER), "the root may be number now", READER),
    (NUMBER, INTEGER, "the root is no longer number", SENDER),
    (INTEGER, NUMBER, "the root may be number now", READER),
    (any_of(A, NUMBER), A, "the root is no longer number", SENDER),
    (any_of(A, of(x=A)), A, "the root is no longer object", BOTH),
    ({}, STRING, "the root must be string now; before, any value was allowed", SENDER),
    (STRING, {}, "the root allows any value now", READER),
    (STRING, any_of(STRING, NULL), "the root may be null now", READER),
    ({"type": ["string", "null"]}, STRING, "the root may no longer be null", SENDER),
    (A, any_of(A, B), "the root has the new value b", READER),
    (any_of(A, B), A, "the root no longer has the value b", SENDER),
    (A, STRING, "the root allows any string now", READER),
    (STRING, A, "the root must be one of a now; before, any string", SENDER),
    (
        any_of(A, B, STRING),
        any_of(A, STRING),
        "the root no longer lists b; any string is still allowed",
        NEITHER,
    ),
    (any_of(A, STRING), any_of(A, B, STRING), "the root has the new value b", NEITHER),
    (STRING, text(minLength=2), "the root has minLength 2 now", SENDER),
    (text(minLength=2), STRING, "the root no longer has minLength 2", READER),
    (text(minLength=1), text(minLength=2), "the root has minLength 2 now, not minLength 1", SENDER),
    (text(maxLength=1), text(maxLength=2), "the root has maxLength 2 now, not maxLength 1", READER),
    (
        {**NUMBER, "minimum": 1},
        {**NUMBER, "exclusiveMinimum": 1},
        "the root has exclusiveMinimum 1 now, not minimum 1",
        SENDER,
    ),
    (
        {**NUMBER, "maximum": 1},
        {**NUMBER, "exclusiveMaximum": 1},
        "the root has exclusiveMaximum 1 now, not maximum 1",
        SENDER,
    ),
    (text(pattern="a"), text(pattern="b"), "the root has pattern b now, not pattern a", BOTH),
    (
        any_of(text(maxLength=3), text(maxLength=5)),
        text(maxLength=3),
        "the root has maxLength 3 now, not maxLength 5",
        SENDER,
    ),
    (any_of(A, STRING), any_of(A, text(minLength=2)), "the root has minLength 2 now", SENDER),
    (NUMBER, {**NUMBER, "multipleOf": 2}, "the root has multipleOf 2 now", SENDER),
    (STRING, text(default="x"), 'the root has the default "x" now', SENDER),
    (text(default="x"), STRING, 'the root no longer has the default "x"', SENDER),
    (
        {**INTEGER, "multipleOf": 8},
        {**INTEGER, "multipleOf": 4},
        "the root has multipleOf 4 now, not multipleOf 8",
        READER,
    ),
    (
        {**INTEGER, "multipleOf": 8},
        {**INTEGER, "multipleOf": 3},
        "the root has multipleOf 3 now, not multipleOf 8",
        BOTH,
    ),
    (
        {"type": ["string", "null"], "enum": ["a", None]},
        {"type": ["string", "null"], "enum": ["a"]},
        "the root may no longer be null",
        SENDER,
    ),
    (A, {"type": ["string", "null"], "enum": ["a", None]}, "the root may be null", READER),
    ({"enum": [{"a": 1}]}, {"enum": [{"a": 1}, [2]]}, "the root may be a list", READER),
    ({"enum": [{"a": 1}]}, {"enum": [{"a": 1}, {"b": 2}]}, "the root has the new", READER),
    (XY, {**XY, **NEEDS}, "the root needs x or y now", SENDER),
    ({**XY, **NEEDS}, XY, "the root no longer needs x or y", READER),
    (of(), requiring("x", of()), "x is new and required", SENDER),
    (of(x=STRING), of(x=False), "x is gone", BOTH),
    (of(), of(x=STRING), "x is new", NEITHER),
    (of(), requiring("x", of(x=STRING)), "x is new and required", SENDER),
    (of(x=STRING), of(), "x is gone", BOTH),
    (of(x=STRING), requiring("x", of(x=STRING)), "x is required now", SENDER),
    (requiring("x", of(x=STRING)), of(x=STRING), "x is optional now", READER),
    (of(), {**of(), "additionalProperties": False}, "the root no longer allows other", SENDER),
    ({**of(), "additionalProperties": False}, of(), "the root allows other fields", READER),
    (of(), {**of(), "additionalProperties": STRING}, "* must be string now", SENDER),
    (of(x=of(y=STRING)), of(x=of(y=NUMBER)), "x.y is no longer string", BOTH),
    (list_of(STRING), list_of(NUMBER), "the root is no longer a list of strings", BOTH),
    (list_of(STRING), list_of(STRING, maxItems=2), "the root has maxItems 2 now", SENDER),
    (
        any_of(list_of(STRING), list_of(NUMBER)),
        any_of(list_of(STRING, maxItems=2), list_of(NUMBER)),
        "the root has maxItems 2 now (a list of strings)",
        SENDER,
    ),
    (
        list_of(any_of(STRING, NUMBER)),
        any_of(list_of(STRING), list_of(NUMBER)),
        "the root may no longer mix number and string",
        SENDER,
    ),
    (
        any_of(list_of(STRING), list_of(NUMBER)),
        list_of(any_of(STRING, NUMBER)),
        "the root may mix number and string now",
        READER,
    ),
    (list_of(A), list_of(any_of(A, B)), "[] has the new value b", READER),
    (any_of(of(t=A), of(t=B)), of(t=A), "the root may no longer have the t b", BOTH),
    (of(t=A), any_of(of(t=A), of(t=B)), "the root may have the t b now", READER),
    (
        any_of(of(t=A), of(t=B)),
        any_of(of(t=A), requiring("x", of(t=B, x=STRING))),
        "x is new and required (where t is b)",
        SENDER,
    ),
    (
        any_of(of(t=A, x=A), of(t=B, x=A)),
        any_of(of(t=A, x=STRING), of(t=B, x=STRING)),
        "x allows any string now",
        READER,
    ),
    (
        any_of(of(x=STRING), of(x=STRING, y=STRING)),
        any_of(requiring("x", of(x=STRING)), of(x=NUMBER, y=STRING)),
        "x may be number now",
        READER,
    ),
]


@pytest.mark.parametrize(("old", "new", "said", "broken"), DIFFERENT)
def test_a_difference_breaks_the_right_side(
    old: Any, new: Any, said: str, broken: tuple[bool, bool]
) -> None:
    """Narrower requests and wider responses break callers; both are reported."""
    for sent, breaks in zip((True, False), broken, strict=True):
        found = changed(old, new, sent=sent)
        if sent or "the default" not in said:
            (line,) = [line for line in found if line.startswith(said)]
            assert found[line] == breaks


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
        ((line, breaks),) = changed(one, two, sent=sent).items()
        assert f" {keyword}: " in line
        assert breaks


def test_a_component_in_a_condition_is_compared_by_content() -> None:
    """Its content counts, not its name, even if it is recursive."""
    schema = {**of(), "patternProperties": {"^x": ref("X"), "^tree": ref("Tree")}}
    one, other = (
        SchemaReader({"components": {"schemas": {**COMPONENTS, "X": x}}}) for x in (STRING, NUMBER)
    )
    (change,) = Comparison("request", one, other).compare(schema, schema)
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
        text(minLength=2.0, maxLength=4.0),
        list_of(STRING, minItems=2.0),
    ],
)
def test_the_smallest_value_is_valid(schema: Any) -> None:
    """This includes recursive schemas, choices of required fields, and limits such as 2.0."""
    reader = SchemaReader(DOCUMENT)
    value = Sampler(reader).smallest(reader.read(schema))
    assert jsonschema_rs.Draft202012Validator({**schema, **DOCUMENT}).is_valid(value), value


def test_a_field_that_one_alternative_requires_is_not_required() -> None:
    """Without a discriminator, a field is required only if every alternative requires it."""
    one = any_of(requiring("x", of(x=STRING)), of(x=STRING, y=STRING))
    assert changed(of(x=STRING, y=STRING), one) == {}


WORD = text(minLength=2, maxLength=4, pattern="^[a-z]+$")


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        *((WORD, keyword) for keyword in ("minLength", "maxLength", "pattern")),
        ({"type": "integer", "minimum": 3}, "minimum"),
        ({"type": "integer", "maximum": -3}, "maximum"),
        ({**NUMBER, "exclusiveMinimum": 2}, "minimum"),
        ({**NUMBER, "exclusiveMaximum": 2}, "maximum"),
        ({"type": "integer", "minimum": 7, "multipleOf": 10}, "multipleOf"),
        (list_of(STRING, minItems=2), "minItems"),
        (list_of(STRING, minItems=2.0), "minItems"),
        (list_of(STRING, maxItems=2.0), "maxItems"),
        (text(minLength=2.0), "minLength"),
        (text(maxLength=2.0), "maxLength"),
        (list_of(of(x=STRING), maxItems=2), "maxItems"),
        (list_of(STRING, uniqueItems=True), "uniqueItems"),
    ],
)
def test_a_value_that_violates_a_limit_is_invalid(schema: Any, keyword: str) -> None:
    """JSON Schema rejects the violating value and accepts the normal one."""
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
    assert SchemaReader(DOCUMENT).paths(schema) == paths
