"""Every kind of fault, and what a call must end in: the right matrix or a typed error.

`python -m stress.faults` plays the scenarios over a socket, tests/client/test_faults.py in process.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import openrouter_embeddings as ore
from openrouter_embeddings.local.faults import Fault, Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Kind = Literal["sync", "async"]
TEXTS = [f"text number {number}" for number in range(20)]
# All texts in one request, or in five requests, four of them at a time.
BATCHES: dict[str, ore.EmbedOptions] = {
    "one batch": {"batch_size": 128},
    "many batches": {"batch_size": 4, "concurrency": 4},
}
EXPECTED = ore.Client.local(model="local/hash").embed(TEXTS).vectors


@dataclass(frozen=True)
class Scenario:
    """A fault, and the error that a call raises (None: no error, the right matrix).

    Attributes:
        name: the first cell in the table of docs/reliability.md.
        fault: the fault.
        once: the error if the fault strikes only the first request.
        always: the error if it strikes every request.
    """

    name: str
    fault: Fault
    once: type[ore.EmbeddingsError] | None = None
    always: type[ore.EmbeddingsError] | None = None

    def script(self, how: str) -> Faults:
        """The script that plays the fault `once` or `always`."""
        if how == "once":
            return Faults([replace(self.fault, requests=(0,))])
        return Faults([replace(self.fault, probability=1.0)])


def _status(status: int, always: type[ore.EmbeddingsError], **more: Any) -> Scenario:
    once = always if status in (401, 402, 403, 404) else None
    name = " ".join([f"status {status}", *(f"{key}={value}" for key, value in more.items())])
    return Scenario(name, Fault("status", status=status, **more), once, always)


def _scenarios(kinds: Iterable[str], always: type[ore.EmbeddingsError] | None) -> list[Scenario]:
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
    *_scenarios(["html"], ore.BadGatewayError),
    *_scenarios(["shuffled", "no-index", "floats"], None),
    *_scenarios(["empty-data", "missing-item", "surplus-item"], ore.ResponseError),
    *_scenarios(["some-indices", "duplicate-index", "index-out-of-range"], ore.ResponseError),
    *_scenarios(["null-vector", "nan-vector", "zero-vector", "wrong-width"], ore.ResponseError),
    *_scenarios(["broken-base64", "truncated-json"], ore.ResponseError),
    *_scenarios(["slow-headers", "drip", "stall"], ore.APITimeoutError),
    *_scenarios(["reset-before-headers", "reset-after-headers"], ore.APIConnectionError),
    *_scenarios(["reset-mid-body", "accept-and-close"], ore.APIConnectionError),
    Scenario("batch-cap of 3", Fault("batch-cap", at_most=3)),
    Scenario("payload-cap of 400 bytes", Fault("payload-cap", at_most=400)),
    Scenario("token-cap of 9", Fault("token-cap", at_most=9)),
    Scenario("no-base64", Fault("no-base64")),
    Scenario("poison in one input", Fault("poison", text="number 13"), None, ore.BadRequestError),
    Scenario("rate-limit of 100/s", Fault("rate-limit", per_second=100.0, burst=3.0)),
]


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    Attributes:
        error: the type of the error; None if the call returned a result.
        billed_again: inputs that were billed more than once.
        problems: what is wrong with the result or its usage.
    """

    error: type[ore.EmbeddingsError] | None
    billed_again: int
    problems: tuple[str, ...]


def judge(call: Callable[[], ore.EmbeddingResult], faults: Faults) -> Outcome:
    """Make a call, and compare its result or error with what the stand-in computed and billed."""
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
        problems.append(f"{billed} credits were billed, the usage says {usage.cost}")
    again = faults.billed_twice()
    if again > usage.refused and not usage.unanswered:
        problems.append("inputs were billed twice, and the usage does not say so")
    return Outcome(type(error) if error else None, again, tuple(problems))


def _unreadable(faults: Faults) -> bool:
    """Whether replies are cut off, so that the client cannot read what they cost."""
    return any(fault.kind == "truncated-json" for fault in faults.faults)


def embed(kind: Kind, make: Callable[..., Any], options: ore.EmbedOptions) -> ore.EmbeddingResult:
    """The result of embedding TEXTS with a client that `make` returns."""
    result: ore.EmbeddingResult
    if kind == "sync":
        with make() as client:
            result = client.embed(TEXTS, **options)
            return result

    async def run() -> ore.EmbeddingResult:
        async with make() as client:
            awaited: ore.EmbeddingResult = await client.embed(TEXTS, **options)
            return awaited

    return asyncio.run(run())
