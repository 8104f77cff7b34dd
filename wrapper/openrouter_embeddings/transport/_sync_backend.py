"""httpcore's network backend for threads: no operation on a socket outlasts its attempt.

httpcore's own timeouts start anew with every read.
"""

import os
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpcore

# Private; a test fails if it changes. httpcore's public functions connect and shake hands before
# they return a socket, so that nothing could abort them meanwhile.
from httpcore._backends.sync import SyncStream

from ._signal_handlers import unmask
from ._stream_state import KeepAlive, ResponseTimes, WriteBuffer, extension

# httpcore reads 64 KB at a time, and handling a chunk costs more than reading it. A response of
# usual size fits into this: each further read gives the interpreter to another thread.
_READ_SIZE = 1 << 21
_TLS_RECORD = 1 << 14
CONNECT_TIMEOUT = 15.0
_ADDRESS_TIMEOUT = 2.0  # seconds for one address of a host that has more


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
                    # SSLSocket.shutdown would send what remains unencrypted
                    socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


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
def _connecting(sock: socket.socket) -> Iterator[None]:
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


class _Stream(httpcore.NetworkStream):
    """A connection on which no operation outlasts the attempt."""

    def __init__(
        self,
        stream: httpcore.NetworkStream,
        times: ResponseTimes | None = None,
        *,
        tls_in_tls: bool = False,
    ) -> None:
        self._stream = stream
        self._times = times or ResponseTimes()
        self._deferred: OSError | None = None  # the next read raises it
        self._keep_alive = KeepAlive(self._times)
        self._buffer = WriteBuffer()
        self._socket: Any = stream.get_extra_info("socket")
        self._is_tls = isinstance(self._socket, ssl.SSLSocket)
        # through an https proxy: httpcore does the inner TLS, and the socket is the outer one
        self._tls_in_tls = tls_in_tls

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        remaining = _remaining(timeout, self._socket, reading=True)
        if self._deferred:
            raise httpcore.ReadError(str(self._deferred))
        try:
            data = self._read(max_bytes, remaining)
        except httpcore.ReadError as error:
            unmask(error)
            self._ended(str(error))
            raise
        if data:
            self._keep_alive.received()
        else:
            self._ended("the service closed the connection")
        return data

    def _ended(self, reason: str) -> None:
        _remaining(None, self._socket)  # raises if we ended it ourselves
        self._keep_alive.ended(reason)

    def _read(self, max_bytes: int, remaining: float | None) -> bytes:
        if self._tls_in_tls:
            with self._aborting_after(remaining):
                return self._stream.read(max_bytes, remaining)
        if not self._is_tls:
            return self._stream.read(max(max_bytes, _READ_SIZE), remaining)
        data = self._stream.read(max_bytes, remaining)
        return data + self._read_available() if data else data

    def _read_available(self) -> bytes:
        """What can be read without waiting: TLS returns 16 KB at most, whatever was asked for."""
        records: list[bytes] = []
        size = 0
        self._socket.settimeout(0)  # every operation sets its own
        try:
            while size < _READ_SIZE and (record := self._socket.recv(_TLS_RECORD)):
                records.append(record)
                size += len(record)
        except ssl.SSLWantReadError:
            pass
        except OSError as error:
            unmask(error)
            self._deferred = error
        return b"".join(records)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not (chunks := self._buffer.add(buffer)):
            return
        remaining = _remaining(timeout, self._socket)
        self._keep_alive.before_request(has_unread=self._has_unread())
        try:
            for data in chunks:
                if self._tls_in_tls:
                    with self._aborting_after(remaining):
                        self._stream.write(data, remaining)
                else:
                    self._send_all(memoryview(data), timeout)
        except httpcore.WriteError as error:
            unmask(error)  # httpcore ignores a WriteError and reads
            raise

    def _has_unread(self) -> bool:
        """Whether data, an end or an error waits on the socket or in the TLS layer."""
        if self._deferred or self._stream.get_extra_info("is_readable"):
            return True
        if not self._is_tls:
            return False
        tls = self._stream.get_extra_info("ssl_object") if self._tls_in_tls else self._socket
        self._socket.settimeout(0)  # every operation sets its own
        try:
            tls.read(1)
        except ssl.SSLWantReadError:
            return False
        except OSError:
            return True
        return True

    def _send_all(self, data: memoryview, timeout: float | None) -> None:
        """Send within the attempt; httpcore's own `write` gives each piece the whole timeout."""
        try:
            while data:
                self._socket.settimeout(_remaining(timeout, self._socket))
                data = data[self._socket.send(data) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    @contextmanager
    def _aborting_after(self, remaining: float | None) -> Iterator[None]:
        """Bound httpcore's TLS in TLS, which gives each piece of a record the whole timeout."""
        attempt = current_attempt()
        if remaining is None or attempt is None:
            yield
            return
        timer = threading.Timer(remaining, attempt.abort)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            _remaining(None, self._socket)  # raises if the timer ended it

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        with _connecting(self._socket):
            remaining = _remaining(timeout, self._socket, connecting=True)
            if self._is_tls:
                with self._aborting_after(remaining):
                    stream = self._stream.start_tls(ssl_context, server_hostname, remaining)
                return _Stream(stream, self._times, tls_in_tls=True)
            sock = ssl_context.wrap_socket(
                self._socket, server_hostname=server_hostname, do_handshake_on_connect=False
            )
        with _connecting(sock):
            sock.settimeout(_remaining(timeout, sock, connecting=True))
            sock.do_handshake()
        return _Stream(SyncStream(sock), self._times)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class Backend(httpcore.NetworkBackend):
    """Makes connections that keep to the deadline of `begin_attempt`."""

    def __init__(self) -> None:
        self._times = ResponseTimes()
        self._last_addresses: dict[tuple[str, int], Any] = {}  # that accepted, by host and port

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - we set none
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 - we set none
    ) -> httpcore.NetworkStream:
        deadline = time.monotonic() + (CONNECT_TIMEOUT if timeout is None else timeout)
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
                return _Stream(SyncStream(sock), self._times)
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
