"""The API key appears in no error, log record, repr or pickle."""

import asyncio
import copy
import json
import logging
import pickle
from typing import Any

import httpx
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings import jobs, testing
from openrouter_embeddings._secret import Secret
from openrouter_embeddings.adapters import ray, spark
from openrouter_embeddings.transport import _asyncio_backend, _sync_backend

from tests.http_service import HTTPService
from tests.leaks import shown
from tests.socket_service import responding
from tests.support import KEY, Kind, Service, answer, both, embed_over, everywhere

ECHO = {"error": {"code": 401, "message": f"bad key {KEY}", "metadata": {"raw": f"key {KEY}"}}}


@both
@pytest.mark.usefixtures("http")
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
    """The text, fields, causes and frame locals of an error have no key, not even an echoed one."""
    with pytest.raises(ore.EmbeddingsError) as caught:
        Service(lambda *_: failure).embed(kind, ["a"], max_retries=1)
    text = shown(caught.value)
    assert "transport" in text  # proves that frames were searched
    assert KEY not in text


@everywhere
@pytest.mark.usefixtures("sometimes_traced")
@pytest.mark.parametrize("answers", [b"", b"HTTP/1.1 200 OK\r\n\r\n{", b"junk\r\n\r\n"])
def test_a_broken_connection_does_not_show_the_key(kind: str, answers: bytes) -> None:
    """Frames of httpx hold the headers, so the error's traceback does not include them."""
    with (
        responding(answers) as url,
        pytest.raises((ore.APIConnectionError, ore.ResponseError)) as caught,
    ):
        embed_over(kind, url, ["a"])
    assert KEY not in shown(caught.value)


@pytest.mark.parametrize("make", [ore.Client, ore.AsyncClient])
def test_an_error_in_the_constructor_does_not_show_the_key(make: Any) -> None:
    """An error raised in the constructor does not show the key."""
    for wrong in ({"base_url": "http://example.org"}, {"http_client": 5}, {"batch_size": 0}):
        with pytest.raises(ore.InputError) as caught:
            make(KEY, **wrong)
        assert KEY not in shown(caught.value)
    with pytest.raises(ore.InputError) as caught:
        make(f"{KEY} with a tail")
    assert KEY not in shown(caught.value)


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
        lambda wrong: asyncio.run(ore.AsyncClient(KEY).embed("a", **wrong)),
        lambda wrong: asyncio.run(ore.AsyncClient(KEY).embed_query("a", **wrong)),
        lambda wrong: ore.AsyncClient(KEY).embed_stream(["a"], **wrong),
        lambda wrong: testing.Service().client(**wrong),
        lambda wrong: testing.Service().async_client(**wrong),
        lambda wrong: jobs.embed_file("a.txt", "a.npy", **wrong),
        lambda wrong: jobs.estimate("a.txt", **wrong),
        lambda wrong: ray.Embed(workers=1, column="a", **wrong),
        lambda wrong: spark.embed(None, workers=1, column="a", **wrong),
    ],
)
def test_a_misspelt_option_is_named_without_its_value(use: Any) -> None:
    """The value may be the key, so the error and its traceback show only the name."""
    with pytest.raises(TypeError, match=r"^unknown option 'apikey'; ") as caught:
        use({"apikey": KEY})
    assert KEY not in shown(caught.value)


@pytest.mark.parametrize("make", [ore.Client, ore.AsyncClient])
def test_a_misspelt_api_key_argument_gets_a_suggestion(make: Any) -> None:
    """The error suggests `api_key`, and does not say that the key is missing."""
    with pytest.raises(TypeError, match=r"Client.local\(\) needs none: remove it"):
        make.local(api_key=KEY)
    with pytest.raises(TypeError, match="unknown option 'apikey'; did you mean 'api_key'\\?"):
        make(apikey=KEY)


@pytest.mark.parametrize("make", [ore.Client, ore.AsyncClient])
def test_a_client_does_not_show_its_key(make: Any) -> None:
    """repr, str and the attributes do not show the key, which can be copied but not pickled."""
    client = make(KEY, model="m")
    assert KEY not in repr(client) + str(client) + repr(vars(client))
    assert repr(client) == f"{make.__name__}('https://openrouter.ai/api/v1', model='m')"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Secret(KEY))
    secret = Secret(KEY)
    assert copy.deepcopy(secret) is secret


@both
@pytest.mark.usefixtures("http")
def test_no_log_record_shows_the_key(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    """No logger shows the key, even at the lowest level; retries and httpx are included."""
    with caplog.at_level(1):
        service = Service(
            lambda body, n: answer(body["input"]) if n else (lambda: httpx.Response(503, json=ECHO))
        )
        service.embed(kind, ["a"])
    assert "HTTP Request" in caplog.text
    assert KEY not in caplog.text


@everywhere
@pytest.mark.usefixtures("sometimes_traced")
def test_no_log_record_shows_a_key_that_a_header_echoes(
    kind: str, counting: HTTPService, caplog: pytest.LogCaptureFixture
) -> None:
    """Httpcore, under the caller's httpx client, logs every response header."""

    async def run() -> None:
        async with httpx.AsyncClient() as http:
            await ore.AsyncClient(KEY, base_url=counting.url, http_client=http).embed(
                "a", model="echo"
            )

    with caplog.at_level(logging.DEBUG):
        if kind == "async":
            asyncio.run(run())
        else:
            with httpx.Client() as http:
                ore.Client(KEY, base_url=counting.url, http_client=http).embed("a", model="echo")
    assert "X-Echo" in caplog.text
    assert "[API key]" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("form", ["{}", "\\u{:04x}", "\\u{:04X}"])
def test_a_key_echoed_in_escapes_is_redacted(form: str, encoding: str) -> None:
    """JSON escapes and UTF-16 or UTF-32 do not hide the key from the redaction."""
    spelt = "".join(form.format(letter if form == "{}" else ord(letter)) for letter in KEY)
    redacted = Secret(KEY).redact(f'{{"message": "bad key {spelt}!"}}'.encode(encoding))
    assert KEY not in redacted.replace(b"\0", b"").decode(errors="replace")
    assert spelt not in redacted.decode(encoding, errors="replace")
    assert b"[API key]" in redacted
    assert Secret(KEY).redact(b"\\u0041 \0 other") == b"\\u0041 \0 other"


@both
def test_no_result_shows_an_echoed_key(kind: Kind) -> None:
    """A result keeps extra response fields, with the key redacted."""
    service = Service(lambda body, _: answer(body["input"], debug=f"Bearer {KEY}"))
    result = service.embed(kind, ["a"])
    assert result.served[0].body["debug"] == "Bearer [API key]"


def test_a_short_key_is_not_redacted() -> None:
    """The stand-in's key is `local`, which the names of its models start with."""
    service = Service(lambda body, _: answer(body["input"], model="local/minilm"))
    assert service.run("sync", lambda c: c.embed("a"), api_key="local").model == "local/minilm"


def test_the_key_is_only_in_the_authorization_header() -> None:
    """Neither the URL nor the body nor another header has the key."""
    service = Service()
    service.embed("sync", ["a"])
    (request,) = service.requests
    assert KEY not in str(request.url) + request.content.decode() + json.dumps(service.bodies)
    assert [n for n, v in request.headers.multi_items() if KEY in v] == ["authorization"]


class _Interrupt(BaseException):
    """Like KeyboardInterrupt, which asyncio and pytest would handle themselves."""


@both
@pytest.mark.usefixtures("sometimes_traced")
@pytest.mark.parametrize("failure", [TypeError("odd"), _Interrupt("cut"), asyncio.CancelledError()])
def test_an_unexpected_error_does_not_show_the_key(
    kind: Kind, failure: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error keeps its type, but not its causes nor the frames with the headers."""

    def fail(*_: Any, **__: Any) -> Any:
        raise failure from ValueError(KEY)

    async def fail_async(*_: Any, **__: Any) -> Any:
        raise failure from ValueError(KEY)

    monkeypatch.setattr(_sync_backend.Backend, "connect_tcp", fail)
    monkeypatch.setattr(_asyncio_backend.Backend, "connect_tcp", fail_async)
    caught: list[BaseException] = []

    async def run() -> None:
        async with ore.AsyncClient(KEY, base_url="http://localhost:1", model="m") as client:
            with pytest.raises(type(failure)) as raised:
                await client.embed("a")
            caught.append(raised.value)

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


@everywhere
@pytest.mark.usefixtures("sometimes_traced")
@pytest.mark.parametrize(
    "head",
    [
        f"HTTP/1.1 200 OK\r\nContent-Encoding: br {KEY}\r\nContent-Length: 1\r\n\r\nx",
        f"HTTP/1.1 200 OK\r\nX-Echo: {KEY}\r\nContent-Length: 9\r\n\r\nx",
        f"HTTP/1.1 200 OK\r\nX-Echo: {KEY}\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
    ],
)
def test_an_error_after_an_echoing_header_does_not_show_the_key(kind: str, head: str) -> None:
    """Neither the message nor the locals of the traceback have the key."""
    with responding(head.encode()) as url, pytest.raises(ore.EmbeddingsError) as caught:
        embed_over(kind, url, ["a"])
    assert KEY not in shown(caught.value)


def test_a_key_echoed_with_escaped_slashes_is_redacted() -> None:
    """PHP escapes slashes in JSON."""
    key = "abcd/EFGH/0123456789"
    for echoed in (key, key.replace("/", "\\/"), key.replace("/", "\\u002F")):
        assert Secret(key).redact(f'"{echoed}"'.encode()) == b'"[API key]"'


def test_loggers_of_httpx_and_http2_do_not_show_the_key() -> None:
    """Records of httpx and of HTTP/2 are redacted; other records stay unchanged."""
    records: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Kept()
    kept = ore.Client(KEY, base_url="http://127.0.0.1:9/v1")
    names = ("httpx", "httpcore.http2", "httpx2", "httpcore2.connection", "hpack.hpack")
    for name in names:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        try:
            logger.warning("the reason was %s", f"Bad {KEY}")
            logger.warning("status %d", 200)
        finally:
            logger.removeHandler(handler)
    kept.close()
    assert [record.getMessage() for record in records[::2]] == ["the reason was Bad [API key]"] * 5
    assert [record.args for record in records[1::2]] == [(200,)] * 5
