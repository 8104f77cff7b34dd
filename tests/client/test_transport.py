"""Where the client meets the system: sockets, proxies, time, threads, event loops."""

import asyncio
import gc
import gzip
import json
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpcore
import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.transport import _asyncio_backend, _deadlines

from tests.support import KEY, KINDS, MODEL, Kind, Service, answer, embed_over

both = pytest.mark.parametrize("kind", KINDS)
WHOLE = json.dumps(answer(["a"])).encode()


@contextmanager
def serving(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that takes one connection, reads the request, and talks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)  # should nobody come

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                talk(connection)

        thread = threading.Thread(target=run)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def drip(connection: socket.socket, text: bytes) -> bool:
    """Send a byte at a time; whether all was sent before the other side hung up."""
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
def test_a_dripping_answer_meets_the_time_out(kind: Kind, part: str) -> None:
    """Every byte is in time, the attempt as a whole is not: it ends before the answer does."""
    whole: list[bool] = []
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(WHOLE)}\r\n\r\n".encode()

    def talk(connection: socket.socket) -> None:
        if part == "body":
            connection.sendall(head)
            whole.append(drip(connection, WHOLE))
        else:
            whole.append(drip(connection, b"HTTP/1.1 200 OK\r\nX-Slow: " + b"z" * 100))

    with serving(talk) as url, pytest.raises(ore.APITimeoutError):
        embed_over(kind, url, ["a"], timeout=0.2)
    assert whole == [False]


def test_every_operation_of_an_attempt_has_what_is_left_of_its_time() -> None:
    """Reading and writing; nothing is begun when it is over."""
    seen: list[float | None] = []
    sent: list[bytes] = []

    class Line:
        def settimeout(self, left: float | None) -> None:
            seen.append(left)

        def send(self, data: memoryview) -> int:
            sent.append(bytes(data[:3]))
            return len(sent[-1])

    class Fake(httpcore.NetworkStream):
        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            seen.append(timeout)
            return b""[:max_bytes]

        def get_extra_info(self, info: str) -> Any:
            return Line() if info == "socket" else None

    stream = _deadlines._Stream(Fake())
    _deadlines.begin_attempt(5)
    stream.read(1, 100)
    stream.write(b"head", None)
    stream.write(b"", None)
    stream.read(1, 2)
    assert sent == [b"hea", b"d"]
    assert [left is not None and left <= 5 for left in seen] == [True] * 4
    assert seen[3] == 2
    _deadlines.begin_attempt(-1)
    with pytest.raises(httpcore.ReadTimeout):
        stream.read(1, 100)


@both
def test_time_outs_reach_httpx(kind: Kind) -> None:
    """Connecting has 15 seconds at most, every read and write what the attempt has."""
    service = Service()
    service.embed(kind, ["a"], timeout=60)
    service.embed(kind, ["a"], timeout=3)
    seen = [request.extensions["timeout"] for request in service.requests]
    assert seen[0] == {"connect": 15.0, "read": 60, "write": 60, "pool": 60}
    assert seen[1] == {"connect": 3, "read": 3, "write": 3, "pool": 3}


@both
def test_a_proxy_does_not_see_a_plain_request(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY would get the key of a request to this machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    def talk(connection: socket.socket) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(WHOLE)}\r\n\r\n"
        connection.sendall(head.encode() + WHOLE)

    with serving(talk) as url:
        assert len(embed_over(kind, url, ["a"])) == 1


@both
@pytest.mark.parametrize(
    "failure", [OSError("wire cut"), UnicodeError("label too long"), TimeoutError("slow")]
)
def test_errors_of_the_system_are_typed(kind: Kind, failure: Exception) -> None:
    """From name look-up, or from a transport of the caller's."""
    with pytest.raises(ore.APIConnectionError):
        Service(lambda *_: failure).embed(kind, ["a"], max_retries=0)


@pytest.mark.parametrize("kind", [*KINDS, "uvloop"])
def test_a_host_name_that_cannot_be_is_not_billed(kind: str) -> None:
    """Looking it up ends in a UnicodeError: nothing was sent."""
    with pytest.raises(ore.APIConnectionError, match="no connection to") as caught:
        embed_over(kind, f"http://{'a' * 64}.localhost", ["a"])
    assert not caught.value.maybe_billed


@both
def test_a_host_name_that_cannot_be_is_not_billed_through_ones_own_httpx_client(kind: Kind) -> None:
    """Whereas a text that cannot be decoded is of an answer, which was."""
    lookup = UnicodeError("label empty or too long")
    with pytest.raises(ore.APIConnectionError) as caught:
        Service(lambda *_: lookup).embed(kind, ["a"], max_retries=0)
    assert not caught.value.maybe_billed
    answered = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    with pytest.raises(ore.APIConnectionError) as caught:
        Service(lambda *_: answered).embed(kind, ["a"], max_retries=0)
    assert caught.value.maybe_billed


def embed_with_hook(kind: Kind, url: str, **options: Any) -> ore.EmbeddingResult:
    """One call through an httpx client of the caller's, which raises for every status."""

    def hook(response: httpx.Response) -> None:
        response.raise_for_status()

    async def async_hook(response: httpx.Response) -> None:
        response.raise_for_status()

    options = {"base_url": url, "model": MODEL, "max_retries": 0, **options}

    async def run() -> ore.EmbeddingResult:
        async with httpx.AsyncClient(event_hooks={"response": [async_hook]}) as http:
            result = await ore.AsyncClient(KEY, http_client=http, **options).embed("a")
            assert http.event_hooks["response"] == [async_hook]
            return result

    if kind == "async":
        return asyncio.run(run())
    with httpx.Client(event_hooks={"response": [hook]}) as http:
        result = ore.Client(KEY, http_client=http, **options).embed("a")
        assert http.event_hooks["response"] == [hook]
        return result


def saying(status: int, body: bytes, *more: bytes) -> Callable[[socket.socket], None]:
    """Answers with a status, and the body a little later, in a chunk of its own."""

    def talk(line: socket.socket) -> None:
        head = b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n%b\r\n" % (
            status, len(body), b"".join(more)
        )  # fmt: skip
        line.sendall(head)
        with suppress(OSError):
            line.sendall(body)
            while line.recv(1 << 16):
                """Closing before all was read would reset the connection."""

    return talk


@both
def test_a_hook_that_raises_for_status_does_not_hide_the_error(kind: Kind) -> None:
    """Neither its type nor its message; httpx has closed the answer by then."""
    body = b'{"error": {"code": 401, "message": "No auth credentials found"}}'
    with (
        serving(saying(401, body)) as url,
        pytest.raises(ore.AuthenticationError, match="No auth credentials found"),
    ):
        embed_with_hook(kind, url)


@both
def test_a_hook_that_raises_for_status_changes_nothing_of_a_success(kind: Kind) -> None:
    """The answer is read as it comes."""
    with serving(saying(200, WHOLE)) as url:
        assert len(embed_with_hook(kind, url)) == 1


@both
@pytest.mark.parametrize(
    ("body", "more"),
    [(b"x" * (3 << 20), b""), (gzip.compress(b"x"), b"Content-Encoding: gzip\r\n")],
    ids=["endless", "compressed"],
)
def test_a_hook_has_no_more_read_of_an_error_than_we_do(
    kind: Kind, body: bytes, more: bytes
) -> None:
    """A megabyte, and nothing that httpx would inflate without end; the status still counts."""
    with serving(saying(500, body, more)) as url, pytest.raises(ore.InternalServerError) as caught:
        embed_with_hook(kind, url)
    assert ("x" in (caught.value.body or "")) == (not more)


@both
def test_what_a_hook_has_refused_teaches_the_client(kind: Kind) -> None:
    """Base64 is given up where the refusal names it."""

    def script(body: dict[str, Any], _: int) -> Any:
        if body["encoding_format"] == "base64":
            return lambda: httpx.Response(400, json={"error": {"message": "no base64 here"}})
        return answer(body["input"])

    service = Service(script)
    transport = httpx.MockTransport(service.handle)

    async def async_hook(response: httpx.Response) -> None:
        response.raise_for_status()

    async def run() -> None:
        hooks = {"response": [async_hook]}
        async with httpx.AsyncClient(transport=transport, event_hooks=hooks) as http:
            await ore.AsyncClient(KEY, http_client=http, model=MODEL).embed("a")

    if kind == "async":
        asyncio.run(run())
    else:
        hooks: Any = {"response": [lambda response: response.raise_for_status()]}
        with httpx.Client(transport=transport, event_hooks=hooks) as http:
            ore.Client(KEY, http_client=http, model=MODEL).embed("a")
    assert [body["encoding_format"] for body in service.bodies] == ["base64", "float"]


@both
@pytest.mark.parametrize("status", [401, 429])
def test_what_a_hook_has_asked_elsewhere_is_no_answer_of_the_service(
    kind: Kind, status: int
) -> None:
    """A refusal of, say, a service for tokens blames no API key and slows no model down."""
    elsewhere = httpx.Request("POST", "https://tokens.example/new")

    def hook(_: httpx.Request) -> None:
        httpx.Response(status, request=elsewhere).raise_for_status()

    async def async_hook(request: httpx.Request) -> None:
        hook(request)

    async def run() -> None:
        async with httpx.AsyncClient(event_hooks={"request": [async_hook]}) as http:
            await ore.AsyncClient(KEY, http_client=http, model=MODEL, max_retries=0).embed("a")

    def ask() -> None:
        if kind == "async":
            asyncio.run(run())
        else:
            with httpx.Client(event_hooks={"request": [hook]}) as http:
                ore.Client(KEY, http_client=http, model=MODEL, max_retries=0).embed("a")

    with pytest.raises(ore.APIConnectionError, match=f"{status}.*tokens.example"):
        ask()


@both
def test_answers_are_closed(kind: Kind) -> None:
    """A connection is given up when its answer breaks off."""
    closed: list[str] = []

    class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"{"
            raise httpx.ReadError("cut off")

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"{"
            raise httpx.ReadError("cut off")

        def close(self) -> None:
            closed.append("sync")

        async def aclose(self) -> None:
            closed.append("async")

    for status in (200, 500):
        service = Service(lambda *_, s=status: lambda: httpx.Response(s, stream=Body()))
        with pytest.raises(ore.EmbeddingsError):
            service.embed(kind, ["a"], max_retries=0)
    assert closed == [kind] * 2


def test_the_callers_async_httpx_client_stays_open() -> None:
    """It is theirs to close; what we made, we close."""

    async def run() -> None:
        theirs = httpx.AsyncClient(transport=httpx.MockTransport(Service().handle))
        async with ore.AsyncClient(KEY, http_client=theirs, model=MODEL) as client:
            await client.embed("a")
        assert not theirs.is_closed
        await theirs.aclose()
        ours = ore.AsyncClient.local()
        await ours.close()
        assert ours._transport._http.is_closed

    asyncio.run(run())
    local = ore.Client.local()
    local.close()
    assert local._transport._http.is_closed


def thrice(server: str) -> list[Any]:
    """The vectors of one client in three event loops."""
    client = ore.AsyncClient("local", base_url=server, model="local/hash")

    async def run() -> Any:
        return (await client.embed(["a", "b"], batch_size=1)).vectors

    found = [asyncio.run(run()) for _ in range(3)]
    asyncio.run(client.close())
    return found


# A loop that closes leaves idle connections to Python, which closes and mentions them.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_async_client_serves_one_event_loop_after_another(server: str) -> None:
    """With connections of its own in each."""
    wanted = ore.Client.local(model="local/hash").embed(["a", "b"]).vectors
    for found in thrice(server):
        assert np.array_equal(found, wanted)
    gc.collect()  # here, where the mention is ignored


def test_an_async_client_serves_one_event_loop_at_a_time() -> None:
    """While another has its connections it says so; the caller's are not made anew at all."""
    client = ore.AsyncClient.local(model="local/hash")

    async def elsewhere() -> None:
        await client.embed("a")
        with pytest.raises(ore.InputError, match="first used in another event loop"):
            await asyncio.to_thread(asyncio.run, client.embed("a"))

    asyncio.run(elsewhere())
    theirs = httpx.AsyncClient(transport=httpx.MockTransport(Service().handle))
    client = ore.AsyncClient(KEY, http_client=theirs, model=MODEL)
    asyncio.run(client.embed("a"))
    with pytest.raises(ore.InputError, match="first used in another event loop"):
        asyncio.run(client.embed("a"))


def test_a_process_ends_though_a_request_does_not() -> None:
    """After an error nobody waits for the requests that were under way."""
    code = """
import threading, httpx, openrouter_embeddings as ore
from openrouter_embeddings.client import _base
_base.GRACE_PERIOD = 0.01
under_way = threading.Event()
def serve(request):
    if b'"a"' in request.content:
        under_way.wait()
        return httpx.Response(400, json={})
    under_way.set()
    threading.Event().wait()
client = ore.Client("k", http_client=httpx.Client(transport=httpx.MockTransport(serve)), model="m")
client.embed(["a", "b"], batch_size=1)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "BadRequestError" in done.stderr.splitlines()[-1]


class _ModelQueue(asyncio.Transport):
    """Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def pause_reading(self) -> None:
        self.said.append("pause")

    def resume_reading(self) -> None:
        self.said.append("resume")

    def write(self, data: Any) -> None:
        self.said.append("write")


def test_asyncio_reads_no_further_ahead_than_a_megabyte() -> None:
    """And goes on when what has come was taken."""
    line, protocol = _ModelQueue(), _asyncio_backend._Protocol()
    protocol.connection_made(line)
    protocol.data_received(b"x" * 1_000_000)
    assert line.said == []
    protocol.data_received(b"x" * 100_000)
    protocol.data_received(b"x")
    assert line.said == ["pause"]
    assert len(protocol.take()) == 1_100_001
    assert line.said == ["pause", "resume"]


def test_asyncio_writes_no_further_ahead_than_the_connection_takes() -> None:
    """A write waits where the transport says so, and ends with the connection."""

    async def run() -> None:
        line, protocol = _ModelQueue(), _asyncio_backend._Protocol()
        protocol.connection_made(line)
        stream = _asyncio_backend._Stream(line, protocol, _asyncio_backend.Backend(), here)
        await stream.write(b"head")
        protocol.pause_writing()
        writing = asyncio.create_task(stream.write(b"a"))
        await asyncio.sleep(0)
        assert not writing.done()
        protocol.resume_writing()
        await writing
        await stream.write(b"head")
        protocol.pause_writing()
        writing = asyncio.create_task(stream.write(b"b"))
        await asyncio.sleep(0)
        protocol.connection_lost(None)
        await writing
        assert line.said == ["write", "write"]
        await stream.write(b"head")
        with pytest.raises(httpcore.WriteError):
            await stream.write(b"c")
        assert await stream.read(1) == b""

    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        asyncio.run(run())
