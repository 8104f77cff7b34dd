"""Threads for a call's requests that never keep the interpreter from ending."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import Future
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_Work: TypeAlias = "tuple[WorkerFuture[Any], Context, Callable[..., Any], tuple[Any, ...]]"


class WorkerFuture(Future[T]):
    """A future that tells without its lock whether it has ended.

    Ctrl-C while the caller asks or waits by a Future's own methods may leave its lock held, and the
    thread that brings the result would wait for the lock for ever.
    """

    has_ended = False


class Workers(Generic[T]):
    """At most `count` threads that run jobs in the order of their submission.

    ThreadPoolExecutor would do, but Python joins its threads when it exits: after an error or
    Ctrl-C a process would live on for as long as its slowest request. The threads end when nobody
    has their Workers any more, for Ctrl-C may come before `stop`.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads: list[threading.Thread] = []
        self._jobs: SimpleQueue[_Work | None] = SimpleQueue()
        self._ended: SimpleQueue[None] = SimpleQueue()  # an item for each job

    def submit(self, job: Callable[..., T], *arguments: Any) -> WorkerFuture[T]:
        """Run `job` in a thread; a new one, while there are fewer than `count`."""
        future: WorkerFuture[T] = WorkerFuture()
        self.put(future, job, *arguments)
        return future

    def put(self, future: WorkerFuture[T], job: Callable[..., T], *arguments: Any) -> None:
        """As `submit`, for a future that the caller knows before.

        The job sees the caller's context variables as they are now.
        """
        self._jobs.put((future, copy_context(), job, arguments))
        if len(self._threads) < self._count:
            thread = threading.Thread(
                target=_work,
                args=(self._jobs, self._ended),
                name="openrouter-embeddings",
                daemon=True,
            )
            self._threads.append(thread)  # before it runs: Ctrl-C may end `start`
            try:
                thread.start()
            except RuntimeError as error:  # the caller's, or what Python makes of Ctrl-C in there
                if isinstance(error.__context__, KeyboardInterrupt):
                    raise error.__context__ from None
                raise

    def result(self, future: WorkerFuture[T]) -> T:
        """Wait for a job that was submitted here. Raises what it raised."""
        while not future.has_ended:
            self._ended.get()
        return future.result()

    def stop(self) -> None:
        """Begin no more jobs; threads end with the job they have."""
        try:
            while True:
                self._jobs.get_nowait()
        except Empty:
            pass
        for _ in self._threads:
            self._jobs.put(None)

    __del__ = stop

    def join(self, seconds: float | None = None) -> list[int]:
        """Wait until the threads have ended, or so long; gives the identifiers of the others.

        None where the interpreter ends: from 3.13 on, its daemon threads stand still by then.
        """
        if sys.is_finalizing():
            return []
        ends = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            # the current one collects its own call's garbage; others were never started
            if thread is not threading.current_thread() and thread.is_alive():
                thread.join(None if ends is None else max(0.0, ends - time.monotonic()))
        return [t.ident for t in self._threads if t.is_alive() and t.ident is not None]


def _work(jobs: SimpleQueue[_Work | None], ended: SimpleQueue[None]) -> None:
    """What a thread does; it does not hold its Workers."""
    while (task := jobs.get()) is not None:
        future, context, job, arguments = task
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(context.run(job, *arguments))
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is read
                future.set_exception(error)
        future.has_ended = True
        ended.put(None)
        # or the last result would live as long as the thread waits
        del task, future, context, job, arguments
