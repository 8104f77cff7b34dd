"""Faults: scripts, kinds, bills, and the server that plays them."""

import asyncio
import gc
import json
import socket
import weakref
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings._json import dumps
from openrouter_embeddings.local.fault_kinds import FAULT_KINDS, Bucket
from openrouter_embeddings.local.faults import Fault, Faults
from openrouter_embeddings.local.respond import MAX_BODY, MAX_INPUTS, respond
from openrouter_embeddings.local.servers.faulty import FaultyServer
from openrouter_embeddings.testing import Service

from stress.faults import kinds_table
from stress.report import PAGE
from stress.scenarios import SCENARIOS
from stress.servers import served

HEADERS = {"authorization": "Bearer k"}


def body(*texts: str, **fields: Any) -> bytes:
    """The body of a request."""
    return dumps({"model": "local/hash", "input": texts, "dimensions": 4, **fields})


def play(faults: Faults, request: bytes, now: float = 0.0) -> tuple[int, Any]:
    """The status and JSON of an answer."""
    reply = faults.play(request, HEADERS, now).reply
    return reply.status, json.loads(reply.body)


def test_an_empty_script_changes_nothing() -> None:
    """The answer is that of `respond`, and it is billed."""
    faults = Faults()
    assert play(faults, body("a", "b"))[1] == json.loads(respond(body("a", "b"), HEADERS).body)
    (bill,) = faults.billed
    assert bill.inputs == ('"a"', '"b"')
    assert bill.cost > 0


def test_a_fault_strikes_requests_by_number() -> None:
    """Requests are numbered from 0; a refused request is not billed."""
    faults = Faults([Fault("status", status=500, requests=[1, 2])])
    assert [play(faults, body("a"))[0] for _ in range(4)] == [200, 500, 500, 200]
    assert faults.refused == {500: 2}
    assert len(faults.billed) == 2


def test_a_seed_makes_probability_repeatable() -> None:
    """The same seed strikes the same requests, and about as many as the probability says."""

    def statuses(seed: int) -> list[int]:
        faults = Faults([Fault("status", probability=0.25)], seed)
        return [play(faults, body("a"))[0] for _ in range(400)]

    assert statuses(1) == statuses(1) != statuses(2)
    assert 60 < statuses(1).count(503) < 140


def test_retry_after_is_seconds_or_a_date() -> None:
    """The header has one of the two forms of RFC 9110."""
    for as_date in (False, True):
        fault = Fault("status", retry_after=7, as_date=as_date, probability=1.0)
        header = Faults([fault]).play(body("a"), HEADERS, 0.0).reply.headers["Retry-After"]
        assert parsedate_to_datetime(header) if as_date else header == "7"


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_every_kind_of_fault_has_an_effect(kind: str) -> None:
    """It changes the reply, or, at the stage `delivery`, the steps that deliver it."""
    faults = Faults([Fault(kind, probability=1.0, text="b", per_second=1e-9, burst=0.5)])
    right = respond(body("a", "b", "c", encoding_format="base64"), HEADERS)
    faulted = faults.play(body("a", "b", "c", encoding_format="base64"), HEADERS, 0.0)
    assert faulted.reply != right or faulted.steps is not None
    assert (faulted.reply == right) is (FAULT_KINDS[kind].stage == "delivery")


def test_a_fault_strikes_every_request_by_default() -> None:
    """Without `requests` and `probability`, no request is spared."""
    faults = Faults([Fault("status", status=429)])
    assert [play(faults, body("a"))[0] for _ in range(3)] == [429, 429, 429]


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests": 1},
        {"probability": 2},
        {"status": "429"},
        {"status": 200},
        {"retry_after": "soon"},
        {"at_most": -3},
        {"per_second": 0},
        {"text": ""},
        {"seconds": "x"},
        {"as_date": 1},
    ],
)
def test_an_invalid_option_of_a_fault_raises(wrong: dict[str, Any]) -> None:
    """The error names the fault, the option, what is expected and what it got."""
    (name,) = wrong
    with pytest.raises(ValueError, match=f"^fault 'drip': {name} must be .*, got "):
        Fault("drip", **wrong)


@pytest.mark.parametrize("kind", ["meteor", ["status"]])
def test_an_unknown_kind_of_fault_raises(kind: Any) -> None:
    """The error lists the kinds, also for what is not a text."""
    with pytest.raises(ValueError, match=r"unknown fault kind .*; use one of status, "):
        Fault(kind)


def test_the_documentation_lists_every_kind() -> None:
    """docs/reliability.md has the table that `python -m stress.faults` writes."""
    assert f"\n{kinds_table()}\n" in PAGE.read_text("utf-8")


def test_every_kind_has_a_scenario() -> None:
    """The outcome of every kind of fault is tested with both clients."""
    assert {scenario.fault.kind for scenario in SCENARIOS} == {*FAULT_KINDS}


def test_the_faulty_server_handles_ordinary_http() -> None:
    """It refuses other methods, ignores queries, and answers Expect: 100-continue."""
    with served(Faults()) as url, httpx.Client() as client:
        address = f"{url}/embeddings"
        assert client.get(address).status_code == 405
        assert client.post(f"{address}?x=1", content=body("a"), headers=HEADERS).status_code == 200
        waiting = {**HEADERS, "Expect": "100-continue"}
        assert client.post(address, content=body("a"), headers=waiting).status_code == 200


def test_inputs_that_are_computed_again_are_billed_twice() -> None:
    """`billed_twice` counts them, whether or not the first answer arrived."""
    faults = Faults([Fault("reset-mid-body", requests=[0])])
    play(faults, body("a", "b"))
    assert faults.billed_twice() == 0
    play(faults, body("a", "b"))
    play(faults, body("c"))
    assert faults.billed_twice() == 2


def test_a_rate_limit_is_a_token_bucket() -> None:
    """It admits `burst` requests at once, and then `per_second` as time passes."""
    faults = Faults([Fault("rate-limit", per_second=2.0, burst=3.0)])
    assert [play(faults, body("a"), 0.0)[0] for _ in range(4)] == [200, 200, 200, 429]
    assert [play(faults, body("a"), 1.0)[0] for _ in range(3)] == [200, 200, 429]
    bucket = Bucket(2.0, 3.0, 0.0)
    assert sum(bucket.take(at / 100) for at in range(1000)) == 3 + 19


def test_a_bucket_keeps_its_rate_limit_alive() -> None:
    """Otherwise a later fault could get the same id, and with it the bucket."""
    faults = Faults([Fault("rate-limit", per_second=2.0)])
    play(faults, body("a"), 0.0)
    limit = weakref.ref(faults.faults[0])
    faults.faults = []
    gc.collect()
    assert limit() is not None


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("reset-before-headers", httpx.ReadError),
        ("reset-after-headers", httpx.ReadError),
        ("reset-mid-body", httpx.ReadError),
        ("accept-and-close", httpx.RemoteProtocolError),
        ("slow-headers", httpx.ReadTimeout),
        ("stall", httpx.ReadTimeout),
    ],
)
def test_a_delivery_fault_breaks_the_connection(fault: str, error: type[Exception]) -> None:
    """Httpx raises the error of a broken connection, and the next request is answered."""
    faults = Faults([Fault(fault, requests=[0], seconds=30)])
    with served(faults) as url, httpx.Client(timeout=0.3) as client:
        with pytest.raises(error):
            client.post(f"{url}/embeddings", content=body("a"), headers=HEADERS)
        answer = client.post(f"{url}/embeddings", content=body("a"), headers=HEADERS)
        assert answer.status_code == 200
        assert client.post(f"{url}/nowhere", content=b"{}").status_code == 404


def test_a_slow_answer_is_complete() -> None:
    """`drip` and `stall` deliver the whole body in the end."""
    faults = Faults(
        [Fault("drip", requests=[0], seconds=0.01), Fault("stall", requests=[1], seconds=0)]
    )
    with served(faults) as url, httpx.Client() as client:
        for _ in range(2):
            answer = client.post(f"{url}/embeddings", content=body("a"), headers=HEADERS)
            assert answer.json() == json.loads(respond(body("a"), HEADERS).body)


def test_the_fixture_makes_services(embeddings_service: Callable[..., Service]) -> None:
    """`embeddings_service` returns a service whose clients do not wait for a Retry-After."""
    service = embeddings_service(Fault("status", status=429, retry_after=60, requests=[0]))
    assert len(service.client().embed(["a", "b"])) == 2
    assert service.faults.requests == 2


@pytest.mark.parametrize(
    ("faults", "contract", "words"),
    [
        (["status"], None, "expected a Fault, got str; give each Fault as an argument of its own"),
        ([{"kind": "status"}], None, "expected a Fault, got dict"),
        ([[Fault("status")]], None, r"expected a Fault, got list; .*: Service\(\*faults\)"),
        ([], "openapi.yaml", "contract: expected a dict, got str"),
    ],
)
def test_a_service_checks_the_types_of_its_arguments(
    faults: list[Any], contract: Any, words: str
) -> None:
    """A wrong one raises when the service is made, not at its first request."""
    with pytest.raises(TypeError, match=words):
        Service(*faults, contract=contract)


def test_the_stand_in_limits_the_size_of_requests() -> None:
    """Too many bytes or inputs get a 413 or 400, and no error echoes a long request."""
    many = respond(body(*["a"] * (MAX_INPUTS + 1)), HEADERS)
    assert many.status == 400
    assert f"at most {MAX_INPUTS} inputs" in json.loads(many.body)["error"]["message"]
    large = respond(b" " * (MAX_BODY + 1), HEADERS)
    assert large.status == 413
    for request in (body("x" * 10**6, user=5), b'{"input": "' + b"x" * 10**6, b"[" * 10**6):
        assert len(respond(request, HEADERS).body) < 1000


def test_our_client_splits_a_batch_that_the_stand_in_refuses() -> None:
    """The client learns the largest number of inputs from the 400."""
    result = ore.Client.local(model="local/hash").embed(["a"] * 3000, batch_size=3000, dimensions=2)
    assert len(result) == 3000
    assert len(result.served) == 2


@pytest.mark.parametrize("kind", ["token-cap", "poison", "batch-cap"])
def test_a_limit_passes_input_that_is_nested_too_deeply(kind: str) -> None:
    """The request gets the 400 that it would get without the limit."""
    nested = b"[" * 1000 + b"]" * 1000
    request = dumps({"model": "local/hash", "input": [0]}).replace(b"[0]", nested)
    faults = Faults([Fault(kind, at_most=5, text="poison")])
    status, answer = play(faults, request)
    assert (status, answer["error"]["code"]) == (400, 400)


def test_a_rate_limit_below_one_per_second_admits_requests() -> None:
    """The default burst is one request, so the first one passes at once."""
    service = Service(Fault("rate-limit", per_second=0.5))
    with service.client() as client:
        assert len(client.embed([*"ab"], batch_size=1, concurrency=1)) == 2


async def test_the_faulty_server_ends_although_a_client_stays_connected() -> None:
    """It closes the client's idle connection instead of waiting for the client to do so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.ensure_future(FaultyServer(Faults([])).serve(listener))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET /api/v1/models HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        serving.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait([serving])
            assert (await reader.read()).endswith(b"}")
        writer.close()
