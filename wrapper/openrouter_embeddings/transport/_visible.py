"""Requests on our own connections that tools for httpx can see, change and answer.

Such a tool replaces methods of httpx or httpx2. So the request goes through a client of that module
and through its transport. In that transport, our connections take the place of httpcore's pool. So
time-outs, proxies, TLS, forks and the end of a call are the same as without the tool.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import ModuleType
from typing import Any

import h11
import httpcore

from openrouter_embeddings.errors import InputError

from ._connections import AsyncConnections, Connections, iter_chunks, iter_chunks_async
from ._httpx_client import AsyncHTTPXClient, HTTPXClient
from ._response_reader import ResponseReader, encode_request


def client(
    module: ModuleType, connections: Connections, confirm_resend: Callable[[], bool]
) -> HTTPXClient:
    """A client of this module for one request on these connections; it needs no closing."""
    transport = _transport(module.HTTPTransport, _Pool(connections, confirm_resend))
    made: HTTPXClient = module.Client(transport=transport, trust_env=False)
    return made


def async_client(
    module: ModuleType, connections: AsyncConnections, confirm_resend: Callable[[], bool]
) -> AsyncHTTPXClient:
    """As `client`."""
    transport = _transport(module.AsyncHTTPTransport, _AsyncPool(connections, confirm_resend))
    made: AsyncHTTPXClient = module.AsyncClient(transport=transport, trust_env=False)
    return made


def _transport(transport_class: Any, pool: object) -> Any:
    """A transport of httpx with this pool. The name of the attribute is private to httpx."""
    transport = transport_class.__new__(transport_class)  # __init__ would load certificates
    transport._pool = pool  # noqa: SLF001 - a test fails if it is renamed
    return transport


class _Pool:
    """What a transport uses of httpcore's pool, or of httpcore2's.

    A tool may close its transport. Our connections stay open then, because they are the client's.
    """

    def __init__(self, connections: Connections, confirm_resend: Callable[[], bool]) -> None:
        self._connections, self._confirm_resend = connections, confirm_resend

    def handle_request(self, request: Any) -> httpcore.Response:
        content = b"".join(request.stream)
        exchange = self._connections.exchange(
            *_encoded(self._connections, request, content), self._confirm_resend, iter_chunks
        )
        status, headers, chunks = exchange.__enter__()
        return httpcore.Response(status, headers=[*headers], content=_Body(chunks, exchange))

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None: ...


class _AsyncPool:
    """As `_Pool`."""

    def __init__(self, connections: AsyncConnections, confirm_resend: Callable[[], bool]) -> None:
        self._connections, self._confirm_resend = connections, confirm_resend

    async def handle_async_request(self, request: Any) -> httpcore.Response:
        content = b"".join([chunk async for chunk in request.stream])
        exchange = self._connections.exchange(
            *_encoded(self._connections, request, content), self._confirm_resend, iter_chunks_async
        )
        status, headers, chunks = await exchange.__aenter__()
        return httpcore.Response(status, headers=[*headers], content=_AsyncBody(chunks, exchange))

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def aclose(self) -> None: ...


class _Body:
    """The body of a response; `close` gives the connection back."""

    def __init__(self, chunks: Iterator[bytes], exchange: AbstractContextManager[Any]) -> None:
        self._chunks, self._exchange = chunks, exchange

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        self._exchange.__exit__(None, None, None)


class _AsyncBody:
    """As `_Body`."""

    def __init__(
        self, chunks: AsyncIterator[bytes], exchange: AbstractAsyncContextManager[Any]
    ) -> None:
        self._chunks, self._exchange = chunks, exchange

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks

    async def aclose(self) -> None:
        await self._exchange.__aexit__(None, None, None)


def _encoded(
    connections: Connections | AsyncConnections, request: Any, content: bytes
) -> tuple[tuple[bytes], ResponseReader, float]:
    """The request's bytes, the reader of its response, and the seconds that connecting may take.

    Raises InputError if it leads to another host.
    """
    ours, url = connections.url, request.url
    if (url.scheme, url.host, url.port) != (ours.raw_scheme, ours.raw_host, ours.port):
        address = b"%b://%b%b" % (url.scheme, url.host, b":%d" % url.port if url.port else b"")
        raise InputError(
            "a tool that replaces methods of httpx has redirected the request to "
            f"{address.decode()}; to allow that, pass an httpx client as http_client"
        )
    sent = h11.Request(method=request.method, target=url.target, headers=request.headers)
    connection, encoded = encode_request(sent, content)
    seconds: float = request.extensions["timeout"]["connect"]
    return (encoded,), ResponseReader(None, connection), seconds
