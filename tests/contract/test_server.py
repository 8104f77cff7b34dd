"""The stand-in keeps the contract: schemathesis finds nothing, and finds planted bugs."""

import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import jsonschema_rs
import pytest
import uvicorn
from hypothesis import given, settings
from openrouter_embeddings.local.respond import respond
from openrouter_embeddings.local.servers.asgi import make_app
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup

from tests.contract.oracle import (
    AUTH,
    EXCLUDED,
    SLOW,
    Request,
    bodies,
    cases,
    examined,
    schema_of,
)
from tests.newest import newest
from tools.contract_hooks import reaching
from tools.contract_over_socket import examine

Headers = dict[str, str]
Planted = Callable[[Any, int, Headers, Any], tuple[int, Headers, Any]]
"""From (request, status, headers, body) of a right answer to a wrong one."""


@examined
@given(cases(GenerationMode.POSITIVE))
def test_what_the_contract_allows_is_answered(case: Request) -> None:
    """With 200 and vectors, for a model that exists; every check of schemathesis passes."""
    response = case.call(headers=AUTH)
    case.validate_response(response, headers=AUTH, excluded_checks=EXCLUDED)
    assert response.status_code == 200


@examined
@given(cases(GenerationMode.NEGATIVE))
def test_what_the_contract_refuses_is_refused(case: Request) -> None:
    """With an error of the contract's shape; every check of schemathesis passes."""
    response = case.call(headers=AUTH)
    case.validate_response(response, headers=AUTH, excluded_checks=EXCLUDED)
    assert 400 <= response.status_code < 500


ANSWERED = jsonschema_rs.Draft202012Validator(schema_of("responses", "200", of=newest()))


@examined
@given(bodies(schema_of("requestBody", of=newest())))
def test_what_the_newest_contract_allows_is_answered_by_it(body: Any) -> None:
    """With vectors, and all that it requires besides."""
    raw = json.dumps(reaching(body)).encode()
    reply = respond(raw, {"authorization": "Bearer k"}, newest())
    assert reply.status == 200, reply.body
    ANSWERED.validate(json.loads(reply.body))


def changed(**fields: Any) -> Planted:
    """Top-level fields of a success that are set otherwise, or gone where None."""

    def plant(_: Any, status: int, headers: Headers, body: Any) -> tuple[int, Headers, Any]:
        if status != 200:
            return status, headers, body
        whole = {**body, **fields}
        return status, headers, {k: v for k, v in whole.items() if v is not None}

    return plant


def changed_item(**fields: Any) -> Planted:
    """The same for every item of `data`."""

    def plant(_: Any, status: int, headers: Headers, body: Any) -> tuple[int, Headers, Any]:
        if status != 200:
            return status, headers, body
        items = [{**item, **fields} for item in body["data"]]
        kept = [{k: v for k, v in item.items() if v is not None} for item in items]
        return status, headers, {**body, "data": kept}

    return plant


def changed_usage(**fields: Any) -> Planted:
    """The same for `usage`."""

    def plant(_: Any, status: int, headers: Headers, body: Any) -> tuple[int, Headers, Any]:
        if status != 200:
            return status, headers, body
        usage = {k: v for k, v in {**body["usage"], **fields}.items() if v is not None}
        return status, headers, {**body, "usage": usage}

    return plant


def instead(old: int, status: int, body: Any = None) -> Planted:
    """Another status, or another body, where `old` would be right."""

    def plant(_: Any, was: int, headers: Headers, said: Any) -> tuple[int, Headers, Any]:
        return (
            (status, headers, said if body is None else body)
            if was == old
            else (
                was,
                headers,
                said,
            )
        )

    return plant


def as_html(_: Any, status: int, headers: Headers, body: Any) -> tuple[int, Headers, Any]:
    """The right body under the wrong content type."""
    return status, {**headers, "content-type": "text/html"}, body


SERVER_BUGS: dict[str, Planted] = {
    "no object": changed(object=None),
    "another object": changed(object="embeddings"),
    "no model": changed(model=None),
    "model is a number": changed(model=5),
    "data is an object": changed(data={}),
    "id is a number": changed(id=7),
    "an item without its object": changed_item(object=None),
    "an item of another object": changed_item(object="vector"),
    "an item without its embedding": changed_item(embedding=None),
    "an embedding of texts": changed_item(embedding=["0.5"]),
    "an embedding that is an object": changed_item(embedding={"0": 0.5}),
    "index is text": changed_item(index="0"),
    "no prompt_tokens": changed_usage(prompt_tokens=None),
    "total_tokens is a fraction": changed_usage(total_tokens=1.5),
    "cost is text": changed_usage(cost="free"),
    "a modality's count is text": changed_usage(prompt_tokens_details={"text_tokens": "3"}),
    "a crash": instead(200, 500, {"error": {"code": 500, "message": "x"}}),
    "garbage is accepted": instead(400, 200, {"object": "list", "data": [], "model": "m"}),
    "an undocumented status": instead(400, 418),
    "an error without a message": instead(400, 400, {"error": {"code": 400}}),
    "an error's code is text": instead(400, 400, {"error": {"code": "400", "message": "x"}}),
    "a right request refused": instead(200, 400, {"error": {"code": 400, "message": "x"}}),
    "html": as_html,
}


class Buggy:
    """The stand-in with a bug planted into its answers."""

    def __init__(self, bug: Planted) -> None:
        self._app = make_app()
        self._bug = bug

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Pass the request on, and spoil the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said: dict[str, Any] = {"body": b""}

        async def collect(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                said.update(message)
            else:
                said["body"] += message["body"]

        await self._app(scope, receive, collect)
        headers = {k.decode(): v.decode() for k, v in said["headers"]}
        status, headers, body = self._bug(None, said["status"], headers, json.loads(said["body"]))
        raw = json.dumps(body).encode()
        headers["content-length"] = str(len(raw))
        pairs = [(k.encode(), v.encode()) for k, v in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": raw})


@pytest.mark.parametrize("bug", SERVER_BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    """Each would be seen by the two tests above."""
    with pytest.raises((FailureGroup, AssertionError)):
        look_at(Buggy(SERVER_BUGS[bug]))


def test_without_a_bug_nothing_is_found() -> None:
    """The way that bugs are planted raises no alarm by itself."""
    look_at(Buggy(lambda _, *right: right))


def look_at(app: Buggy) -> None:
    """The two tests above in short, for another server."""

    @settings(max_examples=30, deadline=None, database=None, suppress_health_check=SLOW)
    @given(cases(GenerationMode.POSITIVE, app), cases(GenerationMode.NEGATIVE, app))
    def look(allowed: Request, refused: Request) -> None:
        for case, right in ((allowed, range(200, 201)), (refused, range(400, 500))):
            response = case.call(headers=AUTH)
            case.validate_response(response, headers=AUTH, excluded_checks=EXCLUDED)
            assert response.status_code in right

    look()


@contextmanager
def served(app: Buggy) -> Iterator[str]:
    """The address of an application on this machine."""
    config = uvicorn.Config(app, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=[[listener]])
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1"
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.parametrize(("bug", "status"), [(None, 0), ("another object", 1)])
def test_a_planted_bug_is_found_over_a_socket(bug: str | None, status: int) -> None:
    """Some answers are vectors there too, and are looked at."""
    with served(Buggy(SERVER_BUGS[bug] if bug else lambda _, *right: right)) as url:
        assert examine(url, "--phases", "fuzzing", "--max-examples", "5") == status
