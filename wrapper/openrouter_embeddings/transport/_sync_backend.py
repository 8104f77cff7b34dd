"""Connections for threads: no operation on a socket outlasts its attempt.

Sockets never block: `Stream` waits until they are ready, and takes a buffer only then. So a few
buffers, which stay in memory and in the processor's cache, serve all threads.
"""

import os
import select
import socket
import ssl
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import httpcore

from ._response_reader import ResponseReader
from ._signal_handlers import unmask
from ._stream_state import READ_SIZE, KeepAlive, ResponseTimes, extension

_TLS_RECORD = 1 << 14
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
CONNECT_TIMEOUT = 15.0
_ADDRESS_TIMEOUT = 2.0  # seconds for one address of a host that has more
T = TypeVar("T")


@dataclass(eq=False)
class _Attempt:
    deadline: float
    owners: tuple[object, ...]
    outer: "_Attempt | None"  # which a signal handler, a hook or the garbage collector interrupts
    is_aborted: bool = False
    sock: socket.socket | None = None  # the one that the thread connects, reads or writes

    def abort(self) -> None:
        """Make what it reads or writes fail at once."""
        with _lock:
            self.is_aborted = True
            if self.sock is not None:
                with suppress(OSError):  # it may just have been closed
                    self.sock.shutdown(socket.SHUT_RDWR)


_lock = threading.RLock()  # the garbage collector may end a call in a thread that holds the lock
# By thread, or by greenlet: gevent replaces `threading.get_ident`. A `threading.local` made before
# gevent replaces that would be shared by all greenlets.
_attempts: dict[int, _Attempt] = {}


def current_attempt() -> _Attempt | None:
    """The attempt that this thread is in, if any."""
    return _attempts.get(threading.get_ident())


def begin_attempt(timeout: float, *owners: object) -> None:
    """Bound all socket operations of this thread, until `end_attempt`.

    `abort_attempts` with one of the owners ends it. Threads would not do as owners: the next thread
    gets the number of one that has ended.
    """
    attempt = _Attempt(time.monotonic() + timeout, owners, current_attempt())
    with _lock:
        _attempts[threading.get_ident()] = attempt


def shorten_attempt(seconds: float) -> None:
    """Let this thread's attempt end no later than `seconds` from now."""
    with _lock:
        if attempt := current_attempt():  # none in a process that was forked during the attempt
            attempt.deadline = min(attempt.deadline, time.monotonic() + seconds)


def check_attempt() -> None:
    """Raise ReadTimeout if this thread's attempt, with its `extension`, is out of time."""
    _remaining(None, None, reading=True)


def end_attempt(outer: _Attempt | None) -> None:
    """Go back to the attempt that this thread was in before `begin_attempt`. Safe to repeat."""
    with _lock:
        if outer is None:
            _attempts.pop(threading.get_ident(), None)
        else:
            _attempts[threading.get_ident()] = outer


def abort_attempts(owner: object) -> None:
    """Abort all attempts of this owner."""
    with _lock:
        for current in [*_attempts.values()]:
            attempt: _Attempt | None = current
            while attempt is not None:
                if any(one is owner for one in attempt.owners):
                    attempt.abort()
                attempt = attempt.outer


def _reset_after_fork() -> None:
    """Drop the parent's attempts, and the lock that one of its threads may hold."""
    global _lock  # noqa: PLW0603 - there is one for all threads
    _lock = threading.RLock()
    _attempts.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


def _remaining(
    timeout: float | None,
    sock: socket.socket | None,
    *,
    connecting: bool = False,
    reading: bool = False,
) -> float | None:
    """Seconds for the next operation on a socket. Raises if the attempt is over or aborted."""
    if (attempt := current_attempt()) is None:
        return timeout
    with _lock:
        attempt.sock = sock
        remaining = attempt.deadline - time.monotonic()
        if reading and (extra := extension(-remaining)):
            attempt.deadline += extra - remaining
            remaining = extra
        if remaining <= 0:
            timed_out = httpcore.ConnectTimeout if connecting else httpcore.ReadTimeout
            raise timed_out("the attempt's time is up")
        if attempt.is_aborted:
            aborted = httpcore.ConnectError if connecting else httpcore.ReadError
            raise aborted("the call has ended, or the client was closed")
    return remaining if timeout is None else min(remaining, timeout)


@contextmanager
def _connecting(sock: Any) -> Iterator[None]:
    """Close the socket if connecting it fails, and raise httpcore's error for that."""
    try:
        yield
    except BaseException as error:
        sock.close()
        if isinstance(error, TimeoutError):
            raise httpcore.ConnectTimeout(str(error)) from error
        if isinstance(error, OSError):
            raise httpcore.ConnectError(str(error)) from error
        raise


def _is_ready(sock: Any, seconds: float | None, *, writing: bool) -> bool:
    """Wait until a socket can be read or written; False if the time is up."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLOUT if writing else select.POLLIN)
        return bool(poll.poll(None if seconds is None else seconds * 1000))
    reading: list[Any] = [] if writing else [sock]  # Windows
    return any(select.select(reading, [sock] if writing else [], [], seconds))


class _TLS:
    """TLS over a socket that never blocks, or over the TLS of a proxy.

    `SSLContext.wrap_socket` cannot make the latter, and asks the system for each record twice; this
    asks for as much as has arrived.
    """

    def __init__(
        self, outer: "socket.socket | _TLS", backend: "Backend", context: ssl.SSLContext, name: str
    ) -> None:
        self._outer, self._backend = outer, backend
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._unsent = memoryview(b"")
        self._written = 0  # of the data passed to `send`

    def fileno(self) -> int:
        return self._outer.fileno()

    def close(self) -> None:
        self._outer.close()

    def do_handshake(self) -> None:
        self._run(self._tls.do_handshake)
        self._flush()

    def recv(self, size: int) -> bytes:
        return self._run(self._tls.read, size)

    def recv_into(self, buffer: memoryview) -> int:
        try:
            return int(self._run(self._tls.read, len(buffer), buffer))
        except ssl.SSLEOFError:  # without a farewell, as many servers do
            return 0

    def send(self, data: memoryview) -> int:
        """Raises SSLWantWriteError if the same data has to be passed again."""
        self._written = self._written or self._run(self._tls.write, data[:_TLS_RECORD])
        self._flush()
        written, self._written = self._written, 0
        return written

    def _run(self, operation: Callable[..., T], *arguments: Any) -> T:
        """Raises SSLWantReadError or SSLWantWriteError if it has to wait for the socket."""
        while True:
            try:
                return operation(*arguments)
            except ssl.SSLWantReadError:
                self._flush()
                self._receive()

    def _receive(self) -> None:
        buffer = self._backend.take_buffer()
        try:
            if size := self._outer.recv_into(buffer):
                self._incoming.write(buffer[:size])
            else:
                self._incoming.write_eof()
        except BlockingIOError:
            raise ssl.SSLWantReadError from None
        finally:
            self._backend.buffers.append(buffer)

    def _flush(self) -> None:
        while self._unsent or self._outgoing.pending:
            self._unsent = self._unsent or memoryview(self._outgoing.read())
            try:
                self._unsent = self._unsent[self._outer.send(self._unsent) :]
            except BlockingIOError:
                raise ssl.SSLWantWriteError from None


class Stream:
    """A connection on which no operation outlasts the attempt."""

    def __init__(self, sock: socket.socket, backend: "Backend", connect_timeout: float) -> None:
        sock.settimeout(0)
        self._socket: socket.socket | _TLS = sock
        self._shut_down: socket.socket = sock  # to abort the attempt
        self._backend = backend
        self._connect_timeout: float | None = connect_timeout  # for each operation until connected
        self._keep_alive = KeepAlive(ResponseTimes())  # a proxy's
        self._broken: str | None = None  # the error that has ended it

    def start_tls(self, context: ssl.SSLContext, server_hostname: str) -> None:
        """Continue in TLS. Raises ConnectTimeout or ConnectError."""
        with _connecting(self._socket):
            self._socket = tls = _TLS(self._socket, self._backend, context, server_hostname)
            self._when_ready(tls.do_handshake)

    def connected(self) -> None:
        """Note that requests follow."""
        self._connect_timeout = None
        self._keep_alive = KeepAlive(self._backend.times)

    def send(self, *parts: bytes) -> None:
        """Send a request; the service may respond without having read all of it."""
        self._limit(reading=False)
        self._keep_alive.before_request(self._has_unread)
        try:
            for part in parts:
                data = memoryview(part)
                while data:
                    data = data[self._when_ready(self._socket.send, data, writing=True) :]
        except OSError as error:
            unmask(error)  # `receive` finds out whether there is a response

    def receive(self, response: ResponseReader) -> None:
        """Wait for data or for the end, and pass it to the response."""
        self._limit(reading=True)
        try:
            if self._keep_alive.is_waiting:
                self._wait()  # instead of trying in vain
            size = self._when_ready(self._receive_available, response)
        except OSError as error:
            unmask(error)
            self._ended(str(error))
            raise httpcore.ReadError(str(error)) from error
        if not size:
            self._ended("the service closed the connection")
            response.end()

    def close(self) -> None:
        self._socket.close()

    def _receive_available(self, response: ResponseReader) -> int:
        """Pass what has arrived to the response; 0 at the end. Raises one of `_WOULD_BLOCK`."""
        backend = self._backend
        with backend.receiving:
            buffer = backend.take_buffer()
            try:
                if size := self._fill(buffer):
                    self._keep_alive.received()
                    response.receive(buffer[:size])
            finally:
                backend.buffers.append(buffer)
        return size

    def _fill(self, buffer: memoryview) -> int:
        if self._broken is not None:
            raise OSError(self._broken)
        size: int = self._socket.recv_into(buffer)
        try:
            more = size if isinstance(self._socket, _TLS) else 0  # which returns 16 KB at most
            while more and size < len(buffer):
                more = self._socket.recv_into(buffer[size:])
                size += more
        except _WOULD_BLOCK:
            pass
        except OSError as error:  # for the next call: it would find the end of the connection
            unmask(error)
            self._broken = str(error)
        return size

    def _has_unread(self) -> bool:
        """Whether data, an end or an error waits on the socket or in the TLS layer."""
        try:
            self._socket.recv(1)
        except _WOULD_BLOCK:
            return False
        except OSError as error:
            unmask(error)
        return True

    def _ended(self, reason: str) -> None:
        self._limit(reading=False)  # raises if we ended it ourselves
        self._keep_alive.ended(reason)

    def _when_ready(self, operation: Callable[..., T], *arguments: Any, writing: bool = False) -> T:
        while True:
            try:
                return operation(*arguments)
            except _WOULD_BLOCK as error:
                plain = isinstance(error, BlockingIOError)
                self._wait(writing=writing if plain else isinstance(error, ssl.SSLWantWriteError))

    def _wait(self, *, writing: bool = False) -> None:
        """Wait until the socket is ready. Raises ReadTimeout or ConnectTimeout."""
        while not _is_ready(self._socket, self._limit(reading=not writing), writing=writing):
            if self._connect_timeout is not None:
                raise httpcore.ConnectTimeout("the time for connecting is up")

    def _limit(self, *, reading: bool) -> float | None:
        """Seconds for the next operation. Raises ReadTimeout or ConnectTimeout, or if aborted."""
        connecting = self._connect_timeout is not None
        return _remaining(
            self._connect_timeout,
            self._shut_down,
            connecting=connecting,
            reading=reading and not connecting,
        )


class Backend:
    """Makes connections that keep to the deadline of `begin_attempt`.

    Attributes:
        times: response times over all connections.
        receiving: held by the thread that receives and decodes. More threads at a time would only
            compete for Python's lock, which costs more than the decoding.
        buffers: those that are not in use.
    """

    def __init__(self) -> None:
        self.times = ResponseTimes()
        # reentrant, because a signal handler may interrupt a call, and call
        self.receiving: AbstractContextManager[Any] = threading.RLock()
        if sysconfig.get_config_var("Py_GIL_DISABLED"):
            self.receiving = nullcontext()
        self.buffers: list[memoryview] = []
        self._last_addresses: dict[tuple[str, int], Any] = {}  # that accepted, by host and port

    def take_buffer(self) -> memoryview:
        """A buffer to receive into; give it back to `buffers`."""
        try:
            return self.buffers.pop()
        except IndexError:
            return memoryview(bytearray(READ_SIZE))

    def connect_tcp(self, host: str, port: int, timeout: float) -> Stream:
        """A connection. Raises ConnectTimeout or ConnectError."""
        deadline = time.monotonic() + timeout
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
        last = self._last_addresses.get((host, port))
        addresses.sort(key=lambda address: address[4] != last)
        # each address gets its share of the time: the first may not respond at all
        for others, address in zip(range(len(addresses))[::-1], addresses, strict=True):
            share = max(deadline - time.monotonic(), 0.001) / (others + 1)
            try:
                sock = _connect(address, min(share, _ADDRESS_TIMEOUT) if others else share)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                unmask(error)
                if not others:
                    raise
            else:
                self._last_addresses[host, port] = address[4]
                return Stream(sock, self, timeout)
        raise httpcore.ConnectError(f"{host} has no address")


def _connect(address: Any, timeout: float) -> socket.socket:
    """A socket connected to one entry of `socket.getaddrinfo`."""
    family, kind, protocol, _, target = address
    try:
        sock = socket.socket(family, kind, protocol)
    except OSError as error:  # an unsupported address family, or too many open files
        raise httpcore.ConnectError(str(error)) from error
    with _connecting(sock):
        sock.settimeout(_remaining(timeout, sock, connecting=True))
        sock.connect(target)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
