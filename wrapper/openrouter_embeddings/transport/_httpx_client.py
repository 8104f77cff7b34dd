"""Requests through a client of httpx or httpx2: the caller's, the stand-in's or `_visible`'s."""

import asyncio
import copy
import os
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, closing, contextmanager, suppress
from typing import Any, Protocol, TypeVar

from openrouter_embeddings._secret import Secret
from openrouter_embeddings.errors import APIConnectionError, InputError, ResponseError

from ._connections import HEADERS, AsyncResponse, Decompressor, Response, with_headers
from ._httpx_modules import classes
from ._sync_backend import CONNECT_TIMEOUT

MAX_ERROR_BODY = 1 << 20  # bytes
ERROR_BODY_TIMEOUT = 5.0  # seconds; the status of an error matters more than its body
C = TypeVar("C", bound="HTTPXClient | AsyncHTTPXClient")


class _Response(Protocol):
    """What is used of a response, beside the methods that differ between sync and async."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Any: ...

    @property
    def is_stream_consumed(self) -> bool: ...


class _SyncResponse(_Response, Protocol):
    def iter_bytes(self) -> Iterator[bytes]: ...

    def iter_raw(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class _AsyncResponse(_Response, Protocol):
    def aiter_bytes(self) -> AsyncIterator[bytes]: ...

    def aiter_raw(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class _BaseHTTPXClient(Protocol):
    @property
    def is_closed(self) -> bool: ...

    @property
    def event_hooks(self) -> dict[str, list[Callable[..., Any]]]: ...

    @event_hooks.setter
    def event_hooks(self, hooks: dict[str, list[Callable[..., Any]]], /) -> None: ...

    def build_request(
        self,
        method: str,
        url: str,
        *,
        content: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        timeout: tuple[float, float, float, float],
    ) -> Any: ...


class HTTPXClient(_BaseHTTPXClient, Protocol):
    """An `httpx.Client` or `httpx2.Client`.

    A protocol, because type checkers may not find httpx2, which nobody needs to have installed.
    """

    def send(
        self, request: Any, *, stream: bool, auth: Callable[[Any], Any], follow_redirects: bool
    ) -> _SyncResponse: ...

    def close(self) -> None: ...


class AsyncHTTPXClient(_BaseHTTPXClient, Protocol):
    """An `httpx.AsyncClient` or `httpx2.AsyncClient`."""

    async def send(
        self, request: Any, *, stream: bool, auth: Callable[[Any], Any], follow_redirects: bool
    ) -> _AsyncResponse: ...

    async def aclose(self) -> None: ...


def check_class(client: object, client_class: str) -> None:
    """Raise InputError unless this is a `client_class` of httpx or httpx2."""
    if not isinstance(client, classes(client_class)):
        if isinstance(client, str):
            raise InputError('http_client is a text other than "httpx", the only one it can be')
        if isinstance(client, type) and issubclass(client, classes(client_class)):
            full = f"{client.__module__.partition('.')[0]}.{client.__qualname__}"
            raise InputError(f"http_client is the class {full}; call it: {full}()")
        module, name = type(client).__module__.partition(".")[0], type(client).__qualname__
        full = name if module == "builtins" else f"{module}.{name}"
        article = "an" if full.startswith(("httpx", *"aeiou")) else "a"
        raise InputError(
            f"http_client is {article} {full}; {client_class} takes an httpx.{client_class} or "
            f"httpx2.{client_class}"
        )


class BearerAuth:
    """Adds the key to a request as it is sent, so that no client's default headers hold it."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def __call__(self, request: Any) -> Any:
        """The request with the key."""
        request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        return request


@contextmanager
def post(
    client: HTTPXClient,
    url: str,
    auth: BearerAuth,
    body: bytes,
    timeout: float,
    *,
    headers: Sequence[tuple[bytes, bytes]],
) -> Iterator[Response]:
    """Send a request; the response is closed at the end of the `with` block."""
    request = _build_request(client, url, body, timeout, headers)
    response = _with_error_hook(client, _read_error).send(
        request, stream=True, auth=auth, follow_redirects=False
    )
    with closing(response):
        yield response.status_code, response.headers.raw, _iter_body(response)


@asynccontextmanager
async def post_async(
    client: AsyncHTTPXClient,
    url: str,
    auth: BearerAuth,
    body: bytes,
    timeout: float,  # noqa: ASYNC109 - as `post`
    *,
    headers: Sequence[tuple[bytes, bytes]],
) -> AsyncIterator[AsyncResponse]:
    """As `post`."""
    request = _build_request(client, url, body, timeout, headers)
    response = await _with_error_hook(client, _read_error_async).send(
        request, stream=True, auth=auth, follow_redirects=False
    )
    async with aclosing(response):
        yield response.status_code, response.headers.raw, _iter_body_async(response)


def _build_request(
    client: HTTPXClient | AsyncHTTPXClient,
    url: str,
    body: bytes,
    timeout: float,
    headers: Sequence[tuple[bytes, bytes]],
) -> Any:
    limits = (min(timeout, CONNECT_TIMEOUT), timeout, timeout, timeout)  # the last: for the pool
    sent = with_headers(HEADERS, headers)
    return client.build_request("POST", url, content=body, headers=sent, timeout=limits)


def _iter_body(response: _SyncResponse) -> Iterator[bytes]:
    decompressor = Decompressor(response.headers.raw)  # may raise
    if response.is_stream_consumed:  # by a hook of the caller's, or a mock
        yield from response.iter_bytes()
        return
    for chunk in response.iter_raw():  # httpx itself decompresses without bounds
        yield from decompressor.add(chunk)
    decompressor.end()


async def _iter_body_async(response: _AsyncResponse) -> AsyncIterator[bytes]:
    decompressor = Decompressor(response.headers.raw)
    if response.is_stream_consumed:
        async for chunk in response.aiter_bytes():
            yield chunk
        return
    async for chunk in response.aiter_raw():
        for piece in decompressor.add(chunk):
            yield piece
    decompressor.end()


def _with_error_hook(client: C, hook: Callable[[Any], Any]) -> C:
    """The client, or a copy that shares its connections and runs `hook` before its other hooks.

    If a hook of the caller's calls `raise_for_status`, httpx closes the response, and the body of
    the error is lost unless `hook` has read it.
    """
    hooks: dict[str, list[Any]] = client.event_hooks
    if not hooks["response"]:
        return client
    copied = copy.copy(client)  # leaves the caller's hooks as they are
    copied.event_hooks = {**hooks, "response": [hook, *hooks["response"]]}
    return copied


def _read_error(response: Any) -> None:
    if _limit_error_body(response):
        with suppress(*classes("HTTPError", "StreamError")):
            response.read()


async def _read_error_async(response: Any) -> None:
    if _limit_error_body(response):
        with suppress(*classes("HTTPError", "StreamError"), TimeoutError):
            async with asyncio.timeout(ERROR_BODY_TIMEOUT):
                await response.aread()


def _limit_error_body(response: Any) -> bool:
    """Bound the body of an error response; False if the body is not to be read."""
    if response.status_code < 400:
        return False
    try:
        is_plain = Decompressor(response.headers.raw).is_plain
    except ResponseError:
        return False
    if is_plain:
        response.stream = _bounded(response.stream)
    return is_plain  # httpx would decompress any other body, however large it becomes


def _bounded(stream: Any) -> Any:
    """The beginning of a body, as a stream of httpx or of httpx2, whichever `stream` is."""
    kinds = classes("SyncByteStream", "AsyncByteStream")
    bases = tuple(kind for kind in kinds if isinstance(stream, kind))
    return type("BoundedBody", (_BoundedBody, *bases), {})(stream)


class _BoundedBody:
    """The beginning of a body, bounded in size and time."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._deadline = time.monotonic() + ERROR_BODY_TIMEOUT
        self._remaining = MAX_ERROR_BODY

    def _truncate(self, chunk: bytes) -> bytes:
        chunk = chunk[: self._remaining]
        self._remaining -= len(chunk)
        return chunk

    @property
    def _is_over(self) -> bool:
        return not self._remaining or time.monotonic() > self._deadline

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            yield self._truncate(chunk)
            if self._is_over:
                return

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield self._truncate(chunk)
            if self._is_over:
                return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)  # httpx2 looks for `elapsed`

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


def error_body(response: Any) -> bytes:
    """What was read of a response for which a hook has called `raise_for_status`."""
    with suppress(*classes("ResponseNotRead")):
        content: bytes = response.content
        return content[:MAX_ERROR_BODY]
    return b""


# The process that sends through each httpx client; several of our clients may share one.
_processes: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


def mark_used_by_this_process(client: Any) -> None:
    """Note that this process sends through the client. Raises as `check_not_inherited`."""
    _processes.setdefault(client, os.getpid())
    check_not_inherited(client)  # it may be made before a fork, and our client after it


def check_not_inherited(client: Any) -> None:
    """Raise APIConnectionError if a parent process has sent through the client."""
    if _processes.get(client, os.getpid()) != os.getpid():
        raise APIConnectionError(
            "the http_client was used before this process was forked, so its connections belong to "
            "the parent process; make it and the client after the fork"
        )
