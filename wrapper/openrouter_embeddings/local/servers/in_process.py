"""The stand-in as an httpx transport: no socket, sync and async."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import httpx

from openrouter_embeddings._extras import need
from openrouter_embeddings.local.catalogue import list_models
from openrouter_embeddings.local.faults import FaultedReply
from openrouter_embeddings.local.models import MODELS
from openrouter_embeddings.local.respond import respond

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from openrouter_embeddings.local.faults import Faults

_RESETS = {
    "reset-before-headers": "Connection reset by peer",
    "accept-and-close": "Server disconnected without sending a response.",
}


class LocalTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers every request as the stand-in does; for `httpx.Client` and `httpx.AsyncClient`.

    Args:
        faults: what goes wrong. What would take longer than the request's time-out ends as that
            does, at once; other delays are left out.
        now: the clock of rate limits.
    """

    def __init__(
        self, faults: Faults | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        need("jsonschema_rs", "local")  # now, and not in the middle of the first request
        self._faults = faults
        self._now = now

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer in the calling thread."""
        return self._answer(request, request.read())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer in another thread, so that the loop goes on while a model computes."""
        body = await request.aread()
        return await asyncio.to_thread(self._answer, request, body)

    def _answer(self, request: httpx.Request, body: bytes) -> httpx.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if request.method == "GET" and request.url.path.endswith("/models"):
            models = MODELS if self._faults is None else self._faults.models
            query = request.url.query.decode()
            played = FaultedReply(list_models(models, request.url.path, query))
        elif self._faults is None:  # nobody reads the books, so none are kept
            played = FaultedReply(respond(body, headers))
        else:
            played = self._faults.play(body, headers, self._now())
        said = {"Content-Type": "application/json", **played.reply.headers}
        if played.delivery is None:
            return httpx.Response(played.reply.status, headers=said, content=played.reply.body)
        if message := _RESETS.get(played.delivery):
            raise httpx.ReadError(message, request=request)
        timeout = request.extensions.get("timeout", {}).get("read")
        too_slow = timeout is not None and played.seconds > timeout
        if played.delivery == "slow-headers" and too_slow:
            raise httpx.ReadTimeout("timed out", request=request)
        stream = _Body(played, too_slow=too_slow)
        return httpx.Response(played.reply.status, headers=said, stream=stream)


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that breaks off, or does not, as its delivery says."""

    def __init__(self, played: FaultedReply, *, too_slow: bool) -> None:
        self._played = played
        self._too_slow = too_slow

    def __iter__(self) -> Iterator[bytes]:
        body = self._played.reply.body
        if self._played.delivery == "reset-after-headers":
            raise httpx.ReadError("Connection reset by peer")
        yield body[: len(body) // 2]
        if self._played.delivery == "reset-mid-body":
            raise httpx.ReadError("Connection reset by peer")
        if self._too_slow:
            raise httpx.ReadTimeout("timed out")
        yield body[len(body) // 2 :]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


def http_client() -> httpx.Client:
    """An httpx client that only ever talks to the stand-in."""
    return httpx.Client(transport=LocalTransport())


def async_http_client() -> httpx.AsyncClient:
    """The same for asyncio."""
    return httpx.AsyncClient(transport=LocalTransport())
