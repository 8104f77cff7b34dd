"""Requests through the caller's own httpx client, or through the in-process stand-in's."""

import asyncio
import copy
import os
import time
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, closing, contextmanager, suppress
from typing import Any, TypeVar

import httpx

from openrouter_embeddings._secret import Secret
from openrouter_embeddings.errors import APIConnectionError, ResponseError

from ._connections import HEADERS, AsyncResponse, Decompressor, Response, with_headers
from ._sync_backend import CONNECT_TIMEOUT

MAX_ERROR_BODY = 1 << 20  # bytes
ERROR_BODY_TIMEOUT = 5.0  # seconds; the status of an error matters more than its body
C = TypeVar("C", httpx.Client, httpx.AsyncClient)


class BearerAuth(httpx.Auth):
    """Adds the key to a request as it is sent, so that no client's default headers hold it."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        yield request


@contextmanager
def post(
    client: httpx.Client,
    url: httpx.URL,
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
    client: httpx.AsyncClient,
    url: httpx.URL,
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
    client: httpx.Client | httpx.AsyncClient,
    url: httpx.URL,
    body: bytes,
    timeout: float,
    headers: Sequence[tuple[bytes, bytes]],
) -> httpx.Request:
    limits = httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT))
    sent = with_headers(HEADERS, headers)
    return client.build_request("POST", url, content=body, headers=sent, timeout=limits)


def _iter_body(response: httpx.Response) -> Iterator[bytes]:
    Decompressor(response.headers.raw)  # may raise: httpx decompresses nested encodings
    yield from response.iter_bytes()


async def _iter_body_async(response: httpx.Response) -> AsyncIterator[bytes]:
    Decompressor(response.headers.raw)
    async for chunk in response.aiter_bytes():
        yield chunk


def _with_error_hook(client: C, hook: Callable[[httpx.Response], Any]) -> C:
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


def _read_error(response: httpx.Response) -> None:
    if _limit_error_body(response):
        with suppress(httpx.HTTPError, httpx.StreamError):
            response.read()


async def _read_error_async(response: httpx.Response) -> None:
    if _limit_error_body(response):
        with suppress(httpx.HTTPError, httpx.StreamError, TimeoutError):
            async with asyncio.timeout(ERROR_BODY_TIMEOUT):
                await response.aread()


def _limit_error_body(response: httpx.Response) -> bool:
    """Bound the body of an error response; False if the body is not to be read."""
    if response.status_code < 400:
        return False
    try:
        is_plain = Decompressor(response.headers.raw).is_plain
    except ResponseError:
        return False
    if is_plain:
        response.stream = _BoundedBody(response.stream)
    return is_plain  # httpx would decompress any other body, however large it becomes


class _BoundedBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The beginning of a body, bounded in size and time."""

    def __init__(self, stream: httpx.SyncByteStream | httpx.AsyncByteStream) -> None:
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
        for chunk in self._stream:  # type: ignore[union-attr]
            yield self._truncate(chunk)
            if self._is_over:
                return

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:  # type: ignore[union-attr]
            yield self._truncate(chunk)
            if self._is_over:
                return

    def close(self) -> None:
        self._stream.close()  # type: ignore[union-attr]

    async def aclose(self) -> None:
        await self._stream.aclose()  # type: ignore[union-attr]


def error_body(response: httpx.Response) -> bytes:
    """What was read of a response for which a hook has called `raise_for_status`."""
    try:
        return response.content[:MAX_ERROR_BODY]
    except httpx.ResponseNotRead:
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
