"""Connections of asyncio's own for httpcore, instead of anyio's.

anyio's tell the selector twice for every chunk and open a cancel scope for it, which at 32 requests
at a time is a quarter of all CPU. `AsyncTransport` bounds an attempt as a whole, so that no
operation but connecting needs a time-out here.
"""

from __future__ import annotations

import asyncio
import socket
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

import httpcore
from aiohappyeyeballs import start_connection

from ._keep_alive import Answers, Kept
from ._write_buffer import Writes

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

_MOST_UNREAD = 1 << 20


class _Protocol(asyncio.Protocol):
    """What has come and was not read, and whether more may be written."""

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
        if self._unread > _MOST_UNREAD and self._reading and not self._paused:
            self._paused = True
            self._reading.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """The connection is lost some steps later, and could be taken for an idle one till then."""
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
        """All that has come."""
        whole = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self.chunks.clear()
        self._unread = 0
        if self._paused and self._reading:
            self._paused = False
            self._reading.resume_reading()
        return whole

    async def readable(self) -> None:
        """Until something has come, or nothing more will."""
        while not self.chunks and not self.ended:
            await self._wait()

    async def writable(self) -> None:
        """Until what was written is on its way, nearly."""
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
        made: Backend,
        line: socket.socket,
    ) -> None:
        self._backend = made
        self._transport = transport
        self._protocol = protocol
        self._line = line
        self._kept = Kept(made.answers)
        self._writes = Writes()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109 - see the module
        await self._protocol.readable()
        if self._protocol.chunks:
            self._kept.receive()
            return self._protocol.take()
        if not self._backend.is_closed:
            self._kept.end(str(self._protocol.error or "the service closed the connection"))
        if self._protocol.error is not None:
            raise httpcore.ReadError(str(self._protocol.error))
        return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - see the module
        if self._backend.is_closed:
            raise httpcore.ConnectError("the client was closed")
        if pieces := self._writes.take(buffer):
            self._kept.send(is_quiet=not self.get_extra_info("is_readable"))
            if self._protocol.ended:
                raise httpcore.WriteError("the connection is closed")
            for data in pieces:
                self._transport.write(data)
        await self._protocol.writable()

    async def aclose(self) -> None:
        """Without a step in which a cancel could keep its caller from closing the next."""
        self._transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
    ) -> httpcore.AsyncNetworkStream:
        if self._protocol.chunks or self._protocol.ended:
            self._transport.abort()
            raise httpcore.ConnectError("something came before the handshake, or the end")
        transport: Any = None
        protocol = (
            _Protocol()
        )  # what comes without TLS can never be taken for what comes through it
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
        if transport is None:  # it broke just when the handshake was done
            raise httpcore.ConnectError("the connection broke")
        protocol.connection_made(transport)
        return _Stream(transport, protocol, self._backend, self._line)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # where nothing was asked for, that is an end
            return bool(self._protocol.chunks) or self._protocol.ended or _has_unread(self._line)
        return self._transport.get_extra_info(info)


def _has_unread(line: socket.socket) -> bool:
    """Whether the system has something that the loop has not read yet, which others may block.

    Over TLS that is a record of whatever kind, an answer or an end.
    """
    try:
        line.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:  # it is closed, or broken
        return True
    return True


class Backend(httpcore.AsyncNetworkBackend):
    """Makes such connections.

    Attributes:
        is_closed: nothing more is to be sent on any of them.
        answers: what came on them.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self.answers = Answers()
        self._lines: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def abandon(self) -> None:
        """Close the sockets of an event loop that is closed, and can close none."""
        for line in [*self._lines]:
            line.close()

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
                line = await start_connection(addresses, happy_eyeballs_delay=0.25)
                self._lines.add(line)
                transport, protocol = await loop.create_connection(_Protocol, sock=line)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except (OSError, UnicodeError, RuntimeError) as error:  # uvloop raises the latter, too
            raise httpcore.ConnectError(str(error)) from error
        return _Stream(transport, protocol, self, line)
