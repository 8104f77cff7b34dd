"""What `jobs` uses of a client beyond its public methods. Internal: not for other packages."""
# ruff: noqa: SLF001 - this is part of the client, in a module of its own because only jobs need it

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

from ._call import SharedBudget
from .telemetry import CallSpan, if_imported
from .workers import WorkerFuture, Workers

if TYPE_CHECKING:
    from openrouter_embeddings.core.budget import Budget
    from openrouter_embeddings.core.limiter import Limiter
    from openrouter_embeddings.core.options import EmbedOptions, Options
    from openrouter_embeddings.result import EmbeddingResult

    from ._sync import Client


def resolve_options(client: Client, options: EmbedOptions) -> Options:
    """The client's defaults, overridden by `options`. Raises InputError."""
    return client._options(options)


class JobSession:
    """The calls of one job. They run in worker threads, share one span and can share one budget.

    A context manager: leaving it drops the calls that have not started, and lets the threads end.

    Args:
        client: sends the requests.
        options: the options of every call; they override the client's defaults.
        budget: what all calls together may cost; None: each call has the budget of its options.

    Attributes:
        limiter: says how many requests for the job's model are in flight, and how many may be.
        shared_budget: `budget` with the lock that guards it.
    """

    def __init__(self, client: Client, options: EmbedOptions, budget: Budget | None) -> None:
        resolved = resolve_options(client, options)
        client._renew_after_fork()
        self.limiter: Limiter = client._throttle.limiter(resolved.model)
        self.shared_budget: SharedBudget | None = (
            None if budget is None else SharedBudget(budget, threading.Lock())
        )
        self._client = client
        self._options = options
        self._resolved = resolved
        self._span: CallSpan | None = None
        self._workers: Workers[EmbeddingResult] = Workers(resolved.concurrency)

    def submit(self, future: WorkerFuture[EmbeddingResult], inputs: list[Any]) -> None:
        """Embed `inputs` in a worker thread, which sets the result of `future`.

        Raises InputError if the client is closed.
        """
        call = self._client._start_call(self._options, self.shared_budget)
        if self._span is None:  # the first call; a job that sends nothing has no such span
            server = self._client._transport.server
            self._span = if_imported(lambda: CallSpan(self._resolved, server))
        call.span = self._span
        self._workers.put(future, self._client._embed, call, inputs)

    def __enter__(self) -> Self:
        """The session itself."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Drop the calls that have not started, and let the threads end."""
        self._workers.stop()
        if self._span is not None:
            self._span.__exit__(kind, error, trace)
