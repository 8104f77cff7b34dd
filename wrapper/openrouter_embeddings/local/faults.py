"""Faults in front of the stand-in: what a script says shall go wrong, and what was billed then.

A script is a list of `Fault`, the first that befalls a request wins, or a TOML file of them:

    seed = 7

    [[fault]]
    kind = "status"
    status = 429
    retry_after = 1
    requests = [0, 3]

    [[fault]]
    kind = "reset-mid-body"
    probability = 0.05

    [[fault]]
    kind = "batch-cap"
    at_most = 64
"""

from __future__ import annotations

import random
import threading
import tomllib
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import orjson

from .corrupt import CORRUPTIONS
from .limits import LIMITS, Bucket, Limits
from .models import MODELS
from .reply import LocalReply, Refusal
from .respond import error_reply, respond

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .contract import Contract
    from .models import Model

# How an answer travels, when not as it should. `seconds` is how long the first three take.
DELIVERIES = {
    "slow-headers": "nothing comes for a while",
    "drip": "the body comes a byte at a time",
    "stall": "half of the body comes, then nothing for a while",
    "reset-before-headers": "the connection is reset before anything comes",
    "reset-after-headers": "the connection is reset after the headers",
    "reset-mid-body": "the connection is reset in the middle of the body",
    "accept-and-close": "the connection is closed before the request is read",
}
_STATUS = "status"
KINDS = (_STATUS, *CORRUPTIONS, *DELIVERIES, *LIMITS)


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: one of `KINDS`.
        requests: which requests it befalls, counted from 0 in the order of arrival.
        probability: how likely it befalls any other. Without these two it befalls all.
        status: of the kind `status`, and the code of `error-in-200`.
        retry_after: seconds in a Retry-After header; `as_date` writes it as an HTTP date.
        at_most: inputs (`batch-cap`), bytes (`payload-cap`) or tokens (`token-cap`) of a request.
        text: what a poisonous input contains.
        per_second: requests that `rate-limit` lets pass; up to `burst` at once (default: a
            second's worth).
        seconds: how long a slow answer takes.
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
        if self.kind not in KINDS:
            raise ValueError(f"no fault is called {self.kind!r}; known are {', '.join(KINDS)}")
        wrong = [name for name, right in _RIGHT.items() if not right(getattr(self, name))]
        if wrong:
            value = getattr(self, wrong[0])
            raise ValueError(f"{wrong[0]} = {value!r} of the fault {self.kind!r} cannot be right")


def _is_number(value: object, least: float = 0.0) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= least


_RIGHT: dict[str, Callable[[Any], bool]] = {
    "requests": lambda v: isinstance(v, list | tuple | range) and all(type(n) is int for n in v),
    "probability": lambda v: _is_number(v) and v <= 1,
    "status": lambda v: type(v) is int and 400 <= v <= 599,
    "retry_after": lambda v: v is None or _is_number(v),
    "as_date": lambda v: isinstance(v, bool),
    "at_most": lambda v: type(v) is int and v >= 1,
    "text": lambda v: isinstance(v, str) and v != "",
    "per_second": lambda v: _is_number(v) and v > 0,
    "burst": lambda v: v is None or (_is_number(v) and v > 0),
    "seconds": _is_number,
}


@dataclass(frozen=True)
class FaultedReply:
    """What a request gets: a reply, and how it travels (None: as it should)."""

    reply: LocalReply
    delivery: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Bill:
    """A request that was computed, and so billed, whatever became of its answer."""

    request: int
    inputs: tuple[str, ...]
    cost: float


@dataclass
class Faults:
    """A script at work, and its books. Safe to share among threads.

    Attributes:
        faults: the script.
        seed: of what is left to probability.
        contract: what answers follow; None: the one that ships.
        models: what answers, by name.
        requests: how many came.
        refused: how many were answered with an error status, by status.
        billed: what was computed.
    """

    faults: Sequence[Fault] = ()
    seed: int = 0
    contract: Contract | None = None
    models: Mapping[str, Model] = field(default_factory=lambda: MODELS, repr=False)
    requests: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    billed: list[Bill] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _buckets: dict[int, Bucket] = field(default_factory=dict, repr=False)

    @classmethod
    def from_toml(cls, text: str) -> Faults:
        """Read a script. Raises ValueError that says what is wrong with it."""
        whole = tomllib.loads(text)
        known = {f.name for f in fields(Fault)}
        if unknown := {*whole} - {"seed", "fault"}:
            raise ValueError(f"{', '.join(sorted(unknown))} is not known; seed and [[fault]] are")
        entries = whole.get("fault", [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError("each fault stands under [[fault]], in two pairs of brackets")
        for number, entry in enumerate(entries):
            if unknown := {*entry} - known:
                raise ValueError(f"fault {number}: {', '.join(sorted(unknown))} is not known")
            if "kind" not in entry:
                raise ValueError(f"fault {number}: it has no kind; known are {', '.join(KINDS)}")
        if type(seed := whole.get("seed", 0)) is not int:
            raise ValueError(f"seed = {seed!r} is no integer")
        return cls([Fault(**entry) for entry in entries], seed)

    def play(self, body: bytes, headers: Mapping[str, str], now: float) -> FaultedReply:
        """Answer one request; `now` is any clock's seconds, `headers` have lower-case names."""
        with self._lock:
            number, self.requests = self.requests, self.requests + 1
            chance = random.Random(f"{self.seed}:{number}")  # noqa: S311 - a script, repeatable
            befallen = [fault for fault in self.faults if _befalls(fault, number, chance)]
            refusal = self._limit(befallen, body, now)
        played = refusal or self._answer(befallen, body, headers, number, chance)
        if played.reply.status >= 400 and played.delivery is None:
            with self._lock:
                self.refused[played.reply.status] += 1
        return played

    def billed_twice(self) -> int:
        """Inputs that were billed more than once, each counted as often as it was in excess.

        Equal texts are one input to it, so give it different ones.
        """
        times = Counter(text for bill in self.billed for text in bill.inputs)
        return sum(count - 1 for count in times.values())

    def _limit(self, befallen: list[Fault], body: bytes, now: float) -> FaultedReply | None:
        """A refusal by a limit that comes before any other fault in the script."""
        for fault in befallen:
            if fault.kind not in LIMITS:
                return None
            if fault.kind == "rate-limit":
                bucket = self._buckets.setdefault(
                    id(fault),
                    Bucket(fault.per_second, fault.burst or max(1.0, fault.per_second), now),
                )
                if not bucket.take(now):
                    return FaultedReply(self._refuse(429, "Rate limit exceeded", fault))
                continue
            try:
                Limits(body).check(fault.kind, fault.at_most, fault.text)
            except Refusal as refusal:
                return FaultedReply(error_reply(refusal, self.contract))
        return None

    def _answer(
        self,
        befallen: list[Fault],
        body: bytes,
        headers: Mapping[str, str],
        number: int,
        chance: random.Random,
    ) -> FaultedReply:
        faults = [fault for fault in befallen if fault.kind not in LIMITS]
        fault = faults[0] if faults else None
        if fault is not None and fault.kind in (_STATUS, "error-in-200", "html"):
            return FaultedReply(self._instead(fault))
        if fault is not None and fault.kind == "accept-and-close":
            return FaultedReply(LocalReply(400, b""), fault.kind)
        reply = respond(body, headers, self.contract, self.models)
        if reply.status != 200:
            return FaultedReply(reply)
        self._bill(number, body, reply)
        if fault is None:
            return FaultedReply(reply)
        if fault.kind in DELIVERIES:
            return FaultedReply(reply, fault.kind, fault.seconds)
        return FaultedReply(
            LocalReply(200, CORRUPTIONS[fault.kind](reply.body, chance), reply.headers)
        )

    def _bill(self, number: int, body: bytes, reply: LocalReply) -> None:
        given = orjson.loads(body)["input"]
        single = isinstance(given, str) or bool(given and isinstance(given[0], int | float))
        inputs = tuple(orjson.dumps(item).decode() for item in ([given] if single else given))
        usage = orjson.loads(reply.body).get("usage")  # a contract may have no place for it
        cost = usage.get("cost", 0.0) if isinstance(usage, dict) else 0.0
        with self._lock:
            self.billed.append(Bill(number, inputs, cost))

    def _refuse(self, status: int, message: str, fault: Fault) -> LocalReply:
        return error_reply(Refusal(status, message, headers=_waits(fault)), self.contract)

    def _instead(self, fault: Fault) -> LocalReply:
        """What comes without anything having been computed."""
        if fault.kind == "html":
            page = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
            return LocalReply(502, page, {"Content-Type": "text/html"})
        refused = self._refuse(fault.status, "a fault of the script", fault)
        if fault.kind == _STATUS:
            return refused
        body = b"\n         \n" + refused.body  # the service keeps the line alive with white space
        return LocalReply(200, body)


def _befalls(fault: Fault, number: int, chance: random.Random) -> bool:
    if fault.requests or fault.probability:
        return number in fault.requests or chance.random() < fault.probability
    return True


def _waits(fault: Fault) -> dict[str, str]:
    if fault.retry_after is None:
        return {}
    if not fault.as_date:
        return {"Retry-After": f"{fault.retry_after:g}"}
    import time  # noqa: PLC0415 - the one thing here that has to know the date
    from email.utils import formatdate  # noqa: PLC0415 - goes with it

    return {"Retry-After": formatdate(time.time() + fault.retry_after, usegmt=True)}
