"""The same call returns the same vectors through every client and transport."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import openrouter
import openrouter_embeddings as ore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.local.models import MODELS
from openrouter_embeddings.local.respond import respond
from openrouter_embeddings.testing import Service
from openrouter_embeddings_api import AuthenticatedClient, models
from openrouter_embeddings_api.api.embeddings import create_embeddings

from tests.contract.calls import CALLS, NEWEST_CALLS, TEXT, Call
from tests.contract.oracle import examined
from tests.newest import newest

MODEL = "local/hash"
# the official SDK uses names that are deprecated in Python 3.12 and 3.13
pytestmark = pytest.mark.filterwarnings(r"ignore:ast\.\w+ is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def low_level(server: str) -> Iterator[AuthenticatedClient]:
    """The generated client on its own."""
    with AuthenticatedClient(base_url=server, token="local") as client:
        yield client


def by_the_generated_client(client: AuthenticatedClient, call: Call) -> Any:
    """The vectors of a call through the generated client."""
    fields = {k: v for k, v in call.options.items() if k not in ("batch_size", "concurrency")}
    body = models.EmbeddingRequest.from_dict({"input": call.wire, "model": MODEL, **fields})
    found = create_embeddings.sync(client=client, body=body)
    assert isinstance(found, models.EmbeddingResponse), found
    rows = [item.embedding for item in found.data]
    return np.array([ore.decode_base64(row) if isinstance(row, str) else row for row in rows])


async def by_the_async_client(client: ore.AsyncClient, call: Call) -> Any:
    """The vectors of a call through the asyncio client."""
    async with client:
        return (await client.embed(call.inputs, **call.options)).vectors


@examined
@given(call=CALLS)
def test_every_client_returns_the_same_vectors(
    server: str, low_level: AuthenticatedClient, call: Call
) -> None:
    """In process and over a socket, blocking and asyncio, wrapped and generated."""
    call.options.pop("provider", None)  # only the generated client sends nulls in it
    with ore.Client.local(model=MODEL) as client:
        expected = client.embed(call.inputs, **call.options).vectors
    with ore.Client("local", base_url=server, model=MODEL) as client:
        assert np.array_equal(client.embed(call.inputs, **call.options).vectors, expected)
    local = ore.AsyncClient.local(model=MODEL)
    assert np.array_equal(asyncio.run(by_the_async_client(local, call)), expected)
    remote = ore.AsyncClient("local", base_url=server, model=MODEL)
    assert np.array_equal(asyncio.run(by_the_async_client(remote, call)), expected)
    if call.options.get("encoding_format") != "float":
        call.options["encoding_format"] = "base64"
    found = by_the_generated_client(low_level, call)
    assert np.array_equal(found.astype(np.float32), expected)


@examined
@given(call=NEWEST_CALLS)
def test_every_client_returns_the_same_vectors_for_the_newest_parts(call: Call) -> None:
    """Blocking, asyncio and streamed, from a service whose contract has those parts."""
    service = Service(contract=newest().document)
    with service.client() as client:
        expected = client.embed(call.inputs, **call.options).vectors
        if isinstance(call.inputs, list) and not isinstance(call.inputs[0], int):
            parts = [*client.embed_stream(iter(call.inputs), **call.options)]
            # a batch without media is sent as plain text, with the same vectors
            assert np.array_equal(np.concatenate([part.vectors for part in parts]), expected)
    found = asyncio.run(by_the_async_client(service.async_client(), call))
    assert np.array_equal(found, expected)
    # and through a single request, encoded here
    fields = {k: v for k, v in call.options.items() if k in ("dimensions", "input_type", "user")}
    request = json.dumps({"input": call.wire, "model": MODEL, **fields}).encode()
    answer = json.loads(respond(request, {"authorization": "Bearer k"}, newest()).body)
    by_hand = np.array([item["embedding"] for item in answer["data"]], np.float32)
    assert np.array_equal(by_hand, expected)


@pytest.mark.parametrize("form", ["float", "base64", None])
def test_the_official_sdk_returns_the_same_vectors(server: str, form: Any) -> None:
    """`openrouter`, with each encoding."""
    texts = ["a cat", "a dog"]
    options = {} if form is None else {"encoding_format": form}
    with openrouter.OpenRouter(api_key="local", server_url=server) as client:
        found = client.embeddings.generate(input=texts, model=MODEL, **options)
    assert not isinstance(found, str)
    rows = [item.embedding for item in found.data]
    vectors = [ore.decode_base64(row) if isinstance(row, str) else row for row in rows]
    expected = ore.Client.local(model=MODEL).embed(texts).vectors
    assert np.array_equal(np.array(vectors, np.float32), expected)


@examined
@given(texts=st.lists(TEXT, min_size=1, max_size=5))
def test_batching_changes_no_vector(texts: list[str]) -> None:
    """One request for all inputs and one per input return the same vectors."""
    with ore.Client.local(model=MODEL) as client:
        one, many = client.embed(texts), client.embed(texts, batch_size=1)
    assert np.array_equal(one.vectors, many.vectors)
    assert one.usage.prompt_tokens == many.usage.prompt_tokens


def test_the_official_sdk_reads_the_list_of_models(server: str) -> None:
    """Its classes are made from the service's list, which the contract here leaves out."""
    with openrouter.OpenRouter(api_key="local", server_url=server) as client:
        lists = [client.embeddings.list_models(), client.models.list()]
    for found in lists:
        assert found is not None
        assert [model.id for model in found.result.data] == [*MODELS]
        assert found.result.total_count == len(MODELS)
        assert {*found.result.data[0].architecture.output_modalities} == {"embeddings"}
        assert found.next() is None
