"""The httpx clients that we make ourselves: a connection each, and nothing paid for in vain.

httpcore's pool works through all its connections for every request, and partly through each pair of
them: at 32 connections that is most of what a request costs. Redirects, cookies, hooks and digest
authentication are no part of this API, but a quarter of the time of a small request. A caller's own
httpx client keeps all of it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import httpx

from ._asyncio import Backend
from ._attempts import BACKEND

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

_ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1)
C = TypeVar("C", httpx.Client, httpx.AsyncClient)


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body, of either kind, that gives its connection back when it is closed."""

    def __init__(self, response: httpx.Response, give_back: Callable[[], None]) -> None:
        self._stream: Any = response.stream
        self._give_back = give_back

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._give_back()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._give_back()


class _Connections(Generic[C]):
    """As many httpx clients as there are requests at a time; the one used last is taken first."""

    def __init__(self, kind: type[C], backend: Any, *, trust_env: bool) -> None:
        self._backend = backend
        self.is_closed = False
        context = httpx.create_ssl_context(trust_env=trust_env)  # takes 30 ms: one for all
        self._make: Callable[[], C] = partial(
            kind, limits=_ONE, verify=context, trust_env=trust_env
        )
        self._idle: list[C] = []
        self._all: list[C] = []

    def take(self) -> C:
        """One that is idle, or another."""
        try:
            return self._idle.pop()
        except IndexError:
            made = self._make()
            httpx_s: Any = made
            for transport in (httpx_s._transport, *httpx_s._mounts.values()):  # noqa: SLF001 - see below
                if isinstance(transport, httpx.HTTPTransport | httpx.AsyncHTTPTransport):
                    transport._pool._network_backend = self._backend  # noqa: SLF001 - see below
            self._all.append(made)
            return made

    def give_back(self, client: C) -> None:
        """It is idle again."""
        self._idle.append(client)


class OwnClient(_Connections[httpx.Client]):
    """Every connection keeps to `begin_attempt`, proxied ones too.

    httpx takes no network backend, though httpcore below it does: hence the private names. A test
    with a server that drips its headers fails should they change.
    """

    def __init__(self, *, trust_env: bool) -> None:
        super().__init__(httpx.Client, BACKEND, trust_env=trust_env)

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """The answer, of which only the head has been read."""
        client = self.take()
        try:
            transport: Any = client._transport_for_url(request.url)  # noqa: SLF001 - see above
            response: httpx.Response = transport.handle_request(
                next(options["auth"].auth_flow(request))
            )
        except BaseException:
            self.give_back(client)
            raise
        response.request = request
        response.stream = _Body(response, partial(self.give_back, client))
        return response

    def close(self) -> None:
        """Close all connections."""
        self.is_closed = True
        for client in self._all:
            client.close()


class OwnAsyncClient(_Connections[httpx.AsyncClient]):
    """The same for asyncio."""

    def __init__(self, *, trust_env: bool) -> None:
        super().__init__(httpx.AsyncClient, Backend(), trust_env=trust_env)

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """As `OwnClient.send`."""
        client = self.take()
        try:
            transport: Any = client._transport_for_url(request.url)  # noqa: SLF001 - as above
            response: httpx.Response = await transport.handle_async_request(
                next(options["auth"].auth_flow(request))
            )
        except BaseException:
            self.give_back(client)
            raise
        response.request = request
        response.stream = _Body(response, partial(self.give_back, client))
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        self.is_closed = True
        for client in self._all:
            await client.aclose()
