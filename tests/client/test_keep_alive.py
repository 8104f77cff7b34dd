"""A connection that is used again: what came on it meanwhile, and what its end means."""

import asyncio
import json
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pytest
import trustme
import uvloop
from openrouter_embeddings.testing import JumpingClock
from openrouter_embeddings.transport import _stream_state

from tests.support import KEY, KINDS, answer, expected

every = pytest.mark.parametrize("kind", [*KINDS, "uvloop"])
secure_or_not = pytest.mark.parametrize("secure", [False, True])


Talk = Callable[["Lines", Any], None]


class Lines:
    """A service whose every connection is a talk with it, in a thread of its own.

    Attributes:
        opened: connections so far.
        url: where it listens.
    """

    def __init__(
        self, talk: Callable[["Lines", Any], None], context: ssl.SSLContext | None
    ) -> None:
        self.opened = 0
        self._talk, self._context = talk, context
        self.listener = socket.create_server(("127.0.0.1", 0))
        scheme = "https" if context else "http"
        self.url = f"{scheme}://localhost:{self.listener.getsockname()[1]}/v1"
        threading.Thread(target=self._run).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self.listener.accept()
                self.opened += 1
                threading.Thread(target=self._serve, args=[line], daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with suppress(OSError):
            if self._context:
                line = self._context.wrap_socket(line, server_side=True)
            with line:
                self._talk(self, line)


def whole(line: socket.socket) -> bytes:
    """Read a request; gives its right answer. Raises ConnectionError where there is none."""
    asked = b""
    while not asked.endswith(b"}"):
        if not (chunk := line.recv(1 << 16)):
            raise ConnectionError
        asked += chunk
    inputs = json.loads(asked.partition(b"\r\n\r\n")[2])["input"]
    body = json.dumps(answer(inputs)).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@contextmanager
def lines(talk: Talk, authority: trustme.CA | None = None) -> Iterator[Lines]:
    """Such a service, over TLS where an authority signs for it."""
    context = None
    if authority:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
    service = Lines(talk, context)
    yield service
    service.listener.shutdown(socket.SHUT_RDWR)
    service.listener.close()


def one_after_another(
    kind: str, url: str, texts: list[str], meanwhile: Callable[[], object], **options: Any
) -> list[ore.EmbeddingResult]:
    """A call for each text, on one client; `meanwhile` comes between, and blocks the loop."""
    options = {"base_url": url, "model": "m", "max_retries": 0, **options}

    async def run() -> list[ore.EmbeddingResult]:
        async with ore.AsyncClient(KEY, **options) as client:
            return [await between(client.embed(text), text) for text in texts]

    async def between(call: Awaitable[ore.EmbeddingResult], text: str) -> ore.EmbeddingResult:
        if text != texts[0]:
            meanwhile()
        return await call

    if kind != "sync":
        factory = uvloop.new_event_loop if kind == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(run())
    found: list[ore.EmbeddingResult] = []
    with ore.Client(KEY, **options) as client:
        for text in texts:
            if found:
                meanwhile()
            found.append(client.embed(text))
    return found


def close_notify(line: Any) -> None:
    """The end of TLS alone; the connection below stays open."""
    line.settimeout(0)
    with suppress(ssl.SSLWantReadError):
        line.unwrap()
    line.settimeout(None)


@every
@pytest.mark.parametrize(
    ("comes", "secure"),
    [("answer", False), ("answer", True), ("end", False), ("end", True), ("notify", True)],
)
@pytest.mark.usefixtures("trusted")
def test_what_comes_while_a_connection_is_idle_ends_its_use(
    kind: str, authority: trustme.CA, comes: str, *, secure: bool
) -> None:
    """Though the caller blocks the loop meanwhile: no request is sent on it, and none is lost."""
    now, come = threading.Event(), threading.Event()

    def talk(service: Lines, line: Any) -> None:
        said = whole(line)
        line.sendall(said)
        if service.opened == 1:
            now.wait(20)
            if comes == "answer":
                line.sendall(said)
            elif comes == "notify":
                close_notify(line)
            else:
                line.close()
            come.set()
        while comes == "answer":
            line.sendall(whole(line))

    def meanwhile() -> None:
        now.set()
        assert come.wait(20)

    with lines(talk, authority if secure else None) as service:
        results = one_after_another(kind, service.url, ["first", "second"], meanwhile)
        assert service.opened == 2
    for result, text in zip(results, ["first", "second"], strict=True):
        assert np.array_equal(result.vectors, expected([text]))
        assert result.usage.unanswered == 0


@every
@pytest.mark.usefixtures("trusted")
def test_a_quiet_connection_is_used_again_over_tls(kind: str, authority: trustme.CA) -> None:
    """What TLS itself has sent on it, tickets say, is no doubt."""

    def talk(_: Lines, line: Any) -> None:
        while True:
            line.sendall(whole(line))

    with lines(talk, authority) as service:
        results = one_after_another(kind, service.url, [*"abcd"], int)
        assert service.opened == 1
    assert np.array_equal(np.vstack([r.vectors for r in results]), expected([*"abcd"]))


class Time:
    """Seconds that pass when a service says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(_stream_state, "time", SimpleNamespace(monotonic=lambda: self.now))


def dying(time: Time, dies_after: float, *, reset: bool) -> Talk:
    """Answers one request on each of the first eight connections, and ends them with the next."""
    together = threading.Barrier(8)

    def talk(service: Lines, line: Any) -> None:
        kept = service.opened <= 8
        said = whole(line)
        if kept:
            together.wait(20)
            time.now += 0.1  # by each of the eight
            together.wait(20)
        line.sendall(said)
        if kept:
            if reset:  # closing sends RST
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            whole(line)
            time.now += dies_after
            return
        while True:
            line.sendall(whole(line))

    return talk


def eight_at_once(kind: str, url: str, then: dict[str, Any], **options: Any) -> ore.EmbeddingResult:
    """A client whose eight idle connections are dead, and the call that it makes then."""
    options = {"base_url": url, "model": "m", "max_retries": 0, "batch_size": 1, **options}
    eight: dict[str, Any] = {"concurrency": 8, "inputs": [*"abcdefgh"]}

    async def run() -> ore.EmbeddingResult:
        async with ore.AsyncClient(KEY, **options) as client:
            await client.embed(**eight)
            return await client.embed("next", **then)

    if kind != "sync":
        factory = uvloop.new_event_loop if kind == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(run())
    with ore.Client(KEY, **options) as client:
        client.embed(**eight)
        return client.embed("next", **then)


@every
@secure_or_not
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("dies_after", "unanswered"), [(0.0, 0), (0.1, 0), (0.3, 1)])
@pytest.mark.usefixtures("trusted")
def test_a_dead_connection_costs_no_attempt(
    kind: str,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    dies_after: float,
    unanswered: int,
    *,
    secure: bool,
    reset: bool,
) -> None:
    """The request goes out again at once, and counts where the service had the time to serve it.

    The quickest answer took 0.8 seconds.
    """
    talk = dying(Time(monkeypatch), dies_after, reset=reset)
    with lines(talk, authority if secure else None) as service:
        result = eight_at_once(kind, service.url, {})
        assert service.opened == 9
    assert np.array_equal(result.vectors, expected(["next"]))
    assert (result.usage.retries, result.usage.unanswered) == (0, unanswered)


@every
def test_a_connection_that_ends_later_fails_the_attempt(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not dead when the request went out, which the service may have read and billed."""
    with (
        lines(dying(Time(monkeypatch), 1.5, reset=False)) as service,
        pytest.raises(ore.APIConnectionError) as caught,
    ):
        eight_at_once(kind, service.url, {})
    assert caught.value.maybe_billed
    assert caught.value.usage is not None
    assert caught.value.usage.unanswered == 1


@every
@pytest.mark.parametrize("dies_after", [0.5, 1.5])
def test_a_retry_takes_none_of_the_other_idle_connections(
    kind: str, monkeypatch: pytest.MonkeyPatch, clock: JumpingClock, dies_after: float
) -> None:
    """They may be just as dead. A budget makes an attempt of what may have been billed."""
    budget = {"budget": Decimal(1)} if dies_after < 1 else {}
    with lines(dying(Time(monkeypatch), dies_after, reset=True)) as service:
        result = eight_at_once(kind, service.url, budget, max_retries=1)
        assert service.opened == 9
    assert np.array_equal(result.vectors, expected(["next"]))
    assert (result.usage.retries, result.usage.unanswered) == (1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_close_does_not_send_a_request_again(kind: str) -> None:
    """Its connection was kept, and not dead: it was closed here."""
    asked = threading.Event()

    def talk(_: Lines, line: Any) -> None:
        line.sendall(whole(line))
        said = whole(line)
        asked.set()
        line.recv(1)
        line.sendall(said)

    async def run(url: str) -> None:
        client = ore.AsyncClient(KEY, base_url=url, model="m", max_retries=0)
        await client.embed("a")
        call = asyncio.create_task(client.embed("b"))
        await asyncio.to_thread(asked.wait, 20)
        await client.close()
        await call

    def run_blocking(url: str) -> None:
        client = ore.Client(KEY, base_url=url, model="m", max_retries=0)
        client.embed("a")

        def close() -> None:
            asked.wait(20)
            client.close()

        closing = threading.Thread(target=close)
        closing.start()
        try:
            client.embed("b")
        finally:
            closing.join()

    with lines(talk) as service:
        with pytest.raises(ore.APIConnectionError) as caught:
            asyncio.run(run(service.url)) if kind == "async" else run_blocking(service.url)
        assert service.opened == 1
    assert caught.value.maybe_billed
