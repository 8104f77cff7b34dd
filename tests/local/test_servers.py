"""The stand-in's servers: a socket, the ASGI app, in process; our clients and the OpenAI SDK."""

import os
import socket
import sys
from typing import Any

import httpx
import numpy as np
import openai
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.local.servers.asgi import make_app

from stress.servers import orembed_serve
from tests.support import PNG, ended

TEXTS = ["a cat", "a dog"]
ENCODINGS: dict[str, Any] = {
    "default": {},
    "float": {"encoding_format": "float"},
    "base64": {"encoding_format": "base64"},
}


@pytest.fixture(scope="module")
def wanted() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The vectors that the in-process client returns."""
    return ore.Client.local().embed(TEXTS).vectors


async def test_our_clients_over_a_socket(server: str, wanted: np.ndarray) -> None:
    """Both clients return the same vectors over a socket as in process."""
    with ore.Client("local", base_url=server, model="local/minilm") as client:
        assert np.array_equal(client.embed(TEXTS).vectors, wanted)
        mixed: list[ore.EmbedInput] = ["a", ore.Image(PNG), ore.Content("b", ore.Image(PNG))]
        over_socket = client.embed(mixed, model="local/hash").vectors
    assert np.array_equal(over_socket, ore.Client.local(model="local/hash").embed(mixed).vectors)
    async with ore.AsyncClient("local", base_url=server, model="local/minilm") as other:
        assert np.array_equal((await other.embed(TEXTS, batch_size=1)).vectors, wanted)


async def test_the_async_client_in_process(wanted: np.ndarray) -> None:
    """`AsyncClient.local()` returns the same vectors as `Client.local()`."""
    async with ore.AsyncClient.local() as client:
        assert np.array_equal((await client.embed(TEXTS)).vectors, wanted)


@pytest.mark.parametrize("form", ["default", "float", "base64"])
def test_the_openai_sdk(server: str, wanted: np.ndarray, form: str) -> None:
    """The SDK gets the right vectors in its default encoding, as floats and as base64."""
    with openai.OpenAI(base_url=server, api_key="local") as client:
        answer = client.embeddings.create(model="local/minilm", input=TEXTS, **ENCODINGS[form])
    rows = [item.embedding for item in answer.data]
    if form == "base64":
        rows = [ore.decode_base64(row).tolist() for row in rows]  # type: ignore[arg-type]
    assert np.array_equal(np.array(rows, np.float32), wanted)
    assert answer.usage.prompt_tokens == 8


@pytest.mark.parametrize("form", ["default", "float"])
async def test_the_async_openai_sdk(server: str, wanted: np.ndarray, form: str) -> None:
    """The asynchronous SDK gets the right vectors in its default encoding and as floats."""
    async with openai.AsyncOpenAI(base_url=server, api_key="local") as client:
        answer = await client.embeddings.create(
            model="local/minilm", input=TEXTS, **ENCODINGS[form]
        )
    rows = [item.embedding for item in answer.data]
    assert np.array_equal(np.array(rows, np.float32), wanted)


def test_the_openai_sdk_raises_its_own_errors(server: str) -> None:
    """A 429 becomes the SDK's `RateLimitError`, with the Retry-After header."""
    with (
        openai.OpenAI(base_url=server, api_key="local", max_retries=0) as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.embeddings.create(model="local/status-429", input="a")
    assert caught.value.response.headers["retry-after"] == "1"


async def test_the_asgi_app_answers_at_both_paths() -> None:
    """It answers with the prefix /api/v1 and without; other methods get 405, other paths 404."""
    transport = httpx.ASGITransport(make_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://local") as client:
        body = {"model": "local/hash", "input": "a"}
        auth = {"Authorization": "Bearer k"}
        answers = [
            await client.post("/api/v1/embeddings", json=body, headers=auth),
            await client.post("/embeddings", json=body, headers=auth),
            await client.get("/embeddings"),
            await client.post("/nowhere"),
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 405, 404]
    assert answers[2].json()["error"]["code"] == 405
    assert answers[3].json()["error"] == {"code": 404, "message": "Not Found"}


def test_serve_reports_a_port_in_use(server: str) -> None:
    """`orembed serve` prints one line without a traceback and ends with status 1."""
    port = server.split(":")[2].split("/", maxsplit=1)[0]
    done = ended(sys.executable, "-m", "openrouter_embeddings.cli", "serve", "--port", port)
    assert done.returncode == 1
    assert "orembed: " in done.stderr
    assert "already in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("options", [[], ["--faults", os.devnull]])
def test_an_aborted_upload_is_not_logged(options: list[str]) -> None:
    """If a client hangs up in the middle of a request, the server logs nothing."""
    with orembed_serve(*options) as (url, output):
        address = httpx.URL(url)
        head = b"POST /embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n{"
        for _ in range(3):
            with socket.create_connection((address.host, address.port)) as line:
                line.sendall(head)
        assert httpx.get(f"{url}/nowhere").status_code == 404
    assert output[1] in ("", "orembed: interrupted\n")
