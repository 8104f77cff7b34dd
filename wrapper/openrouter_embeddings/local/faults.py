"""A script of faults, which the stand-in plays, and the record of what it refused and billed.

A script is a list of `Fault` or a TOML file, as below. If several faults strike a request, the
first one in the script wins.

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

import random
import threading
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Self

from openrouter_embeddings._json import dumps, loads

from .contract import Contract
from .fault_kinds import FAULT_KINDS, KINDS, Bucket, Fault, FaultedReply, LimitedRequest
from .models import MODELS, Model
from .reply import LocalReply, Refusal
from .respond import error_reply, respond

__all__ = ["Bill", "Fault", "Faults"]


@dataclass(frozen=True)
class Bill:
    """A request that was computed and billed, whether or not the client got the answer."""

    request: int
    inputs: tuple[str, ...]
    cost: float


@dataclass
class Faults:
    """Plays a script of faults, and records what was refused and billed. Safe to share by threads.

    Attributes:
        faults: the script.
        seed: of the random numbers behind `probability` and corruptions.
        contract: the contract that replies follow; None: the one that ships.
        models: the models that compute vectors, by name.
        requests: how many requests have arrived.
        refused: how many requests got an error status, by status.
        billed: the requests that were computed.
    """

    faults: Sequence[Fault] = ()
    seed: int = 0
    contract: Contract | None = None
    models: Mapping[str, Model] = field(default_factory=lambda: MODELS, repr=False)
    requests: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    billed: list[Bill] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _buckets: dict[int, tuple[Fault, Bucket]] = field(default_factory=dict, repr=False)

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Parse a script. Raises ValueError for one that is not valid."""
        script = tomllib.loads(text)
        options = {f.name for f in fields(Fault)}
        if unknown := {*script} - {"seed", "fault"}:
            names = ", ".join(sorted(unknown))
            raise ValueError(f"unknown key {names}; a script has seed and [[fault]]")
        entries = script.get("fault", [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError("write each fault as a [[fault]] table, in double brackets")
        for number, entry in enumerate(entries):
            if unknown := {*entry} - options:
                names = ", ".join(sorted(unknown))
                known = ", ".join(sorted(options))
                raise ValueError(f"fault {number}: unknown key {names}; use {known}")
            if "kind" not in entry:
                raise ValueError(f"fault {number}: kind is missing; use one of {KINDS}")
        if type(seed := script.get("seed", 0)) is not int:
            raise ValueError(f"seed must be an integer, got {seed!r}")
        return cls([Fault(**entry) for entry in entries], seed)

    def play(self, body: bytes, headers: Mapping[str, str], now: float) -> FaultedReply:
        """Answer one request; `now` is any clock's seconds, `headers` have lower-case names."""
        with self._lock:
            number, self.requests = self.requests, self.requests + 1
            chance = random.Random(f"{self.seed}:{number}")  # noqa: S311 - a script, repeatable
            faults = [fault for fault in self.faults if _strikes(fault, number, chance)]
            refusal = self._check_limits(faults, LimitedRequest(body, now, self._buckets))
        faulted = refusal or self._answer(faults, body, headers, number, chance)
        if faulted.reply.status >= 400 and faulted.steps is None:
            with self._lock:
                self.refused[faulted.reply.status] += 1
        return faulted

    def billed_twice(self) -> int:
        """How many inputs were billed again: one that was billed three times counts twice.

        Inputs are told apart by their content, so do not send the same one twice.
        """
        times = Counter(text for bill in self.billed for text in bill.inputs)
        return sum(count - 1 for count in times.values())

    def _check_limits(self, faults: list[Fault], request: LimitedRequest) -> FaultedReply | None:
        """The refusal by a limit that comes before any other fault in the script."""
        for fault in faults:
            kind = FAULT_KINDS[fault.kind]
            if kind.stage != "limit":
                return None
            try:
                kind.handler(fault, request)
            except Refusal as refusal:
                return FaultedReply(error_reply(refusal, self.contract))
        return None

    def _answer(
        self,
        faults: list[Fault],
        body: bytes,
        headers: Mapping[str, str],
        number: int,
        chance: random.Random,
    ) -> FaultedReply:
        fault = next((one for one in faults if FAULT_KINDS[one.kind].stage != "limit"), None)
        kind = None if fault is None else FAULT_KINDS[fault.kind]
        if kind is not None and kind.stage == "refusal":
            refusal: FaultedReply = kind.handler(fault, self.contract)
            return refusal
        reply = respond(body, headers, self.contract, self.models)
        if reply.status != 200:
            return FaultedReply(reply)
        self._bill(number, body, reply)
        if fault is None or kind is None:
            return FaultedReply(reply)
        if kind.stage == "delivery":
            return FaultedReply(reply, kind.handler(reply.body, fault.seconds))
        return FaultedReply(LocalReply(200, kind.handler(reply.body, chance), reply.headers))

    def _bill(self, number: int, body: bytes, reply: LocalReply) -> None:
        given = loads(body)["input"]
        single = isinstance(given, str) or bool(given and isinstance(given[0], int | float))
        inputs = tuple(dumps(item).decode() for item in ([given] if single else given))
        usage = loads(reply.body).get("usage")  # some contracts have no `usage`
        cost = usage.get("cost", 0.0) if isinstance(usage, dict) else 0.0
        with self._lock:
            self.billed.append(Bill(number, inputs, cost))


def _strikes(fault: Fault, number: int, chance: random.Random) -> bool:
    if fault.requests or fault.probability:
        return number in fault.requests or chance.random() < fault.probability
    return True
