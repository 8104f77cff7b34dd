"""The stand-in as an ASGI application: `make_app`, for uvicorn's `--factory`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openrouter_embeddings._extras import need
from openrouter_embeddings.local.model_list import list_models
from openrouter_embeddings.local.models import with_aliases
from openrouter_embeddings.local.reply import LocalReply, Refusal
from openrouter_embeddings.local.respond import MAX_BODY, error_reply, respond

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

PREFIX = "/api/v1"
PATHS = {
    f"{prefix}{path}": method
    for prefix in (PREFIX, "")
    for path, method in (("/embeddings", "POST"), ("/embeddings/models", "GET"), ("/models", "GET"))
}


async def _embeddings(request: Request) -> Response:
    from starlette.concurrency import run_in_threadpool  # noqa: PLC0415 - behind an extra
    from starlette.requests import ClientDisconnect  # noqa: PLC0415 - behind an extra

    body = bytearray()
    try:
        async for chunk in request.stream():
            if len(body) <= MAX_BODY:  # read on, so that the client gets the 413
                body += chunk
    except ClientDisconnect:
        return _answer(LocalReply(499, b""))  # the client is gone
    reply = await run_in_threadpool(
        respond, bytes(body), dict(request.headers), models=request.app.state.models
    )
    return _answer(reply)


async def _models(request: Request) -> Response:
    return _answer(list_models(request.app.state.models, request.url.path, request.url.query))


async def _refused(_: Request, error: Exception) -> Response:
    """404 and 405 with the error body of the contract."""
    from starlette.exceptions import HTTPException  # noqa: PLC0415 - behind an extra

    assert isinstance(error, HTTPException)  # noqa: S101 - what Starlette registers us for
    return _answer(error_reply(Refusal(error.status_code, error.detail, headers=error.headers)))


def _answer(reply: LocalReply) -> Response:
    from starlette.responses import Response as Answer  # noqa: PLC0415 - behind an extra

    return Answer(
        reply.body, reply.status, headers=dict(reply.headers), media_type="application/json"
    )


def make_app(aliases: Mapping[str, str] | None = None) -> Starlette:
    """Make an application that answers at `PATHS`.

    Args:
        aliases: more names for the models, with the number of dimensions:
            `{"openai/text-embedding-3-small": "local/hash:1536"}`. Raises ValueError for an unknown
            model.
    """
    need("starlette", "local")
    from starlette.applications import Starlette as App  # noqa: PLC0415 - behind an extra
    from starlette.exceptions import HTTPException  # noqa: PLC0415 - behind an extra
    from starlette.routing import Route  # noqa: PLC0415 - behind an extra

    answers = {"POST": _embeddings, "GET": _models}
    routes = [Route(path, answers[method], methods=[method]) for path, method in PATHS.items()]
    app = App(routes=routes, exception_handlers={HTTPException: _refused})
    app.state.models = with_aliases(aliases or {})
    return app
