"""schemathesis finds no deviation from the contract in the stand-in, but finds planted bugs."""

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

from tests.contract.oracle import AUTH, EXCLUDED, SLOW, Request, bodies, cases, examined, schema_of
from tests.contract.over_socket import run_schemathesis
from tests.contract.schemathesis_hooks import with_known_model
from tests.newest import newest

Headers = dict[str, str]
Planted = Callable[[int, Headers, Any], tuple[int, Headers, Any]]
"""Takes the status, headers and body of a right answer; returns those of a wrong one."""


@examined
@given(cases(GenerationMode.POSITIVE))
def test_a_valid_request_gets_vectors(case: Request) -> None:
    """A valid request for a known model gets a 200 that passes every check of schemathesis."""
    response = case.call(headers=AUTH)
    case.validate_response(response, headers=AUTH, excluded_checks=EXCLUDED)
    assert response.status_code == 200


@examined
@given(cases(GenerationMode.NEGATIVE))
def test_an_invalid_request_is_refused(case: Request) -> None:
    """An invalid request gets a 4xx that passes every check of schemathesis."""
    response = case.call(headers=AUTH)
    case.validate_response(response, headers=AUTH, excluded_checks=EXCLUDED)
    assert 400 <= response.status_code < 500


ANSWERED = jsonschema_rs.Draft202012Validator(schema_of("responses", "200", of=newest()))


@examined
@given(bodies(schema_of("requestBody", of=newest())))
def test_a_valid_request_of_the_newest_contract_gets_a_valid_answer(body: Any) -> None:
    """A stand-in that follows the newest contract answers with vectors and all required fields."""
    raw = json.dumps(with_known_model(body)).encode()
    reply = respond(raw, {"authorization": "Bearer k"}, newest())
    assert reply.status == 200, reply.body
    ANSWERED.validate(json.loads(reply.body))


def changed_success(change: Callable[[Any], Any]) -> Planted:
    """Change the body of every success."""
    return lambda status, headers, body: (status, headers, change(body) if status == 200 else body)


def with_fields(value: Any, fields: dict[str, Any]) -> Any:
    """An object with changed fields; None removes a field."""
    return {k: v for k, v in {**value, **fields}.items() if v is not None}


def changed(**fields: Any) -> Planted:
    """Change top-level fields of a success."""
    return changed_success(lambda body: with_fields(body, fields))


def changed_item(**fields: Any) -> Planted:
    """Change fields of every item of `data`."""
    return changed_success(
        lambda body: {**body, "data": [with_fields(item, fields) for item in body["data"]]}
    )


def changed_usage(**fields: Any) -> Planted:
    """Change fields of `usage`."""
    return changed_success(lambda body: {**body, "usage": with_fields(body["usage"], fields)})


def instead(old: int, status: int, answer: Any = None) -> Planted:
    """Answer with another status, and another body unless None, instead of the status `old`."""
    return lambda right, headers, body: (
        (right, headers, body) if right != old else (status, headers, answer or body)
    )


def as_html(status: int, headers: Headers, body: Any) -> tuple[int, Headers, Any]:
    """Send the right body with the wrong content type."""
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
    """The stand-in with a bug in its answers."""

    def __init__(self, bug: Planted) -> None:
        self._app = make_app()
        self._bug = bug

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Pass the request on, and plant the bug into the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer: dict[str, Any] = {"body": b""}

        async def collect(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.update(message)
            else:
                answer["body"] += message["body"]

        await self._app(scope, receive, collect)
        headers = {k.decode(): v.decode() for k, v in answer["headers"]}
        status, headers, body = self._bug(answer["status"], headers, json.loads(answer["body"]))
        raw = json.dumps(body).encode()
        headers["content-length"] = str(len(raw))
        pairs = [(k.encode(), v.encode()) for k, v in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": raw})


@pytest.mark.parametrize("bug", SERVER_BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    """The checks of the tests above fail for every planted bug."""
    with pytest.raises((FailureGroup, AssertionError)):
        check(Buggy(SERVER_BUGS[bug]))


def test_without_a_bug_nothing_is_found() -> None:
    """The checks pass for the same application without a bug."""
    check(Buggy(lambda *right: right))


def check(app: Buggy) -> None:
    """Run the checks of the tests above on another application."""

    @settings(max_examples=30, deadline=None, database=None, suppress_health_check=SLOW)
    @given(cases(GenerationMode.POSITIVE, app), cases(GenerationMode.NEGATIVE, app))
    def examine(valid: Request, invalid: Request) -> None:
        for case, right in ((valid, range(200, 201)), (invalid, range(400, 500))):
            response = case.call(headers=AUTH)
            case.validate_response(response, headers=AUTH, excluded_checks=EXCLUDED)
            assert response.status_code in right

    examine()


@contextmanager
def served_app(app: Buggy) -> Iterator[str]:
    """The base URL of an application, which a thread of this process serves."""
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
    """The schemathesis command sees a bug in answers with vectors."""
    with served_app(Buggy(SERVER_BUGS[bug] if bug else lambda *right: right)) as url:
        assert run_schemathesis(url, "--phases", "fuzzing", "--max-examples", "5") == status
