"""Connections of our own: one for each request under way, in place of an httpx client.

httpx and httpcore's pool take half of the time of a small request, for redirects, cookies, hooks
and other things that are no part of this API, and the pool works through each pair of its
connections for every request. A caller's own httpx client keeps all of it.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import urllib.request
import zlib
from collections import deque
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import httpcore
import httpx

from openrouter_embeddings._version import __version__
from openrouter_embeddings.errors import InputError, ResponseError

from . import _asyncio_backend
from ._deadlines import CONNECT_TIMEOUT, Backend
from ._keep_alive import KeptConnectionError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator

    from openrouter_embeddings._secret import Secret

HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    # Base64 of vectors shrinks by a quarter, for several times the CPU of decoding them.
    "Accept-Encoding": "identity",
    "User-Agent": f"openrouter-embeddings/{__version__} python-httpx/{httpx.__version__}",
}
_TLS_FILES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
_KEPT = 5.0  # seconds that httpx keeps an idle connection, too
_PIECE = 1 << 16  # bytes of an answer that are inflated at once
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS

# status, headers and body, of which only the head has been read
Answer: TypeAlias = "tuple[int, Iterable[tuple[bytes, bytes]], Iterator[bytes]]"
AsyncAnswer: TypeAlias = "tuple[int, Iterable[tuple[bytes, bytes]], AsyncIterator[bytes]]"
C = TypeVar("C", bound=httpcore.ConnectionInterface | httpcore.AsyncConnectionInterface)


class _Connections(Generic[C]):
    """Those that are idle, the one used last to be taken first.

    Args:
        url: where every request goes.
        key: sent with each.
        pool: httpcore's, as a maker of connections.
        options: its settings.
    """

    def __init__(self, url: httpx.URL, key: Secret, pool: Any, options: dict[str, Any]) -> None:
        self.is_closed: bool = False
        self._process = os.getpid()
        proxy: httpcore.Proxy | None = options["proxy"]
        self.way: str = "" if proxy is None else f" through the proxy {_address(proxy.url)}"
        self._key = key
        self._pool = pool
        self._url = _core(url)
        headers = {"Host": url.netloc.decode(), **HEADERS}
        self._headers = [*httpx.Headers(headers).raw]
        self._lock = threading.Lock()
        self._idle: deque[tuple[float, C]] = deque()

    def _take(self) -> tuple[C, list[C]]:
        """A connection that is idle, or another; and those to be closed, since nobody needs them.

        Raises InputError.
        """
        now = time.monotonic()
        old: list[C] = []
        with self._lock:
            if self.is_closed:
                raise InputError("the client is closed; make a new one")
            if os.getpid() != self._process:  # on one line, each would read the other's answers
                raise InputError("the connections are another process's; make a client in each")
            while self._idle and self._idle[0][0] < now - _KEPT:
                old.append(self._idle.popleft()[1])
            connection = self._idle.pop()[1] if self._idle else self._new()
        return connection, old

    def _new(self) -> C:
        connection: C = self._pool.create_connection(self._url.origin)
        return connection

    def _forget(self) -> list[C]:
        """Keep none, and give those that are idle."""
        with self._lock:
            idle = [connection for _, connection in self._idle]
            self._idle.clear()
        return idle

    def _keeps(self, connection: C) -> bool:
        """Whether a connection whose answer was read is idle now; else it is to be closed."""
        with self._lock:
            if connection.is_idle() and not self.is_closed and not _has_more(connection):
                self._idle.append((time.monotonic(), connection))
                return True
        return False

    def _end(self) -> list[C]:
        """Take no more, and give those that are idle."""
        with self._lock:
            self.is_closed = True
        return self._forget()

    def _request(self, body: bytes, timeout: float) -> httpcore.Request:
        headers = [
            *self._headers,
            (b"Content-Length", b"%d" % len(body)),
            (b"Authorization", b"Bearer " + self._key.reveal().encode()),
        ]
        limits = {"connect": min(timeout, CONNECT_TIMEOUT), "read": timeout, "write": timeout}
        return httpcore.Request(
            "POST", self._url, headers=headers, content=body, extensions={"timeout": limits}
        )


class Connections(_Connections[httpcore.ConnectionInterface]):
    """For threads. Every connection keeps to `begin_attempt`, proxied ones too."""

    def __init__(self, url: httpx.URL, key: Secret, *, trust_env: bool) -> None:
        options = _options(url, trust_env=trust_env)
        pool = httpcore.ConnectionPool(network_backend=Backend(), **options)
        super().__init__(url, key, pool, options)

    @contextmanager
    def post(self, body: bytes, timeout: float, may_resend: Callable[[], bool]) -> Iterator[Answer]:
        """Send a request on a connection of its own for as long as this lasts.

        Where a kept connection turns out to be dead, the request goes out again at once on a new
        one. Should the service have read it, `may_resend` is asked first.
        """
        connection, old = self._take()
        try:
            self._drop(*old)
            request = self._request(body, timeout)
            try:
                response = connection.handle_request(request)
            except KeptConnectionError as error:
                self._drop(connection, *self._forget())  # the others may be just as dead
                if not error.was_dead or (error.maybe_billed and not may_resend()):
                    raise
                connection = self._new()
                response = connection.handle_request(request)
            yield response.status, response.headers, _chunks(response)
            response.close()
        except BaseException:  # whatever state it is in, nobody gets it
            self._drop(connection)
            raise
        if not self._keeps(connection):
            self._drop(connection)

    def _drop(self, *connections: httpcore.ConnectionInterface) -> None:
        for connection in connections:
            connection.close()

    def leave(self) -> None:
        """In a forked process: close what was inherited idle, here alone. No TLS says goodbye."""
        self._drop(*[connection for _, connection in self._idle])  # whoever holds the lock is gone

    def close(self) -> None:
        """Close those that are idle.

        One that a thread is using it closes itself: TLS goes on with the number of a socket that
        another thread has closed, and that may be another file's by then.
        """
        self._drop(*self._end())


class AsyncConnections(_Connections[httpcore.AsyncConnectionInterface]):
    """The same for asyncio."""

    def __init__(self, url: httpx.URL, key: Secret, *, trust_env: bool) -> None:
        options = _options(url, trust_env=trust_env)
        self._backend = _asyncio_backend.Backend()
        pool = httpcore.AsyncConnectionPool(network_backend=self._backend, **options)
        super().__init__(url, key, pool, options)
        self._open: set[httpcore.AsyncConnectionInterface] = set()

    @asynccontextmanager
    async def post(
        self,
        body: bytes,
        timeout: float,  # noqa: ASYNC109 - as Connections
        may_resend: Callable[[], bool],
    ) -> AsyncIterator[AsyncAnswer]:
        """As `Connections.post`."""
        connection, old = self._take()
        self._open.add(connection)
        try:
            if old:
                await self._drop(*old)
            request = self._request(body, timeout)
            try:
                response = await connection.handle_async_request(request)
            except KeptConnectionError as error:
                await self._drop(connection, *self._forget())  # the others may be just as dead
                if not error.was_dead or (error.maybe_billed and not may_resend()):
                    raise
                connection = self._new()
                self._open.add(connection)
                response = await connection.handle_async_request(request)
            async with aclosing(_async_chunks(response)) as chunks:
                yield response.status, response.headers, chunks
            await response.aclose()
        except BaseException:  # whatever state it is in, nobody gets it
            await self._drop(connection)
            raise
        if not self._keeps(connection):
            await self._drop(connection)

    async def _drop(self, *connections: httpcore.AsyncConnectionInterface) -> None:
        for connection in connections:
            await connection.aclose()  # at once, by our backend
            self._open.discard(connection)
        await asyncio.sleep(0)  # for the sockets to be closed

    async def aclose(self) -> None:
        """Close all connections; what is not on its way yet is not sent."""
        self._end()
        self._backend.is_closed = True
        if self._open:  # else nothing is awaited, so that this works outside of asyncio
            await self._drop(*self._open)

    def abandon(self) -> None:
        """Close what their event loop, which is closed, has left open."""
        self._end()
        self._backend.abandon()


def _has_more(connection: Any) -> bool:
    """Whether more came than the answer, which would be taken for the answer to the next request.

    Only h11, inside httpcore, knows; a test holds both to these names.
    """
    while not hasattr(connection, "_h11_state"):
        connection = connection._connection  # noqa: SLF001 - see above
    return bool(connection._h11_state.trailing_data[0])  # noqa: SLF001 - see above


def _core(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
    )


def _address(url: httpcore.URL) -> str:
    """Without a user name or password, which httpcore keeps apart."""
    origin = url.origin
    return f"{origin.scheme.decode()}://{origin.host.decode()}:{origin.port}"


def _options(url: httpx.URL, *, trust_env: bool) -> dict[str, Any]:
    """Settings of httpcore's pool."""
    proxy = _proxy(url) if trust_env else None
    # takes 30 ms: one for all connections, and none where all is plain
    context = _tls(trust_env=trust_env) if url.scheme == "https" else None
    return {
        "ssl_context": context,
        "proxy": proxy
        and httpcore.Proxy(
            _core(proxy.url),
            auth=proxy.raw_auth,
            headers=proxy.headers.raw,
            ssl_context=context if proxy.url.scheme == "https" else None,
        ),
    }


def _tls(*, trust_env: bool) -> ssl.SSLContext:
    """Raises InputError: OpenSSL's own error names no file."""
    try:
        return httpx.create_ssl_context(trust_env=trust_env)
    except OSError as error:
        files = {name: os.environ[name] for name in _TLS_FILES if name in os.environ}
        for name, file in files.items():
            is_read = name != "SSLKEYLOGFILE"
            if is_read and isinstance(error, FileNotFoundError) and not Path(file).exists():
                raise InputError(f"{name}={file}: no such file") from None
        named = ", ".join(f"{name}={file}" for name, file in files.items())
        raise InputError(
            f"the files for TLS that the environment names cannot be used ({named}): {error}; "
            "correct these variables, or unset them"
        ) from None


def _is_left_out(url: httpx.URL, no_proxy: str) -> bool:
    """Whether NO_PROXY names the host, with or without its port, or all hosts."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    bypass = urllib.request.proxy_bypass
    is_all = "*" in map(str.strip, no_proxy.split(","))  # among others; alone the library knows it
    return bool(is_all or bypass(url.host) or bypass(f"{host}:{port}"))


def _proxy(url: httpx.URL) -> httpx.Proxy | None:
    """The one that the environment names for this address, if any. Raises InputError."""
    proxies = urllib.request.getproxies()
    address = proxies.get(url.scheme) or proxies.get("all")
    if not address or _is_left_out(url, proxies.get("no", "")):
        return None
    try:
        proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
    except (ValueError, httpx.InvalidURL):  # neither is shown: it may hold a password
        raise InputError(
            "the proxy that the environment names has no URL that can be used; "
            "http://proxy.example:3128, say, is right"
        ) from None
    if proxy.url.scheme.startswith("socks"):
        raise InputError(
            "the environment names a SOCKS proxy, which our own connections do not take; with "
            "pip install 'httpx[socks]', http_client=httpx.Client() goes through it"
        )
    return proxy


def inflater_of(headers: Iterable[tuple[bytes, bytes]]) -> Inflater | None:
    """What inflates a body that is compressed, though we asked for none; once, by gzip or deflate.

    Raises ResponseError for other encodings: some make a gigabyte of a kilobyte.
    """
    names = [value.lower() for name, value in headers if name.lower() == b"content-encoding"]
    if not (encoding := b", ".join(name for name in names if name != b"identity")):
        return None
    if encoding not in (b"gzip", b"x-gzip", b"deflate"):
        said = encoding[:60].decode(errors="replace")
        raise ResponseError(f"the answer is compressed by {said}, which was not asked for")
    return Inflater()


class Inflater:
    """Inflates in pieces of bounded size."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """What a chunk holds. Raises RemoteProtocolError."""
        try:
            while chunk and not self._inflate.eof:
                yield self._inflate.decompress(chunk, _PIECE)
                chunk = self._inflate.unconsumed_tail
        except zlib.error as error:
            raise httpcore.RemoteProtocolError(f"a compressed body that is none: {error}") from None

    def end(self) -> None:
        """Nothing more comes. Raises RemoteProtocolError."""
        if not self._inflate.eof:
            raise httpcore.RemoteProtocolError("a compressed body without its end")


def _chunks(response: httpcore.Response) -> Iterator[bytes]:
    inflater = inflater_of(response.headers)
    for chunk in response.stream:  # type: ignore[union-attr]
        if inflater is None:
            yield chunk
        else:
            yield from inflater.pieces(chunk)
    if inflater:
        inflater.end()


async def _async_chunks(response: httpcore.Response) -> AsyncGenerator[bytes]:
    inflater = inflater_of(response.headers)
    async for chunk in response.stream:  # type: ignore[union-attr]
        if inflater is None:
            yield chunk
        else:
            for piece in inflater.pieces(chunk):
                yield piece
    if inflater:
        inflater.end()
