"""The caller's own httpx client, whose hooks see the answer to our request first."""

from __future__ import annotations

import asyncio
import copy
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from openrouter_embeddings.errors import ResponseError

from ._connections import inflater_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

LONGEST_ERROR = 1 << 20
LAST_WORDS = 5.0  # seconds for the body of an error, whose status says the most
C = TypeVar("C", httpx.Client, httpx.AsyncClient)


def reading_first(client: C, reader: Callable[[httpx.Response], Any]) -> C:
    """`client`, or one like it on the same connections, whose hooks see errors with their body.

    A hook that calls `raise_for_status` has httpx close the answer, and the body would be lost.
    `reader` is `read_error` or `read_error_async`.
    """
    hooks: dict[str, list[Any]] = client.event_hooks
    if not hooks["response"]:
        return client
    ours = copy.copy(client)  # the caller's stays as it is
    ours.event_hooks = {**hooks, "response": [reader, *hooks["response"]]}
    return ours


def body_of(response: httpx.Response) -> bytes:
    """What was read of an answer that a hook has refused."""
    try:
        return response.content[:LONGEST_ERROR]
    except httpx.ResponseNotRead:
        return b""


class _Beginning(httpx.SyncByteStream, httpx.AsyncByteStream):
    """As much of a body as is read of an error."""

    def __init__(self, stream: httpx.SyncByteStream | httpx.AsyncByteStream) -> None:
        self._stream = stream
        self._ends = time.monotonic() + LAST_WORDS
        self._left = LONGEST_ERROR

    def _take(self, chunk: bytes) -> bytes:
        taken = chunk[: self._left]
        self._left -= len(taken)
        return taken

    @property
    def _is_over(self) -> bool:
        return not self._left or time.monotonic() > self._ends

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:  # type: ignore[union-attr]
            yield self._take(chunk)
            if self._is_over:
                return

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:  # type: ignore[union-attr]
            yield self._take(chunk)
            if self._is_over:
                return

    def close(self) -> None:
        self._stream.close()  # type: ignore[union-attr]

    async def aclose(self) -> None:
        await self._stream.aclose()  # type: ignore[union-attr]


def _shorten(response: httpx.Response) -> bool:
    """Whether the body of an answer is to be read; then it is no longer than we want it."""
    if response.status_code < 400:
        return False
    try:
        is_plain = inflater_of(response.headers.raw) is None
    except ResponseError:
        return False
    if is_plain:
        response.stream = _Beginning(response.stream)
    return is_plain  # httpx would inflate the rest, however large


def read_error(response: httpx.Response) -> None:
    """A hook in front of the caller's."""
    if _shorten(response):
        with suppress(httpx.HTTPError, httpx.StreamError):
            response.read()


async def read_error_async(response: httpx.Response) -> None:
    """The same for asyncio."""
    if _shorten(response):
        with suppress(httpx.HTTPError, httpx.StreamError, TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await response.aread()
