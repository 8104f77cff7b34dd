"""The stand-in as an ASGI application: `make_app`, for uvicorn's `--factory`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openrouter_embeddings._extras import need
from openrouter_embeddings.local.reply import LocalReply, Refusal
from openrouter_embeddings.local.respond import MAX_BODY, error_reply, respond

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

PREFIX = "/api/v1"
PATHS = (f"{PREFIX}/embeddings", "/embeddings")


async def _embeddings(request: Request) -> Response:
    # one thread a request at most, as many as Starlette's pool has
    from starlette.concurrency import run_in_threadpool  # noqa: PLC0415 - behind an extra
    from starlette.requests import ClientDisconnect  # noqa: PLC0415 - behind an extra

    body = bytearray()
    try:
        async for chunk in request.stream():
            if len(body) <= MAX_BODY:  # the rest is read, so that the client hears, and not kept
                body += chunk
    except ClientDisconnect:
        return _answer(LocalReply(499, b""))  # nobody reads it
    reply = await run_in_threadpool(respond, bytes(body), dict(request.headers))
    return _answer(reply)


async def _refused(_: Request, error: Exception) -> Response:
    """404 and 405 with the body that every other error has."""
    from starlette.exceptions import HTTPException  # noqa: PLC0415 - behind an extra

    assert isinstance(error, HTTPException)  # noqa: S101 - what Starlette registers us for
    return _answer(error_reply(Refusal(error.status_code, error.detail, headers=error.headers)))


def _answer(reply: LocalReply) -> Response:
    from starlette.responses import Response as Answer  # noqa: PLC0415 - behind an extra

    return Answer(
        reply.body, reply.status, headers=dict(reply.headers), media_type="application/json"
    )


def make_app() -> Starlette:
    """The application: `POST /api/v1/embeddings`, and `POST /embeddings` for the same."""
    need("starlette", "local")
    from starlette.applications import Starlette as App  # noqa: PLC0415 - behind an extra
    from starlette.exceptions import HTTPException  # noqa: PLC0415 - behind an extra
    from starlette.routing import Route  # noqa: PLC0415 - behind an extra

    routes = [Route(path, _embeddings, methods=["POST"]) for path in PATHS]
    return App(routes=routes, exception_handlers={HTTPException: _refused})
