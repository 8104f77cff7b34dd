"""A signal handler of the caller's that raises while a request is under way."""

import functools
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openrouter_embeddings as ore
import pytest
import trustme

from tests.client.test_keep_alive import Lines, lines, one_after_another, whole
from tests.support import KEY, KINDS, Kind, Service


class Alarm(TimeoutError):
    """What the caller's handlers raise."""


class Refusal(OSError):
    """As some raise."""


class Handler:
    """Whose call and whose method raise."""

    def __call__(self, *_: Any) -> None:
        """Raise what the tests wait for."""
        self.fail(Alarm)

    def fail(self, error: type[Exception], *_: Any) -> None:
        """Raise what is wanted."""
        raise error("the caller's own")


@contextmanager
def handled_by(handler: Any) -> Iterator[None]:
    """Until the end of the block."""
    before = signal.signal(signal.SIGALRM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


def raising(error: type[Exception]) -> Any:
    """A handler."""
    return functools.partial(Handler().fail, error)


def ring(*_: Any) -> None:
    """Now."""
    signal.raise_signal(signal.SIGALRM)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("handler", [Handler(), raising(Alarm), lambda *_: Handler()()])
def test_an_alarm_is_the_callers_and_no_failed_attempt(kind: Kind, handler: Any) -> None:
    """Whatever the handler is, it raises what it raised, and nothing is sent again."""
    service = Service(ring)
    with handled_by(handler), pytest.raises(Alarm, match="the caller's own"):
        service.embed(kind, ["a"])
    assert len(service.requests) == 1


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("status", [0, 200, 500])
@pytest.mark.parametrize("error", [Alarm, Refusal])
@pytest.mark.usefixtures("trusted")
def test_an_alarm_ends_the_wait_for_an_answer(
    authority: trustme.CA, status: int, error: type[Exception], *, secure: bool
) -> None:
    """On a connection that was kept, too, and in the middle of an answer or of an error's body."""
    main = threading.main_thread().ident
    assert main is not None

    def talk(_: Lines, line: Any) -> None:
        line.sendall(whole(line))
        whole(line)
        if status:
            line.sendall(b"HTTP/1.1 %d Said\r\nContent-Length: 9\r\n\r\n{" % status)
        signal.pthread_kill(main, signal.SIGALRM)
        line.recv(1)

    with lines(talk, authority if secure else None) as service:
        with handled_by(raising(error)), pytest.raises(error, match="the caller's own"):
            one_after_another("sync", service.url, ["a", "b"], int, max_retries=4)
        assert service.opened == 1


def test_an_alarm_ends_a_request_through_ones_own_httpx_client() -> None:
    """There httpx and httpcore name it another error, whose cause it is."""
    main = threading.main_thread().ident
    assert main is not None

    def talk(_: Lines, line: Any) -> None:
        whole(line)
        signal.pthread_kill(main, signal.SIGALRM)
        line.recv(1)

    with (
        lines(talk) as service,
        httpx.Client() as http,
        handled_by(raising(Alarm)),
        pytest.raises(Alarm, match="the caller's own"),
    ):
        ore.Client(KEY, base_url=service.url, model="m", http_client=http).embed("a")


def test_an_alarm_ends_the_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the host has other addresses."""
    tried: list[Any] = []

    def connect(_: socket.socket, address: Any) -> None:
        tried.append(address)
        ring()

    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", n)) for n in (1, 2)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*addresses])
    monkeypatch.setattr(socket.socket, "connect", connect)
    with handled_by(raising(Alarm)), pytest.raises(Alarm):
        ore.Client(KEY, base_url="http://localhost/v1", model="m").embed("a")
    assert len(tried) == 1


def test_an_alarm_that_is_over_does_not_hide_a_failure() -> None:
    """A call that is made while the caller handles it fails with an error of its own."""
    failing = Service(lambda *_: TimeoutError("slow"))
    with handled_by(raising(Alarm)):
        try:
            ring()
        except Alarm:
            with pytest.raises(ore.APITimeoutError):
                failing.embed("sync", ["a"], max_retries=0)
