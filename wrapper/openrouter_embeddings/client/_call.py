"""The state of one call of `embed` or `embed_stream`, for either client."""

from __future__ import annotations

import math
import os
import threading
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from openrouter_embeddings.core import result_builder
from openrouter_embeddings.core.batching import Batch, split
from openrouter_embeddings.core.budget import Budget
from openrouter_embeddings.core.splitting import BatchSplitter
from openrouter_embeddings.errors import APIConnectionError, EmbeddingsError
from openrouter_embeddings.result import Usage

from . import _throttle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openrouter_embeddings.core.options import Options
    from openrouter_embeddings.core.splitting import ModelLimits
    from openrouter_embeddings.inputs import Loaded
    from openrouter_embeddings.result import EmbeddingResult


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
        self.fields = options.request_fields()
        self.model_limits = model_limits
        self.ended = threading.Event()
        self.end_reason = "the call ended before this request was sent"
        if options.budget is not None:
            shared_budget = SharedBudget(Budget(options.budget), threading.Lock())
        self.shared_budget = shared_budget
        self.lock = threading.Lock()
        self.builder: result_builder.ResultBuilder | None = None  # None for a stream
        self._splitters: dict[int, BatchSplitter] = {}  # by position; not delivered yet
        self._first_failed = math.inf  # position of a batch
        self._active_batches = 0
        self._usage = Usage()
        self._width: int | None = None
        deadline = options.deadline
        self._ends_at = None if deadline is None else _throttle.clock.now() + deadline
        self._process = os.getpid()

    def bind_to_process(self) -> None:
        """Belong to this process: a stream starts when its first part is requested."""
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
        self.end_reason = reason or self.end_reason
        self.ended.set()

    def check_ended(self, batch: Batch) -> None:
        """Raise EmbeddingsError if the call has ended."""
        if self.ended.is_set():
            raise EmbeddingsError(self.end_reason, inputs=batch.positions)

    def remaining(self) -> float:
        """Seconds until the deadline; infinite without one."""
        return math.inf if self._ends_at is None else self._ends_at - _throttle.clock.now()

    def spend(self, usage: Usage) -> None:
        """Count what a response cost, valid or not. Any thread may call this."""
        with self.lock:
            self._usage += usage
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
        shared_budget = self.shared_budget  # a lambda with `self` would be a reference cycle
        splitter = BatchSplitter(
            batch,
            self.model_limits,
            self.options.model,
            skip=self.options.on_error == "skip",
            ask_again=self.options.max_retries > 0,
            cautious=lambda: shared_budget is not None and shared_budget.budget.needs_price,
        )
        self._splitters[batch.positions[0]] = splitter
        return splitter

    @contextmanager
    def active(self, batch: Batch) -> Iterator[None]:
        """Around a batch. If it fails, later batches send no more requests; earlier ones do."""
        with self.lock:
            self._active_batches += 1
        try:
            yield
        except EmbeddingsError:
            with self.lock:
                self._first_failed = min(self._first_failed, batch.positions[0])
            raise
        finally:
            with self.lock:
                self._active_batches -= 1

    def needs(self, piece: Batch) -> bool:
        """Whether requests for a piece should still be sent."""
        return not self.ended.is_set() and piece.positions[0] <= self._first_failed

    def part(self, splitter: BatchSplitter) -> EmbeddingResult:
        """The result of a batch."""
        return result_builder.part(splitter, self.options.model)

    def deliver(self, part: EmbeddingResult) -> None:
        """Note that a part goes to the caller. Raises ResponseError if its width is a new one."""
        if len(part):
            positions = range(part.start, part.start + len(part) + len(part.missing))
            self._width = result_builder.same_width(self._width, part.vectors, positions)
        del self._splitters[part.start]

    def plan(
        self, inputs: list[Loaded]
    ) -> tuple[result_builder.ResultBuilder, Batch | Iterator[Batch]]:
        """For `embed`: the builder of its matrix, and its only batch or all of them."""
        self.builder = result_builder.ResultBuilder(len(inputs))
        batches = split(inputs, self.options.batch_size)
        first, second = next(batches), next(batches, None)
        return self.builder, first if second is None else chain([first, second], batches)

    def add(self, builder: result_builder.ResultBuilder, part: EmbeddingResult) -> None:
        """Add a part to the matrix, while other threads reserve rows in it."""
        with self.lock:
            builder.add(part)

    @contextmanager
    def explaining_errors(self) -> Iterator[None]:
        """Around a call: an error that ends it gets its `usage` and `partial`."""
        try:
            yield
        except EmbeddingsError as error:
            if not self.is_forked:
                self.explain(error)
            raise

    def explain(self, error: EmbeddingsError) -> None:
        """Set an error's `usage`, and its `partial`: the vectors that the call has received.

        For a stream, `partial` has those that the caller has not received yet.
        """
        splitters = sorted(self._splitters.items())
        with self.lock:
            builder, self.builder = self.builder, None
            if builder is not None and self._active_batches:  # requests that could not be aborted
                builder.leave()
        if builder is None:
            inputs = sum(len(splitter.batch.items) for _, splitter in splitters)
            builder = result_builder.ResultBuilder(inputs, splitters[0][0] if splitters else 0)
        for _, splitter in splitters:
            part = self.part(splitter)
            if len(part):
                if self._width not in (None, part.vectors.shape[1]):
                    continue
                self._width = part.vectors.shape[1]
            builder.add(part)
        result = builder.result(self.options.model)
        error.partial = result if len(result) or result.errors else None
        error.usage = self.usage()
