"""The stand-in as an httpx transport: no socket, sync and async."""

from __future__ import annotations

import asyncio

import httpx

from openrouter_embeddings._extras import need
from openrouter_embeddings.local.respond import respond


class LocalTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers every request as the stand-in does; for `httpx.Client` and `httpx.AsyncClient`."""

    def __init__(self) -> None:
        need("jsonschema_rs", "local")  # now, and not in the middle of the first request

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer in the calling thread."""
        return _answer(request, request.read())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer in another thread, so that the loop goes on while a model computes."""
        body = await request.aread()
        return await asyncio.to_thread(_answer, request, body)


def _answer(request: httpx.Request, body: bytes) -> httpx.Response:
    reply = respond(body, {name.lower(): value for name, value in request.headers.items()})
    headers = {"Content-Type": "application/json", **reply.headers}
    return httpx.Response(reply.status, headers=headers, content=reply.body)


def http_client() -> httpx.Client:
    """An httpx client that only ever talks to the stand-in."""
    return httpx.Client(transport=LocalTransport())


def async_http_client() -> httpx.AsyncClient:
    """The same for asyncio."""
    return httpx.AsyncClient(transport=LocalTransport())
