"""Aliases: the stand-in's models under the names of the service's models."""

import json
import os
import re
import sys
from typing import Any

import httpx
import numpy as np
import openai
import openrouter_embeddings as ore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.local.models import MODELS, with_aliases
from openrouter_embeddings.local.respond import respond
from openrouter_embeddings.local.servers.asgi import make_app
from openrouter_embeddings.testing import Service

from stress.servers import orembed_serve
from tests.support import client_of, ended

SMALL = "openai/text-embedding-3-small"
ALIASES = {SMALL: "local/hash:1536", "acme/mini": "local/minilm:128", "acme/any": "local/hash"}
AUTH = {"authorization": "Bearer k"}
LISTS = ("/models", "/embeddings/models")


def ask(model: str, text: str = "a cat", **fields: Any) -> tuple[int, Any]:
    """The status and JSON of an answer of the stand-in with these aliases."""
    body = json.dumps({"model": model, "input": text, **fields}).encode()
    reply = respond(body, AUTH, models=with_aliases(ALIASES))
    return reply.status, json.loads(reply.body)


def vector(model: str, **fields: Any) -> np.ndarray[Any, Any]:
    """The vector of an answer with one input."""
    status, body = ask(model, **fields)
    assert status == 200, body
    return np.array(body["data"][0]["embedding"], np.float32)


@pytest.mark.parametrize("options", [[], ["--faults", os.devnull]])
def test_an_unchanged_openai_application_runs(
    options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application with the OpenAI SDK can use the service's model name and `dimensions`."""
    aliases = [f"{name}={target}" for name, target in ALIASES.items()]
    words = [word for alias in aliases for word in ("--alias", alias)]
    with orembed_serve(*options, *words) as (url, _):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "local")
        with openai.OpenAI() as application:
            assert SMALL in [model.id for model in application.models.list()]
            whole = application.embeddings.create(model=SMALL, input=["a cat", "a dog"])
            short = application.embeddings.create(model=SMALL, input="a cat", dimensions=256)
            with pytest.raises(openai.BadRequestError, match="small; use 1 to 1536"):
                application.embeddings.create(model=SMALL, input="a cat", dimensions=1537)
        assert [len(item.embedding) for item in whole.data] == [1536, 1536]
        assert whole.model == SMALL
        assert len(short.data[0].embedding) == 256
        assert httpx.get(f"{url}/embeddings/models").json()["total_count"] == len(MODELS) + 3
        assert httpx.get(f"{url}/embeddings/models?limit=0").status_code == 400
        assert httpx.post(f"{url}/models").status_code == 405


@given(st.integers(1, 1536))
def test_dimensions_shorten_the_vectors_of_an_alias(dimensions: int) -> None:
    """A shorter vector is the first part of the whole one, normalised again."""
    whole, short = vector(SMALL), vector(SMALL, dimensions=dimensions)
    assert whole.shape == (1536,)
    assert short == pytest.approx(whole[:dimensions] / np.linalg.norm(whole[:dimensions]), abs=1e-6)


def test_an_alias_answers_like_its_model() -> None:
    """It has the vectors, tokens and limits of the model with that number of dimensions."""
    assert np.array_equal(vector("acme/mini"), vector("local/minilm", dimensions=128))
    assert np.array_equal(vector("acme/any"), vector("local/hash"))
    assert ask("acme/mini")[1]["usage"] == ask("local/minilm")[1]["usage"]
    assert ask("acme/mini", dimensions=129)[1]["error"]["message"].endswith(
        "acme/mini; use 32 to 128"
    )
    image = [{"content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}]
    assert ask("acme/mini", input=image)[0] == 404


def test_an_unknown_model_gets_a_404_that_lists_the_aliases() -> None:
    """The error lists the models and the aliases, and says how to use another name."""
    status, body = ask("openai/text-embedding-3-large")
    assert status == 404
    assert "acme/any, acme/mini, local/hash" in body["error"]["message"]
    assert "To use another name, give the stand-in an alias" in body["error"]["message"]


@pytest.mark.parametrize(
    ("alias", "words"),
    [
        ("=local/hash:8", "'' cannot be an alias"),
        ("local/hash=local/minilm", "'local/hash' cannot be an alias"),
        ("a/b=", "a/b: unknown model ''; use one of local/minilm, local/visual, local/hash"),
        ("a/b=local/hsh:8", "a/b: unknown model 'local/hsh'; use one of"),
        ("a/b=local/hash:", "a/b: local/hash has 1 to 16384 dimensions, not ''"),
        ("a/b=local/hash:0", "a/b: local/hash has 1 to 16384 dimensions, not '0'"),
        ("a/b=local/hash:1e3", "not '1e3'"),
        ("a/b=local/hash:" + "9" * 5000, "not '9999999"),
        ("a/b=local/minilm:1536", "a/b: local/minilm has 32 to 384 dimensions, not '1536'"),
        ("a/b=local/visual:8", "a/b: local/visual has 144 dimensions, not '8'"),
    ],
)
def test_an_invalid_alias_raises(alias: str, words: str) -> None:
    """The error says which names, models and dimensions are valid."""
    name, _, target = alias.partition("=")
    with pytest.raises(ValueError, match=re.escape(words)):
        with_aliases({name: target})


@pytest.mark.parametrize(
    ("alias", "words"),
    [
        ("a/b=local/minilm:1536", "argument --alias: a/b: local/minilm has 32 to 384 dimensions"),
        ("openai/x", "'openai/x' names no model; write NAME=MODEL[:N]"),
    ],
)
def test_the_command_rejects_an_invalid_alias(alias: str, words: str) -> None:
    """`orembed serve` prints the reason and ends with status 2."""
    done = ended(sys.executable, "-m", "openrouter_embeddings.cli", "serve", "--alias", alias)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_service_of_the_testing_module_has_aliases() -> None:
    """Both clients and the transport of `Service(aliases=…)` know them; other clients do not."""
    service = Service(aliases=ALIASES)
    with service.client(model=SMALL) as client:
        assert client.embed("a cat").vectors.shape == (1, 1536)
    with client_of(service, "async", model=SMALL) as client:
        assert client.embed("a cat", dimensions=64).vectors.shape == (1, 64)
    with httpx.Client(transport=service.transport(), base_url="http://x/api/v1") as http:
        for path in LISTS:
            assert SMALL in [model["id"] for model in http.get(path).json()["data"]]
    assert service.faults.requests == 2
    with ore.Client.local(model=SMALL) as plain, pytest.raises(ore.NotFoundError):
        plain.embed("a cat")


async def test_the_asgi_app_has_aliases_and_lists_them() -> None:
    """It lists the aliases at every path without a key, and embeds with them."""
    transport = httpx.ASGITransport(make_app(ALIASES))
    async with httpx.AsyncClient(transport=transport, base_url="http://local") as client:
        lists = [await client.get(p + path) for p in ("", "/api/v1") for path in LISTS]
        assert {answer.text for answer in lists} == {lists[0].text}
        assert SMALL in [model["id"] for model in lists[0].json()["data"]]
        assert (await client.post("/models")).status_code == 405
        body = {"model": SMALL, "input": "a"}
        answer = await client.post("/embeddings", json=body, headers=AUTH)
        assert len(answer.json()["data"][0]["embedding"]) == 1536
