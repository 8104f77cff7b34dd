"""`make contract AGAINST=live`, against the stand-in and one that deviates from the contract."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest
from openrouter_embeddings._secret import Secret
from openrouter_embeddings.local.respond import respond

from tests.contract import live
from tests.contract.live_probes import PROBES, most_tokens
from tests.support import KEY

Deviation = Callable[[dict[str, Any], int, Any], tuple[int, Any]]
"""From a request and the right status and body to the status and body that are sent instead."""


def examined(deviate: Deviation, most: str = "1") -> tuple[tuple[int, int], list[str]]:
    """What `examine` returns and prints for a stand-in that deviates."""

    def handle(request: httpx.Request) -> httpx.Response:
        reply = respond(request.content, {k.lower(): v for k, v in request.headers.items()})
        status, body = deviate(json.loads(request.content), reply.status, json.loads(reply.body))
        return httpx.Response(status, json=body)

    output: list[str] = []
    with httpx.Client(transport=httpx.MockTransport(handle)) as http:
        examination = live.Examination(
            "https://service.invalid/api/v1", Secret(KEY), "local/hash", http
        )
        return live.examine(examination, Decimal(most), output.append), output


def test_the_stand_in_keeps_the_contract(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command prints the most it can cost, then that nothing differs, and never the key."""
    monkeypatch.setenv("OPENROUTER_BASE_URL", server)
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    assert live.main(["--model", "local/hash", "--price", "0.02"]) == 0
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
        (_if_success(_of_other_texts), "three texts in order: the vector is not that of"),
        (_if_success(_wide), "64 dimensions: requested 64 dimensions, got 2"),
        (
            lambda r, s, b: (
                (400, {"error": {"code": 400, "message": "?"}}) if "user" in r else (s, b)
            ),
            "a user: allowed by the contract, but refused with 400",
        ),
        (lambda r, s, b: (418, b) if s == 404 else (s, b), "no such model: status 418 is not in"),
        (
            lambda r, s, b: (s, {"error": "no"}) if s == 401 else (s, b),
            "no key: status 401: error: ",
        ),
        (lambda r, s, b: (s, "no"), "one text: status 200: the whole: "),
        (
            lambda r, s, b: (200, {"error": {"code": 403, "message": "?"}}) if s == 200 else (s, b),
            "one text: allowed by the contract, but refused with 200",
        ),
    ],
)
def test_a_deviation_is_reported(deviation: Deviation, line: str) -> None:
    """The line names the probe, and says what is wrong with its answer."""
    (differed, _), output = examined(deviation)
    assert differed
    assert any(found.startswith(f"differs     {line}") for found in output), output


def test_an_answer_to_an_invalid_request_is_reported() -> None:
    """An answer to a request without input is a deviation."""
    right = json.loads(
        respond(b'{"input":"a","model":"local/hash"}', {"authorization": "Bearer x"}).body
    )
    (_, _), output = examined(lambda r, s, b: (200, right) if s == 400 else (s, b))
    assert any(
        line.startswith("differs     no input: not refused, but answered with 200")
        for line in output
    )


@pytest.mark.parametrize(
    "busy",
    [
        lambda r, s, b: (503, {"error": {"code": 503, "message": "later"}}),
        lambda r, s, b: (200, {"error": {"code": 429, "message": "later"}}),
    ],
)
def test_a_busy_service_gets_no_verdict(busy: Deviation) -> None:
    """A busy answer is neither right nor wrong. If the first one is busy, no other is requested."""
    assert examined(busy)[0] == (0, 1)
    later = examined(lambda r, s, b: busy(r, s, b) if "user" in r else (s, b))
    assert later[0] == (0, 1)


def test_a_service_that_refuses_the_first_request_is_asked_no_more() -> None:
    """A wrong model name is reported once, with a hint, and not for every probe."""
    verdict, output = examined(lambda r, s, b: (404, {"error": {"code": 404, "message": "?"}}))
    assert verdict == (1, 0)
    assert "is the model right?" in output[-1]


@pytest.mark.parametrize("price", ["abc", "0,2", "nan", "-1"])
def test_a_price_is_a_number(price: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command rejects any other price before it sends a request."""
    with pytest.raises(SystemExit):
        live.main(["--price", price])
    assert "is not a price" in capsys.readouterr().err


def test_it_stops_when_the_cost_exceeds_the_announced_maximum() -> None:
    """No request follows once the service has reported a higher cost."""

    def expensive(_: dict[str, Any], body: Any) -> Any:
        return {**body, "usage": {**body["usage"], "cost": 0.4}}

    _, output = examined(_if_success(expensive), most="1")
    assert [line.split()[0] for line in output] == ["ok", "ok", "ok", "stopped:"]


def test_without_a_key_nothing_is_sent(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command names the missing key and ends with status 2."""
    monkeypatch.setenv("OPENROUTER_BASE_URL", server)
    assert live.main([]) == 2
    assert "no API key" in capsys.readouterr().err
