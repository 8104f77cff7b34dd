"""Headers that the caller adds to requests, and headers of responses."""

import asyncio
import logging
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings import jobs, testing
from openrouter_embeddings.adapters import ray
from openrouter_embeddings.transport import _connections

from tests.http_service import HTTPService
from tests.leaks import shown
from tests.support import (
    KEY,
    Kind,
    Service,
    answer,
    both,
    client_of,
    client_over,
    embed_over,
)

SECRET = "gateway-password-0123456789"
OWN_AGENT = dict(_connections.HEADERS)[b"User-Agent"].decode()


def _embed(client: Any, *, method: str = "embed", **options: Any) -> Any:
    return getattr(client, method)(["a"], **options)


@both
def test_headers_are_sent_over_connections_of_our_own(kind: Kind, counting: HTTPService) -> None:
    """A call's headers are merged over the client's, and the client's own stay as they are."""
    with client_over(kind, counting.url, headers={"X-A": "1", "X-B": "2"}) as client:
        client.embed("a")
        client.embed("a", headers={"x-a": "3", "X-B": None})
        client.embed("a", headers=None)
    seen = [[head.get_all(name) for name in ("X-A", "X-B")] for head in counting.heads]
    assert seen == [[["1"], ["2"]], [["3"], None], [None, None]]
    for head in counting.heads:
        assert head.get_all("Authorization") == [f"Bearer {KEY}"]
        assert head.get_all("User-Agent") == [OWN_AGENT]
        assert head.get_all("Accept-Encoding") == ["identity"]


@both
def test_a_user_agent_replaces_that_of_the_package(kind: Kind, counting: HTTPService) -> None:
    """As `extra_headers` of the openai package does; every request has only one."""
    embed_over(kind, counting.url, ["a"], headers={"user-agent": "mine/1.0"})
    service = Service()
    service.run(kind, lambda c: c.embed("a"), headers={"user-agent": "mine/1.0"})
    assert counting.heads[0].get_all("User-Agent") == ["mine/1.0"]
    assert service.requests[0].headers.get_list("user-agent") == ["mine/1.0"]


@both
def test_headers_are_sent_through_the_callers_http_client(kind: Kind) -> None:
    """They replace headers of the httpx client; every batch and every retry has them."""
    service = Service(
        lambda body, n: (lambda: httpx.Response(503)) if n == 0 else answer(body["input"])
    )
    transport = service.transport()
    given = {"X-A": "httpx", "X-H": "httpx", "User-Agent": "httpx"}
    options: Any = {"model": "m", "batch_size": 1, "headers": {"x-a": "1"}}

    async def run() -> None:
        async with httpx.AsyncClient(transport=transport, headers=given) as http:
            client = ore.AsyncClient(KEY, http_client=http, **options)
            await client.embed(["a", "b"])

    if kind == "async":
        asyncio.run(run())
    else:
        with httpx.Client(transport=transport, headers=given) as http:
            ore.Client(KEY, http_client=http, **options).embed(["a", "b"])
    seen = [request.headers for request in service.requests]
    assert [[one.get_list(n) for n in ("x-a", "x-h")] for one in seen] == [[["1"], ["httpx"]]] * 3
    assert {one["user-agent"] for one in seen} == {OWN_AGENT}


@both
def test_every_method_sends_the_headers(kind: Kind) -> None:
    """Also a stream, and the methods that set `input_type`."""
    service = Service()
    headers = {"X-A": "1"}
    service.run(kind, lambda c: c.embed_query("a", headers=headers))
    service.run(kind, lambda c: c.embed_documents("a", headers=headers))
    service.run(kind, lambda c: c.embed_stream(["a", "b"], batch_size=1, headers=headers))
    assert [request.headers["x-a"] for request in service.requests] == ["1"] * 4


@both
def test_the_stand_in_takes_headers(kind: Kind) -> None:
    """`Client.local` and the clients of `testing.Service` accept the option."""
    make: Any = ore.Client if kind == "sync" else ore.AsyncClient
    assert repr(make.local(headers={"X-A": SECRET})) == (
        f"{make.__name__}.local(model='local/minilm')"
    )
    service = testing.Service()
    with client_of(service, kind, headers={"X-A": "1"}) as client:
        client.embed("a", headers={"X-B": "2"})
    assert service.faults.requests == 1


@pytest.mark.parametrize("where", ["client", "call"])
@both
def test_headers_with_the_api_key_are_rejected(kind: Kind, where: str) -> None:
    """The error does not show the key, and nothing is sent."""
    service = Service()
    for headers in ({"X-Key": f"Bearer {KEY}"}, {KEY: "1"}):
        given: Any = {"headers": headers}
        client, call = (given, {}) if where == "client" else ({}, given)
        with pytest.raises(ore.InputError, match="headers must not contain the API key") as caught:
            service.run(kind, partial(_embed, **call), **client)
        assert KEY not in str(caught.value)
        assert KEY not in shown(caught.value)
    assert service.requests == []


@both
@pytest.mark.parametrize("where", ["client", "call"])
@pytest.mark.parametrize(
    "failure",
    [
        {"X-Gateway": SECRET + "\n"},
        {"X-Gateway": SECRET, "X-Other": 5},
        {"X-Gateway": SECRET, "Host": SECRET},
        lambda: httpx.Response(401, json={"error": {"code": 401, "message": "no"}}),
        lambda: httpx.Response(200, json=answer([])),
        httpx.ConnectError("no"),
        TypeError("odd"),
    ],
    ids=["value", "type", "own", "status", "invalid", "network", "unexpected"],
)
def test_no_error_shows_the_value_of_a_header(
    kind: Kind, where: str, failure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Text, causes and locals of the error's frames have no value; neither has a log record."""
    bad = isinstance(failure, dict)
    headers: Any = {"headers": failure if bad else {"X-Gateway": SECRET}}
    client, call = (headers, {}) if where == "client" else ({}, headers)
    service = Service(lambda *_: failure)
    for method in ("embed", "embed_query", "embed_stream"):
        with caplog.at_level(1), pytest.raises((ore.EmbeddingsError, TypeError)) as caught:
            service.run(kind, partial(_embed, method=method, **call), **client)
        text = shown(caught.value)
        assert "openrouter_embeddings" in text  # proves that frames were searched
        assert SECRET not in text
    assert SECRET not in caplog.text
    assert bool(service.requests) is not bad


@both
def test_no_log_record_of_own_connections_shows_the_value_of_a_header(
    kind: Kind, counting: HTTPService, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing logs a request of theirs, and an error has no frame with the headers."""
    with caplog.at_level(logging.DEBUG):
        embed_over(kind, counting.url, ["a"], headers={"X-Gateway": SECRET})
        with pytest.raises(ore.ResponseError) as caught:
            embed_over(kind, counting.url, ["a"], model="half ", headers={"X-Gateway": SECRET})
    assert SECRET not in caplog.text
    assert SECRET not in shown(caught.value)


def test_a_job_sends_headers_and_stores_none(tmp_path: Path) -> None:
    """No file of a job has them, a job with other headers is the same job, and shares its cache."""
    source = tmp_path / "s.txt"
    source.write_text("a\nb\nc\n")
    service, cache = Service(_out_of_credits), tmp_path / "cache"

    def run(**options: Any) -> Any:
        return service.run(
            "sync",
            lambda c: jobs.embed_file(
                source, tmp_path / "t.npy", client=c, cache=cache, batch_size=1, **options
            ),
            headers={"X-Client": SECRET},
            concurrency=1,
        )

    with pytest.raises(ore.PaymentRequiredError) as caught:
        run(headers={"X-Gateway": SECRET})
    assert SECRET not in shown(caught.value)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(path.name == "t.npy.job" for path in files)
    assert run().embedded == 3
    files |= {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for path, content in files.items():
        assert SECRET.encode() not in content, path
        assert b"X-Gateway" not in content, path
    seen = [(r.headers["x-client"], r.headers.get("x-gateway")) for r in service.requests]
    assert seen == [(SECRET, SECRET)] * 2 + [(SECRET, None)] * 2


def _out_of_credits(body: dict[str, Any], number: int) -> Any:
    return (lambda: httpx.Response(402)) if number == 1 else answer(body["input"])


@pytest.mark.parametrize("use", [jobs.embed_file, jobs.estimate])
def test_a_job_does_not_show_the_value_of_a_bad_header(use: Any) -> None:
    """The locals of `embed_file` and `estimate` have no value either."""
    with pytest.raises(ore.InputError, match="must not have 'Host'") as caught:
        use("s.txt", "t.npy", headers={"X-Gateway": SECRET, "Host": "a"})
    assert SECRET not in shown(caught.value)


class _Unreadable(Mapping[str, str]):
    def __getitem__(self, name: str) -> str:
        raise RuntimeError(SECRET)

    def __iter__(self) -> Iterator[str]:
        return iter(["X-Gateway"])

    def __len__(self) -> int:
        return 1

    def __repr__(self) -> str:
        return SECRET


@pytest.mark.parametrize(
    "use",
    [
        lambda wrong: ore.Client(KEY, **wrong),
        lambda wrong: ore.Client(KEY).with_options(**wrong),
        lambda wrong: ore.Client(KEY).embed("a", **wrong),
        lambda wrong: jobs.embed_file("s.txt", "t.npy", **wrong),
        lambda wrong: jobs.estimate("s.txt", **wrong),
    ],
)
def test_headers_that_cannot_be_read_are_named_without_values(use: Any) -> None:
    """A mapping of the caller's own may raise, and its values appear nowhere."""
    with pytest.raises(ore.InputError, match="headers: RuntimeError while reading a _Un") as caught:
        use({"headers": _Unreadable()})
    assert SECRET not in shown(caught.value)


@both
@pytest.mark.parametrize("method", ["embed", "embed_stream"])
def test_a_closed_client_does_not_show_the_value_of_a_header(kind: Kind, method: str) -> None:
    """The error comes before any request, and its frames have no value."""
    with client_of(testing.Service(), kind) as client:
        client.close()
        with pytest.raises(ore.InputError, match="client is closed") as caught:
            list(getattr(client, method)(["a"], headers={"X-Gateway": SECRET}))
    assert SECRET not in shown(caught.value)


def test_a_job_that_cannot_begin_does_not_show_the_value_of_a_header(tmp_path: Path) -> None:
    """The target is checked before anything else of the job."""
    for target in ("t.xyz", tmp_path / "missing" / "t.npy"):
        with pytest.raises((ore.InputError, jobs.JobError)) as caught:
            jobs.embed_file("s.txt", target, headers={"X-Gateway": SECRET})
        assert SECRET not in shown(caught.value)


@pytest.mark.parametrize("make", [ore.Client, ore.AsyncClient])
def test_a_missing_extra_does_not_show_the_value_of_a_header(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Client.local` checks its options before it imports the stand-in."""
    monkeypatch.setitem(sys.modules, "openrouter_embeddings.local.servers.in_process", None)
    with pytest.raises(ImportError) as caught:
        make.local(headers={"X-Gateway": SECRET})
    assert SECRET not in shown(caught.value)


def test_an_embedder_with_a_budget_does_not_show_the_value_of_a_header() -> None:
    """The adapters reject a budget, with no value in the frames."""
    with pytest.raises(ore.InputError, match="budget") as caught:
        ray.Embed(workers=1, column="a", budget=Decimal(1), headers={"X-Gateway": SECRET})
    assert SECRET not in shown(caught.value)
