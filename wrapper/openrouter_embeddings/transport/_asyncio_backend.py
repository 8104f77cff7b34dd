"""httpcore's network backend for asyncio, on asyncio's own transports instead of anyio's streams.

anyio calls the selector twice for each chunk and opens a cancel scope for it, which takes a quarter
of all CPU time at 32 concurrent requests. `AsyncTransport` bounds an attempt as a whole, so only
connecting needs a timeout here.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import httpcore
from aiohappyeyeballs import start_connection

from openrouter_embeddings._live_set import LiveSet

from ._stream_state import KeepAlive, ResponseTimes, WriteBuffer, extension

_MAX_UNREAD = 1 << 20  # bytes; reading pauses above


class AttemptTimeout:
    """`asyncio.timeout` with an `extension`."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + seconds
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._timer = self._loop.call_at(self._ends_at, self._expire)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def stop(self) -> float:
        """Raise no TimeoutError any more. Returns the seconds that were left."""
        self._timer.cancel()
        self._timeout.reschedule(None)
        return self._ends_at - self._loop.time()

    def _expire(self) -> None:
        now = self._loop.time()
        self._timeout.reschedule(now + extension(now - self._ends_at))


class _Protocol(asyncio.Protocol):
    """Holds unread data, and whether more may be written."""

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.ended = False
        self.error: Exception | None = None
        self._unread = 0
        self._reading: asyncio.Transport | None = None
        self._paused = self._may_write = False
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self._reading = transport
        self._may_write = True

    def data_received(self, data: bytes) -> None:
        self.chunks.append(data)
        self._unread += len(data)
        if self._unread > _MAX_UNREAD and self._reading and not self._paused:
            self._paused = True
            self._reading.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Note the end now: asyncio calls `connection_lost` only some steps later."""
        self.ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self.error = exc
        self._wake()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._wake()

    def take(self) -> bytes:
        """Remove and return all unread data."""
        data = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self.chunks.clear()
        self._unread = 0
        if self._paused and self._reading:
            self._paused = False
            self._reading.resume_reading()
        return data

    async def wait_readable(self) -> None:
        """Wait for data, or for the end of the connection."""
        while not self.chunks and not self.ended:
            await self._wait()

    async def wait_writable(self) -> None:
        """Wait until the write buffer has room, or for the end of the connection."""
        while not self._may_write and not self.ended:
            await self._wait()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: _Protocol,
        backend: "Backend",
        sock: socket.socket,
    ) -> None:
        self._backend = backend
        self._transport = transport
        self._protocol = protocol
        self._socket = sock
        self._keep_alive = KeepAlive(backend.times)
        self._buffer = WriteBuffer()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109 - see the module
        await self._protocol.wait_readable()
        if self._protocol.chunks:
            self._keep_alive.received()
            return self._protocol.take()
        if not self._backend.is_closed:
            self._keep_alive.ended(str(self._protocol.error or "the service closed the connection"))
        if self._protocol.error is not None:
            raise httpcore.ReadError(str(self._protocol.error))
        return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - see the module
        if self._backend.is_closed:
            raise httpcore.ConnectError("the client was closed")
        if chunks := self._buffer.add(buffer):
            self._keep_alive.before_request(has_unread=self.get_extra_info("is_readable"))
            if self._protocol.ended:
                raise httpcore.WriteError("the connection is closed")
            for data in chunks:
                self._transport.write(data)
        await self._protocol.wait_writable()

    async def aclose(self) -> None:
        """Close without awaiting, so that a cancel cannot stop the caller between two streams."""
        self._transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
    ) -> httpcore.AsyncNetworkStream:
        if self._protocol.chunks or self._protocol.ended:
            self._transport.abort()
            raise httpcore.ConnectError("data, or the end, arrived before the TLS handshake")
        transport: Any = None
        protocol = _Protocol()  # a new one: it never holds data that arrived without TLS
        try:
            transport = await asyncio.get_running_loop().start_tls(
                self._transport,
                protocol,
                ssl_context,
                server_hostname=server_hostname,
                ssl_handshake_timeout=timeout,
            )
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        finally:
            if transport is None:
                self._transport.abort()
        if transport is None:  # asyncio returns None if the connection ends with the handshake
            raise httpcore.ConnectError("the connection ended with the TLS handshake")
        protocol.connection_made(transport)
        return _Stream(transport, protocol, self._backend, self._socket)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # on an idle connection, that means its end
            return bool(self._protocol.chunks) or self._protocol.ended or _has_unread(self._socket)
        return self._transport.get_extra_info(info)


def _has_unread(sock: socket.socket) -> bool:
    """Whether the socket has data, or its end, that a blocked event loop has not read yet.

    Over TLS that may be any record, such as a response or an alert.
    """
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:  # it is closed or broken
        return True
    return True


class Backend(httpcore.AsyncNetworkBackend):
    """Makes connections of asyncio.

    Attributes:
        is_closed: set to have every further write fail.
        times: response times over all connections.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self.times = ResponseTimes()
        self._sockets: LiveSet[socket.socket] = LiveSet()

    def close_sockets(self) -> None:
        """Close the sockets that a closed event loop has left open."""
        for sock in self._sockets:
            sock.close()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,  # noqa: ARG002 - we set none
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 - we set none
    ) -> httpcore.AsyncNetworkStream:
        """A connection. Raises ConnectTimeout or ConnectError."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                sock = await start_connection(addresses, happy_eyeballs_delay=0.25)
                self._sockets.add(sock)
                transport, protocol = await loop.create_connection(_Protocol, sock=sock)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except (OSError, UnicodeError, RuntimeError) as error:  # uvloop raises RuntimeError
            raise httpcore.ConnectError(str(error)) from error
        return _Stream(transport, protocol, self, sock)
