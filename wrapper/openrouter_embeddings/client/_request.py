"""The attempts of one request, for either client."""

from __future__ import annotations

import asyncio
import math
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from openrouter_embeddings.core.batching import longest_reply
from openrouter_embeddings.core.decode import decode
from openrouter_embeddings.core.encode import encode
from openrouter_embeddings.core.retry_policy import can_retry, maybe_billed
from openrouter_embeddings.core.streaming import StreamDecoder
from openrouter_embeddings.errors import (
    BudgetExceededError,
    DeadlineExceededError,
    EmbeddingsError,
    NotFoundError,
    ResponseError,
)
from openrouter_embeddings.result import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    import stamina

    from openrouter_embeddings.core.batching import Batch
    from openrouter_embeddings.core.decode import Decoded
    from openrouter_embeddings.core.splitting import BatchSplitter
    from openrouter_embeddings.core.wire import Reply
    from openrouter_embeddings.result import Matrix

    from ._call import CallState

_JITTER = 1.0


class RequestState:
    """One request: its body, its attempts, and what they come to.

    Attributes:
        body: as JSON.
        as_base64: whether the body asks for base64.
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
        self._max_tokens = piece.most_tokens if call.shared_budget is not None else 0
        fields = call.fields
        self.as_base64 = fields["encoding_format"] == "base64"
        if self.as_base64 and call.options.model in call.model_limits.floats:
            self.as_base64 = False
            fields = {**fields, "encoding_format": "float"}
        self.body = encode(fields, piece)

    def decoder(self) -> StreamDecoder:
        """A decoder for one response, which writes its vectors to their rows in the matrix."""
        inputs = len(self._piece.items)
        return StreamDecoder(inputs, longest_reply(inputs), self._reserve)

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
            "wait_initial": 0.5,
            "wait_max": 30.0,
            "wait_jitter": _JITTER,
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
        unanswered = (aborted and not self._has_response) or maybe_billed(outcome)
        if unanswered:
            self._count(Usage(unanswered=1))
        if self.call.shared_budget is not None:
            self._has_reserved = False
            with self.call.shared_budget.lock:
                self.call.shared_budget.budget.end(self._max_tokens, maybe_billed=unanswered)

    def may_resend(self) -> bool:
        """Whether to resend at once a request that may have been billed; counts it if so.

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
        except ResponseError as error:
            self._count(error.usage, refused=len(self._piece.items))
            raise
        except EmbeddingsError as error:
            self._count(error.usage)
            raise
        refused = len(decoded.refused.inputs) if decoded.refused else 0
        self._count(decoded.served.usage, refused=refused)
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
        if isinstance(error, NotFoundError) and (names := self.call.fields.get("provider")):
            error.message += f" (provider preferences of the call: {', '.join(names)})"
        if self._out_of_time:
            last, error = error, self._deadline_error(error)
            error.__cause__ = last
        self._splitter.failed(
            self._piece, error, as_base64=self.as_base64, proven=self.call.has_succeeded
        )

    def _wait_before_retry(self, error: Exception) -> bool | float:
        """For stamina: False to give up, True to wait `backoff` and jitter, or seconds to wait."""
        if not isinstance(error, EmbeddingsError) or not self.call.needs(self._piece):
            return False
        if not can_retry(error, self._invalid_responses):
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
        return True if wait == self.backoff and wait + _JITTER < remaining else wait

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
