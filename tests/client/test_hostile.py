"""Services that answer twice, compress without end, drip, or answer where nobody asks any more."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpcore
import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.transport import _attempts

from tests.http_service import HTTPService
from tests.support import KEY, KINDS, Kind, embed_over, expected

both = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def server() -> Iterator[HTTPService]:
    """A service over real sockets."""
    with HTTPService() as server:
        server.start()
        yield server
        server.shutdown()


@both
def test_an_answer_that_comes_twice_is_not_the_next_requests(
    kind: Kind, server: HTTPService
) -> None:
    """A connection on which more came than was asked for is not used again."""
    result = embed_over(kind, server.url, ["a", "bb", "ccc"], model="twice", batch_size=1)
    assert np.array_equal(result.vectors, expected(["a", "bb", "ccc"]))


@both
@pytest.mark.parametrize("model", ["gzip, gzip", "gzip, identity, gzip", "not gzip"])
def test_strange_encodings_are_refused(kind: Kind, server: HTTPService, model: str) -> None:
    """Two kilobytes that were compressed twice can be a gigabyte."""
    with pytest.raises(ore.ResponseError, match=r"compressed by .*gzip, which was not asked for"):
        embed_over(kind, server.url, ["a"], model=model)


@both
def test_a_compressed_answer_without_its_end_is_broken(kind: Kind, server: HTTPService) -> None:
    """As one is that is not compressed."""
    with pytest.raises(ore.APIConnectionError, match="a compressed body without its end"):
        embed_over(kind, server.url, ["a"], model="half gzip")


@pytest.mark.usefixtures("trusted")
def test_a_connection_is_closed_by_the_thread_that_uses_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS would go on with the number of a closed socket, which another file may have by then."""
    closed_by: list[int] = []
    begun, close = threading.Event(), httpcore.HTTPConnection.close

    def noted(connection: httpcore.HTTPConnection) -> None:
        closed_by.append(threading.get_ident())
        close(connection)

    monkeypatch.setattr(httpcore.HTTPConnection, "close", noted)
    client = ore.Client(KEY, base_url=url, model="together", max_retries=0)
    outcomes: list[Any] = []

    def ask() -> None:
        begun.set()
        with pytest.raises(ore.APIConnectionError) as raised:
            client.embed("a")
        outcomes.extend([threading.get_ident(), raised.value])

    thread = threading.Thread(target=ask)
    thread.start()
    begun.wait(20)
    while not any(attempt.stream for attempt in [*_attempts._attempts.values()]):
        os.sched_yield()
    client.close()
    thread.join(20)
    assert closed_by == outcomes[:1]


def test_every_address_has_its_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody answers from does not use up the time of all others."""
    shares: list[float] = []

    def silent(_: Any, host: str, port: int, timeout: float) -> None:
        shares.append(timeout)
        raise httpcore.ConnectTimeout(f"{host}:{port}")

    addresses = [(0, 0, 0, "", (f"127.0.0.{n}", 5)) for n in (1, 2, 3)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", silent)
    _attempts.begin_attempt(60)
    try:
        with pytest.raises(httpcore.ConnectTimeout, match=r"127\.0\.0\.3:5"):
            _attempts.BACKEND.connect_tcp("many.example", 5, 6.0)
    finally:
        _attempts.end_attempt()
    assert shares == pytest.approx([2, 3, 6], abs=0.5)


def test_a_service_that_reads_slowly_does_not_hold_up_an_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every piece that it takes leaves less time for the next."""
    now = [0.0]
    limits: list[float] = []

    class Line:
        settimeout = limits.append

        def send(self, data: memoryview) -> int:
            now[0] += 1
            return 1

    monkeypatch.setattr(_attempts, "time", SimpleNamespace(monotonic=lambda: now[0]))
    stream: Any = SimpleNamespace(get_extra_info=lambda _: Line())
    _attempts.begin_attempt(3)
    try:
        with pytest.raises(httpcore.ReadTimeout):
            _attempts._Stream(stream)._send(memoryview(b"abcdef"), 60)
    finally:
        _attempts.end_attempt()
    assert limits == [3, 2, 1]


def test_tls_within_tls_ends_in_time() -> None:
    """Its reads go on, one after the other, until a record is whole: the line is cut."""
    here, there = socket.socketpair()

    def read(*_: Any) -> bytes:
        while here.recv(1):
            """As of a record that drips."""
        return b""

    stream: Any = SimpleNamespace(get_extra_info=lambda _: here, read=read)
    with here, there:
        _attempts.begin_attempt(0.05)
        try:
            with pytest.raises(httpcore.ReadTimeout):
                _attempts._Stream(stream, within_tls=True).read(1)
        finally:
            _attempts.end_attempt()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_leaves_the_requests_of_its_parent_alone() -> None:
    """Whatever they were doing: nothing of theirs is locked, known or cut in the child."""
    client = ore.Client.local(model="local/hash")
    _attempts.begin_attempt(60)
    with _attempts._lock:
        child = os.fork()
        if not child:
            held = _attempts._lock.locked() or bool(_attempts._attempts)
            client._transport.close = lambda: os._exit(2)  # type: ignore[method-assign]
            client.close()
            os._exit(held)
    _attempts.end_attempt()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert time.monotonic() > 0
