"""Threads for a call's requests that never keep the interpreter from ending."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Workers(Generic[T]):
    """At most `count` threads that run jobs in the order of their submission.

    ThreadPoolExecutor would do, but Python joins its threads when it exits: after an error or
    Ctrl-C a process would live on for as long as its slowest request.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads: list[threading.Thread] = []
        self._jobs: SimpleQueue[tuple[Future[T], Callable[..., T], tuple[Any, ...]] | None]
        self._jobs = SimpleQueue()
        self._stopped = False

    def submit(self, job: Callable[..., T], *arguments: Any) -> Future[T]:
        """Run `job` in a thread; a new one, while there are fewer than `count`."""
        future: Future[T] = Future()
        self.put(future, job, *arguments)
        return future

    def put(self, future: Future[T], job: Callable[..., T], *arguments: Any) -> None:
        """As `submit`, for a future that the caller knows before."""
        self._jobs.put((future, job, arguments))
        if len(self._threads) < self._count:
            thread = threading.Thread(target=self._run, name="openrouter-embeddings", daemon=True)
            self._threads.append(thread)  # before it runs: Ctrl-C may end `start`
            thread.start()  # its error is the caller's

    def stop(self) -> None:
        """Begin no more jobs; threads end with the job they have."""
        self._stopped = True
        for _ in self._threads:
            self._jobs.put(None)

    def join(self, seconds: float | None = None) -> list[int]:
        """Wait until the threads have ended, or so long; gives the identifiers of the others."""
        ends = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            # the current one collects its own call's garbage; others were never started
            if thread is not threading.current_thread() and thread.is_alive():
                thread.join(None if ends is None else max(0.0, ends - time.monotonic()))
        return [t.ident for t in self._threads if t.is_alive() and t.ident is not None]

    def _run(self) -> None:
        while (task := self._jobs.get()) is not None and not self._stopped:
            future, job, arguments = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job(*arguments))
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is read
                future.set_exception(error)
            del task, future  # or the last result would live as long as the thread waits
