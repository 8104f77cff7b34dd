"""One fault of a script, and every kind in one table: `FAULT_KINDS`. A new kind is one entry there.

`python -m stress.faults` writes the table of docs/reliability.md from these entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from openrouter_embeddings._json import dumps, loads

from .reply import LocalReply, Refusal
from .respond import error_reply

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .contract import Contract


Step: TypeAlias = bytes | float | Literal["head", "reset", "close"]
"""What a server does next: send bytes, pause for seconds, send status line and headers, or end."""


@dataclass(frozen=True)
class FaultedReply:
    """A reply, and the steps in which a server delivers it (None: all at once)."""

    reply: LocalReply
    steps: Iterable[Step] | None = None


@dataclass(frozen=True)
class FaultKind:
    """One kind of fault.

    Attributes:
        stage: when the fault strikes; a `limit` before, and a `refusal` instead of computing.
        handler: what the fault does. For a `limit`, `(Fault, LimitedRequest) -> None`, which raises
            `Refusal`; for a `refusal`, `(Fault, Contract | None) -> FaultedReply`; for a
            `corruption`, `(body, random.Random) -> body`; for a `delivery`,
            `(body, seconds) -> Iterable[Step]`.
        doc: one line for docs/reliability.md, with the options of `Fault` that the kind reads.
    """

    stage: Literal["limit", "refusal", "corruption", "delivery"]
    handler: Callable[..., Any]
    doc: str


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


@dataclass
class LimitedRequest:
    """A request as limits see it: its bytes, valid or not, its arrival, and all token buckets."""

    body: bytes
    now: float
    buckets: dict[int, tuple[Fault, Bucket]]  # by id; with its fault, or another gets the same id

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The JSON object of the body; empty if it is not one."""
        try:
            parsed = loads(self.body)
        except ValueError:
            return {}
        return parsed if isinstance(parsed, dict) else {}

    @cached_property
    def texts(self) -> list[str]:
        """The inputs as texts; a single input makes a list of one."""
        given = self.fields.get("input", [])
        inputs = given if isinstance(given, list) else [given]
        return [item if isinstance(item, str) else _as_text(item) for item in inputs]


def _as_text(item: Any) -> str:
    try:
        return str(item)
    except RecursionError:  # validation refuses such a request later
        return ""


def _cap(size: Callable[[LimitedRequest], int], status: int, message: str, unit: str) -> FaultKind:
    """A limit on a size; `message` is formatted with the size and the most that is allowed."""

    def check(fault: Fault, request: LimitedRequest) -> None:
        if size(request) > fault.at_most:
            raise Refusal(status, message.format(size(request), fault.at_most))

    return FaultKind("limit", check, f"{status} for more than `at_most` (default: 1) {unit}")


def _poison(fault: Fault, request: LimitedRequest) -> None:
    if any(fault.text in text for text in request.texts):
        raise Refusal(400, "the provider could not process the request")


def _no_base64(_: Fault, request: LimitedRequest) -> None:
    if request.fields.get("encoding_format") == "base64":
        raise Refusal(400, "encoding_format: base64 is not supported")


def _rate_limit(fault: Fault, request: LimitedRequest) -> None:
    rate = fault.per_second
    new = Bucket(rate, fault.burst or max(1.0, rate), request.now)
    _, bucket = request.buckets.setdefault(id(fault), (fault, new))
    if not bucket.take(request.now):
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


def _items(change: Callable[[list[dict[str, Any]], random.Random], Any], doc: str) -> FaultKind:
    """Corrupt `data`: `change` alters the list in place, or returns another."""

    def corrupt(body: bytes, chance: random.Random) -> bytes:
        answer = loads(body)
        changed = change(answer["data"], chance)
        if isinstance(changed, list):
            answer["data"] = changed
        return dumps(answer)

    return FaultKind("corruption", corrupt, doc)


def _one(value: Callable[[dict[str, Any]], Any], doc: str) -> FaultKind:
    """Corrupt the embedding of one random item: `value` makes it from the item."""

    def change(data: list[dict[str, Any]], chance: random.Random) -> None:
        item = chance.choice(data)
        item["embedding"] = value(item)

    return _items(change, doc)


def _indices(index: Callable[[int, int], int | None], doc: str) -> FaultKind:
    """Corrupt every `index`: made from position and count; None removes it."""

    def change(data: list[dict[str, Any]], _: random.Random) -> None:
        for position, item in enumerate(data):
            item["index"] = index(position, len(data))
            if item["index"] is None:
                del item["index"]

    return _items(change, doc)


def _floats(item: dict[str, Any]) -> list[float]:
    import numpy as np  # noqa: PLC0415 - few corruptions need it
    import pybase64  # noqa: PLC0415 - the same

    embedding = item["embedding"]
    if isinstance(embedding, list):
        return [float(value) for value in embedding]
    return [float(value) for value in np.frombuffer(pybase64.b64decode(embedding), "<f4")]


def _nan(body: bytes, _: random.Random) -> bytes:
    """Write NaN, which is not JSON but which some servers print."""
    answer = loads(body)
    answer["data"][0]["embedding"] = ["HERE", *_floats(answer["data"][0])[1:]]
    return dumps(answer).replace(b'"HERE"', b"NaN")


def _drip(body: bytes, seconds: float) -> Iterator[Step]:
    yield "head"
    for at in range(len(body)):
        yield body[at : at + 1]
        yield seconds / len(body)


_PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
_TOO_MANY = "batch size {} is too large: at most {} inputs are allowed"
_TOO_LARGE = "Payload Too Large: {} bytes, {} are allowed"
_TOO_LONG = "Requested {} tokens, max {} tokens per request are allowed"
_refusal, _corruption = partial(FaultKind, "refusal"), partial(FaultKind, "corruption")
_delivery, _limit = partial(FaultKind, "delivery"), partial(FaultKind, "limit")

FAULT_KINDS: dict[str, FaultKind] = {
    "status": _refusal(
        lambda fault, contract: FaultedReply(_error(fault, contract)),
        "`status` (default: 503), with the error body of the specification; `retry_after` in "
        "seconds adds a header, and `as_date` makes it a date",
    ),
    "error-in-200": _refusal(
        _error_in_200, "the error body of `status` in a 200 response, after white space"
    ),
    "html": _refusal(
        lambda *_: FaultedReply(LocalReply(502, _PAGE, {"Content-Type": "text/html"})),
        "a proxy's HTML page with status 502",
    ),
    "accept-and-close": _refusal(
        lambda *_: FaultedReply(LocalReply(400, b""), ("close",)),
        "the server closes the connection without an answer; nothing is billed",
    ),
    "empty-data": _items(lambda data, _: data.clear(), "`data` is empty"),
    "missing-item": _items(lambda data, r: data.pop(r.randrange(len(data))), "a vector is missing"),
    "surplus-item": _items(
        lambda data, _: data.append({**data[0], "index": len(data)}), "one vector too many"
    ),
    "shuffled": _items(lambda data, r: r.shuffle(data), "the items come in another order"),
    "no-index": _indices(lambda *_: None, "no item has an `index`"),
    "some-indices": _indices(lambda at, _: at or None, "the first item has no `index`"),
    "duplicate-index": _indices(lambda at, _: max(at, 1), "two items have the same `index`"),
    "index-out-of-range": _indices(
        lambda at, n: at + (at == n - 1), "the last `index` is too large"
    ),
    "null-vector": _one(lambda _: None, "one vector is null"),
    "nan-vector": _corruption(_nan, "the first vector contains NaN"),
    "zero-vector": _one(lambda item: [0.0] * len(_floats(item)), "one vector is all zeros"),
    "wrong-width": _one(lambda item: _floats(item)[:-1], "one vector is one value too short"),
    "broken-base64": _one(lambda _: "AAAA?A==", "one vector is not valid base64"),
    "floats": _items(
        lambda data, _: [{**item, "embedding": _floats(item)} for item in data],
        "the vectors are numbers although base64 was requested",
    ),
    "truncated-json": _corruption(
        lambda body, _: body[: len(body) // 2], "half of the body, as if it were complete"
    ),
    "slow-headers": _delivery(
        lambda body, seconds: (seconds, "head", body),
        "nothing comes for `seconds` (default: 3600), then everything",
    ),
    "drip": _delivery(_drip, "the body comes byte by byte, within `seconds`"),
    "stall": _delivery(
        lambda body, s: ("head", body[: len(body) // 2], s, body[len(body) // 2 :]),
        "half of the body comes, the rest `seconds` later",
    ),
    "reset-before-headers": _delivery(lambda *_: ("reset",), "a reset before the headers"),
    "reset-after-headers": _delivery(lambda *_: ("head", "reset"), "a reset after the headers"),
    "reset-mid-body": _delivery(
        lambda body, _: ("head", body[:-9], "reset"), "a reset before the end of the body"
    ),
    "batch-cap": _cap(lambda request: len(request.texts), 400, _TOO_MANY, "inputs"),
    "payload-cap": _cap(lambda request: len(request.body), 413, _TOO_LARGE, "bytes"),
    "token-cap": _cap(
        lambda r: sum(len(t.split()) for t in r.texts), 400, _TOO_LONG, "words, taken for tokens"
    ),
    "poison": _limit(_poison, '400 for an input that contains `text` (default: "poison")'),
    "no-base64": _limit(_no_base64, '400 for `"encoding_format": "base64"`'),
    "rate-limit": _limit(
        _rate_limit,
        "429 for more than `per_second` (default: 10) requests a second, `burst` (default: as "
        "many) of them at once; `retry_after` and `as_date` as for `status`",
    ),
}


@dataclass(frozen=True)
class Fault:
    """One entry of a script: what goes wrong, and for which requests.

    Attributes:
        kind: one of `FAULT_KINDS`; docs/reliability.md lists them.
        requests: numbers of the requests that the fault strikes, from 0 in order of arrival.
        probability: how likely the fault strikes any other request, from 0 to 1. Without
            `requests` and `probability` it strikes every request.
        status: the status of `status`, or the error code in `error-in-200`.
        retry_after: seconds in the Retry-After header (default: no header).
        as_date: whether Retry-After is an HTTP date instead of seconds.
        at_most: inputs (`batch-cap`), bytes (`payload-cap`) or words (`token-cap`) that a request
            may have.
        text: `poison` refuses an input that contains this text.
        per_second: requests that `rate-limit` admits per second.
        burst: requests that `rate-limit` admits at once (default: as many as in a second).
        seconds: how long `slow-headers`, `drip` and `stall` delay an answer.
    """

    kind: str
    requests: Sequence[int] = ()
    probability: float = 0.0
    status: int = 503
    retry_after: float | None = None
    as_date: bool = False
    at_most: int = 1
    text: str = "poison"
    per_second: float = 10.0
    burst: float | None = None
    seconds: float = 3600.0

    def __post_init__(self) -> None:
        if self.kind not in [*FAULT_KINDS]:  # a list, because TOML may give what has no hash
            raise ValueError(f"unknown fault kind {self.kind!r}; use one of {KINDS}")
        for name, (is_valid, expected) in _VALID.items():
            if not is_valid(value := getattr(self, name)):
                raise ValueError(f"fault {self.kind!r}: {name} must be {expected}, got {value!r}")


def _is_number(value: object, least: float = 0.0) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= least


KINDS = ", ".join(FAULT_KINDS)
_VALID: dict[str, tuple[Callable[[Any], bool], str]] = {
    "requests": (
        lambda v: isinstance(v, list | tuple | range) and all(type(n) is int for n in v),
        "a list of request numbers",
    ),
    "probability": (lambda v: _is_number(v) and v <= 1, "a number from 0 to 1"),
    "status": (lambda v: type(v) is int and 400 <= v <= 599, "a status from 400 to 599"),
    "retry_after": (lambda v: v is None or _is_number(v), "a number of seconds"),
    "as_date": (lambda v: isinstance(v, bool), "true or false"),
    "at_most": (lambda v: type(v) is int and v >= 1, "a positive integer"),
    "text": (lambda v: isinstance(v, str) and v != "", "a text that is not empty"),
    "per_second": (lambda v: _is_number(v) and v > 0, "a positive number"),
    "burst": (lambda v: v is None or (_is_number(v) and v > 0), "a positive number"),
    "seconds": (_is_number, "a number of seconds"),
}
