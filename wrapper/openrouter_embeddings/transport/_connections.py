"""Pools of connections, one per concurrent request, in place of an httpx client.

httpx and httpcore's own pool take half of the time of a small request: for redirects, cookies,
hooks and other things that this API does not need, and because that pool checks every connection
for every request. A caller who needs them passes an httpx client.
"""

import asyncio
import os
import ssl
import threading
import time
import urllib.request
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
from typing import Any, Generic, TypeAlias, TypeVar

import httpcore
import httpx

from openrouter_embeddings._secret import Secret
from openrouter_embeddings._version import __version__
from openrouter_embeddings.errors import InputError, ResponseError

from . import _asyncio_backend
from ._stream_state import ReusedConnectionError
from ._sync_backend import CONNECT_TIMEOUT, Backend
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
_INFLATED_CHUNK = 1 << 16  # bytes
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS

# status, headers and body; the body is read from the connection as it is iterated
Response: TypeAlias = tuple[int, Iterable[tuple[bytes, bytes]], Iterator[bytes]]
AsyncResponse: TypeAlias = tuple[int, Iterable[tuple[bytes, bytes]], AsyncIterator[bytes]]
C = TypeVar("C", bound=httpcore.ConnectionInterface | httpcore.AsyncConnectionInterface)


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


class _BaseConnections(Generic[C]):
    """The idle connections, and the request that is sent on each.

    Args:
        url, key: of every request.
        pool: httpcore's, which only creates the connections.
        options: that pool's settings.

    Attributes:
        url: of every request.
    """

    def __init__(self, url: httpx.URL, key: Secret, pool: Any, options: dict[str, Any]) -> None:
        self.is_closed: bool = False
        self._process = os.getpid()
        proxy: httpcore.Proxy | None = options["proxy"]
        self.via_proxy: str = "" if proxy is None else f" through the proxy {_origin(proxy.url)}"
        self._key = key
        self._pool = pool
        self.url: httpcore.URL = _httpcore_url(url)
        self._headers = [(b"Host", url.netloc), *HEADERS]
        self._lock = threading.Lock()
        self._idle: deque[tuple[_Moment, C]] = deque()  # since when; the last one is used first

    def _acquire(self) -> tuple[C, list[C]]:
        """An idle or a new connection, and the expired ones, which the caller has to close.

        Raises InputError.
        """
        expired: list[C] = []
        with self._lock:
            if self.is_closed:
                raise InputError("the client is closed; make a new one")
            if os.getpid() != self._process:  # both would read from the same socket
                raise InputError(
                    "the connections belong to another process; make a client in each process"
                )
            while self._idle and self._idle[0][0].age() > _KEEPALIVE_EXPIRY:
                expired.append(self._idle.popleft()[1])
            connection = self._idle.pop()[1] if self._idle else self._create()
        return connection, expired

    def _create(self) -> C:
        connection: C = self._pool.create_connection(self.url.origin)
        return connection

    def _pop_idle(self) -> list[C]:
        """Remove and return all idle connections."""
        with self._lock:
            idle = [connection for _, connection in self._idle]
            self._idle.clear()
        return idle

    def _release(self, connection: C) -> bool:
        """Keep a connection whose response was read; False if the caller has to close it."""
        with self._lock:
            if connection.is_idle() and not self.is_closed and not _has_trailing_data(connection):
                self._idle.append((_Moment(), connection))
                return True
        return False

    def _refuse_requests(self) -> list[C]:
        """Refuse further requests; returns the idle connections, which the caller has to close."""
        with self._lock:
            self.is_closed = True
        return self._pop_idle()

    def _request(
        self, body: bytes, timeout: float, headers: Sequence[tuple[bytes, bytes]]
    ) -> httpcore.Request:
        sent = [
            *(with_headers(self._headers, headers) if headers else self._headers),
            (b"Content-Length", b"%d" % len(body)),
            (b"Authorization", b"Bearer " + self._key.reveal().encode()),
        ]
        limits = {"connect": min(timeout, CONNECT_TIMEOUT), "read": timeout, "write": timeout}
        return httpcore.Request(
            "POST", self.url, headers=sent, content=body, extensions={"timeout": limits}
        )


class Connections(_BaseConnections[httpcore.ConnectionInterface]):
    """Connections for threads; every one keeps to `begin_attempt`, even through a proxy."""

    def __init__(
        self,
        url: httpx.URL,
        key: Secret,
        *,
        trust_env: bool,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        options = _pool_options(url, ssl_context, trust_env=trust_env)
        pool = httpcore.ConnectionPool(network_backend=Backend(), **options)
        super().__init__(url, key, pool, options)

    def post(
        self,
        body: bytes,
        timeout: float,
        confirm_resend: Callable[[], bool],
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> AbstractContextManager[Response]:
        """Send a request as `exchange` does; the body of its response is decompressed."""
        return self.exchange(self._request(body, timeout, headers), confirm_resend, _iter_body)

    @contextmanager
    def exchange(
        self,
        request: httpcore.Request,
        confirm_resend: Callable[[], bool],
        iter_body: Callable[[httpcore.Response], Iterator[bytes]],
    ) -> Iterator[Response]:
        """Send a request on a connection that nobody else uses inside the `with` block.

        If a reused connection turns out to be dead, this sends the request again at once on a new
        one. If the service may have read it, `confirm_resend` has to return True first.
        """
        connection, expired = self._acquire()
        try:
            self._close(*expired)
            try:
                response = connection.handle_request(request)
            except ReusedConnectionError as error:
                self._close(connection, *self._pop_idle())  # the others may also be dead
                if not error.was_dead or (error.maybe_billed and not confirm_resend()):
                    raise
                connection = self._create()
                response = connection.handle_request(request)
            yield response.status, response.headers, iter_body(response)
            response.close()
        except BaseException:  # its state is unknown, so nobody may use it again
            self._close(connection)
            raise
        if not self._release(connection):
            self._close(connection)

    def _close(self, *connections: httpcore.ConnectionInterface) -> None:
        for connection in connections:
            connection.close()

    def close_inherited(self) -> None:
        """Close the parent's idle connections in this forked process alone, without a TLS alert."""
        self._close(*[connection for _, connection in self._idle])  # no thread is left to lock out

    def close(self) -> None:
        """Close the idle connections.

        A thread that is using one closes it itself. TLS would go on with the number of a socket
        that another thread has closed, and that number may belong to another file by then.
        """
        self._close(*self._refuse_requests())


class AsyncConnections(_BaseConnections[httpcore.AsyncConnectionInterface]):
    """Connections for one event loop."""

    def __init__(
        self,
        url: httpx.URL,
        key: Secret,
        *,
        trust_env: bool,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        options = _pool_options(url, ssl_context, trust_env=trust_env)
        self._backend = _asyncio_backend.Backend()
        pool = httpcore.AsyncConnectionPool(network_backend=self._backend, **options)
        super().__init__(url, key, pool, options)
        self._open: set[httpcore.AsyncConnectionInterface] = set()

    def post(
        self,
        body: bytes,
        timeout: float,
        confirm_resend: Callable[[], bool],
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> AbstractAsyncContextManager[AsyncResponse]:
        """As `Connections.post`."""
        request = self._request(body, timeout, headers)
        return self.exchange(request, confirm_resend, _iter_body_async)

    @asynccontextmanager
    async def exchange(
        self,
        request: httpcore.Request,
        confirm_resend: Callable[[], bool],
        iter_body: Callable[[httpcore.Response], AsyncGenerator[bytes]],
    ) -> AsyncIterator[AsyncResponse]:
        """As `Connections.exchange`."""
        connection, expired = self._acquire()
        self._open.add(connection)
        try:
            if expired:
                await self._close(*expired)
            try:
                response = await connection.handle_async_request(request)
            except ReusedConnectionError as error:
                await self._close(connection, *self._pop_idle())  # the others may also be dead
                if not error.was_dead or (error.maybe_billed and not confirm_resend()):
                    raise
                connection = self._create()
                self._open.add(connection)
                response = await connection.handle_async_request(request)
            async with aclosing(iter_body(response)) as chunks:
                yield response.status, response.headers, chunks
            await response.aclose()
        except BaseException:  # its state is unknown, so nobody may use it again
            await self._close(connection)
            raise
        if not self._release(connection):
            await self._close(connection)

    async def _close(self, *connections: httpcore.AsyncConnectionInterface) -> None:
        for connection in connections:
            await connection.aclose()  # does not yield to the event loop, with our backend
            self._open.discard(connection)
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


def with_headers(
    own: Iterable[tuple[bytes, bytes]], callers: Sequence[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    """The headers of a request; the caller's replace those of the same name."""
    names = {name.lower() for name, _ in callers}
    return [*(header for header in own if header[0].lower() not in names), *callers]


def _has_trailing_data(connection: Any) -> bool:
    """Whether data followed the response, which would be read as the response to the next request.

    Only h11, inside httpcore, knows. A test fails if one of them renames these attributes.
    """
    while not hasattr(connection, "_h11_state"):
        connection = connection._connection  # noqa: SLF001 - see above
    return bool(connection._h11_state.trailing_data[0])  # noqa: SLF001 - see above


def _httpcore_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
    )


def _origin(url: httpcore.URL) -> str:
    """Scheme, host and port; httpcore keeps the user name and password elsewhere."""
    origin = url.origin
    return f"{origin.scheme.decode()}://{origin.host.decode()}:{origin.port}"


def _pool_options(
    url: httpx.URL, context: ssl.SSLContext | None, *, trust_env: bool
) -> dict[str, Any]:
    """Settings of httpcore's pool; `context` is the caller's."""
    proxy = _proxy_for(url) if trust_env else None
    if context is None and url.scheme == "https":
        context = create_ssl_context()  # takes 30 ms, so all connections share one
    return {
        "ssl_context": context,
        "proxy": proxy
        and httpcore.Proxy(
            _httpcore_url(proxy.url),
            auth=proxy.raw_auth,
            headers=proxy.headers.raw,
            ssl_context=context if proxy.url.scheme == "https" else None,
        ),
    }


def _bypasses_proxy(url: httpx.URL, no_proxy: str) -> bool:
    """Whether NO_PROXY lists the host, the host with its port, or `*`."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    bypass = urllib.request.proxy_bypass
    is_all = "*" in map(str.strip, no_proxy.split(","))  # urllib knows `*` only when it is alone
    return bool(is_all or bypass(url.host) or bypass(f"{host}:{port}"))


def _proxy_for(url: httpx.URL) -> httpx.Proxy | None:
    """The environment's proxy for this URL, if any. Raises InputError."""
    proxies = urllib.request.getproxies()
    address = proxies.get(url.scheme) or proxies.get("all")
    if not address or _bypasses_proxy(url, proxies.get("no", "")):
        return None
    try:
        proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
    except (ValueError, httpx.InvalidURL):  # does not show the address, which may hold a password
        raise InputError(
            "the proxy in the environment (HTTPS_PROXY or ALL_PROXY) is not a usable URL; "
            "set it to something like http://proxy.example:3128"
        ) from None
    if proxy.url.scheme.startswith("socks"):
        raise InputError(
            "the environment names a SOCKS proxy, which this client does not support itself; run "
            "pip install 'httpx[socks]', and pass http_client=httpx.Client()"
        )
    return proxy


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


def _iter_body(response: httpcore.Response) -> Iterator[bytes]:
    decompressor = Decompressor(response.headers)
    for chunk in response.stream:  # type: ignore[union-attr]
        yield from decompressor.add(chunk)
    decompressor.end()


async def _iter_body_async(response: httpcore.Response) -> AsyncGenerator[bytes]:
    decompressor = Decompressor(response.headers)
    async for chunk in response.stream:  # type: ignore[union-attr]
        for piece in decompressor.add(chunk):
            yield piece
    decompressor.end()
