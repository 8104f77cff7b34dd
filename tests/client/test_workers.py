"""`Workers`: threads that run a call's requests."""

import contextvars
import gc
import threading
from concurrent.futures import Future
from typing import Any

import pytest
from openrouter_embeddings.client.workers import WorkerFuture, Workers

from tests.support import Kind, Service, answer, both, worker_threads

_who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


@both
def test_context_variables_reach_every_request(kind: Kind) -> None:
    """Tracers keep the current span in a context variable."""
    seen: list[str] = []

    def script(body: dict[str, Any], _: int) -> Any:
        seen.append(_who.get())
        return answer(body["input"])

    token = _who.set("the caller")
    try:
        Service(script).embed(kind, [*"abcd"], batch_size=2)
        Service(script).embed(kind, ["a"])
    finally:
        _who.reset(token)
    assert seen == ["the caller"] * 3


def test_a_worker_runs_in_the_context_of_each_submission() -> None:
    """A function sees the context of its submission, not of the thread's creation."""
    workers = Workers[str](1)
    found: list[str] = []
    for name in "ab":
        token = _who.set(name)
        found.append(workers.result(workers.submit(_who.get)))
        _who.reset(token)
    workers.stop()
    assert found == ["a", "b"]


def test_unreferenced_workers_end() -> None:
    """The threads end even if Ctrl-C came before `stop`."""
    workers = Workers[int](2)
    workers.result(workers.submit(int))
    threads = worker_threads()
    assert threads
    del workers
    gc.collect()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_stop_drops_work_that_has_not_started() -> None:
    """A function that still waits for a thread never runs."""
    workers, go_on, done = Workers[bool | None](1), threading.Event(), list[int]()
    first = workers.submit(go_on.wait, 30)
    workers.submit(done.append, 1)
    workers.stop()
    go_on.set()
    workers.result(first)
    workers.join(30)
    assert not any(thread.is_alive() for thread in workers._threads)
    assert done == []


def test_the_client_does_not_wait_on_the_lock_of_a_future(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may leave that lock held, and the worker thread would wait for it forever."""

    def result(job: WorkerFuture[Any], timeout: float | None = None) -> Any:
        assert job.has_ended
        return got(job, timeout)

    got = Future.result
    monkeypatch.setattr(Future, "result", result)
    monkeypatch.setattr(Future, "done", lambda _: pytest.fail("asked"))
    assert len(Service().embed("sync", [*"abcdefgh"], batch_size=1)) == 8


def test_ctrl_c_while_a_thread_starts_raises_keyboard_interrupt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python itself raises another error if Ctrl-C comes while a lock is being released."""

    def interrupted(_: threading.Thread) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            threading.Lock().release()

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Workers[int](1).submit(int)


def test_a_thread_that_cannot_start_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error reaches the caller, and `join` does not wait for that thread."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    workers = Workers[int](2)
    with pytest.raises(RuntimeError, match="can't start"):
        workers.submit(int)
    workers.join()


def test_a_thread_whose_start_was_interrupted_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between the start of a thread and the return of `start` leaves no thread behind."""
    start, before = threading.Thread.start, worker_threads()

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    workers = Workers[int](2)
    with pytest.raises(KeyboardInterrupt):
        workers.submit(int)
    workers.stop()
    workers.join(30)
    assert {*worker_threads()} <= {*before}
