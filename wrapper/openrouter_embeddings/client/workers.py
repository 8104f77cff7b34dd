"""Daemon threads that run a call's requests and never keep the interpreter from exiting."""

import queue
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")


class WorkerFuture(Future[T]):
    """A future whose end can be seen without taking its lock.

    If Ctrl-C interrupts a Future's own methods, its lock may stay held, and the thread that sets
    the result would wait for the lock forever.
    """

    has_ended = False


_Work: TypeAlias = tuple[WorkerFuture[Any], Context, Callable[..., Any], tuple[Any, ...]]


class Workers(Generic[T]):
    """At most `count` threads, which run functions in the order of submission.

    Python joins the threads of a ThreadPoolExecutor when it exits: after an error or Ctrl-C, the
    process would live until its slowest request ends. The threads here are daemons. They also end
    when the Workers object is deleted, because Ctrl-C may come before `stop`.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads: list[threading.Thread] = []
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        # gets an item for each future that ends
        self._ended: queue.SimpleQueue[None] = queue.SimpleQueue()

    def submit(self, function: Callable[..., T], *arguments: Any) -> WorkerFuture[T]:
        """Run a function in a thread, and return the future of its result."""
        future: WorkerFuture[T] = WorkerFuture()
        self.put(future, function, *arguments)
        return future

    def put(self, future: WorkerFuture[T], function: Callable[..., T], *arguments: Any) -> None:
        """Like `submit`, for a future that the caller has made.

        The function sees the caller's context variables as they are now.
        """
        self._work.put((future, copy_context(), function, arguments))
        if len(self._threads) < self._count:
            thread = threading.Thread(
                target=_run,
                args=(self._work, self._ended),
                name="openrouter-embeddings",
                daemon=True,
            )
            self._threads.append(thread)  # first: Ctrl-C may interrupt `start`
            try:
                thread.start()
            except RuntimeError as error:  # Python turns a Ctrl-C in `start` into a RuntimeError
                if isinstance(error.__context__, KeyboardInterrupt):
                    raise error.__context__ from None
                raise

    def result(self, future: WorkerFuture[T]) -> T:
        """Wait for a future's result. Raises what its function raised."""
        while not future.has_ended:
            self._ended.get()
        return future.result()

    def stop(self) -> None:
        """Drop the work that has not started. Each thread ends after what it is running."""
        try:
            while True:
                self._work.get_nowait()
        except queue.Empty:
            pass
        for _ in self._threads:
            self._work.put(None)

    def __del__(self) -> None:
        if not sys.is_finalizing():  # a queue of gevent raises an error then
            self.stop()

    def join(self, seconds: float | None = None) -> None:
        """Wait until the threads have ended, at most `seconds`.

        Does nothing while the interpreter exits: from Python 3.13, daemon threads are frozen then.
        """
        if sys.is_finalizing():
            return
        ends_at = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            # a worker may run this as the garbage collector; a thread may never have started
            if thread is not threading.current_thread() and thread.is_alive():
                thread.join(None if ends_at is None else max(0.0, ends_at - time.monotonic()))


def _run(work: queue.SimpleQueue[_Work | None], ended: queue.SimpleQueue[None]) -> None:
    """The loop of one thread. It holds no reference to its Workers object."""
    while (item := work.get()) is not None:
        future, context, function, arguments = item
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(context.run(function, *arguments))
            except BaseException as error:  # noqa: BLE001 - whoever reads the result gets it
                future.set_exception(error)
        future.has_ended = True
        ended.put(None)
        # otherwise the last result would stay in memory while the thread waits
        del item, future, context, function, arguments
