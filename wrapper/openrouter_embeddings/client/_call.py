"""What one call of either client keeps while its requests are under way: the clock, mostly."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict

from openrouter_embeddings.core import assemble
from openrouter_embeddings.core.decode import decode
from openrouter_embeddings.core.encode import encode
from openrouter_embeddings.core.policy import can_retry
from openrouter_embeddings.errors import DeadlineExceededError, EmbeddingsError, ResponseError
from openrouter_embeddings.result import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openrouter_embeddings.core.options import Options
    from openrouter_embeddings.core.plan import Batch
    from openrouter_embeddings.core.wire import Reply
    from openrouter_embeddings.result import EmbeddingResult

_JITTER = 1.0


class Call:
    """One call: its options, when it must end, and whether anybody still wants it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.fields = options.request_fields()
        self.abandoned = False
        self._spent = Usage()
        self._spending = threading.Lock()
        self._width: int | None = None
        self._ends = None if options.deadline is None else time.monotonic() + options.deadline

    def remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return None if self._ends is None else self._ends - time.monotonic()

    def spend(self, usage: Usage) -> None:
        """Count an answer, from whichever thread; a refused one was billed, too."""
        with self._spending:
            self._spent += usage

    def total(self) -> Usage | None:
        """What the call has used so far; None before the first answer."""
        return self._spent if self._spent.requests else None

    def check_width(self, part: EmbeddingResult) -> None:
        """Hold a part to the width of the first. Raises ResponseError."""
        try:
            self._width = assemble.same_width(self._width, part)
        except ResponseError as error:
            error.usage = self.total()
            raise


class _RetryOptions(TypedDict):
    on: Any
    attempts: int
    timeout: None
    wait_initial: float
    wait_max: float
    wait_jitter: float


class Exchange:
    """One batch's way through its attempts, whichever client waits for them."""

    def __init__(self, call: Call, batch: Batch) -> None:
        self._call = call
        self._batch = batch
        self._backoff = 0.0
        self._retries = 0
        self._refused = 0
        self._out_of_time = False
        self._usage = Usage()
        self.body = encode(call.fields, batch)

    @property
    def retrying(self) -> _RetryOptions:
        """Arguments for `stamina.retry_context`."""
        return {
            "on": self._wait_before_retry,
            "attempts": self._call.options.max_retries + 1,
            "timeout": None,  # the deadline is kept below, before it has passed
            "wait_initial": 0.5,
            "wait_max": 30.0,
            "wait_jitter": _JITTER,
        }

    def begin(self, backoff: float) -> float:
        """Seconds that the attempt about to begin may take. Raises DeadlineExceededError.

        `backoff` is what stamina will wait, without jitter, should this attempt fail.
        """
        self._backoff = backoff
        if self._call.abandoned:
            raise EmbeddingsError("the call has ended without this request")
        remaining = self._call.remaining()
        if remaining is not None and remaining <= 0:
            raise self._deadline_error()
        timeout = self._call.options.timeout
        return timeout if remaining is None else min(timeout, remaining)

    def read(self, reply: Reply) -> EmbeddingResult:
        """The batch's part of the result. What refused answers have cost is counted too."""
        try:
            decoded = decode(reply, self._batch, self._call.options.dimensions)
        except EmbeddingsError as error:
            self._count(error.usage)
            raise
        self._count(decoded.served.usage)
        return assemble.part(decoded, self._usage, self._call.options.model)

    def _count(self, usage: Usage | None) -> None:
        if usage is not None:
            self._usage += usage
            self._call.spend(usage)

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Around all attempts: the error that ends them says which inputs, and why no more came."""
        try:
            yield
        except EmbeddingsError as error:
            error.inputs = error.inputs or tuple(self._batch.positions)
            error.usage = self._call.total()
            if self._out_of_time:
                raise self._deadline_error(error) from error
            raise

    def _wait_before_retry(self, error: Exception) -> bool | float:
        """Stamina's hook: False to give up, True for its own wait, seconds for one of ours."""
        if not isinstance(error, EmbeddingsError) or self._call.abandoned:
            return False
        if not can_retry(error, self._refused):
            return False
        if self._retries == self._call.options.max_retries:
            return False
        self._retries += 1
        self._refused += isinstance(error, ResponseError)
        remaining = self._call.remaining()
        wait = max(self._backoff, error.retry_after or 0.0)
        if remaining is not None and wait >= remaining:
            self._out_of_time = True
            return False
        fits = remaining is None or wait + _JITTER < remaining
        return True if wait == self._backoff and fits else wait

    def _deadline_error(self, last: EmbeddingsError | None = None) -> DeadlineExceededError:
        reason = (
            f"leaves no time for another attempt; the last one ended with: {last.message}"
            if last
            else "passed before an attempt could begin"
        )
        return DeadlineExceededError(
            f"the deadline of {self._call.options.deadline:g} s {reason}",
            **(_details(last) if last else {}),
            inputs=self._batch.positions,
        )


def _details(error: EmbeddingsError) -> dict[str, Any]:
    names = ("status", "code", "provider", "request_id", "retry_after", "body", "usage")
    return {name: getattr(error, name) for name in names}
