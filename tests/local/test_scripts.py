"""The faults of the stand-in: played as scripted, billed as computed."""

import asyncio
import json
import socket
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import openrouter_embeddings as ore
import orjson
import pytest
from openrouter_embeddings.local.faults import DELIVERIES, KINDS, Fault, Faults
from openrouter_embeddings.local.limits import Bucket
from openrouter_embeddings.local.respond import MAX_BODY, MAX_INPUTS, respond
from openrouter_embeddings.local.servers.faulty import FaultyServer
from openrouter_embeddings.testing import Service

from stress.faults import served

HEADERS = {"authorization": "Bearer k"}


def body(*texts: str, **fields: Any) -> bytes:
    """A request."""
    return orjson.dumps({"model": "local/hash", "input": texts, "dimensions": 4, **fields})


def play(faults: Faults, request: bytes, now: float = 0.0) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    reply = faults.play(request, HEADERS, now).reply
    return reply.status, json.loads(reply.body)


def test_without_faults_it_is_the_stand_in() -> None:
    """The same answer, and a bill for it."""
    faults = Faults()
    assert play(faults, body("a", "b"))[1] == json.loads(respond(body("a", "b"), HEADERS).body)
    (bill,) = faults.billed
    assert bill.inputs == ('"a"', '"b"')
    assert bill.cost > 0


def test_a_request_is_befallen_by_its_number() -> None:
    """Counted from 0."""
    faults = Faults([Fault("status", status=500, requests=[1, 2])])
    assert [play(faults, body("a"))[0] for _ in range(4)] == [200, 500, 500, 200]
    assert faults.refused == {500: 2}
    assert len(faults.billed) == 2


def test_chance_is_the_same_with_the_same_seed() -> None:
    """And about as likely as was said."""

    def statuses(seed: int) -> list[int]:
        faults = Faults([Fault("status", probability=0.25)], seed)
        return [play(faults, body("a"))[0] for _ in range(400)]

    assert statuses(1) == statuses(1) != statuses(2)
    assert 60 < statuses(1).count(503) < 140


def test_retry_after_is_seconds_or_a_date() -> None:
    """Both forms of RFC 9110."""
    for as_date in (False, True):
        fault = Fault("status", retry_after=7, as_date=as_date, probability=1.0)
        said = Faults([fault]).play(body("a"), HEADERS, 0.0).reply.headers["Retry-After"]
        assert parsedate_to_datetime(said) if as_date else said == "7"


@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_changes_something(kind: str) -> None:
    """None of the list is idle."""
    faults = Faults([Fault(kind, probability=1.0, text="b", per_second=1e-9, burst=0.5)])
    right = respond(body("a", "b", "c", encoding_format="base64"), HEADERS)
    played = faults.play(body("a", "b", "c", encoding_format="base64"), HEADERS, 0.0)
    assert played.delivery == kind if kind in DELIVERIES else played.reply != right


def test_a_fault_without_more_befalls_every_request() -> None:
    """The first thing that anybody writes."""
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
def test_a_fault_that_cannot_be_right_is_refused(wrong: dict[str, Any]) -> None:
    """Before anything is served, naming the field and the fault."""
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} = .* of the fault 'drip' cannot be right"):
        Fault("drip", **wrong)


def test_every_kind_is_in_the_documentation() -> None:
    """docs/reliability.md has a row for it, or a place in one."""
    page = Path("docs/reliability.md").read_text("utf-8")
    assert [kind for kind in KINDS if f"`{kind}`" not in page] == []


def test_the_socket_door_speaks_the_rest_of_http() -> None:
    """Other methods, queries, and clients that wait for 100 Continue."""
    with served(Faults()) as url, httpx.Client() as client:
        where = f"{url}/embeddings"
        assert client.get(where).status_code == 405
        assert client.post(f"{where}?x=1", content=body("a"), headers=HEADERS).status_code == 200
        waiting = {**HEADERS, "Expect": "100-continue"}
        assert client.post(where, content=body("a"), headers=waiting).status_code == 200


def test_who_is_billed_twice() -> None:
    """Inputs whose vectors were computed more than once."""
    faults = Faults([Fault("reset-mid-body", requests=[0])])
    play(faults, body("a", "b"))
    assert faults.billed_twice() == 0
    play(faults, body("a", "b"))
    play(faults, body("c"))
    assert faults.billed_twice() == 2


def test_a_rate_limit_lets_so_many_pass() -> None:
    """A bucket that fills as time passes."""
    faults = Faults([Fault("rate-limit", per_second=2.0, burst=3.0)])
    assert [play(faults, body("a"), 0.0)[0] for _ in range(4)] == [200, 200, 200, 429]
    assert [play(faults, body("a"), 1.0)[0] for _ in range(3)] == [200, 200, 429]
    bucket = Bucket(2.0, 3.0, 0.0)
    assert sum(bucket.take(at / 100) for at in range(1000)) == 3 + 19


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
def test_connections_break_on_a_socket(fault: str, error: type[Exception]) -> None:
    """As they do in the wild, and the next request is answered."""
    faults = Faults([Fault(fault, requests=[0], seconds=30)])
    with served(faults) as url, httpx.Client(timeout=0.3) as client:
        with pytest.raises(error):
            client.post(f"{url}/embeddings", content=body("a"), headers=HEADERS)
        answer = client.post(f"{url}/embeddings", content=body("a"), headers=HEADERS)
        assert answer.status_code == 200
        assert client.post(f"{url}/nowhere", content=b"{}").status_code == 404


def test_a_drip_and_a_late_answer_are_whole() -> None:
    """Slow is not wrong."""
    faults = Faults(
        [Fault("drip", requests=[0], seconds=0.01), Fault("stall", requests=[1], seconds=0)]
    )
    with served(faults) as url, httpx.Client() as client:
        for _ in range(2):
            answer = client.post(f"{url}/embeddings", content=body("a"), headers=HEADERS)
            assert answer.json() == json.loads(respond(body("a"), HEADERS).body)


def test_the_fixture_makes_services(embeddings_service: Callable[..., Service]) -> None:
    """For tests of code that uses the client."""
    service = embeddings_service(Fault("status", status=429, retry_after=60, requests=[0]))
    assert len(service.client().embed(["a", "b"])) == 2
    assert service.faults.requests == 2


def test_the_stand_in_bounds_what_it_takes() -> None:
    """Bytes and inputs; the answers do not echo them."""
    many = respond(body(*["a"] * (MAX_INPUTS + 1)), HEADERS)
    assert many.status == 400
    assert f"at most {MAX_INPUTS} inputs" in json.loads(many.body)["error"]["message"]
    large = respond(b" " * (MAX_BODY + 1), HEADERS)
    assert large.status == 413
    for request in (body("x" * 10**6, user=5), b'{"input": "' + b"x" * 10**6, b"[" * 10**6):
        assert len(respond(request, HEADERS).body) < 1000


def test_our_client_fits_the_stand_ins_bound() -> None:
    """It learns the number from the refusal."""
    result = ore.Client.local(model="local/hash").embed(["a"] * 3000, batch_size=3000, dimensions=2)
    assert len(result) == 3000
    assert len(result.served) == 2


@pytest.mark.parametrize("kind", ["token-cap", "poison", "batch-cap"])
def test_a_limit_takes_whatever_the_contract_refuses(kind: str) -> None:
    """Input that is nested too deeply has the answer that it would have without the limit."""
    nested = b"[" * 1000 + b"]" * 1000
    request = orjson.dumps({"model": "local/hash", "input": [0]}).replace(b"[0]", nested)
    faults = Faults([Fault(kind, at_most=5, text="poison")])
    status, said = play(faults, request)
    assert (status, said["error"]["code"]) == (400, 400)


def test_a_rate_of_less_than_one_a_second_serves_some() -> None:
    """The first at once."""
    service = Service(Fault("rate-limit", per_second=0.5))
    with service.client() as client:
        assert len(client.embed([*"ab"], batch_size=1, concurrency=1)) == 2


def test_the_faulty_server_ends_although_a_client_stays_connected() -> None:
    """It closes the client's idle connection instead of waiting for the client to do so."""

    async def main() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.ensure_future(FaultyServer(Faults([])).serve(listener))
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"GET /api/v1/models HTTP/1.1\r\nhost: a\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            serving.cancel()
            async with asyncio.timeout(10):
                await asyncio.wait([serving])
                rest = await reader.read()
            writer.close()
            return rest

    assert asyncio.run(main()).endswith(b"}")
