"""Services that answer twice, compress without end, drip, or answer where nobody asks any more."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpcore
import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings import _secret
from openrouter_embeddings._secret import Secret
from openrouter_embeddings.transport import _send, _sync_backend

from tests.http_service import HTTPService
from tests.support import (
    KEY,
    KINDS,
    Kind,
    Service,
    embed_over,
    expected,
    held_by_another,
    in_a_fork,
)

both = pytest.mark.parametrize("kind", KINDS)


@contextmanager
def answering(answer: bytes, *, hold: bool = False) -> Iterator[str]:
    """The address of a service that says the same to everybody, and hangs up unless it holds on."""

    def serve() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            with line:
                while b'"input"' not in line.recv(1 << 16):
                    """Head and body may come by themselves."""
                line.sendall(answer)
                if hold:
                    line.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        listener.shutdown(socket.SHUT_RDWR)


@both
def test_an_answer_that_comes_twice_is_not_the_next_requests(
    kind: Kind, counting: HTTPService
) -> None:
    """A connection on which more came than was asked for is not used again."""
    result = embed_over(kind, counting.url, ["a", "bb", "ccc"], model="twice", batch_size=1)
    assert np.array_equal(result.vectors, expected(["a", "bb", "ccc"]))


@both
@pytest.mark.parametrize("model", ["gzip, gzip", "gzip, identity, gzip", "not gzip"])
def test_strange_encodings_are_refused(kind: Kind, counting: HTTPService, model: str) -> None:
    """Two kilobytes that were compressed twice can be a gigabyte."""
    with pytest.raises(
        ore.ResponseError, match=r"content encoding .*gzip, which the client did not ask"
    ):
        embed_over(kind, counting.url, ["a"], model=model)


@both
def test_a_compressed_answer_without_its_end_is_broken(kind: Kind, counting: HTTPService) -> None:
    """As one is that is not compressed."""
    with pytest.raises(ore.APIConnectionError, match="the compressed body is incomplete"):
        embed_over(kind, counting.url, ["a"], model="half gzip")


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
    while not any(attempt.socket for attempt in [*_sync_backend._attempts.values()]):
        os.sched_yield()
    client.close()
    thread.join(20)
    assert closed_by == outcomes[:1]


def test_every_address_has_its_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody answers from does not use up that of the others; one that did is first."""
    shares: list[float] = []

    def connect(address: Any, seconds: float) -> socket.socket:
        tried.append(address[4][0])
        shares.append(seconds)
        if address[4][0] != answering:
            raise httpcore.ConnectTimeout(address[4][0])
        return here

    tried: list[str] = []
    here, there = socket.socketpair()
    addresses = [(0, 0, 0, "", (f"127.0.0.{n}", 5)) for n in (1, 2, 3, 4)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*addresses])
    monkeypatch.setattr(_sync_backend, "_connect", connect)
    with here, there:
        answering, backend = "127.0.0.4", _sync_backend.Backend()
        backend.connect_tcp("many.example", 5, 6.0)
        assert shares == pytest.approx([1.5, 2, 2, 6], abs=0.5)
        backend.connect_tcp("many.example", 5, 6.0)
        assert tried == ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.4"]
        answering = ""
        with pytest.raises(httpcore.ConnectTimeout, match=r"127\.0\.0\.3"):
            backend.connect_tcp("many.example", 5, 6.0)


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

    monkeypatch.setattr(_sync_backend, "time", SimpleNamespace(monotonic=lambda: now[0]))
    stream: Any = SimpleNamespace(get_extra_info=lambda _: Line())
    _sync_backend.begin_attempt(3)
    try:
        with pytest.raises(httpcore.ReadTimeout):
            _sync_backend._Stream(stream)._send_all(memoryview(b"abcdef"), 60)
    finally:
        _sync_backend.end_attempt()
    assert limits == [3, 2, 1]


def test_tls_tls_in_tls_ends_in_time() -> None:
    """Its reads go on, one after the other, until a record is whole: the line is cut."""
    here, there = socket.socketpair()

    def read(*_: Any) -> bytes:
        while here.recv(1):
            """As of a record that drips."""
        return b""

    stream: Any = SimpleNamespace(get_extra_info=lambda _: here, read=read)
    with here, there:
        _sync_backend.begin_attempt(0.05)
        try:
            with pytest.raises(httpcore.ReadTimeout):
                _sync_backend._Stream(stream, tls_in_tls=True).read(1)
        finally:
            _sync_backend.end_attempt()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_leaves_the_requests_of_its_parent_alone() -> None:
    """Whatever they were doing: nothing of theirs is locked, known or cut in the child."""
    client = ore.Client.local(model="local/hash")
    _sync_backend.begin_attempt(60)

    def nothing_is_its() -> bool:
        held = not _sync_backend._lock.acquire(blocking=False) or bool(_sync_backend._attempts)
        client._transport.close = lambda: os._exit(2)  # type: ignore[method-assign]
        client.close()
        return not held

    with held_by_another(_sync_backend._lock):
        status = in_a_fork(nothing_is_its)
    _sync_backend.end_attempt()
    assert status == 0
    assert time.monotonic() > 0


@both
@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"Content-Encoding: br\r\nContent-Length: 4\r\n\r\nxxxx", 429),
        (b"Content-Length: 400\r\n\r\n{", 429),
        (b"Content-Length: 400\r\n\r\n{", 401),
    ],
)
def test_a_status_that_came_counts_though_its_body_does_not(
    kind: Kind, rest: bytes, status: int
) -> None:
    """With its Retry-After; nobody takes it for an answer that may have been billed."""
    answer = b"HTTP/1.1 %d Said\r\nRetry-After: 4\r\n%b" % (status, rest)
    with answering(answer) as url, pytest.raises(ore.APIStatusError) as caught:
        embed_over(kind, url, ["a"])
    assert (caught.value.status, caught.value.retry_after) == (status, 4)
    assert caught.value.usage is None


@both
def test_a_status_counts_through_ones_own_httpx_client_too(kind: Kind) -> None:
    """Though its body is compressed by what was not asked for."""
    headers = {"Content-Encoding": "br", "Retry-After": "4"}
    body = httpx.ByteStream(b"xx")
    service = Service(lambda *_: lambda: httpx.Response(429, headers=headers, stream=body))
    with pytest.raises(ore.RateLimitError) as caught:
        service.embed(kind, ["a"], max_retries=0)
    assert (caught.value.retry_after, caught.value.usage) == (4, None)


@both
def test_the_body_of_an_error_is_not_waited_for(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For longer than a moment."""
    monkeypatch.setattr(_send, "ERROR_BODY_TIMEOUT", 0.05)
    head = b"HTTP/1.1 503 Said\r\nContent-Length: 9\r\n\r\n"
    with answering(head, hold=True) as url, pytest.raises(ore.ServiceUnavailableError):
        embed_over(kind, url, ["a"], timeout=120)


@both
def test_an_answer_that_was_refused_unread_may_have_been_billed(kind: Kind) -> None:
    """It counts as unanswered, and in the budget."""
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"
    with answering(head) as url, pytest.raises(ore.ResponseError) as caught:
        embed_over(kind, url, ["a"])
    assert caught.value.usage is not None
    assert caught.value.usage.unanswered == 1


@pytest.mark.parametrize("flood", [b"\0", b"s\0", b"\\", b"\\u0073", b"\\u0073\0"])
def test_no_answer_makes_the_search_for_the_key_slow(flood: bytes) -> None:
    """A megabyte is looked through in a moment, whatever it is of: else this test takes an hour."""
    text = flood * ((1 << 20) // len(flood))
    assert Secret(KEY).redact(text) == text


def spellings(letter: str) -> st.SearchStrategy[str]:
    """A letter as JSON may have it."""
    return st.sampled_from([letter, f"\\u{ord(letter):04x}", f"\\u{ord(letter):04X}"])


@given(st.data(), st.sampled_from(["utf-8", "utf-16-le", "utf-32-be"]))
def test_a_key_is_found_wherever_and_however_it_stands(data: st.DataObject, encoding: str) -> None:
    """Across the borders of what is looked through at once, and beside others."""
    spelt = "".join(data.draw(spellings(letter), label="letter") for letter in KEY)
    filler = st.builds(
        "".join, st.lists(st.sampled_from(["x" * 500, "\\u00e9", "\\", "sk-or-v1-", "é"]))
    )
    texts = data.draw(st.lists(filler, min_size=1, max_size=4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_secret, "_BLOCK", data.draw(st.integers(1, 3000)))
        found = Secret(KEY).redact(spelt.join(texts).encode(encoding))
    pieces = [text.encode(encoding) for text in texts]
    if encoding == "utf-8":
        assert found == b"[API key]".join(pieces)
    else:  # the zeros beside a key may go with it
        assert found.replace(b"\0", b"") == b"[API key]".join(pieces).replace(b"\0", b"")


def test_only_what_has_an_escape_is_searched_for_an_escaped_key() -> None:
    """The search takes a second for a large answer, in which an event loop does nothing else."""
    searched: list[int] = []

    class Search:
        def finditer(self, _: bytes, start: int, end: int) -> Iterator[Any]:
            searched.append(end - start)
            return iter(())

    secret: Any = Secret(KEY)
    secret._pattern = Search()
    text = b"x\\/" * 1_000_000 + b"\\u00e9" + b"x" * 3_000_000
    assert secret.redact(text) == text
    assert 0 < sum(searched) < 200_000


def test_one_byte_at_a_time_leaves_the_loop_to_others() -> None:
    """Though what has come is read without a step of the loop."""
    seen: list[int] = []

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(3 * _send._CHUNKS_PER_TURN):
            seen.append(0)
            yield b"x"

    async def run() -> None:
        async def other() -> None:
            for _ in range(3):
                seen.append(1)
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        await _send._feed(_send._ErrorBody(), drip())
        await task

    asyncio.run(run())
    assert seen.index(1) == _send._CHUNKS_PER_TURN
    assert seen.count(0) == 3 * _send._CHUNKS_PER_TURN
