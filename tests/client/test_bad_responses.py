"""Services that misbehave: extra, compressed, incomplete or slow responses, and echoed keys."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
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
from tests.socket_service import responding
from tests.support import KEY, Kind, Service, both, embed_over, expected, held_by_another, in_a_fork

pytestmark = pytest.mark.usefixtures("sometimes_traced")


@both
def test_a_second_response_is_not_read_as_that_of_the_next_request(
    kind: Kind, counting: HTTPService
) -> None:
    """A connection with data behind the response is not reused."""
    result = embed_over(kind, counting.url, ["a", "bb", "ccc"], model="twice", batch_size=1)
    assert np.array_equal(result.vectors, expected(["a", "bb", "ccc"]))


@both
@pytest.mark.parametrize("model", ["gzip, gzip", "gzip, identity, gzip", "not gzip"])
def test_an_unexpected_content_encoding_is_a_response_error(
    kind: Kind, counting: HTTPService, model: str
) -> None:
    """Two kilobytes of nested gzip may decompress to a gigabyte."""
    with pytest.raises(
        ore.ResponseError, match=r"content encoding .*gzip, which the client did not ask"
    ):
        embed_over(kind, counting.url, ["a"], model=model)


@both
def test_an_incomplete_gzip_body_is_a_connection_error(kind: Kind, counting: HTTPService) -> None:
    """The same as an incomplete body that is not compressed."""
    with pytest.raises(ore.APIConnectionError, match="the compressed body is incomplete"):
        embed_over(kind, counting.url, ["a"], model="half gzip")


@pytest.mark.usefixtures("trusted")
def test_a_connection_is_closed_by_the_thread_that_uses_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS would go on with the number of a closed socket, which may belong to another file."""
    closed_by: list[int] = []
    started, close = threading.Event(), _sync_backend.Stream.close

    def recorded(stream: _sync_backend.Stream) -> None:
        closed_by.append(threading.get_ident())
        close(stream)

    monkeypatch.setattr(_sync_backend.Stream, "close", recorded)
    client = ore.Client(KEY, base_url=url, model="together", max_retries=0)
    outcomes: list[Any] = []

    def embed() -> None:
        started.set()
        with pytest.raises(ore.APIConnectionError) as raised:
            client.embed("a")
        outcomes.extend([threading.get_ident(), raised.value])

    thread = threading.Thread(target=embed)
    thread.start()
    started.wait(20)
    while not any(attempt.sock for attempt in [*_sync_backend._attempts.values()]):
        os.sched_yield()
    client.close()
    thread.join(20)
    assert closed_by == outcomes[:1]


def test_each_address_gets_a_share_of_the_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent address leaves time for the others; the last one that accepted is tried first."""
    shares: list[float] = []

    def connect(address: Any, seconds: float) -> socket.socket:
        tried.append(address[4][0])
        shares.append(seconds)
        if address[4][0] != accepting:
            raise httpcore.ConnectTimeout(address[4][0])
        return here

    tried: list[str] = []
    here, there = socket.socketpair()
    addresses = [(0, 0, 0, "", (f"127.0.0.{n}", 5)) for n in (1, 2, 3, 4)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*addresses])
    monkeypatch.setattr(_sync_backend, "_connect", connect)
    with here, there:
        accepting, backend = "127.0.0.4", _sync_backend.Backend()
        backend.connect_tcp("many.example", 5, 6.0)
        assert shares == pytest.approx([1.5, 2, 2, 6], abs=0.5)
        backend.connect_tcp("many.example", 5, 6.0)
        assert tried == ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.4"]
        accepting = ""
        with pytest.raises(httpcore.ConnectTimeout, match=r"127\.0\.0\.3"):
            backend.connect_tcp("many.example", 5, 6.0)


def test_a_service_that_reads_slowly_does_not_extend_the_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each piece that it reads leaves less time for the next."""
    now = [0.0]
    limits: list[float] = []

    class Socket:
        def settimeout(self, _: float) -> None:
            """Stay as it is."""

        def send(self, data: memoryview) -> int:
            if now[0] == len(limits):
                raise BlockingIOError
            return 1

    def is_ready(_: Any, seconds: float, *, writing: bool) -> bool:
        assert writing
        now[0] += 1
        limits.append(seconds)
        return True

    monkeypatch.setattr(_sync_backend, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(_sync_backend, "_is_ready", is_ready)
    fake: Any = Socket()
    stream = _sync_backend.Stream(fake, _sync_backend.Backend(), 60)
    stream.connected()
    _sync_backend.begin_attempt(3)
    try:
        with pytest.raises(httpcore.ReadTimeout):
            stream.send(b"abcdef")
    finally:
        _sync_backend.end_attempt(None)
    assert limits == [3, 2, 1]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_abort_the_parents_requests() -> None:
    """The child starts with a free lock and without the attempts of the parent."""
    client = ore.Client.local(model="local/hash")
    _sync_backend.begin_attempt(60)

    def is_unaffected() -> bool:
        held = not _sync_backend._lock.acquire(blocking=False) or bool(_sync_backend._attempts)
        client._transport.close = lambda: os._exit(2)  # type: ignore[method-assign]
        client.close()
        return not held

    with held_by_another(_sync_backend._lock):
        status = in_a_fork(is_unaffected)
    _sync_backend.end_attempt(None)
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
def test_an_error_status_counts_although_its_body_is_unreadable(
    kind: Kind, rest: bytes, status: int
) -> None:
    """So does its Retry-After header, and the request does not count as billed."""
    response = b"HTTP/1.1 %d Status\r\nRetry-After: 4\r\n%b" % (status, rest)
    with responding(response) as url, pytest.raises(ore.APIStatusError) as caught:
        embed_over(kind, url, ["a"])
    assert (caught.value.status, caught.value.retry_after) == (status, 4)
    assert caught.value.usage is None


@both
def test_an_error_status_counts_through_the_callers_httpx_client(kind: Kind) -> None:
    """The body has a content encoding that the client did not ask for."""
    headers = {"Content-Encoding": "br", "Retry-After": "4"}
    body = httpx.ByteStream(b"xx")
    service = Service(lambda *_: lambda: httpx.Response(429, headers=headers, stream=body))
    with pytest.raises(ore.RateLimitError) as caught:
        service.embed(kind, ["a"], max_retries=0)
    assert (caught.value.retry_after, caught.value.usage) == (4, None)


@both
def test_the_body_of_an_error_has_a_short_timeout(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is reported without the body."""
    monkeypatch.setattr(_send, "ERROR_BODY_TIMEOUT", 0.05)
    head = b"HTTP/1.1 503 Status\r\nContent-Length: 9\r\n\r\n"
    with responding(head, hold=True) as url, pytest.raises(ore.ServiceUnavailableError):
        embed_over(kind, url, ["a"], timeout=120)


@both
def test_a_response_that_is_rejected_unread_may_be_billed(kind: Kind) -> None:
    """It counts as unanswered in the usage."""
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"
    with responding(head) as url, pytest.raises(ore.ResponseError) as caught:
        embed_over(kind, url, ["a"])
    assert caught.value.usage is not None
    assert caught.value.usage.unanswered == 1


@pytest.mark.parametrize("flood", [b"\0", b"s\0", b"\\", b"\\u0073", b"\\u0073\0"])
def test_redacting_the_key_takes_linear_time(flood: bytes) -> None:
    """With quadratic time, one megabyte of such a response would take an hour."""
    text = flood * ((1 << 20) // len(flood))
    assert Secret(KEY).redact(text) == text


def spellings(letter: str) -> st.SearchStrategy[str]:
    """A letter, plain or escaped as in JSON."""
    return st.sampled_from([letter, f"\\u{ord(letter):04x}", f"\\u{ord(letter):04X}"])


@given(st.data(), st.sampled_from(["utf-8", "utf-16-le", "utf-32-be"]))
def test_a_key_is_redacted_anywhere_and_in_any_spelling(data: st.DataObject, encoding: str) -> None:
    """It may cross the boundary between two blocks, and appear several times."""
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


def test_only_text_with_an_escape_is_searched_for_an_escaped_key() -> None:
    """The search would block the event loop for a second for a large response."""
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


async def test_many_small_chunks_let_other_tasks_run() -> None:
    """Reading data that has already arrived does not yield to the event loop by itself."""
    seen: list[int] = []

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(3 * _send._CHUNKS_PER_TURN):
            seen.append(0)
            yield b"x"

    async def other() -> None:
        for _ in range(3):
            seen.append(1)
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await _send._feed(_send._ErrorBody(), drip())
    await task
    assert seen.index(1) == _send._CHUNKS_PER_TURN
    assert seen.count(0) == 3 * _send._CHUNKS_PER_TURN
