"""Connections of our own: one for each request under way, in place of an httpx client.

httpx and httpcore's pool take half of the time of a small request, for redirects, cookies, hooks
and other things that are no part of this API, and the pool works through each pair of its
connections for every request. A caller's own httpx client keeps all of it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import threading
import time
import urllib.request
from collections import deque
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import httpcore
import httpx

from openrouter_embeddings._version import __version__
from openrouter_embeddings.errors import InputError

from ._asyncio import Backend
from ._attempts import BACKEND

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from openrouter_embeddings._secret import Secret

CONNECT_TIMEOUT = 15.0
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "User-Agent": f"openrouter-embeddings/{__version__} python-httpx/{httpx.__version__}",
}
_KEPT = 5.0  # seconds that httpx keeps an idle connection, too
# What 1 KB holds when it is inflated is still a bounded piece of an answer.
_SLICE = 1 << 10

# status, headers and body, of which only the head has been read
Answer: TypeAlias = "tuple[int, Iterable[tuple[bytes, bytes]], Iterator[bytes]]"
AsyncAnswer: TypeAlias = "tuple[int, Iterable[tuple[bytes, bytes]], AsyncIterator[bytes]]"
C = TypeVar("C", bound=httpcore.ConnectionInterface | httpcore.AsyncConnectionInterface)


class _Connections(Generic[C]):
    """Those that are idle, the one used last to be taken first, and all that are open.

    Args:
        url: where every request goes.
        key: sent with each.
        pool: httpcore's, as a maker of connections.
        options: its settings.
    """

    def __init__(self, url: httpx.URL, key: Secret, pool: Any, options: dict[str, Any]) -> None:
        self.is_closed = False
        proxy: httpcore.Proxy | None = options["proxy"]
        self.way = "" if proxy is None else f" through the proxy {_address(proxy.url)}"
        self._key = key
        self._pool = pool
        self._url = _core(url)
        # Base64 of vectors shrinks by a quarter, for several times the CPU of decoding them.
        headers = {"Host": url.netloc.decode(), **HEADERS, "Accept-Encoding": "identity"}
        self._headers = [*httpx.Headers(headers).raw]
        self._lock = threading.Lock()
        self._idle: deque[tuple[float, C]] = deque()
        self._open: set[C] = set()

    def _take(self) -> tuple[C, list[C]]:
        """A connection that is idle, or another; and those to be closed, since nobody needs them.

        Raises InputError.
        """
        now = time.monotonic()
        old: list[C] = []
        with self._lock:
            if self.is_closed:
                raise InputError("the client is closed; make a new one")
            while self._idle and self._idle[0][0] < now - _KEPT:
                old.append(self._idle.popleft()[1])
            while self._idle:
                connection = self._idle.pop()[1]
                if not connection.has_expired():
                    break
                old.append(connection)
            else:
                connection = self._pool.create_connection(self._url.origin)
            self._open.add(connection)
        return connection, old

    def _keeps(self, connection: C) -> bool:
        """Whether a connection whose answer was read is idle now; else it is to be closed."""
        with self._lock:
            if connection.is_idle() and not self.is_closed:
                self._idle.append((time.monotonic(), connection))
                return True
        return False

    def _forget(self, connection: C) -> None:
        """It is closed, whatever became of its request."""
        with self._lock:
            self._open.discard(connection)

    def _all(self) -> list[C]:
        """Take no more, and give what there is."""
        with self._lock:
            self.is_closed = True
            self._idle.clear()
            return [*self._open]

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
        pool = httpcore.ConnectionPool(network_backend=BACKEND, **options)
        super().__init__(url, key, pool, options)

    @contextmanager
    def post(self, body: bytes, timeout: float) -> Iterator[Answer]:
        """Send a request on a connection of its own for as long as this lasts."""
        connection, old = self._take()
        try:
            self._drop(*old)
            response = connection.handle_request(self._request(body, timeout))
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
            self._forget(connection)

    def close(self) -> None:
        """Close all connections; one that is being made goes with its request."""
        self._drop(*self._all())


class AsyncConnections(_Connections[httpcore.AsyncConnectionInterface]):
    """The same for asyncio."""

    def __init__(self, url: httpx.URL, key: Secret, *, trust_env: bool) -> None:
        options = _options(url, trust_env=trust_env)
        pool = httpcore.AsyncConnectionPool(network_backend=Backend(), **options)
        super().__init__(url, key, pool, options)

    @asynccontextmanager
    async def post(
        self,
        body: bytes,
        timeout: float,  # noqa: ASYNC109 - as Connections
    ) -> AsyncIterator[AsyncAnswer]:
        """As `Connections.post`."""
        connection, old = self._take()
        try:
            if old:
                await self._drop(*old)
            response = await connection.handle_async_request(self._request(body, timeout))
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
            self._forget(connection)
        await asyncio.sleep(0)  # for the sockets to be closed

    async def aclose(self) -> None:
        """Close all connections; one that is being made goes with its request."""
        await self._drop(*self._all())


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
    context = httpx.create_ssl_context(trust_env=trust_env) if url.scheme == "https" else None
    return {
        "ssl_context": context,
        "keepalive_expiry": _KEPT,
        "proxy": proxy
        and httpcore.Proxy(
            _core(proxy.url),
            auth=proxy.raw_auth,
            headers=proxy.headers.raw,
            ssl_context=context if proxy.url.scheme == "https" else None,
        ),
    }


def _proxy(url: httpx.URL) -> httpx.Proxy | None:
    """The one that the environment names for this address, if any. Raises InputError."""
    proxies = urllib.request.getproxies()
    address = proxies.get(url.scheme) or proxies.get("all")
    if not address or urllib.request.proxy_bypass(url.host):
        return None
    try:
        proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
    except (ValueError, httpx.InvalidURL):  # neither is shown: it may hold a password
        raise InputError(
            "the proxy that the environment names has no URL that can be used; "
            "http://proxy.example:3128, say, is right"
        ) from None
    if proxy.url.scheme.startswith("socks") and not importlib.util.find_spec("socksio"):
        raise InputError(
            "the environment names a SOCKS proxy, which needs: pip install 'httpx[socks]'"
        )
    return proxy


class _Slices(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A compressed body, which was not asked for, in pieces that cannot be much when inflated."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            yield from _cut(chunk)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            for piece in _cut(chunk):
                yield piece


def _cut(chunk: bytes) -> Iterable[bytes]:
    return (chunk[at : at + _SLICE] for at in range(0, len(chunk), _SLICE))


def _inflated(response: httpcore.Response) -> httpx.Response | None:
    """What inflates a body that is compressed, though we asked for none."""
    for name, value in response.headers:
        if name.lower() == b"content-encoding" and value.lower() != b"identity":
            slices = _Slices(response.stream)
            return httpx.Response(200, headers=response.headers, stream=slices)
    return None


def _chunks(response: httpcore.Response) -> Iterator[bytes]:
    inflated = _inflated(response)
    return inflated.iter_bytes() if inflated else iter(response.stream)  # type: ignore[arg-type]


def _async_chunks(response: httpcore.Response) -> Any:
    inflated = _inflated(response)
    return inflated.aiter_bytes() if inflated else aiter(response.stream)  # type: ignore[arg-type]
