"""What one call of either client keeps while its requests are under way: the clock, mostly."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import weakref
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

from openrouter_embeddings.core import result_builder
from openrouter_embeddings.core.batching import max_reply_bytes
from openrouter_embeddings.core.budget import Budget
from openrouter_embeddings.core.decode import decode
from openrouter_embeddings.core.encode import encode
from openrouter_embeddings.core.retry_policy import can_retry, maybe_billed
from openrouter_embeddings.core.splitting import BatchSplitter
from openrouter_embeddings.core.streaming import StreamDecoder
from openrouter_embeddings.errors import (
    APIConnectionError,
    BudgetExceededError,
    DeadlineExceededError,
    EmbeddingsError,
    NotFoundError,
    ResponseError,
)
from openrouter_embeddings.result import Usage

from . import _throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import stamina

    from openrouter_embeddings.core.batching import Batch
    from openrouter_embeddings.core.decode import Decoded
    from openrouter_embeddings.core.options import Options
    from openrouter_embeddings.core.splitting import ModelLimits
    from openrouter_embeddings.core.wire import Reply
    from openrouter_embeddings.result import EmbeddingResult, Matrix

# Seconds for requests that are in flight, and are being paid for, when another ends the call.
GRACE = 5.0
_JITTER = 1.0


class SharedBudget(NamedTuple):
    """A budget, and the lock around it: threads share it, of one call or, in a job, of several."""

    budget: Budget
    lock: threading.Lock


class CallState:
    """One call: its options, when it must end, what it has cost, and whether anybody wants it."""

    def __init__(
        self, options: Options, learned: ModelLimits, purse: SharedBudget | None = None
    ) -> None:
        self.options = options
        self.fields = options.request_fields()
        self.learned = learned
        self.over = threading.Event()
        self.why_over = "the call has ended without this request"
        if options.budget is not None:
            purse = SharedBudget(Budget(options.budget), threading.Lock())
        self.purse = purse
        self._failed_from = math.inf
        self._divisions: dict[int, BatchSplitter] = {}
        self._spent = Usage()
        self.lock = threading.Lock()
        self._width: int | None = None
        self._running = 0
        self.whole: result_builder.ResultBuilder | None = None
        self._ends = None if options.deadline is None else _throttle.clock.now() + options.deadline
        self._process = os.getpid()

    def begin(self) -> None:
        """A stream's first part is asked for, and belongs to this process from then on."""
        self._process = os.getpid()

    @property
    def is_forked(self) -> bool:
        """Whether its requests and locks are those of another process, which was forked."""
        return os.getpid() != self._process

    def check_process(self) -> None:
        """Raise APIConnectionError in another process than the call began in."""
        if self.is_forked:
            raise APIConnectionError(
                "the stream began in another process, before a fork, and its answers come there; "
                "begin a new one here"
            )

    def end(self, why: str = "") -> None:
        """Nobody wants it any more."""
        self.why_over = why or self.why_over
        self.over.set()

    def check_over(self, batch: Batch) -> None:
        """Raise EmbeddingsError where nobody wants any more of it."""
        if self.over.is_set():
            raise EmbeddingsError(self.why_over, inputs=batch.positions)

    def remaining(self) -> float:
        """Seconds until the deadline; infinite without one."""
        return math.inf if self._ends is None else self._ends - _throttle.clock.now()

    def spend(self, usage: Usage) -> None:
        """Count an answer, from whichever thread; a refused one was billed, too."""
        with self.lock:
            self._spent += usage
        if self.purse is not None:
            with self.purse.lock:
                self.purse.budget.spend(usage)

    def total(self) -> Usage | None:
        """What the call has used so far; None before the first answer."""
        spent = self._spent
        return spent if spent.requests or spent.unanswered else None

    @contextmanager
    def watched(self, batch: Batch) -> Iterator[None]:
        """Around a batch: when it fails, none behind it sends any more. Those before it go on."""
        with self.lock:
            self._running += 1
        try:
            yield
        except EmbeddingsError:
            with self.lock:
                self._failed_from = min(self._failed_from, batch.positions[0])
            raise
        finally:
            with self.lock:
                self._running -= 1

    def wants(self, piece: Batch) -> bool:
        """Whether anybody still wants a piece."""
        return not self.over.is_set() and piece.positions[0] <= self._failed_from

    @property
    def proven(self) -> bool:
        """Whether the service has accepted a request of this call."""
        return self._spent.requests > 0

    def divide(self, batch: Batch) -> BatchSplitter:
        """Begin with a batch."""
        purse = self.purse  # not self: a call that held itself would hold its matrix, too
        division = BatchSplitter(
            batch,
            self.learned,
            self.options.model,
            skip=self.options.on_error == "skip",
            retry=self.options.max_retries > 0,
            price_unknown=lambda: purse is not None and purse.budget.needs_price,
        )
        self._divisions[batch.positions[0]] = division
        return division

    def part(self, division: BatchSplitter) -> EmbeddingResult:
        """A batch that is done, as a result."""
        return division.result()

    def hand_over(self, part: EmbeddingResult) -> None:
        """A part goes to the caller. Raises ResponseError where it is of another width."""
        if len(part):
            positions = range(part.start, part.start + len(part) + len(part.missing))
            self._width = result_builder.check_width(self._width, part.vectors, positions)
        del self._divisions[part.start]

    def gather(self, inputs: int) -> result_builder.ResultBuilder:
        """Where the vectors of all inputs shall go, in a call that gives one matrix."""
        self.whole = result_builder.ResultBuilder(inputs)
        return self.whole

    def add(self, whole: result_builder.ResultBuilder, part: EmbeddingResult) -> None:
        """Put a part to its place, while other threads look for theirs."""
        with self.lock:
            whole.add(part)

    def conclude(self, error: EmbeddingsError) -> None:
        """Give an error what the call has cost and brought until it ended.

        Of a stream, that is what came and was not handed over.
        """
        begun = sorted(self._divisions.items())
        with self.lock:
            handed_over, self.whole = self.whole, None
            if handed_over is not None and self._running:  # requests that could not be cut
                handed_over.reallocate()
        if handed_over is None:
            inputs = sum(len(division.batch.items) for _, division in begun)
            handed_over = result_builder.ResultBuilder(inputs, begun[0][0] if begun else 0)
        for _, division in begun:
            part = self.part(division)
            if len(part):
                if self._width not in (None, part.vectors.shape[1]):
                    continue
                self._width = part.vectors.shape[1]
            handed_over.add(part)
        result = handed_over.result(self.options.model)
        error.partial = result if len(result) or result.errors else None
        error.usage = self.total()


class _RetryOptions(TypedDict):
    on: Any
    attempts: int
    timeout: None
    wait_initial: float
    wait_max: float
    wait_jitter: float


class RequestState:
    """One request's way through its attempts, whichever client waits for them."""

    def __init__(self, call: CallState, division: BatchSplitter, piece: Batch) -> None:
        self.call = call
        self._division = division
        self._piece = piece
        self._backoff = 0.0
        self._retries = 0
        self._refused = 0
        self._out_of_time = False
        self._has_read = False  # the answer of the attempt that is under way
        self._is_promised = False  # what it may cost, to the budget
        self._tokens = piece.max_tokens if call.purse is not None else 0
        fields = call.fields
        self.as_base64 = fields["encoding_format"] == "base64"
        if self.as_base64 and call.options.model in call.learned.float_only:
            self.as_base64 = False
            fields = {**fields, "encoding_format": "float"}
        self.body = encode(fields, piece)

    def scan(self) -> StreamDecoder:
        """What takes an attempt's answer, and puts its vectors where they belong."""
        inputs = len(self._piece.items)
        return StreamDecoder(inputs, max_reply_bytes(inputs), self._reserve)

    def _reserve(self, width: int) -> Matrix | None:
        if self.call.options.dimensions not in (None, width):
            return None
        with self.call.lock:
            whole = self.call.whole
            return None if whole is None else whole.reserve(self._piece.positions, width)

    @property
    def retrying(self) -> _RetryOptions:
        """Arguments for `stamina.retry_context`."""
        # stamina's iterator is a cycle; with this in it, every matrix would wait for the collector
        here = weakref.ref(self)

        def wait_before_retry(error: Exception) -> bool | float:
            exchange = here()
            return exchange is not None and exchange._wait_before_retry(error)  # noqa: SLF001

        return {
            "on": wait_before_retry,
            "attempts": self.call.options.max_retries + 1,
            "timeout": None,  # the deadline is kept below, before it has passed
            "wait_initial": 0.5,
            "wait_max": 30.0,
            "wait_jitter": _JITTER,
        }

    def expect_backoff(self, seconds: float) -> None:
        """What stamina will wait, without jitter, should the coming attempt fail."""
        self._backoff = seconds

    def verdict(self) -> Literal["go", "wait", "stop"]:
        """What the call itself has to say of the request now; `check` raises where it stops."""
        if not self.call.wants(self._piece):
            return "stop"
        if self.call.purse is None:
            return "go"
        budget, lock = self.call.purse
        with lock:
            return budget.verdict(self._tokens)

    def check(self, wait: float) -> float:
        """Seconds until the deadline, for a request that may begin in `wait`.

        Raises DeadlineExceededError or BudgetExceededError, or ends a call that is over.
        """
        if not self.call.wants(self._piece):
            raise EmbeddingsError(self.call.why_over)
        if self.call.purse is not None:
            budget, lock = self.call.purse
            with lock:
                if budget.verdict(self._tokens) == "stop":
                    raise BudgetExceededError(budget.reason, inputs=self._piece.positions)
        remaining = self.call.remaining()
        if remaining <= 0 or remaining < wait < math.inf:
            raise self._deadline_error()
        return remaining

    def begun(self) -> None:
        """The request is sent now. Saying so again, after an interrupt, is fine."""
        self._has_read = False
        if self.call.purse is not None and not self._is_promised:
            self._is_promised = True
            with self.call.purse.lock:
                self.call.purse.budget.begin(self._tokens)

    def ended(self, outcome: BaseException | None) -> None:
        """The attempt has ended, with an error or without."""
        cut_off = isinstance(outcome, ResponseError | asyncio.CancelledError)
        unread = cut_off and not self._has_read
        unanswered = unread or maybe_billed(outcome)
        if unanswered:
            self._count(Usage(unanswered=1))
        if self.call.purse is not None:
            self._is_promised = False
            with self.call.purse.lock:
                self.call.purse.budget.end(self._tokens, maybe_billed=unanswered)

    def may_resend(self) -> bool:
        """Whether a request that may have been billed goes out again at once; it is counted then.

        Where there is a budget the attempt fails, and the next one has to ask it.
        """
        if self.call.purse is not None or not self.call.wants(self._piece):
            return False
        self._count(Usage(unanswered=1))
        return True

    def timeout(self) -> float:
        """Seconds that the attempt may take."""
        return max(min(self.call.options.timeout, self.call.remaining()), 1e-3)

    def read(self, reply: Reply) -> Decoded:
        """The piece's vectors. What refused answers have cost is counted too."""
        self._has_read = True
        try:
            decoded = decode(reply, self._piece, self.call.options.dimensions)
        except ResponseError as error:
            self._count(error.usage, refused=len(self._piece.items))
            raise
        except EmbeddingsError as error:
            self._count(error.usage)
            raise
        refused = len(decoded.error.inputs) if decoded.error else 0
        self._count(decoded.served.usage, refused=refused)
        return decoded

    def _count(self, usage: Usage | None, refused: int = 0) -> None:
        if usage is not None:
            if refused:
                usage = replace(usage, refused=refused)
            self._division.usage += usage
            self.call.spend(usage)

    @contextmanager
    def with_error_context(self) -> Iterator[None]:
        """Around all attempts: the error that ends them says which inputs, and why no more came."""
        try:
            yield
        except EmbeddingsError as error:
            error.inputs = error.inputs or tuple(self._piece.positions)
            error.usage = self.call.total()
            if isinstance(error, NotFoundError) and (asked := self.call.fields.get("provider")):
                error.message += f" (provider preferences of the call: {', '.join(asked)})"
            if self._out_of_time:
                raise self._deadline_error(error) from error
            raise

    def _wait_before_retry(self, error: Exception) -> bool | float:
        """Stamina's hook: False to give up, True for its own wait, seconds for one of ours."""
        if not isinstance(error, EmbeddingsError) or not self.call.wants(self._piece):
            return False
        if not can_retry(error, self._refused):
            return False
        if self.call.remaining() <= 0:
            self._out_of_time = True
            return False
        if self._retries == self.call.options.max_retries:
            return False
        self._retries += 1
        self._refused += isinstance(error, ResponseError)
        remaining = self.call.remaining()
        wait = max(self._backoff, error.retry_after or 0.0)
        if wait >= remaining:
            self._out_of_time = True
            return False
        self._count(Usage(retries=1))
        return True if wait == self._backoff and wait + _JITTER < remaining else wait

    def _deadline_error(self, last: EmbeddingsError | None = None) -> DeadlineExceededError:
        reason = (
            f"leaves no time for another attempt; the last one ended with: {last.message}"
            if last
            else "passed, or would have, before an attempt could begin"
        )
        return DeadlineExceededError(
            f"the deadline of {self.call.options.deadline:g} s {reason}",
            **(_details(last) if last else {}),
            inputs=self._piece.positions,
        )


def _details(error: EmbeddingsError) -> dict[str, Any]:
    names = ("status", "code", "provider", "request_id", "retry_after", "body", "usage")
    return {name: getattr(error, name) for name in names}


def sleep_by(attempt: stamina.Attempt, sleep: Callable[[float], object]) -> None:
    """Let stamina wait before a retry by `sleep`, which can be cut short.

    stamina has no such setting; a test that ends a call in its back-off fails should
    the private name change.
    """
    attempt._t_attempt.retry_state.retry_object.sleep = sleep  # type: ignore[assignment] # noqa: SLF001
