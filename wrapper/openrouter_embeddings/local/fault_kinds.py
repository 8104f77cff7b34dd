"""Every kind of fault, in one table: `FAULT_KINDS`. A new kind is one entry there.

`python -m stress.faults` writes the table of docs/reliability.md from these entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import orjson

from .reply import LocalReply, Refusal
from .respond import error_reply

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator

    from .contract import Contract
    from .faults import Fault


class Signal(Enum):
    """What a server does besides sending bytes and pausing."""

    SEND_HEAD = "send the status line and the headers"
    RESET = "reset the connection"
    CLOSE = "close the connection"


Step: TypeAlias = bytes | float | Signal
"""What a server does next: send these bytes, pause for these seconds, or obey the signal."""


@dataclass(frozen=True)
class FaultedReply:
    """A reply, and the steps in which a server delivers it (None: all at once)."""

    reply: LocalReply
    steps: Iterable[Step] | None = None


@dataclass(frozen=True)
class FaultKind:
    """One kind of fault.

    Attributes:
        stage: when the fault strikes, which decides what `handler` takes and returns.
            `limit`, on each request's arrival: `(Fault, LimitedRequest) -> None`; raises
            `Refusal` for a request beyond the limit.
            `refusal`, instead of an answer: `(Fault, Contract | None) -> FaultedReply`. Nothing is
            computed or billed.
            `corruption`, to a computed answer: `(body, random.Random) -> body`.
            `delivery`, while a computed answer is sent: `(body, seconds) -> Iterable[Step]`.
        handler: what the fault does.
        doc: what happens, in one line for docs/reliability.md.
        options: the fields of `Fault` that the kind reads, for the same table.
    """

    stage: Literal["limit", "refusal", "corruption", "delivery"]
    handler: Callable[..., Any]
    doc: str
    options: str = ""


@dataclass
class Bucket:
    """A token bucket: `rate` requests a second, up to `burst` of them at once."""

    rate: float
    burst: float
    at: float
    level: float = -1.0

    def take(self, now: float) -> bool:
        """Whether a request may pass now; if so, it uses up one token."""
        if self.level < 0:
            self.level = self.burst
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True


class LimitedRequest:
    """A request as limits see it: any bytes, valid or not.

    Attributes:
        body: the request's bytes.
        now: when it arrived, in seconds of any clock.
        buckets: the token bucket of each rate limit, by the fault's id; kept between requests.
    """

    def __init__(self, body: bytes, now: float, buckets: dict[int, Bucket]) -> None:
        self.body = body
        self.now = now
        self.buckets = buckets

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The JSON object of the body; empty if it is not one."""
        try:
            parsed = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return parsed if isinstance(parsed, dict) else {}

    @cached_property
    def inputs(self) -> list[Any]:
        """The inputs, as many as a list has; a single one makes a list of one."""
        given = self.fields.get("input", [])
        return given if isinstance(given, list) else [given]

    @cached_property
    def texts(self) -> list[str]:
        """The inputs as texts."""
        return [item if isinstance(item, str) else _as_text(item) for item in self.inputs]


def _as_text(item: Any) -> str:
    try:
        return str(item)
    except RecursionError:  # validation refuses such a request later
        return ""


def _batch_cap(fault: Fault, request: LimitedRequest) -> None:
    count, most = len(request.inputs), fault.at_most
    if count > most:
        raise Refusal(400, f"batch size {count} is too large: at most {most} inputs are allowed")


def _payload_cap(fault: Fault, request: LimitedRequest) -> None:
    size = len(request.body)
    if size > fault.at_most:
        raise Refusal(413, f"Payload Too Large: {size} bytes, {fault.at_most} are allowed")


def _token_cap(fault: Fault, request: LimitedRequest) -> None:
    words, most = sum(len(text.split()) for text in request.texts), fault.at_most
    if words > most:
        raise Refusal(400, f"Requested {words} tokens, max {most} tokens per request are allowed")


def _poison(fault: Fault, request: LimitedRequest) -> None:
    if any(fault.text in text for text in request.texts):
        raise Refusal(400, "the provider could not process the request")


def _no_base64(_: Fault, request: LimitedRequest) -> None:
    if request.fields.get("encoding_format") == "base64":
        raise Refusal(400, "encoding_format: base64 is not supported")


def _rate_limit(fault: Fault, request: LimitedRequest) -> None:
    rate = fault.per_second
    new = Bucket(rate, fault.burst or max(1.0, rate), request.now)
    if not request.buckets.setdefault(id(fault), new).take(request.now):
        raise Refusal(429, "Rate limit exceeded", headers=_retry_after(fault))


def _retry_after(fault: Fault) -> dict[str, str]:
    if fault.retry_after is None:
        return {}
    if not fault.as_date:
        return {"Retry-After": f"{fault.retry_after:g}"}
    import time  # noqa: PLC0415 - nothing else here reads a clock
    from email.utils import formatdate  # noqa: PLC0415 - only for this

    return {"Retry-After": formatdate(time.time() + fault.retry_after, usegmt=True)}


def _error(fault: Fault, contract: Contract | None) -> LocalReply:
    refusal = Refusal(fault.status, "a fault of the script", headers=_retry_after(fault))
    return error_reply(refusal, contract)


def _error_in_200(fault: Fault, contract: Contract | None) -> FaultedReply:
    padding = b"\n         \n"  # the service keeps the connection alive with white space
    return FaultedReply(LocalReply(200, padding + _error(fault, contract).body))


def _html(*_: Any) -> FaultedReply:
    page = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
    return FaultedReply(LocalReply(502, page, {"Content-Type": "text/html"}))


def _data(
    change: Callable[[list[dict[str, Any]], random.Random], Any],
) -> Callable[[bytes, random.Random], bytes]:
    """Corrupt `data`: `change` alters the list in place, or returns another."""

    def corrupt(body: bytes, chance: random.Random) -> bytes:
        answer = orjson.loads(body)
        changed = change(answer["data"], chance)
        if isinstance(changed, list):
            answer["data"] = changed
        return orjson.dumps(answer)

    return corrupt


def _one(value: Callable[[dict[str, Any]], Any]) -> Callable[[bytes, random.Random], bytes]:
    """Corrupt the embedding of one random item: `value` makes it from the item."""

    def change(data: list[dict[str, Any]], chance: random.Random) -> None:
        item = chance.choice(data)
        item["embedding"] = value(item)

    return _data(change)


def _indices(index: Callable[[int, int], int | None]) -> Callable[[bytes, random.Random], bytes]:
    """Corrupt every `index`: made from position and count; None removes it."""

    def change(data: list[dict[str, Any]], _: random.Random) -> None:
        for position, item in enumerate(data):
            item["index"] = index(position, len(data))
            if item["index"] is None:
                del item["index"]

    return _data(change)


def _floats(item: dict[str, Any]) -> list[float]:
    import numpy as np  # noqa: PLC0415 - few corruptions need it
    import pybase64  # noqa: PLC0415 - the same

    embedding = item["embedding"]
    if isinstance(embedding, list):
        return [float(value) for value in embedding]
    return [float(value) for value in np.frombuffer(pybase64.b64decode(embedding), "<f4")]


def _nan(body: bytes, _: random.Random) -> bytes:
    """Write NaN, which is not JSON but which some servers print."""
    answer = orjson.loads(body)
    answer["data"][0]["embedding"] = ["HERE", *_floats(answer["data"][0])[1:]]
    return orjson.dumps(answer).replace(b'"HERE"', b"NaN")


def _drip(body: bytes, seconds: float) -> Iterator[Step]:
    yield Signal.SEND_HEAD
    for at in range(len(body)):
        yield body[at : at + 1]
        yield seconds / len(body)


def _stall(body: bytes, seconds: float) -> Iterable[Step]:
    half = len(body) // 2
    return (Signal.SEND_HEAD, body[:half], seconds, body[half:])


def _break(*steps: Step) -> Callable[[bytes, float], Iterable[Step]]:
    return lambda _body, _seconds: steps


FAULT_KINDS: dict[str, FaultKind] = {
    "status": FaultKind(
        "refusal",
        lambda fault, contract: FaultedReply(_error(fault, contract)),
        "an error status, with the error body that the specification describes",
        "`status` (503), `retry_after` in seconds, `as_date`",
    ),
    "error-in-200": FaultKind(
        "refusal",
        _error_in_200,
        "the same error body in a 200 response, after white space",
        "`status` (503)",
    ),
    "html": FaultKind("refusal", _html, "a proxy's HTML page with status 502"),
    "accept-and-close": FaultKind(
        "refusal",
        lambda *_: FaultedReply(LocalReply(400, b""), (Signal.CLOSE,)),
        "the server closes the connection without an answer; nothing is billed",
    ),
    "empty-data": FaultKind("corruption", _data(lambda data, _: data.clear()), "`data` is empty"),
    "missing-item": FaultKind(
        "corruption",
        _data(lambda data, chance: data.pop(chance.randrange(len(data)))),
        "one vector is missing",
    ),
    "surplus-item": FaultKind(
        "corruption",
        _data(lambda data, _: data.append({**data[0], "index": len(data)})),
        "there is one vector too many",
    ),
    "shuffled": FaultKind(
        "corruption",
        _data(lambda data, chance: chance.shuffle(data)),
        "the items come in another order, with the right `index`",
    ),
    "no-index": FaultKind("corruption", _indices(lambda *_: None), "no item has an `index`"),
    "some-indices": FaultKind(
        "corruption", _indices(lambda place, _: place or None), "the first item has no `index`"
    ),
    "duplicate-index": FaultKind(
        "corruption", _indices(lambda place, _: max(place, 1)), "two items have the same `index`"
    ),
    "index-out-of-range": FaultKind(
        "corruption",
        _indices(lambda place, count: place + (place == count - 1)),
        "the last `index` is too large",
    ),
    "null-vector": FaultKind("corruption", _one(lambda _: None), "one vector is null"),
    "nan-vector": FaultKind("corruption", _nan, "the first vector contains NaN"),
    "zero-vector": FaultKind(
        "corruption", _one(lambda item: [0.0] * len(_floats(item))), "one vector is all zeros"
    ),
    "wrong-width": FaultKind(
        "corruption", _one(lambda item: _floats(item)[:-1]), "one vector is one value too short"
    ),
    "broken-base64": FaultKind(
        "corruption", _one(lambda _: "AAAA?A=="), "one vector is not valid base64"
    ),
    "floats": FaultKind(
        "corruption",
        _data(lambda data, _: [{**item, "embedding": _floats(item)} for item in data]),
        "the vectors are numbers although base64 was requested",
    ),
    "truncated-json": FaultKind(
        "corruption",
        lambda body, _: body[: len(body) // 2],
        "half of the body, under a matching Content-Length",
    ),
    "slow-headers": FaultKind(
        "delivery",
        lambda body, seconds: (seconds, Signal.SEND_HEAD, body),
        "nothing comes for `seconds`, then everything",
        "`seconds` (3600)",
    ),
    "drip": FaultKind(
        "delivery", _drip, "the body comes byte by byte, over `seconds` in all", "`seconds` (3600)"
    ),
    "stall": FaultKind(
        "delivery",
        _stall,
        "half of the body comes, the rest `seconds` later",
        "`seconds` (3600)",
    ),
    "reset-before-headers": FaultKind(
        "delivery",
        _break(Signal.RESET),
        "the connection is reset before the headers; the answer is billed",
    ),
    "reset-after-headers": FaultKind(
        "delivery",
        _break(Signal.SEND_HEAD, Signal.RESET),
        "the connection is reset after the headers; the answer is billed",
    ),
    "reset-mid-body": FaultKind(
        "delivery",
        lambda body, _: (Signal.SEND_HEAD, body[:-9], Signal.RESET),
        "the connection is reset before the body is complete; the answer is billed",
    ),
    "batch-cap": FaultKind(
        "limit", _batch_cap, "400 for a request with more than `at_most` inputs", "`at_most` (1)"
    ),
    "payload-cap": FaultKind(
        "limit", _payload_cap, "413 for a request of more than `at_most` bytes", "`at_most` (1)"
    ),
    "token-cap": FaultKind(
        "limit",
        _token_cap,
        "400 for a request with more than `at_most` words, which stand for tokens",
        "`at_most` (1)",
    ),
    "poison": FaultKind(
        "limit",
        _poison,
        "400 for a request with an input that contains `text`",
        '`text` ("poison")',
    ),
    "no-base64": FaultKind("limit", _no_base64, '400 for `"encoding_format": "base64"`'),
    "rate-limit": FaultKind(
        "limit",
        _rate_limit,
        "429 for more than `per_second` requests a second, `burst` of them at once",
        "`per_second` (10), `burst` (`per_second`), `retry_after`, `as_date`",
    ),
}
