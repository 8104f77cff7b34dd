"""Connections for asyncio, on its own transports.

anyio's streams call the selector twice for each chunk and open a cancel scope for it, which takes a
quarter of all CPU time at 32 concurrent requests. `AsyncTransport` bounds an attempt as a whole, so
nothing here has a timeout.
"""

import asyncio
import socket
import ssl
from types import TracebackType
from typing import Any, Self

import httpcore
from aiohappyeyeballs import start_connection

from openrouter_embeddings._live_set import LiveSet

from ._response_reader import ResponseReader
from ._stream_state import READ_SIZE, KeepAlive, ResponseTimes, extension


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


class _Protocol(asyncio.BufferedProtocol):
    """Passes what arrives to a response at once, from a buffer that all connections share.

    Attributes:
        transport: None before the connection is made.
        keep_alive: of the connection.
        response: the one that is awaited.
        ended: the connection has ended, or data has arrived that nobody asked for.
        lost: the error that has ended it.
    """

    def __init__(self, backend: "Backend") -> None:
        self.transport: asyncio.Transport | None = None
        self.keep_alive = KeepAlive(ResponseTimes())  # a proxy's
        self.response: ResponseReader | None = None
        self.ended = False
        self.lost: Exception | None = None
        self._buffer = backend.buffer
        self._error: BaseException | None = None  # that the response raised
        self._has_news = self._is_paused = False
        self._may_write = True
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.response is None:
            self.abort()
            return
        self.keep_alive.received()
        try:
            self.response.receive(self._buffer[:nbytes])
        except BaseException as error:  # noqa: BLE001 - `wait_for_news` raises it
            self._error, self.response = error, None
        else:
            if not self.response.is_plain:
                self._pause()  # h11 holds the data until the task takes it
            elif not self.response.is_complete:
                return
        self._has_news = True
        self._wake()

    def eof_received(self) -> None:
        """Note the end now: asyncio calls `connection_lost` only some steps later."""
        self.ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self.lost = exc
        self._wake()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._wake()

    def abort(self) -> None:
        """Close the connection; nothing that still arrives is read."""
        self.response = None
        self.ended = True
        if self.transport:
            self.transport.abort()

    async def wait_for_news(self) -> bool:
        """Wait until the response has received data; False at the end. Raises its error."""
        if not self._has_news:
            self._resume()
        while not self._has_news and not self.ended:
            await self._wait()
        has_news, self._has_news = self._has_news, False
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # else it and this frame would refer to each other
        return has_news

    async def wait_writable(self) -> None:
        """Wait until the write buffer has room, or for the end of the connection."""
        while not self._may_write and not self.ended:
            await self._wait()

    def release(self) -> None:
        """Expect nothing until the next request."""
        self.response, self._has_news = None, False
        self._resume()

    def _pause(self) -> None:
        if self.transport is not None and not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self.transport is not None and self._is_paused and not self.ended:
            self._is_paused = False
            self.transport.resume_reading()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Stream:
    """A connection."""

    def __init__(self, protocol: _Protocol, backend: "Backend", sock: socket.socket) -> None:
        self._protocol = protocol
        self._backend = backend
        self._socket = sock

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str) -> None:
        """Continue in TLS; closes the connection if that fails. Raises ConnectError."""
        before, protocol = self._protocol, _Protocol(self._backend)  # gets nothing sent without TLS
        if before.ended or before.transport is None:
            raise httpcore.ConnectError("data, or the end, arrived before the TLS handshake")
        transport: Any = None
        try:
            transport = await asyncio.get_running_loop().start_tls(
                before.transport, protocol, context, server_hostname=server_hostname
            )
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        finally:
            if transport is None:
                before.abort()
        if transport is None:  # asyncio returns None if the connection ends with the handshake
            raise httpcore.ConnectError("the connection ended with the TLS handshake")
        protocol.connection_made(transport)
        self._protocol = protocol

    def connected(self) -> None:
        """Note that requests follow."""
        self._protocol.keep_alive = KeepAlive(self._backend.times)

    async def send(self, response: ResponseReader, *parts: bytes) -> None:
        """Send a request; the service may respond without having read all of it."""
        protocol = self._protocol
        if self._backend.is_closed:
            raise httpcore.ConnectError("the client was closed")
        protocol.keep_alive.before_request(self.has_unread)
        if protocol.ended or protocol.transport is None:
            return  # `receive` finds out why
        protocol.response = response
        for part in parts:
            protocol.transport.write(part)
        await protocol.wait_writable()

    async def receive(self, response: ResponseReader) -> None:
        """Wait until the response has received data that matters, or for the end."""
        protocol = self._protocol
        if await protocol.wait_for_news():
            return
        reason = str(protocol.lost or "the service closed the connection")
        if not self._backend.is_closed:
            protocol.keep_alive.ended(reason)
        if protocol.lost is not None:
            raise httpcore.ReadError(reason)
        response.end()

    def release(self) -> None:
        """Note that the response is complete; whatever else arrives ends the connection."""
        self._protocol.release()

    def close(self) -> None:
        self._protocol.abort()

    def has_unread(self) -> bool:
        """Whether data, or the end, has arrived, perhaps in a socket that the loop has not read.

        Over TLS that may be any record, such as a response or an alert.
        """
        if self._protocol.ended:
            return True
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:  # it is closed or broken
            return True
        return True


class Backend:
    """Makes connections of asyncio.

    Attributes:
        is_closed: set to have every further request fail.
        times: response times over all connections.
        buffer: every connection receives into it.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self.times = ResponseTimes()
        self.buffer = memoryview(bytearray(READ_SIZE))
        self._sockets: LiveSet[socket.socket] = LiveSet()

    def close_sockets(self) -> None:
        """Close the sockets that a closed event loop has left open."""
        for sock in self._sockets:
            sock.close()

    async def connect_tcp(self, host: str, port: int) -> Stream:
        """A connection. Raises ConnectError."""
        loop = asyncio.get_running_loop()
        try:
            addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            sock = await start_connection(addresses, happy_eyeballs_delay=0.25)
            self._sockets.add(sock)
            _, protocol = await loop.create_connection(lambda: _Protocol(self), sock=sock)
        except (OSError, UnicodeError, RuntimeError) as error:  # uvloop raises RuntimeError
            raise httpcore.ConnectError(str(error)) from error
        return Stream(protocol, self, sock)
