"""The rules: what the contract allows after repair, and what the generator is given."""

import copy
from typing import Any

import jsonschema_rs
import pytest

from tools import contract, generator_input
from tools.documents import SPEC, load, validate
from tools.rules import Rule, apply

PUBLISHED = load(SPEC.read_bytes())
REPAIRED = apply(PUBLISHED, contract.RULES, lambda _: None)
FOR_GENERATOR = apply(REPAIRED, generator_input.RULES, lambda _: None)


def allows(document: dict[str, Any], request: Any) -> bool:
    """Whether the document's request schema takes it."""
    body = document["paths"]["/embeddings"]["post"]["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    return jsonschema_rs.Draft202012Validator(
        {**schema, "components": document["components"]}
    ).is_valid(request)


def request(**provider: Any) -> dict[str, Any]:
    """A request with these preferences."""
    return {"input": "a", "model": "m", "provider": provider}


MENDED: list[tuple[Any, bool]] = [
    (request(preferred_max_latency=1.5), True),
    (request(preferred_max_latency={"p50": 1}), True),
    (request(preferred_max_latency="x"), False),
    (request(preferred_max_latency=None), False),
    (request(preferred_min_throughput={"p50": 1}), True),
    (request(preferred_min_throughput="x"), False),
    (request(sort="price"), True),
    (request(sort={"by": "price"}), True),
    (request(sort="bogus"), False),
    (request(sort=5), False),
    (request(order=["OpenAI"]), True),
    (request(only=["somebody-new"]), True),
    (request(ignore=[5]), False),
    ({"input": [], "model": "m"}, True),
]


@pytest.mark.parametrize(("value", "right"), MENDED)
def test_the_contract_is_what_the_publisher_meant(value: Any, right: bool) -> None:
    """Documented values are allowed, garbage is not."""
    assert allows(REPAIRED, value) is right


def test_the_published_document_is_wrong_about_most_of_these() -> None:
    """Otherwise the repair would be idle."""
    wrong = [value for value, right in MENDED if allows(PUBLISHED, value) is not right]
    assert len(wrong) >= 12


@pytest.mark.parametrize(("price", "right"), [("0.1", True), (0.1, True), ({}, True), (None, True)])
def test_prices_whose_type_was_lost_may_be_anything(price: Any, right: bool) -> None:
    """The renderer printed them as empty objects."""
    assert allows(REPAIRED, request(max_price={"image": price})) is right


def test_security_is_the_declared_scheme() -> None:
    """And no longer a header parameter."""
    operation = REPAIRED["paths"]["/embeddings"]["post"]
    assert "parameters" not in operation
    assert operation["security"] == [{"apiKey": []}]
    assert operation["requestBody"]["required"] is True


@pytest.mark.parametrize(
    "rules", [contract.RULES, generator_input.RULES], ids=["contract", "input"]
)
def test_a_rule_with_nothing_to_do_says_so(rules: tuple[Rule, ...]) -> None:
    """Applied again, every rule is idle: the publisher may mend the spec any day."""
    once = apply(FOR_GENERATOR, rules, lambda _: None)
    said: list[str] = []
    assert apply(once, rules, said.append) == once
    assert len(said) == len(rules)
    assert all("nothing to do" in line for line in said)


@pytest.mark.parametrize("rule", [*contract.RULES, *generator_input.RULES])
def test_a_rule_has_a_reason_and_says_where_it_worked(rule: Rule) -> None:
    """Its docstring is the reason; the places it returns exist."""
    assert len(rule.__doc__ or "") > 40
    said: list[str] = []
    apply(REPAIRED if rule in generator_input.RULES else PUBLISHED, [rule], said.append)
    name = rule.__name__.replace("_", " ")
    assert said[0].startswith(f"{name}: ")


def test_rules_leave_the_original_alone() -> None:
    """A document is repaired in a copy."""
    before = copy.deepcopy(PUBLISHED)
    apply(PUBLISHED, contract.RULES, lambda _: None)
    assert before == PUBLISHED


def test_the_contract_and_the_generators_input_are_sound() -> None:
    """Each passes the checks that a new edition has to pass."""
    validate(REPAIRED)
    validate(FOR_GENERATOR)


def test_the_contract_ships_as_package_data() -> None:
    """What the stand-in reads is what the rules derive."""
    from openrouter_embeddings.local.contract import contract as shipped

    assert shipped() == REPAIRED


def test_unions_of_lists_become_a_list_of_a_union() -> None:
    """The generator would take the first list form for all of them."""
    union = FOR_GENERATOR["components"]["schemas"]
    (key,) = [name for name in union if name.endswith("SchemaInput")]
    forms = union[key]["anyOf"]
    assert [form["type"] for form in forms] == ["string", "array"]
    assert len(forms[1]["items"]["anyOf"]) == 4


def test_only_optional_fields_of_responses_take_null() -> None:
    """Requests stay as they are: a null there is refused by servers."""
    schemas = FOR_GENERATOR["components"]["schemas"]
    response = schemas["Embeddings_createEmbeddings_Response_200"]["properties"]
    assert response["usage"]["anyOf"][1] == {"type": "null"}
    assert "anyOf" not in response["model"]
    body = FOR_GENERATOR["paths"]["/embeddings"]["post"]["requestBody"]
    fields = body["content"]["application/json"]["schema"]["properties"]
    assert fields["dimensions"]["type"] == "integer"
    assert "anyOf" not in fields["user"]
