"""The stand-in as an httpx transport: no socket, sync and async."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import httpx

from openrouter_embeddings._extras import need
from openrouter_embeddings.local.fault_kinds import FaultedReply, Step
from openrouter_embeddings.local.faults import Faults
from openrouter_embeddings.local.model_list import list_models
from openrouter_embeddings.local.models import MODELS
from openrouter_embeddings.local.respond import respond

_JSON = {"Content-Type": "application/json"}


class LocalTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers every request as the stand-in does; for `httpx.Client` and `httpx.AsyncClient`.

    Args:
        faults: the faults to play. Nothing waits: an answer that would come later than the
            request's time-out raises `httpx.ReadTimeout` at once, any other comes at once.
        now: the clock of rate limits, in seconds.
    """

    def __init__(
        self, faults: Faults | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        need("jsonschema_rs", "local")  # fail here, not in the first request
        self._faults = faults
        self._now = now

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer in the calling thread."""
        return self._answer(request, request.read())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer in another thread, so that the event loop is free while a model computes."""
        body = await request.aread()
        return await asyncio.to_thread(self._answer, request, body)

    def _answer(self, request: httpx.Request, body: bytes) -> httpx.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if request.method == "GET" and request.url.path.endswith("/models"):
            models = MODELS if self._faults is None else self._faults.models
            query = request.url.query.decode()
            faulted = FaultedReply(list_models(models, request.url.path, query))
        elif self._faults is None:  # nobody reads the record, so keep none
            faulted = FaultedReply(respond(body, headers))
        else:
            faulted = self._faults.play(body, headers, self._now())
        status, sent = faulted.reply.status, {**_JSON, **faulted.reply.headers}
        if faulted.steps is None:
            return httpx.Response(status, headers=sent, content=faulted.reply.body)
        timeout = request.extensions.get("timeout", {}).get("read")
        received = _received(faulted.steps, math.inf if timeout is None else timeout)
        next(received)  # the headers
        return httpx.Response(status, headers=sent, stream=_Body(received))


def _received(steps: Iterable[Step], timeout: float) -> Iterator[bytes]:
    """What a client receives: b"" for the headers, then the body in pieces.

    Raises what httpx raises once a step breaks the connection or the pauses exceed the time-out.
    """
    waited = 0.0
    for step in steps:
        if step == "close":
            raise httpx.ReadError("Server disconnected without sending a response.")
        if step == "reset":
            raise httpx.ReadError("Connection reset by peer")
        if isinstance(step, float | int):
            waited += step
            if waited > timeout:
                raise httpx.ReadTimeout("timed out")
        else:
            yield b"" if step == "head" else step


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes in pieces and may break off."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def http_client() -> httpx.Client:
    """An httpx client that only talks to the stand-in in this process."""
    return httpx.Client(transport=LocalTransport())


def async_http_client() -> httpx.AsyncClient:
    """The same for asyncio."""
    return httpx.AsyncClient(transport=LocalTransport())
