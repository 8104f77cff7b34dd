"""The transport: deadlines, event hooks, event loops, and the asyncio backend."""

import asyncio
import gc
import gzip
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from queue import SimpleQueue
from typing import Any

import httpcore
import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.transport import _asyncio_backend, _sync_backend
from openrouter_embeddings.transport._response_reader import ResponseReader

from tests.socket_service import (
    SocketService,
    http_response,
    responding,
    response_to,
    socket_service,
)
from tests.support import KEY, MODEL, Kind, Service, answer, both, embed_over, ended, everywhere

RIGHT = response_to(["a"])
pytestmark = pytest.mark.usefixtures("sometimes_traced")


def raising_for_status(response: Any) -> None:
    """A hook for responses."""
    response.raise_for_status()


def drip(connection: socket.socket, text: bytes) -> bool:
    """Send one byte at a time; False if the peer hung up before the end."""
    connection.settimeout(0.02)
    for byte in text:
        try:
            connection.sendall(bytes([byte]))
            if connection.recv(1) == b"":
                return False
        except TimeoutError:
            continue
        except ConnectionError:
            return False
    return True


@both
@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_slow_response_times_out_although_each_byte_is_in_time(kind: Kind, part: str) -> None:
    """The timeout bounds the attempt as a whole."""
    complete = SimpleQueue[bool]()
    head, separator, body = RIGHT.partition(b"\r\n\r\n")

    def respond(_: SocketService, connection: socket.socket) -> None:
        connection.recv(65536)
        if part == "body":
            connection.sendall(head + separator)
            complete.put(drip(connection, body))
        else:
            complete.put(drip(connection, b"HTTP/1.1 200 OK\r\nX-Slow: " + b"z" * 100))

    with socket_service(respond) as service, pytest.raises(ore.APITimeoutError):
        embed_over(kind, service.url, ["a"], timeout=0.2)
    assert not complete.get(timeout=20)


def test_each_wait_gets_the_remaining_time_of_its_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """While connecting it is shorter; after the deadline nothing is waited for or read."""
    seen: list[float] = []

    def is_ready(_: Any, seconds: float, *, writing: bool) -> bool:
        seen.append(seconds)
        if len(seen) > 1:
            _sync_backend.shorten_attempt(-0.5)
        return writing

    monkeypatch.setattr(_sync_backend, "_is_ready", is_ready)
    here, there = socket.socketpair()
    with here, there:
        stream = _sync_backend.Stream(here, _sync_backend.Backend(), 2)
        reader = ResponseReader(len)
        _sync_backend.begin_attempt(5)
        stream.send(b"x")
        with pytest.raises(httpcore.ConnectTimeout):
            stream.receive(reader)
        stream.connected()
        with pytest.raises(httpcore.ReadTimeout):
            stream.receive(reader)
        assert seen[0] == 2
        assert 2 < seen[1] <= 5
        there.sendall(RIGHT)
        with pytest.raises(httpcore.ReadTimeout):
            stream.receive(reader)
        _sync_backend.begin_attempt(5)
        stream.receive(reader)
        _sync_backend.end_attempt(None)
    assert reader.is_complete


@both
@pytest.mark.usefixtures("http")
def test_httpx_gets_the_timeouts_of_the_attempt(kind: Kind) -> None:
    """Connecting gets 15 seconds at most; reads and writes get the timeout of the attempt."""
    service = Service()
    service.embed(kind, ["a"], timeout=60)
    service.embed(kind, ["a"], timeout=3)
    seen = [request.extensions["timeout"] for request in service.requests]
    assert seen[0] == {"connect": 15.0, "read": 60, "write": 60, "pool": 60}
    assert seen[1] == {"connect": 3, "read": 3, "write": 3, "pool": 3}


@both
def test_plain_http_bypasses_the_proxy(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY would otherwise see the key in a request to this machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with responding(RIGHT) as url:
        assert len(embed_over(kind, url, ["a"])) == 1


@both
@pytest.mark.parametrize(
    "failure", [OSError("broken pipe"), UnicodeError("label too long"), TimeoutError("slow")]
)
def test_system_errors_become_connection_errors(kind: Kind, failure: Exception) -> None:
    """A name lookup or the caller's httpx transport may raise them."""
    with pytest.raises(ore.APIConnectionError):
        Service(lambda *_: failure).embed(kind, ["a"], max_retries=0)


@everywhere
def test_an_impossible_host_name_is_not_billed(kind: str) -> None:
    """The name lookup raises a UnicodeError, so nothing was sent."""
    with pytest.raises(ore.APIConnectionError, match="cannot connect to") as caught:
        embed_over(kind, f"http://{'a' * 64}.localhost", ["a"])
    assert not caught.value.maybe_billed


@both
def test_a_unicode_error_in_httpx_is_billed_only_if_it_is_about_decoding(kind: Kind) -> None:
    """An encoding error comes from the name lookup, a decoding error from a response."""
    lookup = UnicodeError("label empty or too long")
    with pytest.raises(ore.APIConnectionError) as caught:
        Service(lambda *_: lookup).embed(kind, ["a"], max_retries=0)
    assert not caught.value.maybe_billed
    answered = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    with pytest.raises(ore.APIConnectionError) as caught:
        Service(lambda *_: answered).embed(kind, ["a"], max_retries=0)
    assert caught.value.maybe_billed


def embed_with_hook(kind: Kind, event: str, hook: Any, **options: Any) -> ore.EmbeddingResult:
    """Call `embed` through an httpx client with this hook for `request` or `response`."""
    transport = options.pop("transport", None)
    options = {"model": MODEL, "max_retries": 0, **options}

    async def async_hook(message: Any) -> None:
        hook(message)

    async def run() -> ore.EmbeddingResult:
        hooks = {event: [async_hook]}
        async with Service.http.AsyncClient(transport=transport, event_hooks=hooks) as http:
            result = await ore.AsyncClient(KEY, http_client=http, **options).embed("a")
            assert http.event_hooks[event] == [async_hook]
            return result

    if kind == "async":
        return asyncio.run(run())
    with Service.http.Client(transport=transport, event_hooks={event: [hook]}) as http:
        result = ore.Client(KEY, http_client=http, **options).embed("a")
        assert http.event_hooks[event] == [hook]
        return result


@both
@pytest.mark.usefixtures("http")
def test_a_hook_that_raises_for_status_does_not_hide_the_error(kind: Kind) -> None:
    """The error keeps its type and message, although httpx has closed the response by then."""
    body = b'{"error": {"code": 401, "message": "No auth credentials found"}}'
    with (
        responding(http_response(401, body), hold=True) as url,
        pytest.raises(ore.AuthenticationError, match="No auth credentials found"),
    ):
        embed_with_hook(kind, "response", raising_for_status, base_url=url)


@both
@pytest.mark.usefixtures("http")
def test_a_hook_that_raises_for_status_does_not_affect_a_success(kind: Kind) -> None:
    """The response is read as it arrives."""
    with responding(RIGHT, hold=True) as url:
        assert len(embed_with_hook(kind, "response", raising_for_status, base_url=url)) == 1


@both
@pytest.mark.usefixtures("http")
@pytest.mark.parametrize(
    ("body", "more"),
    [(b"x" * (3 << 20), b""), (gzip.compress(b"x"), b"Content-Encoding: gzip\r\n")],
    ids=["endless", "compressed"],
)
def test_a_hook_does_not_lift_the_bounds_of_an_error_body(
    kind: Kind, body: bytes, more: bytes
) -> None:
    """The client reads 1 MB at most and no compressed body, and reports the status."""
    with (
        responding(http_response(500, body, more), hold=True) as url,
        pytest.raises(ore.InternalServerError) as caught,
    ):
        embed_with_hook(kind, "response", raising_for_status, base_url=url)
    assert ("x" in (caught.value.body or "")) == (not more)


@both
@pytest.mark.usefixtures("http")
def test_the_client_falls_back_to_floats_although_a_hook_raised(kind: Kind) -> None:
    """A 400 response that names base64 switches the encoding, with or without hooks."""

    def script(body: dict[str, Any], _: int) -> Any:
        if body["encoding_format"] == "base64":
            return lambda: httpx.Response(400, json={"error": {"message": "no base64 here"}})
        return answer(body["input"])

    service = Service(script)
    transport = service.transport()
    embed_with_hook(kind, "response", raising_for_status, transport=transport)
    assert [body["encoding_format"] for body in service.bodies] == ["base64", "float"]


@both
@pytest.mark.parametrize("status", [401, 429])
def test_an_http_error_of_a_hooks_own_request_is_a_connection_error(
    kind: Kind, status: int, http: Any
) -> None:
    """A 401 or 429 from a token service blames no API key and slows no model down."""
    token_request = http.Request("POST", "https://tokens.example/new")

    def hook(_: Any) -> None:
        http.Response(status, request=token_request).raise_for_status()

    with pytest.raises(ore.APIConnectionError, match=f"{status}.*tokens.example"):
        embed_with_hook(kind, "request", hook)


@both
def test_a_response_that_breaks_off_is_closed(kind: Kind) -> None:
    """The client closes it, whatever its status."""
    closed: list[str] = []

    class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"{"
            raise httpx.ReadError("broken")

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"{"
            raise httpx.ReadError("broken")

        def close(self) -> None:
            closed.append("sync")

        async def aclose(self) -> None:
            closed.append("async")

    for status in (200, 500):
        service = Service(lambda *_, s=status: lambda: httpx.Response(s, stream=Body()))
        with pytest.raises(ore.EmbeddingsError):
            service.embed(kind, ["a"], max_retries=0)
    assert closed == [kind] * 2


async def test_the_callers_async_httpx_client_stays_open() -> None:
    """Closing a client closes only the connections that it made itself."""
    http = httpx.AsyncClient(transport=httpx.MockTransport(Service().handle))
    async with ore.AsyncClient(KEY, http_client=http, model=MODEL) as client:
        await client.embed("a")
    assert not http.is_closed
    await http.aclose()
    own = ore.AsyncClient.local()
    await own.close()
    assert own._transport._http.is_closed
    local = ore.Client.local()
    local.close()
    assert local._transport._http.is_closed


# A closed loop leaves idle connections to Python, which warns as it closes them.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_async_client_works_in_one_event_loop_after_another(server: str) -> None:
    """It makes new connections in each loop."""
    wanted = ore.Client.local(model="local/hash").embed(["a", "b"]).vectors
    client = ore.AsyncClient("local", base_url=server, model="local/hash")
    for _ in range(3):
        found = asyncio.run(client.embed(["a", "b"], batch_size=1))
        assert np.array_equal(found.vectors, wanted)
    asyncio.run(client.close())
    del client
    gc.collect()  # here, where the warning is ignored


def test_an_async_client_refuses_a_second_running_event_loop() -> None:
    """Its own connections belong to the first loop; a caller's httpx client never changes loops."""
    client = ore.AsyncClient.local(model="local/hash")

    async def in_two_loops() -> None:
        await client.embed("a")
        with pytest.raises(ore.InputError, match="first used in another event loop"):
            await asyncio.to_thread(asyncio.run, client.embed("a"))

    asyncio.run(in_two_loops())
    http = httpx.AsyncClient(transport=httpx.MockTransport(Service().handle))
    client = ore.AsyncClient(KEY, http_client=http, model=MODEL)
    asyncio.run(client.embed("a"))
    with pytest.raises(ore.InputError, match="first used in another event loop"):
        asyncio.run(client.embed("a"))


def test_a_process_exits_although_a_request_hangs() -> None:
    """After an error, the process does not wait for requests in flight."""
    code = """
import threading, httpx, openrouter_embeddings as ore
from openrouter_embeddings.client import _base
_base.GRACE_PERIOD = 0.01
in_flight = threading.Event()
def serve(request):
    if b'"a"' in request.content:
        in_flight.wait()
        return httpx.Response(400, json={})
    in_flight.set()
    threading.Event().wait()
client = ore.Client("k", http_client=httpx.Client(transport=httpx.MockTransport(serve)), model="m")
client.embed(["a", "b"], batch_size=1)
"""
    done = ended(sys.executable, "-c", code)
    assert done.returncode == 1
    assert "BadRequestError" in done.stderr.splitlines()[-1]


class _FakeTransport(asyncio.Transport):
    """Records the calls of its methods."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def write(self, data: Any) -> None:
        self.calls.append("write")

    def abort(self) -> None:
        self.calls.append("abort")


def test_asyncio_pauses_reading_until_the_task_has_taken_the_data() -> None:
    """A plain body is decoded as it arrives; h11 would hold any amount of another one."""
    backend = _asyncio_backend.Backend()
    transport, protocol = _FakeTransport(), _asyncio_backend._Protocol(backend)
    protocol.connection_made(transport)

    def arrive(data: bytes) -> None:
        protocol.get_buffer(-1)[: len(data)] = data
        protocol.buffer_updated(len(data))

    protocol.response = ResponseReader(len)
    arrive(RIGHT[:-1])
    arrive(RIGHT[-1:])
    assert protocol.response.is_complete
    assert transport.calls == []
    protocol.response = ResponseReader(len)
    arrive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    arrive(b"1\r\na\r\n")
    assert transport.calls == ["pause"]
    assert [*protocol.response.chunks()] == [b"a"]
    protocol.release()
    assert transport.calls == ["pause", "resume"]
    arrive(b"x")
    assert transport.calls == ["pause", "resume", "abort"]
    assert protocol.ended


def test_asyncio_reads_nothing_into_a_response_that_was_given_up() -> None:
    """Its rows may be in a result by then; TLS may still have data when the connection closes."""
    backend, reader = _asyncio_backend.Backend(), ResponseReader(len)
    transport, protocol = _FakeTransport(), _asyncio_backend._Protocol(backend)
    protocol.connection_made(transport)
    protocol.response = reader
    here, there = socket.socketpair()
    with here, there:
        _asyncio_backend.Stream(protocol, backend, here).close()
    protocol.get_buffer(-1)[: len(RIGHT)] = RIGHT
    protocol.buffer_updated(len(RIGHT))
    assert not reader.status


async def test_asyncio_waits_while_the_write_buffer_is_full() -> None:
    """A write waits until asyncio resumes writing or the connection ends."""
    here, there = socket.socketpair()
    here.setblocking(False)
    backend, reader = _asyncio_backend.Backend(), ResponseReader(len)
    transport, protocol = _FakeTransport(), _asyncio_backend._Protocol(backend)
    protocol.connection_made(transport)
    with here, there:
        stream = _asyncio_backend.Stream(protocol, backend, here)
        protocol.pause_writing()
        writing = asyncio.create_task(stream.send(reader, b"head", b"a"))
        await asyncio.sleep(0)
        assert not writing.done()
        protocol.resume_writing()
        await writing
        protocol.pause_writing()
        writing = asyncio.create_task(stream.send(reader, b"b"))
        await asyncio.sleep(0)
        protocol.connection_lost(None)
        await writing
        await stream.send(reader, b"c")
        assert transport.calls == ["write"] * 3
        with pytest.raises(httpcore.RemoteProtocolError, match="without a response"):
            await stream.receive(reader)
