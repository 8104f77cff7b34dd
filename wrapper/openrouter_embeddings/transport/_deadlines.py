"""A blocking attempt that ends in time: httpcore's own time-outs begin anew with every read."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpcore

# Private, and a test fails should it change: its public makers connect and shake hands before they
# give a socket, which nobody could cut meanwhile.
from httpcore._backends.sync import SyncStream

from ._keep_alive import Answers, Kept
from ._signal_handlers import unmask
from ._write_buffer import Writes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# httpcore asks for 64 KB at a time, whose handling costs more than reading them. An answer of usual
# size fits: every further read gives other threads the interpreter, and waits for it to come back.
_CHUNK = 1 << 21
_RECORD = 1 << 14
CONNECT_TIMEOUT = 15.0
_ELSEWHERE = 2.0  # seconds for an address, where the host has others

_now = threading.local()  # a blocking request is sent and read in one thread
_lock = threading.RLock()  # the collector may end a forgotten call, also of a thread that has it
_attempts: dict[int, _Attempt] = {}  # by thread


@dataclass
class _Attempt:
    ends: float
    over: bool = False
    line: socket.socket | None = None  # what the thread connects, reads or writes


def begin_attempt(timeout: float) -> float:
    """Bound all reading and writing of this thread; returns the monotonic time of its end."""
    attempt = _Attempt(time.monotonic() + timeout)
    with _lock:
        _now.attempt = _attempts[threading.get_ident()] = attempt
    return attempt.ends


def shorten_attempt(seconds: float) -> None:
    """Bound what is left of this thread's attempt."""
    with _lock:
        _now.attempt.ends = min(_now.attempt.ends, time.monotonic() + seconds)


def end_attempt() -> None:
    """This thread's connection is given back, and may be another's next."""
    with _lock:
        _attempts.pop(threading.get_ident(), None)
        _now.attempt = None


def cut(threads: Iterable[int]) -> None:
    """End the attempts of these threads: what they read or write fails at once."""
    for thread in threads:
        with _lock:
            if attempt := _attempts.get(thread):
                attempt.over = True
                if attempt.line is not None:
                    with suppress(OSError):  # it may just have been closed
                        # not SSLSocket's own, which would let what is sent go out in the clear
                        socket.socket.shutdown(attempt.line, socket.SHUT_RDWR)


def _forget() -> None:
    """A forked process has other threads, and perhaps the lock of one that it has not."""
    global _lock  # noqa: PLW0603 - there is one for all threads
    _lock = threading.RLock()
    _attempts.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _left(
    timeout: float | None, line: socket.socket | None, *, connecting: bool = False
) -> float | None:
    """Seconds for the next operation on a socket."""
    attempt: _Attempt | None = getattr(_now, "attempt", None)
    if attempt is None:
        return timeout
    with _lock:
        attempt.line = line
        left = attempt.ends - time.monotonic()
        if left <= 0:
            late = httpcore.ConnectTimeout if connecting else httpcore.ReadTimeout
            raise late("the attempt is over")
        if attempt.over:
            cut = httpcore.ConnectError if connecting else httpcore.ReadError
            raise cut("the call has ended, or the client was closed")
    return left if timeout is None else min(left, timeout)


@contextmanager
def _connecting(line: socket.socket) -> Iterator[None]:
    """Around what makes a connection of a socket; where it fails, the socket is closed."""
    try:
        yield
    except BaseException as error:
        line.close()
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
        answers: Answers | None = None,
        *,
        within_tls: bool = False,
    ) -> None:
        self._stream = stream
        self._answers = answers or Answers()
        self._broken: OSError | None = None
        self._kept = Kept(self._answers)
        self._writes = Writes()
        self._line: Any = stream.get_extra_info("socket")
        self._is_tls = isinstance(self._line, ssl.SSLSocket)
        self._within_tls = within_tls
        # TLS within TLS, through a proxy, is httpcore's own; its socket gives what is outside
        self._records = self._line if self._is_tls and not within_tls else None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = _left(timeout, self._line)
        if self._broken:
            raise httpcore.ReadError(str(self._broken))
        try:
            data = self._read(max_bytes, left)
        except httpcore.ReadError as error:
            unmask(error)
            self._end(str(error))
            raise
        if data:
            self._kept.receive()
        else:
            self._end("the service closed the connection")
        return data

    def _end(self, reason: str) -> None:
        _left(None, self._line)  # what was cut says so itself
        self._kept.end(reason)

    def _read(self, max_bytes: int, left: float | None) -> bytes:
        if self._within_tls:
            with self._in_time(left):
                return self._stream.read(max_bytes, left)
        if not self._is_tls:
            return self._stream.read(max(max_bytes, _CHUNK), left)
        read = self._stream.read(max_bytes, left)
        return read + self._at_hand(self._records) if read and self._records else read

    def _at_hand(self, line: ssl.SSLSocket) -> bytes:
        """What can be read without waiting: TLS gives 16 KB at a time, whatever was asked for."""
        records: list[bytes] = []
        size = 0
        line.settimeout(0)  # set anew for every operation
        try:
            while size < _CHUNK and (record := line.recv(_RECORD)):
                records.append(record)
                size += len(record)
        except ssl.SSLWantReadError:
            pass
        except OSError as error:  # of the next read
            unmask(error)
            self._broken = error
        return b"".join(records)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left = _left(timeout, self._line)
        if not (pieces := self._writes.take(buffer)):
            return
        self._kept.send(is_quiet=self._is_quiet())
        try:
            for data in pieces:
                if self._within_tls:
                    with self._in_time(left):
                        self._stream.write(data, left)
                else:
                    self._send(memoryview(data), timeout)
        except httpcore.WriteError as error:
            unmask(error)  # httpcore goes on and reads
            raise

    def _is_quiet(self) -> bool:
        """Whether nothing has come: on the socket, nor in what TLS has read of it already."""
        if self._broken or self._stream.get_extra_info("is_readable"):
            return False
        if not self._is_tls:
            return True
        tls = self._stream.get_extra_info("ssl_object") if self._within_tls else self._line
        self._line.settimeout(0)  # set anew for every operation
        try:
            tls.read(1)
        except ssl.SSLWantReadError:
            return True
        except OSError:
            return False
        return False

    def _send(self, data: memoryview, timeout: float | None) -> None:
        """Httpcore's own gives every piece the whole time anew."""
        try:
            while data:
                self._line.settimeout(_left(timeout, self._line))
                data = data[self._line.send(data) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    @contextmanager
    def _in_time(self, left: float | None) -> Iterator[None]:
        """Httpcore's TLS within TLS gives every piece of a record the whole time anew."""
        if left is None:
            yield
            return
        timer = threading.Timer(left, cut, [[threading.get_ident()]])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            _left(None, self._line)  # what was cut says so itself

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        with _connecting(self._line):
            left = _left(timeout, self._line, connecting=True)
            if self._is_tls:
                with self._in_time(left):
                    stream = self._stream.start_tls(ssl_context, server_hostname, left)
                return _Stream(stream, self._answers, within_tls=True)
            line = ssl_context.wrap_socket(
                self._line, server_hostname=server_hostname, do_handshake_on_connect=False
            )
        with _connecting(line):
            line.settimeout(_left(timeout, line, connecting=True))
            line.do_handshake()
        return _Stream(SyncStream(line), self._answers)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class Backend(httpcore.NetworkBackend):
    """Makes connections that keep to `begin_attempt`."""

    def __init__(self) -> None:
        self._answers = Answers()
        self._answered: dict[tuple[str, int], Any] = {}  # the address of a host that did last

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - we set none
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 - we set none
    ) -> httpcore.NetworkStream:
        ends = time.monotonic() + (CONNECT_TIMEOUT if timeout is None else timeout)
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
        known = self._answered.get((host, port))
        addresses.sort(key=lambda address: address[4] != known)
        # each has its share of the time: the first may be one that nothing answers from
        for others, address in zip(range(len(addresses))[::-1], addresses, strict=True):
            share = max(ends - time.monotonic(), 0.001) / (others + 1)
            try:
                line = _connected(address, min(share, _ELSEWHERE) if others else share)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                unmask(error)
                if not others:
                    raise
            else:
                self._answered[host, port] = address[4]
                return _Stream(SyncStream(line), self._answers)
        raise httpcore.ConnectError(f"{host} has no address")


def _connected(address: Any, seconds: float) -> socket.socket:
    """A socket that is connected to one of the addresses of a host."""
    family, kind, protocol, _, where = address
    try:
        line = socket.socket(family, kind, protocol)
    except OSError as error:  # of a family that this machine has not, or one too many
        raise httpcore.ConnectError(str(error)) from error
    with _connecting(line):
        line.settimeout(_left(seconds, line, connecting=True))
        line.connect(where)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line
