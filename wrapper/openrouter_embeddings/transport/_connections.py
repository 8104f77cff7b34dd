"""Pools of connections, one per concurrent request, in place of an httpx client.

Through httpx and httpcore a request takes twice the CPU time: for redirects, cookies, hooks and
other things that this API does not need, and for copies of a large response. A caller who needs
them passes an httpx client.
"""

import asyncio
import os
import ssl
import threading
import time
import zlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    aclosing,
    asynccontextmanager,
    contextmanager,
)
from typing import Generic, TypeAlias, TypeVar

import httpcore
import httpx

from openrouter_embeddings._secret import Secret
from openrouter_embeddings._version import __version__
from openrouter_embeddings.errors import InputError, ResponseError

from . import _asyncio_backend
from ._proxy import address, origin, proxy_for, tunnel_request, tunnelling
from ._response_reader import ResponseReader
from ._stream_state import ReusedConnectionError
from ._sync_backend import CONNECT_TIMEOUT, Backend, Stream
from ._tls import create_ssl_context

HEADERS = (
    (b"Content-Type", b"application/json"),
    (b"Accept", b"application/json"),
    # Base64 of vectors shrinks by a quarter, for several times the CPU time of decoding them.
    (b"Accept-Encoding", b"identity"),
    (
        b"User-Agent",
        f"openrouter-embeddings/{__version__} python-httpx/{httpx.__version__}".encode(),
    ),
)
_KEEPALIVE_EXPIRY = 5.0  # seconds that a connection may be idle, as in httpx
_COPY_LIMIT = 1 << 16  # bytes
_INFLATED_CHUNK = 1 << 16  # bytes
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS

# status, headers and body; the body is read from the connection as it is iterated
Response: TypeAlias = tuple[int, Iterable[tuple[bytes, bytes]], Iterator[bytes]]
AsyncResponse: TypeAlias = tuple[int, Iterable[tuple[bytes, bytes]], AsyncIterator[bytes]]
S = TypeVar("S", Stream, _asyncio_backend.Stream)


class _Moment:
    """A moment, by two clocks."""

    def __init__(self) -> None:
        self._monotonic, self._wall = time.monotonic(), time.time()

    def age(self) -> float:
        """Seconds since then.

        The monotonic clock stands still while a laptop sleeps or a function platform has stopped
        the machine, and the wall clock may be set back.
        """
        return max(time.monotonic() - self._monotonic, time.time() - self._wall)


class _BaseConnections(Generic[S]):
    """The idle connections, and the request that is sent on each.

    Args:
        url, key: of every request.
        trust_env: whether the environment's proxy counts.
        ssl_context: the caller's.

    Attributes:
        url: of every request.
    """

    def __init__(
        self,
        url: httpx.URL,
        key: Secret,
        *,
        trust_env: bool,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.is_closed: bool = False
        self._process = os.getpid()
        self._proxy = proxy_for(url) if trust_env else None
        self.via_proxy: str = f" through the proxy {origin(self._proxy)}" if self._proxy else ""
        self._context: ssl.SSLContext | None = None
        if url.scheme == "https":
            self._context = ssl_context or create_ssl_context()  # takes 30 ms: one for all
            self._context.set_alpn_protocols(["http/1.1"])
        self._key = key
        self.url: httpx.URL = url
        self._headers = [(b"Host", url.netloc), *HEADERS]
        self._lock = threading.Lock()
        self._idle: deque[tuple[_Moment, S]] = deque()  # since when; the last one is used first

    def _acquire(self) -> tuple[S | None, list[S]]:
        """An idle connection, if any, and the expired ones, which the caller has to close.

        Raises InputError.
        """
        expired: list[S] = []
        with self._lock:
            if self.is_closed:
                raise InputError("the client is closed; make a new one")
            if os.getpid() != self._process:  # both would read from the same socket
                raise InputError(
                    "the connections belong to another process; make a client in each process"
                )
            while self._idle and self._idle[0][0].age() > _KEEPALIVE_EXPIRY:
                expired.append(self._idle.popleft()[1])
            return self._idle.pop()[1] if self._idle else None, expired

    def _pop_idle(self) -> list[S]:
        """Remove and return all idle connections."""
        with self._lock:
            idle = [stream for _, stream in self._idle]
            self._idle.clear()
        return idle

    def _release(self, stream: S, reader: ResponseReader) -> bool:
        """Keep a connection whose response was read; False if the caller has to close it."""
        with self._lock:
            if reader.can_reuse and not self.is_closed:
                self._idle.append((_Moment(), stream))
                return True
        return False

    def _refuse_requests(self) -> list[S]:
        """Refuse further requests; returns the idle connections, which the caller has to close."""
        with self._lock:
            self.is_closed = True
        return self._pop_idle()

    def _request(self, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, ...]:
        """A request; a large body is not copied to be sent together with its head."""
        sent = [
            *(with_headers(self._headers, headers) if headers else self._headers),
            (b"Content-Length", b"%d" % len(body)),
            (b"Authorization", b"Bearer " + self._key.reveal().encode()),
        ]
        lines = b"".join([b"%b: %b\r\n" % header for header in sent])
        head = b"POST %b HTTP/1.1\r\n%b\r\n" % (self.url.raw_path, lines)
        return (head + body,) if len(body) < _COPY_LIMIT else (head, body)


class Connections(_BaseConnections[Stream]):
    """Connections for threads; every one keeps to `begin_attempt`, even through a proxy."""

    def __init__(
        self,
        url: httpx.URL,
        key: Secret,
        *,
        trust_env: bool,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(url, key, trust_env=trust_env, ssl_context=ssl_context)
        self._backend = Backend()

    def post(
        self,
        body: bytes,
        timeout: float,
        confirm_resend: Callable[[], bool],
        headers: Sequence[tuple[bytes, bytes]],
        take: Callable[[memoryview], object],
    ) -> AbstractContextManager[Response]:
        """Send a request as `exchange` does.

        The chunks of the response are decompressed. A plain body goes to `take` as they are
        iterated, and there are none.
        """
        request, reader = self._request(body, headers), ResponseReader(take)
        return self.exchange(request, reader, timeout, confirm_resend, _decompressed)

    @contextmanager
    def exchange(
        self,
        request: Sequence[bytes],
        reader: ResponseReader,
        timeout: float,
        confirm_resend: Callable[[], bool],
        iter_body: Callable[[Stream, ResponseReader], Iterator[bytes]],
    ) -> Iterator[Response]:
        """Send a request on a connection that nobody else uses inside the `with` block.

        If a reused connection turns out to be dead, this sends the request again at once on a new
        one. If the service may have read it, `confirm_resend` has to return True first.
        """
        stream, expired = self._acquire()
        try:
            self._close(*expired)
            try:
                stream = stream or self._connect(timeout)
                _send(stream, request, reader)
            except ReusedConnectionError as error:
                self._close(stream, *self._pop_idle())  # the others may also be dead
                if not error.was_dead or (error.maybe_billed and not confirm_resend()):
                    raise
                stream = self._connect(timeout)
                _send(stream, request, reader)
            yield reader.status, reader.headers, iter_body(stream, reader)
        except BaseException:  # its state is unknown, so nobody may use it again
            self._close(stream)
            raise
        if not self._release(stream, reader):
            self._close(stream)

    def _connect(self, timeout: float) -> Stream:
        """A new connection, through the proxy if there is one."""
        seconds, proxy, context = min(timeout, CONNECT_TIMEOUT), self._proxy, self._context
        stream = self._backend.connect_tcp(*address(proxy.url if proxy else self.url), seconds)
        try:
            if proxy and context:
                if proxy.url.scheme == "https":
                    stream.start_tls(context, proxy.url.host)
                connection, request = tunnel_request(proxy, self.url)
                with tunnelling(connection) as reader:
                    _send(stream, [request], reader)
            if context:
                stream.start_tls(context, address(self.url)[0])
        except BaseException:
            stream.close()
            raise
        stream.connected()
        return stream

    def _close(self, *streams: Stream | None) -> None:
        for stream in streams:
            if stream is not None:
                stream.close()

    def close_inherited(self) -> None:
        """Close the parent's idle connections in this forked process alone, without a TLS alert."""
        self._close(*[stream for _, stream in self._idle])  # no thread is left to lock out

    def close(self) -> None:
        """Close the idle connections.

        A thread that is using one closes it itself. TLS would go on with the number of a socket
        that another thread has closed, and that number may belong to another file by then.
        """
        self._close(*self._refuse_requests())


class AsyncConnections(_BaseConnections[_asyncio_backend.Stream]):
    """Connections for one event loop."""

    def __init__(
        self,
        url: httpx.URL,
        key: Secret,
        *,
        trust_env: bool,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(url, key, trust_env=trust_env, ssl_context=ssl_context)
        self._backend = _asyncio_backend.Backend()
        self._open: set[_asyncio_backend.Stream] = set()

    def post(
        self,
        body: bytes,
        timeout: float,
        confirm_resend: Callable[[], bool],
        headers: Sequence[tuple[bytes, bytes]],
        take: Callable[[memoryview], object],
    ) -> AbstractAsyncContextManager[AsyncResponse]:
        """As `Connections.post`; but a plain body goes to `take` as soon as it arrives."""
        request, reader = self._request(body, headers), ResponseReader(take)
        return self.exchange(request, reader, timeout, confirm_resend, _decompressed_async)

    @asynccontextmanager
    async def exchange(
        self,
        request: Sequence[bytes],
        reader: ResponseReader,
        timeout: float,  # noqa: ASYNC109 - as Connections
        confirm_resend: Callable[[], bool],
        iter_body: Callable[[_asyncio_backend.Stream, ResponseReader], AsyncGenerator[bytes]],
    ) -> AsyncIterator[AsyncResponse]:
        """As `Connections.exchange`."""
        stream, expired = self._acquire()
        try:
            if expired:
                await self._close(*expired)
            try:
                stream = stream or await self._connect(timeout)
                await _send_async(stream, request, reader)
            except ReusedConnectionError as error:
                await self._close(stream, *self._pop_idle())  # the others may also be dead
                if not error.was_dead or (error.maybe_billed and not confirm_resend()):
                    raise
                stream = await self._connect(timeout)
                await _send_async(stream, request, reader)
            async with aclosing(iter_body(stream, reader)) as chunks:
                yield reader.status, reader.headers, chunks
            stream.release()
        except BaseException:  # its state is unknown, so nobody may use it again
            await self._close(stream)
            raise
        if not self._release(stream, reader):
            await self._close(stream)

    async def _connect(self, timeout: float) -> _asyncio_backend.Stream:  # noqa: ASYNC109
        """As `Connections._connect`."""
        proxy, context = self._proxy, self._context
        stream: _asyncio_backend.Stream | None = None
        try:
            async with asyncio.timeout(min(timeout, CONNECT_TIMEOUT)):
                stream = await self._backend.connect_tcp(*address(proxy.url if proxy else self.url))
                self._open.add(stream)
                if proxy and context:
                    if proxy.url.scheme == "https":
                        await stream.start_tls(context, proxy.url.host)
                    connection, request = tunnel_request(proxy, self.url)
                    with tunnelling(connection) as reader:
                        await _send_async(stream, [request], reader)
                if context:
                    await stream.start_tls(context, address(self.url)[0])
        except BaseException as error:
            await self._close(stream)
            if isinstance(error, TimeoutError):
                raise httpcore.ConnectTimeout(str(error)) from error
            raise
        stream.connected()
        return stream

    async def _close(self, *streams: _asyncio_backend.Stream | None) -> None:
        for stream in streams:
            if stream is not None:
                stream.close()
                self._open.discard(stream)
        await asyncio.sleep(0)  # lets the event loop close the sockets

    async def aclose(self) -> None:
        """Close all connections; a request that is not being sent yet is not sent."""
        self._refuse_requests()
        self._backend.is_closed = True
        if self._open:  # else nothing is awaited, so that this works without an event loop
            await self._close(*self._open)

    def close_after_loop(self) -> None:
        """Close all connections although their event loop is closed."""
        self._refuse_requests()
        self._backend.close_sockets()


def _send(stream: Stream, request: Iterable[bytes], reader: ResponseReader) -> None:
    """Send a request, and receive the head of its response."""
    stream.send(*request)
    while not reader.status:
        stream.receive(reader)


async def _send_async(
    stream: _asyncio_backend.Stream, request: Iterable[bytes], reader: ResponseReader
) -> None:
    """As `_send`."""
    await stream.send(reader, *request)
    while not reader.status:
        await stream.receive(reader)


def with_headers(
    own: Iterable[tuple[bytes, bytes]], callers: Sequence[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    """The headers of a request; the caller's replace those of the same name."""
    names = {name.lower() for name, _ in callers}
    return [*(header for header in own if header[0].lower() not in names), *callers]


class Decompressor:
    """Decompresses a body that is gzip or deflate, though we ask for neither, in bounded chunks.

    Raises ResponseError for other encodings: some inflate a kilobyte to a gigabyte.
    """

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        names = [value.lower() for name, value in headers if name.lower() == b"content-encoding"]
        encoding = b", ".join(name for name in names if name != b"identity")
        if encoding not in (b"", b"gzip", b"x-gzip", b"deflate"):
            shown = encoding[:60].decode(errors="replace")
            raise ResponseError(
                f"the response has the content encoding {shown}, which the client did not ask for"
            )
        self.is_plain = not encoding
        self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)

    def add(self, chunk: bytes) -> Iterator[bytes]:
        """Decompress a chunk; a plain one is returned as it is. Raises RemoteProtocolError."""
        if self.is_plain:
            yield chunk
            return
        try:
            while chunk and not self._inflate.eof:
                yield self._inflate.decompress(chunk, _INFLATED_CHUNK)
                chunk = self._inflate.unconsumed_tail
        except zlib.error as error:
            raise httpcore.RemoteProtocolError(f"the compressed body is invalid: {error}") from None

    def end(self) -> None:
        """Raise RemoteProtocolError if the body is incomplete."""
        if not (self.is_plain or self._inflate.eof):
            raise httpcore.RemoteProtocolError("the compressed body is incomplete")


def iter_chunks(stream: Stream, reader: ResponseReader) -> Iterator[bytes]:
    """The body as it is sent, unless it is plain."""
    while not reader.is_complete:
        yield from reader.chunks()
        if not reader.is_complete:
            stream.receive(reader)


async def iter_chunks_async(
    stream: _asyncio_backend.Stream, reader: ResponseReader
) -> AsyncGenerator[bytes]:
    """As `iter_chunks`."""
    while not reader.is_complete:
        for chunk in reader.chunks():
            yield chunk
        if not reader.is_complete:
            await stream.receive(reader)


def _decompressed(stream: Stream, reader: ResponseReader) -> Iterator[bytes]:
    decompressor = Decompressor(reader.headers)
    for chunk in iter_chunks(stream, reader):
        yield from decompressor.add(chunk)
    decompressor.end()


async def _decompressed_async(
    stream: _asyncio_backend.Stream, reader: ResponseReader
) -> AsyncGenerator[bytes]:
    decompressor = Decompressor(reader.headers)
    async for chunk in iter_chunks_async(stream, reader):
        for piece in decompressor.add(chunk):
            yield piece
    decompressor.end()
