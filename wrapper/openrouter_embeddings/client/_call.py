"""The state of one call of `embed` or `embed_stream`, and of each of its requests."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import weakref
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from openrouter_embeddings.core import retry_policy
from openrouter_embeddings.core.batching import Batch, batched, max_reply_bytes
from openrouter_embeddings.core.budget import Budget
from openrouter_embeddings.core.decode import decode
from openrouter_embeddings.core.encode import encode
from openrouter_embeddings.core.headers import NO_HEADERS, Headers, merge_headers
from openrouter_embeddings.core.result_builder import ResultBuilder, check_width
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
from openrouter_embeddings.usage import NO_USAGE, Usage

from . import _clock
from .telemetry import CallSpan, if_imported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType

    import stamina

    from openrouter_embeddings.core.decode import Decoded
    from openrouter_embeddings.core.options import Options
    from openrouter_embeddings.core.splitting import ModelLimits
    from openrouter_embeddings.core.wire import Reply
    from openrouter_embeddings.inputs import Loaded
    from openrouter_embeddings.result import EmbeddingResult, Matrix


# Thousands of calls of an asyncio client may wait for their turn. Python's garbage collector then
# visits every object that they hold, again and again, while the event loop stands still. So a call
# makes most of what it needs when its request starts; a test counts what it holds before.
_NO_SPAN = nullcontext()


class SharedBudget(NamedTuple):
    """A budget that threads share, of one call or of all calls of a job, and its lock."""

    budget: Budget
    lock: threading.Lock


class CallState:
    """One call: its options, its deadline, what it has cost, and whether it has ended.

    Args:
        options: of the call.
        model_limits: of the client.
        shared_budget: of a job; a call whose options have a budget makes its own.
    """

    def __init__(
        self, options: Options, model_limits: ModelLimits, shared_budget: SharedBudget | None = None
    ) -> None:
        self.options = options
        options.request_fields()  # raises an InputError now, if at all
        self.model_limits = model_limits
        self.has_ended = False
        self.end_reason = "the call ended before this request was sent"
        if options.budget is not None:
            shared_budget = SharedBudget(Budget(options.budget), threading.Lock())
        self.shared_budget = shared_budget
        self.span: CallSpan | None = None  # a job sets the one that its calls share
        self.lock = threading.Lock()
        self.builder: ResultBuilder | None = None  # of several batches; None for a stream
        self._wakeup: threading.Event | None = None  # of threads that wait before a retry
        self._splitters: dict[int, BatchSplitter] = {}  # by position; not delivered yet
        self.first_failed = math.inf  # position of a batch
        self.active_batches = 0
        self._usage = NO_USAGE
        self._width: int | None = None
        deadline = options.deadline
        self._ends_at = None if deadline is None else _clock.clock.now() + deadline
        self._process = os.getpid()

    def bind_to_process(self) -> None:
        """Note that the stream runs in this process, because its first part is requested here."""
        self._process = os.getpid()

    @property
    def is_forked(self) -> bool:
        """Whether this process is a fork of the one that the call's requests and locks are in."""
        return os.getpid() != self._process

    def check_process(self) -> None:
        """Raise APIConnectionError in a fork of the process in which the stream started."""
        if self.is_forked:
            raise APIConnectionError(
                "the stream began in another process, before a fork, and its responses arrive "
                "there; start a new stream in this process"
            )

    def end(self, reason: str = "") -> None:
        """Send no more requests of this call."""
        if reason:
            self.end_reason = reason
        self.has_ended = True
        if self._wakeup is not None:
            self._wakeup.set()

    def wait(self, seconds: float) -> None:
        """Wait until the time has passed or the call has ended."""
        with self.lock:
            wakeup = self._wakeup = self._wakeup or threading.Event()
        if not self.has_ended:  # after `end` can see the event
            _clock.clock.wait(wakeup, seconds)

    def remaining(self) -> float:
        """Seconds until the deadline; infinite without one."""
        return math.inf if self._ends_at is None else self._ends_at - _clock.clock.now()

    def spend(self, usage: Usage) -> None:
        """Count what a response cost, valid or not. Any thread may call this."""
        with self.lock:
            self._usage += usage
        if self.span is not None:
            self.span.spent(usage)
        if self.shared_budget is not None:
            with self.shared_budget.lock:
                self.shared_budget.budget.spend(usage)

    def usage(self) -> Usage | None:
        """What the call has used so far; None before the first response."""
        usage = self._usage
        return usage if usage.requests or usage.unanswered else None

    @property
    def has_succeeded(self) -> bool:
        """Whether the service has accepted a request of this call."""
        return self._usage.requests > 0

    def splitter(self, batch: Batch) -> BatchSplitter:
        """The splitter of a new batch."""
        splitter = BatchSplitter(
            batch,
            self.model_limits,
            self.options.model,
            skip=self.options.on_error == "skip",
            retry=self.options.max_retries > 0,
            budget=None if self.shared_budget is None else self.shared_budget.budget,
        )
        self._splitters[batch.positions[0]] = splitter
        return splitter

    def active(self, batch: Batch) -> AbstractContextManager[object]:
        """Around the work on a batch. If it fails, later batches stop sending; earlier go on."""
        return _Active(self, batch)

    def needs(self, piece: Batch) -> bool:
        """Whether requests for a piece should still be sent."""
        return not self.has_ended and piece.positions[0] <= self.first_failed

    def deliver(self, part: EmbeddingResult) -> None:
        """Record that the caller gets a part. Raises ResponseError if its width is a new one."""
        if len(part):
            positions = range(part.start, part.start + len(part) + len(part.missing))
            self._width = check_width(self._width, part.vectors, positions)
        del self._splitters[part.start]

    def plan(self, inputs: list[Loaded]) -> Batch | tuple[ResultBuilder, Iterator[Batch]]:
        """For `embed`: its only batch, or the builder of its matrix and all batches."""
        batches = batched(inputs, self.options.batch_size)
        first, second = next(batches), next(batches, None)
        if second is None:
            return first
        self.builder = ResultBuilder(len(inputs))
        return self.builder, chain([first, second], batches)

    def add(self, builder: ResultBuilder, part: EmbeddingResult) -> None:
        """Add a part to the matrix, while other threads reserve rows in it."""
        with self.lock:
            builder.add(part)

    def traced(self, server: tuple[str, int]) -> AbstractContextManager[object]:
        """Around the requests of a call: its span, if the program uses OpenTelemetry.

        Does nothing inside another of these, or if the call is one of a job.
        """
        if self.span is not None:
            return _NO_SPAN
        self.span = if_imported(lambda: CallSpan(self.options, server))
        return self.span or _NO_SPAN

    def attach_results(self, error: EmbeddingsError) -> None:
        """Set an error's `usage`, and its `partial`: the vectors that the call has received.

        For a stream, `partial` has those that the caller has not received yet. Does nothing in a
        fork of the process in which the call started.
        """
        if self.is_forked:
            return
        splitters = sorted(self._splitters.items())
        with self.lock:
            builder, self.builder = self.builder, None
            if builder is not None and self.active_batches:  # requests that could not be aborted
                builder.reallocate()
        if builder is None:
            inputs = sum(len(splitter.batch.items) for _, splitter in splitters)
            builder = ResultBuilder(inputs, splitters[0][0] if splitters else 0)
        for _, splitter in splitters:
            part = splitter.result()
            if len(part):
                if self._width not in (None, part.vectors.shape[1]):
                    continue
                self._width = part.vectors.shape[1]
            builder.add(part)
        result = builder.result(self.options.model)
        error.partial = result if len(result) or result.errors else None
        error.usage = self.usage()


class _Active:
    """Around the work on a batch; a generator would be two more objects."""

    __slots__ = ("_batch", "_call", "_current")

    def __init__(self, call: CallState, batch: Batch) -> None:
        self._call, self._batch = call, batch
        self._current = None if call.span is None else call.span.current()

    def __enter__(self) -> None:
        with self._call.lock:
            self._call.active_batches += 1
        if self._current is not None:
            self._current.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._current is not None:
                self._current.__exit__(kind, error, trace)
        finally:
            with self._call.lock:
                self._call.active_batches -= 1
                if isinstance(error, EmbeddingsError):
                    first = self._batch.positions[0]
                    self._call.first_failed = min(self._call.first_failed, first)


class RequestState:
    """One request: its body, its attempts, and what they come to.

    Attributes:
        backoff: seconds, without jitter, that stamina will wait if the current attempt fails.
    """

    def __init__(self, call: CallState, splitter: BatchSplitter, piece: Batch) -> None:
        self.call = call
        self.backoff = 0.0
        self._splitter = splitter
        self._piece = piece
        self._retries = 0
        self._invalid_responses = 0
        self._out_of_time = False
        self._has_response = False  # the current attempt
        self._has_reserved = False  # `_max_tokens` of the budget
        self._max_tokens = piece.max_tokens if call.shared_budget is not None else 0
        self._body = b""
        self._as_base64 = call.options.encoding_format == "base64"

    def body(self) -> bytes:
        """As JSON. Call it when the request starts; later calls return the same."""
        if not self._body:
            call, fields = self.call, self.call.options.request_fields()
            if self._as_base64 and call.options.model in call.model_limits.float_only:
                self._as_base64 = False
                fields = {**fields, "encoding_format": "float"}
            self._body = encode(fields, self._piece)
        return self._body

    def headers(self) -> Headers:
        """What the caller adds to a request, with the trace context if the caller wants that."""
        headers, span = self.call.options.headers or NO_HEADERS, self.call.span
        if span is not None and self.call.options.trace_propagation:
            headers = merge_headers(headers, span.trace_headers())
        return headers

    def decoder(self) -> StreamDecoder:
        """A decoder for one response, which writes its vectors to their rows in the matrix."""
        inputs = len(self._piece.items)
        return StreamDecoder(inputs, max_reply_bytes(inputs), self._reserve)

    def _reserve(self, width: int) -> Matrix | None:
        if self.call.options.dimensions not in (None, width):
            return None
        with self.call.lock:
            builder = self.call.builder
            return None if builder is None else builder.reserve(self._piece.positions, width)

    @property
    def retry_options(self) -> dict[str, Any]:
        """Arguments for `stamina.retry_context`."""
        # stamina's iterator is a reference cycle: with `self` in it, each matrix would stay in
        # memory until the garbage collector runs
        weak_self = weakref.ref(self)

        def wait_before_retry(error: Exception) -> bool | float:
            request = weak_self()
            return request is not None and request._wait_before_retry(error)  # noqa: SLF001

        return {
            "on": wait_before_retry,
            "attempts": self.call.options.max_retries + 1,
            "timeout": None,  # this class keeps the deadline
            "wait_initial": retry_policy.BACKOFF_INITIAL,
            "wait_max": retry_policy.BACKOFF_MAX,
            "wait_jitter": retry_policy.BACKOFF_JITTER,
        }

    def readiness(self) -> Literal["go", "wait", "stop"]:
        """Whether the call and its budget let the request start now."""
        if not self.call.needs(self._piece):
            return "stop"
        if self.call.shared_budget is None:
            return "go"
        budget, lock = self.call.shared_budget
        with lock:
            return budget.verdict(self._max_tokens)

    def check_can_start(self, wait: float) -> float:
        """Seconds until the deadline, for a request that may start in `wait` seconds.

        Raises DeadlineExceededError, BudgetExceededError, or EmbeddingsError if the call has ended.
        """
        if not self.call.needs(self._piece):
            raise EmbeddingsError(self.call.end_reason)
        if self.call.shared_budget is not None:
            budget, lock = self.call.shared_budget
            with lock:
                if budget.verdict(self._max_tokens) == "stop":
                    raise BudgetExceededError(budget.reason, inputs=self._piece.positions)
        remaining = self.call.remaining()
        if remaining <= 0 or remaining < wait < math.inf:
            raise self._deadline_error()
        return remaining

    def on_start(self) -> None:
        """An attempt starts. Safe to repeat after an interrupt."""
        self._has_response = False
        if self.call.shared_budget is not None and not self._has_reserved:
            self._has_reserved = True
            with self.call.shared_budget.lock:
                self.call.shared_budget.budget.begin(self._max_tokens)

    def on_end(self, outcome: BaseException | None) -> None:
        """The attempt has ended with this error, or with none."""
        aborted = isinstance(outcome, ResponseError | asyncio.CancelledError)
        unanswered = (aborted and not self._has_response) or retry_policy.maybe_billed(outcome)
        if unanswered:
            self._count(Usage(unanswered=1))
        if self.call.shared_budget is not None:
            self._has_reserved = False
            with self.call.shared_budget.lock:
                self.call.shared_budget.budget.end(self._max_tokens, maybe_billed=unanswered)

    def may_resend(self) -> bool:
        """Whether to send again at once, though maybe billed; if so, counts it as unanswered.

        With a budget the attempt fails instead, because the next one has to ask the budget.
        """
        if self.call.shared_budget is not None or not self.call.needs(self._piece):
            return False
        self._count(Usage(unanswered=1))
        return True

    def timeout(self) -> float:
        """Seconds that the attempt may take."""
        return max(min(self.call.options.timeout, self.call.remaining()), 1e-3)

    def read(self, reply: Reply) -> Decoded:
        """The vectors of a response. Counts what the response cost, valid or not."""
        self._has_response = True
        try:
            decoded = decode(reply, self._piece, self.call.options.dimensions)
        except EmbeddingsError as error:
            refused = len(self._piece.items) if isinstance(error, ResponseError) else 0
            self._count(error.usage, refused=refused)
            raise
        refused = len(decoded.error.inputs) if decoded.error else 0
        self._count(decoded.served.usage, refused=refused)
        if self.call.span is not None:
            self.call.span.answered(decoded.served, decoded.matrix.shape[1])
        return decoded

    def _count(self, usage: Usage | None, refused: int = 0) -> None:
        if usage is not None:
            if refused:
                usage = replace(usage, refused=refused)
            self._splitter.usage += usage
            self.call.spend(usage)

    def succeeded(self, decoded: Decoded) -> None:
        """Tell the splitter about the vectors. May raise the error that ends the batch."""
        self._splitter.succeeded(self._piece, decoded)

    def failed(self, error: EmbeddingsError) -> None:
        """Tell the splitter about the last attempt's error. May raise it, which ends the batch."""
        error.inputs = error.inputs or tuple(self._piece.positions)
        error.usage = self.call.usage()
        if isinstance(error, NotFoundError) and (
            names := self.call.options.request_fields().get("provider")
        ):
            error.message += f" (provider preferences of the call: {', '.join(names)})"
        if self._out_of_time:
            last, error = error, self._deadline_error(error)
            error.__cause__ = last
        self._splitter.failed(
            self._piece, error, as_base64=self._as_base64, proven=self.call.has_succeeded
        )

    def _wait_before_retry(self, error: Exception) -> bool | float:
        """For stamina: False to give up, True to wait `backoff` and jitter, or seconds to wait."""
        if not isinstance(error, EmbeddingsError) or not self.call.needs(self._piece):
            return False
        if not retry_policy.can_retry(error, self._invalid_responses):
            return False
        if self.call.remaining() <= 0:
            self._out_of_time = True
            return False
        if self._retries == self.call.options.max_retries:
            return False
        self._retries += 1
        self._invalid_responses += isinstance(error, ResponseError)
        remaining = self.call.remaining()
        wait = max(self.backoff, error.retry_after or 0.0)
        if wait >= remaining:
            self._out_of_time = True
            return False
        self._count(Usage(retries=1))
        if self.call.span is not None:
            self.call.span.retried(self._retries, error)
        latest = wait + retry_policy.BACKOFF_JITTER
        return True if wait == self.backoff and latest < remaining else wait

    def _deadline_error(self, last: EmbeddingsError | None = None) -> DeadlineExceededError:
        deadline = f"the deadline of {self.call.options.deadline:g} s"
        if last is None:
            message = f"{deadline} leaves no time to send a request"
            return DeadlineExceededError(message, inputs=self._piece.positions)
        names = ("status", "code", "provider", "request_id", "retry_after", "body", "usage")
        return DeadlineExceededError(
            f"{deadline} leaves no time for another attempt; the last one failed: {last.message}",
            **{name: getattr(last, name) for name in names},
            inputs=self._piece.positions,
        )


def sleep_with(attempt: stamina.Attempt, sleep: Callable[[float], object]) -> None:
    """Make stamina wait before a retry with `sleep`, which the end of the call interrupts.

    stamina has no public setting for this. A test fails if the private name changes.
    """
    attempt._t_attempt.retry_state.retry_object.sleep = sleep  # type: ignore[assignment] # noqa: SLF001
