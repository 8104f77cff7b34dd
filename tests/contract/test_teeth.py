"""The checks of the client can fail: each planted bug is caught by one of them."""

import json
from collections.abc import Callable
from typing import Any

import openrouter_embeddings as ore
import pytest
from hypothesis import Phase, given, settings
from openrouter_embeddings._json import dumps
from openrouter_embeddings.client import _call
from openrouter_embeddings.core import decode, encode, preferences, result_builder

from tests.contract.calls import CALLS, Call
from tests.contract.oracle import SLOW
from tests.contract.test_client import check_sent
from tests.support import Service, answer, expected

Patch = Callable[[pytest.MonkeyPatch], None]


def sending(corrupt: Callable[[dict[str, Any]], Any]) -> Patch:
    """A bug that corrupts a correct request before it is sent."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        right = encode.encode

        def wrong(fields: Any, batch: Any) -> bytes:
            body = json.loads(right(fields, batch))
            return dumps(corrupt(body) or body)

        monkeypatch.setattr(_call, "encode", wrong)

    return plant


def _floats(value: Any) -> Any:
    if isinstance(value, list):
        return [_floats(item) for item in value]
    return float(value) if type(value) is int else value


def _flat(body: dict[str, Any]) -> dict[str, Any]:
    parts = [item["content"][0] if isinstance(item, dict) else item for item in body["input"]]
    return {**body, "input": parts}


def _relabelled(body: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(body).replace("data:image/gif", "data:image/png")
    whole: dict[str, Any] = json.loads(text)
    return whole


SENDING: dict[str, Patch] = {
    "null for an unset user": sending(lambda b: {"user": None, **b}),
    "null for unset dimensions": sending(lambda b: {"dimensions": None, **b}),
    "tokens as floats": sending(lambda b: {**b, "input": _floats(b["input"])}),
    "the last input lost": sending(lambda b: {**b, "input": b["input"][:-1]}),
    "inputs reversed": sending(lambda b: {**b, "input": b["input"][::-1]}),
    "an input twice": sending(lambda b: {**b, "input": [*b["input"], b["input"][0]]}),
    "flat multimodal parts": sending(_flat),
    "every image a png": sending(_relabelled),
    "no encoding_format": sending(lambda b: {k: v for k, v in b.items() if k != "encoding_format"}),
    "the provider left out": sending(lambda b: {k: v for k, v in b.items() if k != "provider"}),
    "input_type left out": sending(lambda b: {k: v for k, v in b.items() if k != "input_type"}),
    "dimensions as text": sending(
        lambda b: {**b, "dimensions": str(b["dimensions"])} if "dimensions" in b else b
    ),
    "texts stripped": sending(
        lambda b: {**b, "input": [i.strip() if isinstance(i, str) else i for i in b["input"]]}
    ),
    "nulls of preferences kept": lambda m: m.setattr(preferences, "_without_nulls", lambda v: v),
}


@pytest.mark.parametrize("bug", [None, *SENDING])
def test_bugs_in_requests_are_caught(bug: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of random calls fails with a bug and passes without one."""
    if bug:
        SENDING[bug](monkeypatch)

    @settings(
        max_examples=200,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # no need to shrink the example
        suppress_health_check=SLOW,
    )
    @given(CALLS)
    def look(call: Call) -> None:
        service = Service(lambda body, _: answer(body["input"]))
        without_width = {k: v for k, v in call.options.items() if k != "dimensions"}
        try:
            service.embed("sync", call.inputs, max_retries=0, **call.options)
        except ore.ResponseError:  # the scripted service does not know `dimensions`
            assert without_width != call.options
        if len(service.bodies) == -(-len(call.wire) // call.options.get("batch_size", 128)):
            check_sent(call, service.bodies)

    if bug is None:
        look()
    else:
        with pytest.raises((AssertionError, ValueError, StopIteration, ExceptionGroup)):
            look()


def _by_position(answer_: Any, count: int) -> list[Any]:
    return [item["embedding"] for item in answer_["data"]][:count]


def _padded(answer_: Any, count: int) -> list[Any]:
    found = [item["embedding"] for item in answer_["data"]]
    return found + [found[0]] * (count - len(found))


_add = result_builder.ResultBuilder.add


def _at_the_front(whole: result_builder.ResultBuilder, part: ore.EmbeddingResult) -> None:
    whole._rows = 0
    _add(whole, part)


READING: dict[str, Patch] = {
    "index ignored": lambda m: m.setattr(decode, "_embeddings", _by_position),
    "missing vectors padded": lambda m: m.setattr(decode, "_embeddings", _padded),
    "errors inside a 200 overlooked": lambda m: m.setattr(
        decode, "_status_error", lambda *_: KeyError("overlooked")
    ),
    "zero vectors let in": lambda m: m.setattr(decode, "unusable_rows", lambda _: {}),
    "cost forgotten": lambda m: m.setattr(decode, "_cost", lambda _: None),
    "batches put at the front": lambda m: m.setattr(
        result_builder.ResultBuilder, "add", _at_the_front
    ),
}


def check_reading() -> None:
    """Check what a client makes of five responses."""
    texts = ["a", "bb", "ccc"]
    body = answer(texts)
    shuffled = Service(lambda *_: {**body, "data": body["data"][::-1]})
    result = shuffled.embed("sync", texts)
    assert result.vectors.tolist() == expected(texts).tolist()
    assert result.usage.cost is not None
    split = Service().embed("sync", texts, batch_size=1)
    assert split.vectors.tolist() == expected(texts).tolist()
    zero = [{"object": "embedding", "embedding": [0.0, 0.0]}] * 3
    for bad in ({"data": body["data"][:2]}, {"data": zero}):
        with pytest.raises(ore.ResponseError):
            Service(lambda *_, b=bad: {**body, **b}).embed("sync", texts, max_retries=0)
    failed = Service(lambda *_: {**body, "error": {"code": 429, "message": "x"}})
    with pytest.raises(ore.RateLimitError):
        failed.embed("sync", texts, max_retries=0)


@pytest.mark.parametrize("bug", [None, *READING])
def test_bugs_in_reading_are_caught(bug: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of five responses fails with a bug and passes without one."""
    if bug is None:
        check_reading()
        return
    READING[bug](monkeypatch)
    caught = (AssertionError, KeyError, AttributeError, pytest.fail.Exception)
    with pytest.raises(caught):
        check_reading()
