"""Requests that tools for httpx see: mocks, recorders and tracers replace its methods."""

import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from threading import Event, Thread
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import httpx
import httpx2
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.transport import _httpx_modules

from tests.http_service import HTTPService
from tests.socket_service import SocketService, correct_response, response_to, socket_service
from tests.support import (
    KEY,
    Kind,
    Service,
    answer,
    both,
    client_over,
    embed_over,
    ended,
    expected,
)

WAYS = ("the transport's method", "the choice of the transport", "send")
every_way = pytest.mark.parametrize("way", WAYS)
REFUSED = "http://127.0.0.1:9/v1"  # no service listens there


@contextmanager
def mocked(kind: Kind, way: str, service: Service) -> Iterator[None]:
    """Let `service` answer the requests of `service.http`, as a tool would."""

    def respond(_: Any, request: Any, **options: Any) -> Any:
        response: Any = service.handle(request)
        response.request = request
        return response

    async def respond_async(_: Any, request: Any, **options: Any) -> Any:
        return respond(_, request)

    is_sync = kind == "sync"
    owner, name, replacement = {
        "the transport's method": (
            ("HTTPTransport", "handle_request", respond)
            if is_sync
            else ("AsyncHTTPTransport", "handle_async_request", respond_async)
        ),
        "the choice of the transport": (
            "Client" if is_sync else "AsyncClient",
            "_transport_for_url",
            lambda *_: service.transport(),
        ),
        "send": (
            ("Client", "send", respond) if is_sync else ("AsyncClient", "send", respond_async)
        ),
    }[way]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(getattr(service.http, owner), name, replacement)
        yield


@both
@every_way
@pytest.mark.usefixtures("http")
def test_a_tool_that_replaces_a_method_answers_the_requests(kind: Kind, way: str) -> None:
    """Nothing is sent; the tool sees the request that would be sent, and its key."""
    service = Service()
    with mocked(kind, way, service), client_over(kind, REFUSED) as client:
        result = client.embed(["a", "b"])
    assert result.vectors.tolist() == expected(["a", "b"]).tolist()
    (request,) = service.requests
    assert type(request).__module__ == service.http.__name__
    assert (request.method, str(request.url)) == ("POST", f"{REFUSED}/embeddings")
    assert service.bodies[0]["input"] == ["a", "b"]
    if way != "send":
        assert request.headers["Authorization"] == f"Bearer {KEY}"


@both
@every_way
def test_requests_return_to_their_connections_when_the_tool_ends(
    kind: Kind, way: str, counting: HTTPService
) -> None:
    """A client uses the connection that it had before."""
    service = Service()
    with client_over(kind, counting.url) as client:
        client.embed("before")
        with mocked(kind, way, service):
            client.embed("mocked")
        client.embed("after")
    assert [body["input"] for body in service.bodies] == [["mocked"]]
    assert counting.opened == 1


@both
def test_a_tool_sees_every_attempt(kind: Kind) -> None:
    """A retry is another request."""
    service = Service(
        lambda body, n: answer(body["input"]) if n else (lambda: httpx.Response(429, json={}))
    )
    with mocked(kind, WAYS[0], service), client_over(kind, REFUSED, max_retries=1) as client:
        assert client.embed("a").usage.retries == 1
    assert len(service.requests) == 2


@both
def test_an_answer_that_fails_validation_is_an_error_through_a_tool_too(kind: Kind) -> None:
    """The checks are the same."""
    service = Service(lambda body, _: answer(body["input"], data=[]))
    with (
        mocked(kind, WAYS[0], service),
        client_over(kind, REFUSED) as client,
        pytest.raises(ore.ResponseError),
    ):
        client.embed("a")


@both
def test_a_tool_can_add_headers_to_the_requests_that_it_passes_on(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tracer adds `traceparent`, and the request arrives with it."""
    transport = httpx.HTTPTransport if kind == "sync" else httpx.AsyncHTTPTransport
    name = "handle_request" if kind == "sync" else "handle_async_request"
    original = getattr(transport, name)
    received: list[bytes] = []

    @wraps(original)  # which makes the function look like the original
    def tracing(self: Any, request: Any) -> Any:
        request.headers["traceparent"] = "00-1-2-01"
        return original(self, request)

    def respond(_: SocketService, connection: Any) -> None:
        received.append(connection.recv(1 << 16))
        connection.sendall(response_to(["a"]))

    monkeypatch.setattr(transport, name, tracing)
    with socket_service(respond) as service:
        assert len(embed_over(kind, service.url, ["a"])) == 1
    assert b"\r\ntraceparent: 00-1-2-01\r\n" in received[0]


@both
@pytest.mark.parametrize("begins", [True, False])
def test_a_request_in_flight_stays_where_it_is(kind: Kind, *, begins: bool) -> None:
    """It gets its answer although the tool begins or ends meanwhile."""
    started, go_on = Event(), Event()

    def respond(_: SocketService, connection: Any) -> None:
        response = correct_response(connection)
        started.set()
        go_on.wait(20)
        connection.sendall(response)

    def script(body: dict[str, Any], _: int) -> Any:
        started.set()
        go_on.wait(20)
        return answer(body["input"])

    service, outcomes = Service(script), list[Any]()
    with socket_service(respond) as sockets, ExitStack() as tool:
        if not begins:
            tool.enter_context(mocked(kind, WAYS[0], service))
        thread = Thread(target=lambda: outcomes.append(embed_over(kind, sockets.url, ["a"])))
        thread.start()
        assert started.wait(20)
        if begins:
            tool.enter_context(mocked(kind, WAYS[0], service))
        else:
            tool.close()
        go_on.set()
        thread.join(20)
    assert [outcome.vectors.tolist() for outcome in outcomes] == [expected(["a"]).tolist()]
    assert (len(service.requests), sockets.opened) == ((0, 1) if begins else (1, 0))


@both
def test_a_tool_may_begin_before_this_package_is_imported(kind: Kind) -> None:
    """And end later: the method that it puts back then is the original."""
    code = """
import asyncio, functools, sys
import httpx
transport, name = {"sync": (httpx.HTTPTransport, "handle_request"),
                   "async": (httpx.AsyncHTTPTransport, "handle_async_request")}[sys.argv[1]]
original = getattr(transport, name)
@functools.wraps(original)
def mock(self, request):
    response = httpx.Response(402, json={"error": {"code": 402, "message": "mocked"}})
    return response if sys.argv[1] == "sync" else asyncio.sleep(0, response)
setattr(transport, name, mock)

import openrouter_embeddings as ore
def embed():
    options = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "max_retries": 0}
    try:
        if sys.argv[1] == "sync":
            ore.Client("k", **options).embed("a")
        else:
            asyncio.run(ore.AsyncClient("k", **options).embed("a"))
    except ore.EmbeddingsError as error:
        print(type(error).__name__)
embed()
setattr(transport, name, original)
import logging
logging.basicConfig(level=logging.INFO, stream=sys.stdout)  # httpx logs its requests
embed()
print("httpx2" in sys.modules)
"""
    done = ended(sys.executable, "-c", code, kind)
    assert done.stdout.split() == ["PaymentRequiredError", "APIConnectionError", "False"]
    assert not done.stderr


@both
def test_a_tool_that_redirects_a_request_gets_an_error(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our connections lead to one host; sending to that would not be what the tool wants."""
    client = httpx.Client if kind == "sync" else httpx.AsyncClient
    send: Any = client.send

    def redirected(self: Any, request: Any, **options: Any) -> Any:
        request.url = request.url.copy_with(port=10)
        return send(self, request, **options)

    monkeypatch.setattr(client, "send", redirected)
    with pytest.raises(ore.InputError, match="redirected the request to http://127"):
        embed_over(kind, REFUSED, ["a"])


@both
def test_the_switch_sends_every_request_through_httpx(
    kind: Kind, counting: HTTPService, caplog: pytest.LogCaptureFixture
) -> None:
    """As httpx's own log shows; by default nothing of httpx runs."""
    with caplog.at_level(logging.INFO, "httpx"):
        embed_over(kind, counting.url, ["a"])
        assert not caplog.messages
        texts = ["a", "bb", "ccc"]
        options: Any = {"http_client": "httpx", "batch_size": 1, "concurrency": 1}
        found = embed_over(kind, counting.url, texts, model="twice", **options)
    assert found.vectors.tolist() == expected(texts).tolist()
    assert [message[:19] for message in caplog.messages] == ["HTTP Request: POST "] * 3


@both
def test_a_module_without_its_classes_is_left_alone(
    kind: Kind, counting: HTTPService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may be at the beginning of `import httpx2`; or a test mocks its clients."""
    with monkeypatch.context() as patch:
        patch.setattr(httpx2, "Client", MagicMock())
        patch.setattr(httpx2, "AsyncClient", MagicMock())
        assert len(embed_over(kind, counting.url, ["a"])) == 1
    monkeypatch.setitem(sys.modules, "httpx2", ModuleType("httpx2"))
    assert len(embed_over(kind, counting.url, ["a"])) == 1
    with pytest.raises(ore.APIConnectionError):
        embed_over(kind, REFUSED, ["a"])


def test_another_librarys_client_is_an_input_error_that_names_its_module() -> None:
    """And says what the client takes."""
    with pytest.raises(ore.InputError) as caught:
        ore.Client(KEY, http_client=httpx2.AsyncClient())  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert caught.value.message == (
        "http_client is an httpx2.AsyncClient; Client takes an httpx.Client or httpx2.Client"
    )


@pytest.mark.parametrize(
    ("make", "wrong", "words"),
    [
        (
            ore.AsyncClient,
            "aiohttp",
            'http_client is a text other than "httpx", the only one it can be',
        ),
        (ore.Client, "HTTPX", 'http_client is a text other than "httpx", the only one it can be'),
        (
            ore.Client,
            httpx.Client,
            "http_client is the class httpx.Client; call it: httpx.Client()",
        ),
        (
            ore.AsyncClient,
            httpx2.AsyncClient,
            "http_client is the class httpx2.AsyncClient; call it: httpx2.AsyncClient()",
        ),
        (
            ore.Client,
            httpx.AsyncClient,
            "http_client is a type; Client takes an httpx.Client or httpx2.Client",
        ),
    ],
)
def test_an_http_client_that_is_no_object_is_an_input_error(
    make: Any, wrong: Any, words: str
) -> None:
    """The error says what to write instead."""
    with pytest.raises(ore.InputError) as caught:
        make(KEY, http_client=wrong)
    assert caught.value.message == words


def test_no_method_of_httpx_or_httpx2_counts_as_replaced() -> None:
    """As they are in the versions installed, so that a renamed one is noticed."""
    for names in _httpx_modules._REPLACEABLE.values():
        for module in (httpx, httpx2):
            assert all(hasattr(getattr(module, owner), name) for owner, name in names)
    assert _httpx_modules.replaced("Client") is _httpx_modules.replaced("AsyncClient") is None


@both
@pytest.mark.parametrize("how", ["a with block", "close"])
def test_a_tool_may_close_the_transport_that_it_has_used(
    kind: Kind, how: str, counting: HTTPService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our connections stay open: the next request uses the same one."""
    original: Any = httpx.HTTPTransport.handle_request
    original_async: Any = httpx.AsyncHTTPTransport.handle_async_request

    def closing(self: Any, request: Any) -> Any:
        if how == "close":
            self.close()
            return original(self, request)
        with self:
            return original(self, request)

    async def closing_async(self: Any, request: Any) -> Any:
        if how == "close":
            await self.aclose()
            return await original_async(self, request)
        async with self:
            return await original_async(self, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", closing)
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", closing_async)
    with client_over(kind, counting.url) as client:
        assert [len(client.embed(text)) for text in "ab"] == [1, 1]
    assert counting.opened == 1
