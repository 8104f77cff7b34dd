"""The API key is nowhere to be seen."""

import asyncio
import io
import json
import logging
import pickle
import socket
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import httpx
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings import jobs, testing
from openrouter_embeddings._secret import Secret
from openrouter_embeddings.adapters import ray, spark
from openrouter_embeddings.transport import _asyncio_backend, _sync_backend

from tests.http_service import HTTPService
from tests.socket_service import responding
from tests.support import KEY, KINDS, Kind, Service, answer, embed_over

both = pytest.mark.parametrize("kind", KINDS)
ECHO = {"error": {"code": 401, "message": f"bad key {KEY}", "metadata": {"raw": f"key {KEY}"}}}


def family(error: BaseException) -> Iterator[BaseException]:
    """An exception and everything it was raised from or during."""
    waiting: list[BaseException | None] = [error]
    while waiting:
        if (one := waiting.pop()) is not None:
            yield one
            waiting += [one.__cause__, one.__context__]


def frames(trace: TracebackType | None) -> Iterator[dict[str, Any]]:
    """The locals of every frame of a traceback, this test's own left out."""
    for frame, _ in traceback.walk_tb(trace):
        if "/tests/" not in frame.f_code.co_filename:
            yield frame.f_locals


def shown(error: BaseException) -> str:
    """Everything of an error that a log, a crash reporter or a rich traceback could show."""
    said = []
    for one in family(error):
        said += [repr(one), str(one), repr(vars(one)), "".join(traceback.format_exception(one))]
        said += [repr(local) for scope in frames(one.__traceback__) for local in scope.values()]
        said += [repr(vars(x)) for s in frames(one.__traceback__) for x in s.values() if _plain(x)]
    return "\n".join(said)


def _plain(value: Any) -> bool:
    module = type(value).__module__.partition(".")[0]
    return hasattr(value, "__dict__") and module in {"openrouter_embeddings", "httpx", "httpcore"}


@both
@pytest.mark.parametrize(
    "failure",
    [
        lambda: httpx.Response(401, json=ECHO),
        lambda: httpx.Response(200, json=ECHO),
        lambda: httpx.Response(500, html=f"<html>{KEY}</html>"),
        lambda: httpx.Response(200, json=answer([], object=KEY)),
        lambda: httpx.Response(200, json={**ECHO, "padding": "x" * 100_000}),
        lambda: httpx.Response(429, json={}, headers={"x-request-id": f"for {KEY}"}),
        httpx.ConnectError(f"cannot connect with {KEY}"),
        httpx.ReadTimeout("slow"),
    ],
)
def test_no_error_shows_the_key(kind: Kind, failure: Any) -> None:
    """Not in its text, fields, causes, nor in any frame's locals; an echo of it neither."""
    with pytest.raises(ore.EmbeddingsError) as caught:
        Service(lambda *_: failure).embed(kind, ["a"], max_retries=1)
    said = shown(caught.value)
    assert "transport" in said  # the frames were there to be looked at
    assert KEY not in said


@both
@pytest.mark.parametrize("answers", [b"", b"HTTP/1.1 200 OK\r\n\r\n{", b"junk\r\n\r\n"])
def test_a_broken_connection_does_not_show_the_key(kind: Kind, answers: bytes) -> None:
    """Httpx's own frames hold the headers; they are not behind our error."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answers)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def embed() -> None:
            with ore.Client(KEY, base_url=url, model="m", max_retries=0) as client:
                client.embed("a")

        async def embed_async() -> None:
            async with ore.AsyncClient(KEY, base_url=url, model="m", max_retries=0) as client:
                await client.embed("a")

        with pytest.raises((ore.APIConnectionError, ore.ResponseError)) as caught:
            embed() if kind == "sync" else asyncio.run(embed_async())
        thread.join()
    assert KEY not in shown(caught.value)


@pytest.mark.parametrize("make", [ore.Client, ore.AsyncClient])
def test_a_refused_client_does_not_show_its_key(make: Any) -> None:
    """An error while the client is being made, too."""
    for wrong in ({"base_url": "http://example.org"}, {"http_client": 5}, {"batch_size": 0}):
        with pytest.raises(ore.InputError) as caught:
            make(KEY, **wrong)
        assert KEY not in shown(caught.value)
    with pytest.raises(ore.InputError) as caught:
        make(f"{KEY} with a tail")
    assert KEY not in shown(caught.value)


def _awaited(coroutine: Any) -> None:
    asyncio.run(coroutine)


@pytest.mark.parametrize(
    "use",
    [
        lambda wrong: ore.Client(**wrong),
        lambda wrong: ore.AsyncClient(**wrong),
        lambda wrong: ore.Client.local(**wrong),
        lambda wrong: ore.AsyncClient.local(**wrong),
        lambda wrong: ore.Client(KEY).embed("a", **wrong),
        lambda wrong: ore.Client(KEY).embed_query("a", **wrong),
        lambda wrong: ore.Client(KEY).embed_documents(["a"], **wrong),
        lambda wrong: ore.Client(KEY).embed_stream(["a"], **wrong),
        lambda wrong: _awaited(ore.AsyncClient(KEY).embed("a", **wrong)),
        lambda wrong: _awaited(ore.AsyncClient(KEY).embed_query("a", **wrong)),
        lambda wrong: ore.AsyncClient(KEY).embed_stream(["a"], **wrong),
        lambda wrong: testing.Service().client(**wrong),
        lambda wrong: testing.Service().async_client(**wrong),
        lambda wrong: jobs.embed_file("a.txt", "a.npy", **wrong),
        lambda wrong: jobs.estimate("a.txt", **wrong),
        lambda wrong: ray.Embed(workers=1, column="a", **wrong),
        lambda wrong: spark.embed(None, workers=1, column="a", **wrong),
    ],
)
def test_a_misspelt_option_is_named_first_and_its_value_is_not_shown(use: Any) -> None:
    """It may be the key, which nobody expects to find in a report of a misspelt name."""
    with pytest.raises(TypeError, match=r"^unknown option 'apikey'; ") as caught:
        use({"apikey": KEY})
    assert KEY not in shown(caught.value)


@pytest.mark.parametrize("make", [ore.Client, ore.AsyncClient])
def test_a_misspelt_key_is_told_its_right_name(make: Any) -> None:
    """Though without it there is no key either."""
    with pytest.raises(TypeError, match="unknown option 'apikey'; did you mean 'api_key'\\?"):
        make(apikey=KEY)


@pytest.mark.parametrize("make", [ore.Client, ore.AsyncClient])
def test_a_client_does_not_show_its_key(make: Any) -> None:
    """repr, str and the inside of it; and it is not pickled."""
    client = make(KEY, model="m")
    assert KEY not in repr(client) + str(client) + repr(vars(client))
    assert repr(client) == f"{make.__name__}('https://openrouter.ai/api/v1', model='m')"
    with pytest.raises(TypeError, match="is not pickled"):
        pickle.dumps(Secret(KEY))


@both
def test_no_log_record_shows_the_key(kind: Kind) -> None:
    """At the lowest level of every logger, retries and httpx's own records included."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(1)
    try:
        service = Service(
            lambda body, n: answer(body["input"]) if n else (lambda: httpx.Response(503, json=ECHO))
        )
        service.embed(kind, ["a"])
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert "HTTP Request" in stream.getvalue()
    assert KEY not in stream.getvalue()


@both
def test_no_log_record_shows_a_key_that_a_header_echoes(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    """Httpcore's records show every header that comes."""
    with HTTPService() as server, caplog.at_level(logging.DEBUG):
        server.start()
        options: Any = {"base_url": server.url, "model": "echo"}
        if kind == "sync":
            with ore.Client(KEY, **options) as client:
                client.embed("a")
        else:

            async def run() -> None:
                async with ore.AsyncClient(KEY, **options) as client:
                    await client.embed("a")

            asyncio.run(run())
        server.shutdown()
    assert "X-Echo" in caplog.text
    assert "[API key]" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("form", ["{}", "\\u{:04x}", "\\u{:04X}"])
def test_a_key_that_is_echoed_in_escapes_is_hidden(form: str, encoding: str) -> None:
    """JSON has many ways to write it."""
    spelt = "".join(form.format(letter if form == "{}" else ord(letter)) for letter in KEY)
    said = Secret(KEY).redact(f'{{"message": "bad key {spelt}!"}}'.encode(encoding))
    assert KEY not in said.replace(b"\0", b"").decode(errors="replace")
    assert spelt not in said.decode(encoding, errors="replace")
    assert b"[API key]" in said
    assert Secret(KEY).redact(b"\\u0041 \0 other") == b"\\u0041 \0 other"


@both
def test_no_result_shows_an_echoed_key(kind: Kind) -> None:
    """Extra fields are kept, a key among them is not."""
    service = Service(lambda body, _: answer(body["input"], debug=f"Bearer {KEY}"))
    result = service.embed(kind, ["a"])
    assert result.served[0].body["debug"] == "Bearer [API key]"


def test_a_key_that_is_an_ordinary_word_does_not_spoil_answers() -> None:
    """The stand-in's key is `local`, and so begin the names of its models."""
    service = Service(lambda body, _: answer(body["input"], model="local/minilm"))
    assert service.run("sync", lambda c: c.embed("a"), api_key="local").model == "local/minilm"


def test_only_the_header_holds_the_key() -> None:
    """Neither the URL nor the body."""
    service = Service()
    service.embed("sync", ["a"])
    (request,) = service.requests
    assert KEY not in str(request.url) + request.content.decode() + json.dumps(service.bodies)
    assert [n for n, v in request.headers.multi_items() if KEY in v] == ["authorization"]


class _Cut(BaseException):
    """As KeyboardInterrupt, which asyncio and pytest would take for their own."""


@both
@pytest.mark.parametrize("failure", [TypeError("odd"), _Cut("cut"), asyncio.CancelledError()])
def test_an_error_that_nobody_expected_does_not_show_the_key(
    kind: Kind, failure: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays what it is, without the frames that hold the headers, and without its causes."""

    def fail(*_: Any, **__: Any) -> Any:
        raise failure from ValueError(KEY)

    async def fail_async(*_: Any, **__: Any) -> Any:
        raise failure from ValueError(KEY)

    monkeypatch.setattr(_sync_backend.Backend, "connect_tcp", fail)
    monkeypatch.setattr(_asyncio_backend.Backend, "connect_tcp", fail_async)
    caught: list[BaseException] = []

    async def run() -> None:
        async with ore.AsyncClient(KEY, base_url="http://localhost:1", model="m") as client:
            try:
                await client.embed("a")
            except BaseException as error:  # noqa: BLE001 - that is the point
                caught.append(error)

    if kind == "async":
        asyncio.run(run())
    else:
        with (
            ore.Client(KEY, base_url="http://localhost:1", model="m") as client,
            pytest.raises(type(failure)) as raised,
        ):
            client.embed("a")
        caught.append(raised.value)
    assert caught == [failure]
    assert "transport" in shown(failure)
    assert KEY not in shown(failure)


@both
@pytest.mark.parametrize(
    "head",
    [
        f"HTTP/1.1 200 OK\r\nContent-Encoding: br {KEY}\r\nContent-Length: 1\r\n\r\nx",
        f"HTTP/1.1 200 OK\r\nX-Echo: {KEY}\r\nContent-Length: 9\r\n\r\nx",
        f"HTTP/1.1 200 OK\r\nX-Echo: {KEY}\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
    ],
)
def test_no_error_behind_an_echoing_header_shows_the_key(kind: Kind, head: str) -> None:
    """Neither in its message nor among the locals of its traceback."""
    with responding(head.encode()) as url, pytest.raises(ore.EmbeddingsError) as caught:
        embed_over(kind, url, ["a"])
    assert KEY not in shown(caught.value)


def test_a_slash_in_the_key_may_be_escaped() -> None:
    """As PHP does."""
    key = "abcd/EFGH/0123456789"
    for said in (key, key.replace("/", "\\/"), key.replace("/", "\\u002F")):
        assert Secret(key).redact(f'"{said}"'.encode()) == b'"[API key]"'


def test_other_loggers_that_tell_headers_do_not_show_the_key() -> None:
    """httpx's, with the reason of a status, and those of HTTP/2; other records stay as they are."""
    said: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record)

    handler = Kept()
    kept = ore.Client(KEY, base_url="http://127.0.0.1:9/v1")
    for name in ("httpx", "httpcore.http2", "hpack.hpack"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        try:
            logger.warning("the reason was %s", f"Bad {KEY}")
            logger.warning("status %d", 200)
        finally:
            logger.removeHandler(handler)
    kept.close()
    assert [record.getMessage() for record in said[::2]] == ["the reason was Bad [API key]"] * 3
    assert [record.args for record in said[1::2]] == [(200,)] * 3
