"""`make contract AGAINST=prism`: our client against Stoplight Prism, another server.

The module is not named test_…, because it needs node and `make test` does not.
"""

import asyncio
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
from hypothesis import given
from openrouter_embeddings.core.retry_policy import error_class
from openrouter_embeddings.local.contract import shipped

from tests.contract.calls import CALLS, Call
from tests.contract.oracle import AUTH, examined
from tests.support import KEY, KINDS, Kind, answer, expected, items_of, vector_of

PRISM = Path(__file__).parents[2] / ".venv" / "prism" / "node_modules" / ".bin" / "prism"
TEXTS = ["a cat", "a dog", "a fish"]
RIGHT = answer(TEXTS)
# Valid answers to TEXTS, by the names that requests ask Prism for.
EXAMPLES = {
    "base64": RIGHT,
    "floats": {**RIGHT, "data": items_of(*map(vector_of, TEXTS))},
    "shuffled": {**RIGHT, "data": [RIGHT["data"][i] for i in (2, 0, 1)]},
}
STATUSES = sorted(status for status in shipped().operation["responses"] if status != "200")


@pytest.fixture(scope="module")
def prism(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of Prism in mock mode, with the repaired contract and examples of answers."""
    document = json.loads(json.dumps(shipped().document))
    success = document["paths"]["/embeddings"]["post"]["responses"]["200"]
    success["content"]["application/json"]["examples"] = {
        name: {"value": value} for name, value in EXAMPLES.items()
    }
    folder = tmp_path_factory.mktemp("prism")
    (folder / "contract.json").write_text(json.dumps(document))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(PRISM), "mock", "--errors", "-h", "127.0.0.1", "-p", str(port)]
    with (
        (folder / "log").open("w+") as log,
        subprocess.Popen([*command, str(folder / "contract.json")], stdout=log, stderr=log) as run,
    ):
        try:
            _wait_until_it_listens(folder / "log", run)
            yield f"http://127.0.0.1:{port}"
        finally:
            run.terminate()


def _wait_until_it_listens(log: Path, run: "subprocess.Popen[bytes]") -> None:
    ends = time.monotonic() + 60
    while "Prism is listening" not in log.read_text():
        assert run.poll() is None, log.read_text()
        assert time.monotonic() < ends, log.read_text()


def embed(kind: Kind, url: str, call: Call, prefer: str) -> tuple[Any, list[int]]:
    """The result or error of a call, and the statuses of Prism's answers."""
    statuses: list[int] = []
    headers = {"Prefer": prefer}
    options = {"batch_size": 2048, "max_retries": 0, **call.options}
    defaults: dict[str, Any] = {"model": "m", "base_url": url}

    async def awaited() -> Any:
        async def note(response: httpx.Response) -> None:
            statuses.append(response.status_code)

        hooks = {"response": [note]}
        async with (
            httpx.AsyncClient(headers=headers, event_hooks=hooks) as http,
            ore.AsyncClient(KEY, http_client=http, **defaults) as client,
        ):
            return await client.embed(call.inputs, **options)

    try:
        if kind == "async":
            return asyncio.run(awaited()), statuses
        hooks = {"response": [lambda response: statuses.append(response.status_code)]}
        with (
            httpx.Client(headers=headers, event_hooks=hooks) as http,
            ore.Client(KEY, http_client=http, **defaults) as client,
        ):
            return client.embed(call.inputs, **options), statuses
    except ore.EmbeddingsError as error:
        return error, statuses


@pytest.mark.parametrize("kind", KINDS)
@examined
@given(call=CALLS)
def test_prism_accepts_the_requests_of_the_client(kind: Kind, prism: str, call: Call) -> None:
    """Prism's own validator finds every request of random public calls valid."""
    _, statuses = embed(kind, prism, call, "example=base64")
    assert set(statuses) == {200}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("example", EXAMPLES)
def test_the_client_reads_the_answers_of_prism(kind: Kind, prism: str, example: str) -> None:
    """It returns vectors of either encoding in the order of the inputs, and their cost."""
    result, _ = embed(kind, prism, Call(TEXTS, TEXTS), f"example={example}")
    assert isinstance(result, ore.EmbeddingResult), result
    assert np.array_equal(result.vectors, expected(TEXTS))
    assert str(result.usage.cost) == "1.4E-7"
    assert result.ids == ("gen-1",)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", STATUSES)
def test_a_documented_error_raises_its_exception(kind: Kind, prism: str, status: str) -> None:
    """An error that Prism makes up from the schema raises the exception of its status."""
    error, _ = embed(kind, prism, Call("a", ["a"]), f"code={status}")
    assert type(error) is error_class(int(status))
    assert error.status == int(status)


@pytest.mark.parametrize("kind", KINDS)
@examined
@given(call=CALLS)
def test_random_answers_are_vectors_or_a_typed_error(kind: Kind, prism: str, call: Call) -> None:
    """Answers that are valid but mean nothing raise no other exception."""
    outcome, _ = embed(kind, prism, call, "dynamic=true")
    assert isinstance(outcome, ore.EmbeddingResult | ore.EmbeddingsError)


@pytest.mark.parametrize("body", [{"input": 5, "model": "m"}, {"model": "m"}, {"input": "a"}])
def test_prism_refuses_what_the_contract_refuses(prism: str, body: dict[str, Any]) -> None:
    """Prism answers an invalid request with a 4xx, so the tests above would notice one."""
    refused = httpx.post(f"{prism}/embeddings", json=body, headers=AUTH)
    assert re.fullmatch("4..", str(refused.status_code))
