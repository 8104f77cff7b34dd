"""The client sends only what the contract allows, and reads everything that it allows."""

import base64
import binascii
import json
import unicodedata
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.core.batching import Batch
from openrouter_embeddings.core.decode import Decoded, decode
from openrouter_embeddings.core.wire import Reply
from openrouter_embeddings.local.contract import shipped

from tests.contract.calls import CALLS, NEWEST_CALLS, Call, has_null, same_preferences
from tests.contract.oracle import REQUEST, bodies, examined, schema_of
from tests.newest import newest
from tests.support import KINDS, MODEL, Kind, Service, answer, items_of

TUNING = {"batch_size", "concurrency"}


def check_sent(
    call: Call, sent: list[dict[str, Any]], check: Callable[[Any], None] = REQUEST.validate
) -> None:
    """Check that requests follow the contract, match the call, and add no null."""
    for body in sent:
        check(body)
        assert has_null(body["input"]) <= has_null(call.wire)
        assert not has_null({name: value for name, value in body.items() if name != "input"})
    fields = {k: v for k, v in call.options.items() if k not in TUNING}
    fields.setdefault("encoding_format", "base64")
    provider = fields.pop("provider", None)
    expected = {**fields, "model": MODEL}
    for body in sent:
        assert {k: v for k, v in body.items() if k not in ("input", "provider")} == expected
        assert ("provider" in body) == (provider is not None)
        assert provider is None or same_preferences(body["provider"], provider)
    batch_size = call.options.get("batch_size", 128)
    batches = [call.wire[at : at + batch_size] for at in range(0, len(call.wire), batch_size)]
    # concurrent requests arrive in any order; compare texts, which distinguish 1 from 1.0
    assert sorted(_text(body["input"]) for body in sent) == sorted(map(_text, batches))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@examined
@given(CALLS, st.sampled_from(KINDS))
def test_requests_follow_the_contract(call: Call, kind: Kind) -> None:
    """All forms of input, images, options and every provider preference."""
    check_sent(call, sent_by(call, kind))


@examined
@given(NEWEST_CALLS, st.sampled_from(KINDS))
def test_requests_follow_the_newest_contract(call: Call, kind: Kind) -> None:
    """Audio, video, files and raw parts, whatever contract ships."""
    check_sent(call, sent_by(call, kind), newest().check_request)


def sent_by(call: Call, kind: Kind) -> list[dict[str, Any]]:
    """The requests of a call, which returns every vector."""
    width = call.options.get("dimensions", 4)
    service = Service(
        lambda body, _: answer(
            body["input"], data=items_of(*[[1.0] * width for _ in body["input"]])
        )
    )
    result = service.embed(kind, call.inputs, **call.options)
    assert len(result) == len(call.wire)
    return service.bodies


SUCCESSES = st.one_of(
    bodies(schema_of("responses", "200")), bodies(schema_of("responses", "200", of=newest()))
)


@examined
@given(SUCCESSES)
def test_every_200_response_that_the_contract_allows_is_read(body: Any) -> None:
    """Nothing is lost, and only untrustworthy vectors are rejected."""
    count = max(1, len(body["data"]))
    batch = Batch(range(count), ["a"] * count)
    reply = Reply(200, {}, json.dumps(body).encode())
    if body.get("error"):
        return  # an additional field that means failure: see tests/core
    if _cannot_be_trusted(body):
        with pytest.raises(ore.ResponseError):
            _all_of(decode(reply, batch, None))
        return
    decoded = decode(reply, batch, None)
    assert len(decoded.matrix) == len(body["data"])
    assert np.isfinite(decoded.matrix).all()
    assert decoded.served.body == {k: v for k, v in body.items() if k != "data"}
    assert decoded.served.model == ("".join(map(_shown, body["model"])) or None)
    usage = body.get("usage") or {}
    if isinstance(usage, dict):
        parsed = decoded.served.usage
        assert parsed.prompt_tokens == max(0, usage.get("prompt_tokens", 0))
        assert parsed.is_byok is usage.get("is_byok", None) or type(usage["is_byok"]) is not bool
        assert {*parsed.cost_details} <= {*(usage.get("cost_details") or ())}


def _all_of(decoded: Decoded) -> None:
    if decoded.error is not None:
        raise decoded.error


def _cannot_be_trusted(body: Any) -> bool:
    """Whether a body is invalid. The contract allows empty data, any index and any vector."""
    data = body["data"]
    indices = [item.get("index") for item in data]
    given_ = [index for index in indices if index is not None]
    if not data or (given_ and sorted(given_) != [*range(len(data))]):
        return True
    vectors = [_plain(item["embedding"]) for item in data]
    return any(v is None or not np.isfinite(v).all() or not v.any() for v in vectors) or (
        len({len(v) for v in vectors if v is not None}) > 1
    )


def _plain(embedding: Any) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    """A vector decoded with the standard library alone; None if it is invalid."""
    if isinstance(embedding, list):
        with np.errstate(over="ignore"):
            return np.array(embedding, np.float64).astype(np.float32) if embedding else None
    try:
        raw = base64.b64decode(embedding, validate=True)
    except (binascii.Error, ValueError):
        return None
    return np.frombuffer(raw, "<f4") if raw and len(raw) % 4 == 0 else None


EXCEPTIONS = {
    "400": ore.BadRequestError,
    "401": ore.AuthenticationError,
    "402": ore.PaymentRequiredError,
    "404": ore.NotFoundError,
    "408": ore.RequestTimeoutError,
    "413": ore.PayloadTooLargeError,
    "429": ore.RateLimitError,
    "500": ore.InternalServerError,
    "502": ore.BadGatewayError,
    "503": ore.ServiceUnavailableError,
    "524": ore.EdgeNetworkTimeoutError,
    "529": ore.OverloadedError,
}
DOCUMENTED = [status for status in shipped().operation["responses"] if status != "200"]
ERRORS = {status: bodies(schema_of("responses", status)) for status in DOCUMENTED}


def test_every_documented_status_has_an_exception() -> None:
    """A status that a new edition adds fails here."""
    assert {*DOCUMENTED} <= {*EXCEPTIONS}


@examined
@given(st.sampled_from(sorted(ERRORS)).flatmap(lambda s: st.tuples(st.just(s), ERRORS[s])))
def test_every_error_that_the_contract_allows_raises_its_exception(answer: tuple[str, Any]) -> None:
    """The exception has status, code and message, without control characters."""
    status, body = answer
    with pytest.raises(ore.APIStatusError) as caught:
        decode(Reply(int(status), {}, json.dumps(body).encode()), Batch([3], ["a"]), None)
    error = caught.value
    assert type(error) is EXCEPTIONS[status]
    assert error.status == int(status)
    code = body["error"]["code"]
    assert error.code == (code if -(2**63) <= code < 2**64 else None)  # JSON parsers end there
    message = "".join(map(_shown, body["error"]["message"][:400]))
    assert message in error.message
    assert error.inputs == (3,)


def _shown(letter: str) -> str:
    hidden = unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\t\n"
    return "\N{REPLACEMENT CHARACTER}" if hidden else letter


HOSTILE = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([b"", b"null", b"[]", b"<html>", b'{"error":', b'{"error":[[]]}', b"\xff"]),
    st.integers(1, 200_000).map(lambda depth: b"[" * depth),
    st.integers(1, 50_000).map(lambda depth: b'{"error":' * depth),
)


@examined
@given(st.integers(400, 599) | st.just(200), HOSTILE, st.sampled_from(KINDS))
def test_any_body_raises_a_typed_error(status: int, body: bytes, kind: Kind) -> None:
    """The whole client raises no exception from outside the tree."""
    service = Service(lambda *_: lambda: httpx.Response(status, content=body))
    with pytest.raises(ore.APIStatusError if status >= 400 else ore.EmbeddingsError) as caught:
        service.embed(kind, ["a"], max_retries=0)
    assert caught.value.inputs == (0,)


@pytest.mark.parametrize("status", [200, 400, 502])
def test_fifty_megabytes_raise_a_typed_error(status: int) -> None:
    """The text of the error stays short."""
    service = Service(lambda *_: lambda: httpx.Response(status, content=b"x" * 50_000_000))
    with pytest.raises(ore.EmbeddingsError) as caught:
        service.embed("sync", ["a"], max_retries=0)
    assert len(str(caught.value)) + len(caught.value.body or "") < 4000
