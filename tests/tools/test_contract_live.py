"""`make contract-live` against the stand-in, and against one that deviates."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest
from openrouter_embeddings._secret import Secret
from openrouter_embeddings.local.respond import respond

from tests.support import KEY
from tools import contract_live
from tools.live_probes import PROBES, most_tokens

Deviation = Callable[[dict[str, Any], int, Any], tuple[int, Any]]
"""From a request, and the right status and body, to those that are sent instead."""


def examined(deviate: Deviation, most: str = "1") -> tuple[tuple[int, int], list[str]]:
    """The verdict on a stand-in that deviates, and what was said."""

    def handle(request: httpx.Request) -> httpx.Response:
        reply = respond(request.content, {k.lower(): v for k, v in request.headers.items()})
        status, body = deviate(json.loads(request.content), reply.status, json.loads(reply.body))
        return httpx.Response(status, json=body)

    said: list[str] = []
    with httpx.Client(transport=httpx.MockTransport(handle)) as http:
        examination = contract_live.Examination(
            "https://service.invalid/api/v1", Secret(KEY), "local/hash", http
        )
        return contract_live.examine(examination, Decimal(most), said.append), said


def test_the_stand_in_keeps_the_contract(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says the most it can cost first, then that nothing differs, and never the key."""
    monkeypatch.setenv("OPENROUTER_BASE_URL", server)
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    assert contract_live.main(["--model", "local/hash", "--price", "0.02"]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert f"{len(PROBES)} requests" in first
    assert f"{Decimal(most_tokens()) * Decimal('0.02') / 1_000_000:f} credits" in first
    assert [line.split()[0] for line in others[: len(PROBES)]] == ["ok"] * len(PROBES)
    assert "not listed in the contract: " in others[-2]
    assert "provider" in others[-2]
    assert others[-1].startswith("0 differ, 0 without a verdict, ")
    spent = Decimal(others[-1].split()[-2])
    assert 0 < spent <= Decimal(most_tokens()) * Decimal("2e-8")
    assert KEY not in "".join([first, *others])


def _if_success(change: Callable[[dict[str, Any], Any], Any]) -> Deviation:
    return lambda request, status, body: (status, change(request, body) if status == 200 else body)


def _of_other_texts(request: dict[str, Any], body: Any) -> Any:
    if len(body["data"]) == 3:
        for item in body["data"]:
            item["index"] = 2 - item["index"]
    return body


def _wide(request: dict[str, Any], body: Any) -> Any:
    return {**body, "data": [{**i, "embedding": [1.0, 2.0]} for i in body["data"]]}


@pytest.mark.parametrize(
    ("deviation", "line"),
    [
        (_if_success(lambda _, b: {**b, "model": 5}), "one text: status 200: model: "),
        (_if_success(lambda _, b: {**b, "data": b["data"][:1]}), "three texts in order: got 1 emb"),
        (_if_success(_of_other_texts), "three texts in order: is not the vector of 'one text'"),
        (_if_success(_wide), "64 dimensions: requested 64 dimensions, got 2"),
        (
            lambda r, s, b: (
                (400, {"error": {"code": 400, "message": "?"}}) if "user" in r else (s, b)
            ),
            "a user: allowed by the contract, refused with 400",
        ),
        (lambda r, s, b: (418, b) if s == 404 else (s, b), "no such model: status 418 is not in"),
        (
            lambda r, s, b: (s, {"error": "no"}) if s == 401 else (s, b),
            "no key: status 401: error: ",
        ),
        (lambda r, s, b: (s, "no"), "one text: status 200: the whole: "),
        (
            lambda r, s, b: (200, {"error": {"code": 403, "message": "?"}}) if s == 200 else (s, b),
            "one text: allowed by the contract, refused with 200",
        ),
    ],
)
def test_a_deviation_is_said(deviation: Deviation, line: str) -> None:
    """With the probe it was seen in, and what was due."""
    (differed, _), said = examined(deviation)
    assert differed
    assert any(found.startswith(f"differs     {line}") for found in said), said


def test_what_ought_to_be_refused_and_is_not() -> None:
    """An answer to a request without an input, say."""
    right = json.loads(
        respond(b'{"input":"a","model":"local/hash"}', {"authorization": "Bearer x"}).body
    )
    (_, _), said = examined(lambda r, s, b: (200, right) if s == 400 else (s, b))
    assert any(
        line.startswith("differs     no input: a refusal was due, 200 came") for line in said
    )


@pytest.mark.parametrize(
    "busy",
    [
        lambda r, s, b: (503, {"error": {"code": 503, "message": "later"}}),
        lambda r, s, b: (200, {"error": {"code": 429, "message": "later"}}),
    ],
)
def test_a_busy_service_has_no_verdict(busy: Deviation) -> None:
    """Neither right nor wrong, and said so; when it cannot answer at all, no more is asked."""
    assert examined(busy)[0] == (0, 1)
    later = examined(lambda r, s, b: busy(r, s, b) if "user" in r else (s, b))
    assert later[0] == (0, 1)


def test_one_refusal_of_everything_is_said_once() -> None:
    """A model that is not there, say."""
    verdict, said = examined(lambda r, s, b: (404, {"error": {"code": 404, "message": "?"}}))
    assert verdict == (1, 0)
    assert "is the model right?" in said[-1]


@pytest.mark.parametrize("price", ["abc", "0,2", "nan", "-1"])
def test_a_price_is_a_number(price: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is sent for anything else."""
    with pytest.raises(SystemExit):
        contract_live.main(["--price", price])
    assert "is no price" in capsys.readouterr().err


def test_it_stops_where_the_cost_passes_what_was_said() -> None:
    """Whatever the service takes: no further request once it has reported more than the most."""

    def dear(_: dict[str, Any], body: Any) -> Any:
        return {**body, "usage": {**body["usage"], "cost": 0.4}}

    _, said = examined(_if_success(dear), most="1")
    assert [line.split()[0] for line in said] == ["ok", "ok", "ok", "stopped:"]


def test_without_a_key_nothing_is_sent(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what is missing."""
    monkeypatch.setenv("OPENROUTER_BASE_URL", server)
    assert contract_live.main([]) == 2
    assert "no API key" in capsys.readouterr().err
