"""Decoding responses, and the error for each kind of invalid one."""

import base64
import json
from decimal import Decimal
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.core.batching import Batch
from openrouter_embeddings.core.decode import Decoded, decode
from openrouter_embeddings.core.retry_policy import stated_limit
from openrouter_embeddings.core.wire import Reply

from tests.support import answer, expected, items_of

INPUTS = ["a", "bb", "ccc"]


def read(
    body: Any, *, status: int = 200, dimensions: int | None = None, start: int = 10, **headers: str
) -> Decoded:
    """Decode a body for three inputs at positions 10 to 12; raise if one has no vector."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    decoded = decode(Reply(status, named, raw), Batch(range(start, start + 3), INPUTS), dimensions)
    if decoded.error is not None:
        raise decoded.error
    return decoded


def test_vectors_are_in_the_order_of_the_inputs() -> None:
    """The simple case: base64, with indices in order."""
    assert np.array_equal(read(answer(INPUTS)).matrix, expected(INPUTS))


@given(st.permutations(range(3)), st.booleans())
def test_shuffled_items_are_sorted_by_index(order: list[int], floats: bool) -> None:
    """`index` decides in any order, for base64 and for floats."""
    data = answer(INPUTS)["data"]
    if floats:
        data[1]["embedding"] = ore.decode_base64(data[1]["embedding"]).tolist()
    shuffled = answer(INPUTS, data=[data[i] for i in order])
    assert np.array_equal(read(shuffled).matrix, expected(INPUTS))


def test_items_without_index_keep_their_order() -> None:
    """`index` is optional in the specification."""
    body = answer(INPUTS)
    for item in body["data"]:
        del item["index"]
    assert np.array_equal(read(body).matrix, expected(INPUTS))


def test_leading_white_space_is_ignored() -> None:
    """The service sends it to keep the connection alive."""
    body = b"\n        \n" + json.dumps(answer(INPUTS)).encode()
    assert np.array_equal(read(body).matrix, expected(INPUTS))


def with_indices(*indices: Any) -> dict[str, Any]:
    """A response with these indices."""
    body = answer(INPUTS)
    for item, index in zip(body["data"], indices, strict=True):
        item["index"] = index
    return body


ONES = [1.0, 1.0]


@pytest.mark.parametrize(
    ("body", "words", "inputs"),
    [
        (b"<html>502</html>", "not JSON", (10, 11, 12)),
        (b"", "not JSON", (10, 11, 12)),
        (b'{"data": [', "not JSON", (10, 11, 12)),
        (b"\xff\xfe", "not JSON", (10, 11, 12)),
        (b"[" * 100_000, "not JSON", (10, 11, 12)),
        (b"null", "not a JSON object", (10, 11, 12)),
        ([], "not a JSON object", (10, 11, 12)),
        ({}, "no list of embeddings", (10, 11, 12)),
        (answer(INPUTS, data=None), "no list of embeddings", (10, 11, 12)),
        (answer(INPUTS, data=[]), "0 embeddings for 3 inputs", (10, 11, 12)),
        (answer(INPUTS[:2]), "2 embeddings for 3 inputs", (10, 11, 12)),
        (answer([*INPUTS, "d"]), "4 embeddings for 3 inputs", (10, 11, 12)),
        (answer(INPUTS, data=[1, {}, None]), "not an object", (10, 12)),
        (with_indices(0, 1, 1), "1 occurs twice", (10, 11, 12)),
        (with_indices(1, 2, 3), "one is 3", (10, 11, 12)),
        (with_indices(-1, 0, 1), "one is -1", (10, 11, 12)),
        (with_indices(0, None, 2), "one is missing", (10, 11, 12)),
        (with_indices(0, 1.0, 2), "one is 1.0", (10, 11, 12)),
        (with_indices(False, True, 2), "one is False", (10, 11, 12)),
        (answer(INPUTS, data=items_of(ONES, None, ONES)), "null where", (11,)),
        (answer(INPUTS, data=items_of(None, ONES, "?")), "null where.*not base64", (10, 12)),
        (
            answer(INPUTS, data=items_of([1.0], ONES, ONES)),
            "a vector of 1 dimensions instead of 2",
            (10,),
        ),
        (answer(INPUTS, data=items_of(ONES, [1.0, None], ONES)), "null among", (11,)),
        (answer(INPUTS, data=items_of(ONES, ONES, "???")), "not base64", (12,)),
        (
            answer(INPUTS, data=items_of(ONES, [1.0], ONES)),
            "a vector of 1 dimensions instead of 2",
            (11,),
        ),
        (answer(INPUTS, data=items_of([0, 0], ONES, [0, 0])), "a zero vector", (10, 12)),
        (answer(INPUTS, data=items_of(ONES, [float("nan"), 1], ONES)), "not finite", (11,)),
        (answer(INPUTS, data=items_of(ONES, ONES, [1e300, 1])), "not finite", (12,)),
    ],
)
def test_an_invalid_200_response_names_the_inputs(
    body: Any, words: str, inputs: tuple[int, ...]
) -> None:
    """ResponseError has the positions in what the caller passed."""
    with pytest.raises(ore.ResponseError, match=words) as caught:
        read(body)
    assert caught.value.inputs == inputs


def test_errors_name_inputs_by_index_if_items_are_shuffled() -> None:
    """The index identifies a bad vector's input, not its place in the response."""
    data = items_of(ONES, ONES, [0, 0])[::-1]
    with pytest.raises(ore.ResponseError) as caught:
        read(answer(INPUTS, data=data))
    assert caught.value.inputs == (12,)


def test_a_width_other_than_requested_is_rejected() -> None:
    """The vectors must have `dimensions` values."""
    assert read(answer(INPUTS), dimensions=4).matrix.shape == (3, 4)
    with pytest.raises(ore.ResponseError, match="requested 5 dimensions, got 4"):
        read(answer(INPUTS), dimensions=5)


def test_inputs_with_the_wrong_width_are_named() -> None:
    """Only vectors that differ from the requested width are rejected."""
    body = answer(INPUTS, data=items_of([1.0], ONES, [1.0]))
    with pytest.raises(ore.ResponseError, match="a vector of 1 dimensions instead of 2") as caught:
        read(body, dimensions=2)
    assert caught.value.inputs == (10, 12)
    body = answer(INPUTS, data=items_of([1.0], [1.0], [1.0]))
    with pytest.raises(ore.ResponseError, match="requested 2 dimensions, got 1"):
        read(body, dimensions=2)


@pytest.mark.parametrize("bits", ["0100807f", "010080ff", "0000c07f"])
def test_nan_is_rejected_without_a_numpy_warning(bits: str) -> None:
    """Signalling NaNs raise the same error."""
    signalling = base64.b64encode(bytes.fromhex(bits) + bytes.fromhex("0000803f")).decode()
    with pytest.raises(ore.ResponseError, match="a value that is not finite"):
        read(answer(INPUTS, data=items_of(signalling, signalling, signalling)))


def test_an_invalid_response_reports_its_cost() -> None:
    """It was billed, so the error has its usage."""
    with pytest.raises(ore.ResponseError) as caught:
        read(answer(INPUTS, data=[]))
    assert caught.value.usage is not None
    assert caught.value.usage.cost == Decimal("1.4e-7")
    assert (caught.value.provider, caught.value.request_id) == ("Acme", "gen-1")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ore.BadRequestError),
        (401, ore.AuthenticationError),
        (402, ore.PaymentRequiredError),
        (403, ore.PermissionDeniedError),
        (404, ore.NotFoundError),
        (405, ore.APIStatusError),
        (408, ore.RequestTimeoutError),
        (413, ore.PayloadTooLargeError),
        (422, ore.BadRequestError),
        (429, ore.RateLimitError),
        (499, ore.APIStatusError),
        (500, ore.InternalServerError),
        (502, ore.BadGatewayError),
        (503, ore.ServiceUnavailableError),
        (504, ore.ServerError),
        (520, ore.ServerError),
        (524, ore.EdgeNetworkTimeoutError),
        (529, ore.OverloadedError),
        (599, ore.ServerError),
        (302, ore.APIStatusError),
    ],
)
def test_each_status_has_its_exception(status: int, kind: type[ore.APIStatusError]) -> None:
    """The exception has the service's status, code, message, provider and request id."""
    error = {"code": status, "message": "because", "metadata": {"provider_name": "Acme"}}
    with pytest.raises(ore.APIStatusError, match="because") as caught:
        read({"error": error}, status=status, x_generation_id="gen-9")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code) == (status, status)
    assert (caught.value.provider, caught.value.request_id) == ("Acme", "gen-9")
    assert caught.value.inputs == (10, 11, 12)


@pytest.mark.parametrize("code", [429, "429", 429.0])
def test_an_error_inside_a_200_response_raises_by_its_code(code: Any) -> None:
    """The service had already sent the status when it failed."""
    body = b"\n   \n" + json.dumps({"error": {"code": code, "message": "slow down"}}).encode()
    with pytest.raises(ore.RateLimitError, match="slow down") as caught:
        read(body)
    assert caught.value.status == 429


@pytest.mark.parametrize(
    "error", ["flat", {"message": "flat"}, {"code": "weird", "message": "flat"}]
)
def test_an_error_inside_a_200_response_needs_no_code(error: Any) -> None:
    """Vectors beside any error are not trusted."""
    with pytest.raises(ore.APIStatusError, match=r"^Error: flat") as caught:
        read(answer(INPUTS, error=error))
    assert caught.value.status == 200
    assert caught.value.usage is not None
    assert caught.value.usage.cost == Decimal("1.4e-7")


def test_a_null_error_is_ignored() -> None:
    """`error: null` means success."""
    assert len(read(answer(INPUTS, error=None)).matrix) == 3


@given(st.integers(400, 599), st.binary(max_size=200))
def test_any_body_of_an_error_status_raises_a_typed_error(status: int, body: bytes) -> None:
    """The status alone suffices, whatever the body is."""
    with pytest.raises(ore.APIStatusError) as caught:
        read(body, status=status)
    assert caught.value.status == status


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["data", "error", "usage", "model", "id", "provider", "object", "x"]), JSON
    )
    | JSON
)
def test_any_json_gives_vectors_or_a_typed_error(body: Any) -> None:
    """No 200 response leads to another exception."""
    try:
        decoded = read(body)
    except (ore.ResponseError, ore.APIStatusError):
        return
    assert len(decoded.matrix) == 3


def test_the_providers_message_is_included() -> None:
    """`metadata.raw` often has the real reason."""
    error = {"code": 502, "message": "Provider error", "metadata": {"raw": "model is loading"}}
    with pytest.raises(ore.BadGatewayError, match="model is loading"):
        read({"error": error}, status=502)


def test_bodies_and_messages_are_truncated() -> None:
    """A megabyte of HTML must not end up in a log."""
    with pytest.raises(ore.APIStatusError) as caught:
        read({"error": {"code": 500, "message": "x" * 10**6}}, status=500)
    assert len(str(caught.value)) < 1000
    assert caught.value.body is not None
    assert len(caught.value.body) == 2000


def test_token_counts_are_whole_numbers() -> None:
    """Floats are converted, and a missing total is the prompt's count."""
    usage = read(answer(INPUTS, usage={"prompt_tokens": 5.0})).served.usage
    assert (usage.prompt_tokens, usage.total_tokens) == (5, 5)
    usage = read(answer(INPUTS, usage={"prompt_tokens": -5, "total_tokens": "x"})).served.usage
    assert (usage.prompt_tokens, usage.total_tokens) == (0, 0)


def test_fields_outside_the_specification_are_kept() -> None:
    """`served.body` has every field except `data`."""
    usage = {
        "prompt_tokens": 7,
        "total_tokens": 9,
        "cost": 1.4e-7,
        "is_byok": True,
        "cost_details": {"upstream_inference_cost": 1e-7, "discount": "half"},
        "prompt_tokens_details": {"text_tokens": 3, "image_tokens": 4},
        "cache_hits": [1, {"a": None}],
    }
    served = read(answer(INPUTS, usage=usage, novelty=[1])).served
    assert served.body["usage"] == usage
    assert served.body["novelty"] == [1]
    assert "data" not in served.body
    assert (served.provider, served.id, served.model) == ("Acme", "gen-1", "embed-1")
    assert served.usage.prompt_tokens_details == {"text_tokens": 3, "image_tokens": 4}
    assert (served.usage.prompt_tokens, served.usage.total_tokens) == (7, 9)


def test_further_fields_of_an_error_are_kept() -> None:
    """`openrouter_metadata` and the like are in `body`."""
    body = {
        "error": {"code": 524, "message": "slow"},
        "openrouter_metadata": {"attempt": 3},
        "user_id": "user_1",
    }
    with pytest.raises(ore.EdgeNetworkTimeoutError, match="Infrastructure Timeout: slow") as caught:
        read(body, status=524)
    assert caught.value.body is not None
    assert json.loads(caught.value.body) == body


@pytest.mark.parametrize(
    ("more", "byok", "costs"),
    [
        ({}, None, {}),
        ({"is_byok": None, "cost_details": None}, None, {}),
        ({"is_byok": "yes", "cost_details": [1]}, None, {}),
        ({"is_byok": 1, "cost_details": {"a": True, "b": "x", "c": {}, "d": None}}, None, {}),
        ({"is_byok": False, "cost_details": {"a": 0}}, False, {"a": Decimal(0)}),
        ({"cost_details": {"a\x1b[2J": 1, "": 2}}, None, {"a�[2J": Decimal(1)}),
        ({"cost_details": {"k" * 9999: 1}}, None, {"k" * 599 + "…": Decimal(1)}),
        (
            {"is_byok": True, "cost_details": {"a": 1.4e-7, "b": None, "new": "0.10"}},
            True,
            {"a": Decimal("1.4e-7"), "new": Decimal("0.10")},
        ),
    ],
)
def test_is_byok_and_cost_details_are_read(
    more: dict[str, Any], byok: bool | None, costs: dict[str, Decimal]
) -> None:
    """Costs are exact and have the API's names; null and malformed values are ignored."""
    usage = read(answer(INPUTS, usage={"prompt_tokens": 1, "total_tokens": 1, **more})).served.usage
    assert usage.is_byok is byok
    assert usage.cost_details == costs


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"cost": 1.4e-7}, Decimal("0.00000014")),
        ({"cost": 0}, Decimal(0)),
        ({"cost": "0.10"}, Decimal("0.10")),
        ({"cost": "0." + "1" * 50_000}, Decimal("0." + "1" * 60)),
        ({"cost": "1" * 50_000}, None),
        ({"cost": None}, None),
        ({"cost": True}, None),
        ({"cost": "9e999999"}, None),
        ({"cost": "-9e-999999"}, None),
        ({"cost": "free"}, None),
        ({"cost": -5}, None),
        ({"cost": float("nan")}, None),
        (None, None),
        ([], None),
    ],
)
def test_the_cost_is_exact_or_unknown(usage: Any, cost: Decimal | None) -> None:
    """A usable cost becomes a Decimal; any other is None, and the vectors are kept."""
    assert read(answer(INPUTS, usage=usage)).served.usage.cost == cost


@given(st.integers(0, 10**60 - 1), st.integers(-60, 0))
def test_no_digit_of_a_cost_is_lost(digits: int, exponent: int) -> None:
    """Sixty digits are more than any price has."""
    cost = Decimal(f"{digits}e{exponent}")
    parsed = read(answer(INPUTS, usage={"cost": f"{cost:f}"})).served.usage.cost
    assert parsed == (cost if abs(cost.adjusted()) <= 20 else None)


@pytest.mark.parametrize("depth", [1, 900, 1000, 1015, 5000])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_a_deeply_nested_index_raises_a_typed_error(depth: int, brackets: tuple[str, str]) -> None:
    """Even if Python cannot print or parse it."""
    begin, end = brackets
    whole = json.dumps(with_indices(0, 1, "here"))
    body = whole.replace('"here"', f"{begin * depth}1{end * depth}").encode()
    with pytest.raises(ore.ResponseError, match=r"one is|not JSON") as caught:
        read(body)
    assert len(str(caught.value)) < 300


def test_a_code_of_many_digits_is_ignored() -> None:
    """It would make the error just as long."""
    with pytest.raises(ore.APIStatusError) as caught:
        read({"error": {"code": 1e300, "message": "no"}}, status=400)
    assert caught.value.code is None


@pytest.mark.parametrize("tokens", [1e300, 10**15, -1, "7", True, 1.5])
def test_impossible_token_counts_are_ignored(tokens: Any) -> None:
    """They would make the price per token zero and a budget endless."""
    usage = {"prompt_tokens": 7, "total_tokens": tokens}
    assert read(answer(INPUTS, usage=usage)).served.usage.total_tokens == 7


def test_served_has_a_few_headers_of_the_response() -> None:
    """Identifiers, cache and rate limits; they are cleaned, and others are left out."""
    served = read(
        answer(INPUTS),
        cf_ray="9a-ZRH",
        x_generation_id="gen-7",
        x_openrouter_cache_status="MISS",
        x_openrouter_cache_ttl="300",
        x_ratelimit_remaining="19",
        retry_after="1",
        x_request_id="a\x9bb",
        request_id="",
        set_cookie="session=1",
        server="cloudflare",
        x_openrouter="other",
    ).served
    assert served.headers == {
        "cf-ray": "9a-ZRH",
        "x-generation-id": "gen-7",
        "x-openrouter-cache-status": "MISS",
        "x-openrouter-cache-ttl": "300",
        "x-ratelimit-remaining": "19",
        "retry-after": "1",
        "x-request-id": "a\N{REPLACEMENT CHARACTER}b",
    }


def test_an_error_without_an_id_in_its_body_has_that_of_the_headers() -> None:
    """The service's own identifier comes before that of the network in front of it."""
    with pytest.raises(ore.BadRequestError) as caught:
        read({"error": "no"}, status=400, cf_ray="9a-ZRH", x_generation_id="gen-7")
    assert caught.value.request_id == "gen-7"


@pytest.mark.parametrize(("status", "cost"), [("HIT", Decimal(0)), ("MISS", None)])
def test_a_response_from_the_services_cache_costs_nothing(
    status: str, cost: Decimal | None
) -> None:
    """Even if it does not state a cost."""
    read_one = read(answer(INPUTS, usage={}), x_openrouter_cache_status=status)
    assert read_one.served.usage.cost == cost


def test_control_characters_in_messages_are_replaced() -> None:
    """Escape sequences and lone surrogates are replaced."""
    error = {"code": 400, "message": "\x1b[2Jbad\r\n\ud800", "metadata": {"provider_name": "A\x07"}}
    with pytest.raises(ore.BadRequestError) as caught:
        read({"error": error}, status=400)
    assert caught.value.message == "Bad Request: \ufffd[2Jbad\ufffd\n\ufffd"
    assert caught.value.provider == "A\ufffd"


def test_every_text_of_an_error_is_cleaned_and_truncated() -> None:
    """This covers the code, the provider and the request id as well."""
    strange = "\x1b]0;\ud800" + "x" * 500_000
    body = {"error": {"code": strange, "message": "no", "metadata": {"provider_name": strange}}}
    reply = Reply(400, {"x-request-id": "a\x9bb"}, json.dumps(body).encode())
    with pytest.raises(ore.BadRequestError) as caught:
        decode(reply, Batch([0], ["a"]), None)
    text = f"{caught.value} {caught.value.body}"
    assert len(text) < 6000
    assert not {*text} & {"\x1b", "\x9b", "\ud800"}
    assert caught.value.request_id == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(
    "body",
    [
        {"detail": "Too many inputs, at most 7 inputs"},
        {"message": "Too many inputs, at most 7 inputs"},
        {"error": "Too many inputs, at most 7 inputs"},
        {"object": "error", "message": {"detail": [{"msg": "Too many inputs, at most 7 inputs"}]}},
        {"detail": [{"loc": ["body"], "msg": "Too many inputs, at most 7 inputs"}]},
        {
            "error": {
                "message": "Provider returned error",
                "metadata": {"raw": '{"message": "Too many inputs, at most 7 inputs"}'},
            }
        },
    ],
)
def test_errors_in_the_forms_of_other_services_are_read(body: Any) -> None:
    """FastAPI, Mistral, Voyage and Cohere have forms of their own; a stated limit counts."""
    with pytest.raises(ore.BadRequestError, match="Too many inputs") as caught:
        read(body, status=400)
    assert stated_limit(caught.value) == 7


def test_a_deeply_nested_error_has_no_reason() -> None:
    """It raises all the same."""
    body: Any = "deep"
    for _ in range(100):
        body = {"error": [body]}
    with pytest.raises(ore.BadRequestError, match="without a reason"):
        read(body, status=400)
