"""Every fault that the stand-in can play, and what has to come of it: a matrix or a typed error.

`make faults` plays them over a socket, tests/client/test_faults.py in process.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import openrouter_embeddings as ore
from openrouter_embeddings.local.faults import DELIVERIES, Fault, Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Kind = Literal["sync", "async"]
TEXTS = [f"text number {number}" for number in range(20)]
# In one request, and in five of which four are under way at once.
BATCHES: dict[str, ore.EmbedOptions] = {
    "one batch": {"batch_size": 128},
    "many batches": {"batch_size": 4, "concurrency": 4},
}
EXPECTED = ore.Client.local(model="local/hash").embed(TEXTS).vectors


@dataclass(frozen=True)
class Scenario:
    """A fault, and the error that it leads to when it befalls one request, or all (None: none)."""

    name: str
    fault: Fault
    once: type[ore.EmbeddingsError] | None = None
    always: type[ore.EmbeddingsError] | None = None

    def script(self, how: str) -> Faults:
        """`once` or `always`."""
        values = {name: getattr(self.fault, name) for name in self.fault.__dataclass_fields__}
        befalls = {"requests": (0,)} if how == "once" else {"probability": 1.0}
        return Faults([Fault(**{**values, **befalls})])


def _status(status: int, always: type[ore.EmbeddingsError], **more: Any) -> Scenario:
    lasting = status in (401, 402, 403, 404)
    said = " ".join(f"{name}={value}" for name, value in more.items())
    return Scenario(
        f"status {status} {said}".strip(),
        Fault("status", status=status, **more),
        always if lasting else None,
        always,
    )


def _answers(kinds: Iterable[str], always: type[ore.EmbeddingsError] | None) -> list[Scenario]:
    return [Scenario(kind, Fault(kind), None, always) for kind in kinds]


SCENARIOS = [
    _status(400, ore.BadRequestError),
    _status(401, ore.AuthenticationError),
    _status(402, ore.PaymentRequiredError),
    _status(403, ore.PermissionDeniedError),
    _status(404, ore.NotFoundError),
    _status(408, ore.RequestTimeoutError),
    _status(413, ore.PayloadTooLargeError),
    _status(422, ore.BadRequestError),
    _status(429, ore.RateLimitError),
    _status(429, ore.RateLimitError, retry_after=1),
    _status(429, ore.RateLimitError, retry_after=2, as_date=True),
    _status(500, ore.InternalServerError),
    _status(502, ore.BadGatewayError),
    _status(503, ore.ServiceUnavailableError, retry_after=1),
    _status(504, ore.ServerError),
    *(_status(status, ore.ServerError) for status in range(520, 524)),
    _status(524, ore.EdgeNetworkTimeoutError),
    _status(529, ore.OverloadedError),
    Scenario("error-in-200, 429", Fault("error-in-200", status=429), None, ore.RateLimitError),
    Scenario("error-in-200, 400", Fault("error-in-200", status=400), None, ore.BadRequestError),
    *_answers(["html"], ore.BadGatewayError),
    *_answers(["shuffled", "no-index", "floats"], None),
    *_answers(["empty-data", "missing-item", "surplus-item"], ore.ResponseError),
    *_answers(["some-indices", "duplicate-index", "index-out-of-range"], ore.ResponseError),
    *_answers(["null-vector", "nan-vector", "zero-vector", "wrong-width"], ore.ResponseError),
    *_answers(["broken-base64", "truncated-json"], ore.ResponseError),
    *(
        Scenario(kind, Fault(kind, seconds=3600), None, ore.APITimeoutError)
        for kind in ("slow-headers", "drip", "stall")
    ),
    *(
        Scenario(kind, Fault(kind), None, ore.APIConnectionError)
        for kind in DELIVERIES
        if kind.startswith("reset") or kind == "accept-and-close"
    ),
    Scenario("batch-cap of 3", Fault("batch-cap", at_most=3)),
    Scenario("payload-cap of 400 bytes", Fault("payload-cap", at_most=400)),
    Scenario("token-cap of 9", Fault("token-cap", at_most=9)),
    Scenario("no-base64", Fault("no-base64")),
    Scenario(
        "poison in one input",
        Fault("poison", text="number 13"),
        None,
        ore.BadRequestError,
    ),
    Scenario("rate-limit of 100/s", Fault("rate-limit", per_second=100.0, burst=3.0)),
]


@dataclass(frozen=True)
class Outcome:
    """What came of a call.

    Attributes:
        error: its type; None where the right matrix came.
        again: inputs that were billed more than once.
        said: what the usage says of it: attempts without a whole answer, vectors refused.
        problems: what is not as it should be.
    """

    error: type[ore.EmbeddingsError] | None
    again: int
    said: str
    problems: tuple[str, ...]


def judge(call: Callable[[], ore.EmbeddingResult], faults: Faults) -> Outcome:
    """Make a call, and hold its result, or its error, to what the service has billed."""
    try:
        result: ore.EmbeddingResult | None = call()
        error = None
        usage = cast("ore.EmbeddingResult", result).usage
    except ore.EmbeddingsError as raised:
        result, error, usage = raised.partial, raised, raised.usage or ore.Usage()
    problems = []
    if result is not None and not np.array_equal(result.vectors, EXPECTED[result.mask]):
        problems.append("a vector is wrong")
    if error is None and (result is None or not result.mask.all()):
        problems.append("a vector is missing")
    billed = sum((Decimal(str(bill.cost)) for bill in faults.billed), Decimal(0))
    if usage.unanswered == 0 and billed != (usage.cost or 0) and not _unreadable(faults):
        problems.append(f"{billed} were billed and {usage.cost} reported")
    again = faults.billed_twice()
    if again > usage.refused and not usage.unanswered:
        problems.append("something was billed twice in silence")
    said = f"{usage.unanswered} unanswered, {usage.refused} refused"
    return Outcome(type(error) if error else None, again, said, tuple(problems))


def _unreadable(faults: Faults) -> bool:
    """An answer that is no JSON names no cost, though it was billed."""
    return any(fault.kind == "truncated-json" for fault in faults.faults)


def embed(kind: Kind, make: Callable[..., Any], options: ore.EmbedOptions) -> ore.EmbeddingResult:
    """TEXTS through a new client of the kind, made by `make`."""
    if kind == "sync":
        with make() as client:
            found: ore.EmbeddingResult = client.embed(TEXTS, **options)
            return found

    async def run() -> ore.EmbeddingResult:
        async with make() as client:
            result: ore.EmbeddingResult = await client.embed(TEXTS, **options)
            return result

    return asyncio.run(run())
