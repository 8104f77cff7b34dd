"""A caller's signal handler that raises while a request is in flight."""

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

from tests.socket_service import SocketService, correct_response, one_after_another, socket_service
from tests.support import KEY, Kind, Service, both


class Alarm(TimeoutError):
    """Raised by the caller's handlers."""


class Failure(OSError):
    """Raised by other handlers."""


class Handler:
    """Raises when called."""

    def __call__(self, *_: Any) -> None:
        """Raise Alarm."""
        self.fail(Alarm)

    def fail(self, error: type[Exception], *_: Any) -> None:
        """Raise this error."""
        raise error("the caller's own")


@contextmanager
def handled_by(handler: Any) -> Iterator[None]:
    """Handle SIGALRM within the `with` block."""
    before = signal.signal(signal.SIGALRM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


def raising(error: type[Exception]) -> Any:
    """A handler that raises this error."""
    return functools.partial(Handler().fail, error)


def ring(*_: Any) -> None:
    """Raise SIGALRM in this process."""
    signal.raise_signal(signal.SIGALRM)


@both
@pytest.mark.parametrize("handler", [Handler(), raising(Alarm), lambda *_: Handler()()])
def test_an_exception_of_a_signal_handler_reaches_the_caller(kind: Kind, handler: Any) -> None:
    """Whichever kind of callable the handler is; the request is not retried."""
    service = Service(ring)
    with handled_by(handler), pytest.raises(Alarm, match="the caller's own"):
        service.embed(kind, ["a"])
    assert len(service.requests) == 1


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("status", [0, 200, 500])
@pytest.mark.parametrize("error", [Alarm, Failure])
@pytest.mark.usefixtures("trusted")
def test_an_alarm_interrupts_waiting_for_a_response(
    authority: trustme.CA, status: int, error: type[Exception], *, secure: bool
) -> None:
    """Also on a reused connection, and within the body of a success or an error."""
    main = threading.main_thread().ident
    assert main is not None

    def handle(_: SocketService, connection: Any) -> None:
        connection.sendall(correct_response(connection))
        correct_response(connection)
        if status:
            connection.sendall(b"HTTP/1.1 %d Status\r\nContent-Length: 9\r\n\r\n{" % status)
        signal.pthread_kill(main, signal.SIGALRM)
        connection.recv(1)

    with socket_service(handle, authority if secure else None) as service:
        with handled_by(raising(error)), pytest.raises(error, match="the caller's own"):
            one_after_another("sync", service.url, ["a", "b"], int, max_retries=4)
        assert service.opened == 1


def test_an_alarm_interrupts_a_request_through_the_callers_httpx_client() -> None:
    """There httpx and httpcore raise an error of their own, with the alarm as its cause."""
    main = threading.main_thread().ident
    assert main is not None

    def handle(_: SocketService, connection: Any) -> None:
        correct_response(connection)
        signal.pthread_kill(main, signal.SIGALRM)
        connection.recv(1)

    with (
        socket_service(handle) as service,
        httpx.Client() as http,
        handled_by(raising(Alarm)),
        pytest.raises(Alarm, match="the caller's own"),
    ):
        ore.Client(KEY, base_url=service.url, model="m", http_client=http).embed("a")


def test_an_alarm_interrupts_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client does not try the other addresses of the host."""
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


def test_an_alarm_that_was_caught_does_not_hide_a_later_error() -> None:
    """A call within the caller's `except Alarm` block fails with its own error."""
    failing = Service(lambda *_: TimeoutError("slow"))
    with handled_by(raising(Alarm)):
        try:
            ring()
        except Alarm:
            with pytest.raises(ore.APITimeoutError):
                failing.embed("sync", ["a"], max_retries=0)
