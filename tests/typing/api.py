"""The public interface as type checkers see it. mypy and pyright check it; it never runs."""

import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_type

import httpx
import httpx2
import numpy as np
import openai
import openrouter_embeddings as ore
from numpy.typing import NDArray


def sync_client(client: ore.Client) -> None:
    """Every form of input, every option."""
    result = client.embed("a")
    assert_type(result, ore.EmbeddingResult)
    client.embed(["a", ore.Image("cat.png"), ore.Content("red", ore.Image(Path("x")))])
    client.embed(ore.Audio("rain.wav"))
    client.embed(["a", ore.Video(Path("x")), ore.File(b"%PDF-")])
    client.embed(ore.Content("a", ore.Audio(b""), {"type": "input_audio", "input_audio": {}}))
    client.embed([101, 2023])
    client.embed([[101], [7]])
    client.embed({"content": [{"type": "text", "text": "a"}]})
    client.embed_query("a", model="m", dimensions=5, provider={"zdr": True}, deadline=None)
    client.embed_query("a", extra_body={"new": [1, None]}, provider={"max_price": {"prompt": 0.1}})
    client.embed("a", headers={"X-OpenRouter-Title": "my app", "X-Old": None})
    client.embed("a", headers={"X-A": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    prices: ore.ProviderPreferencesParam = {
        "max_price": {"prompt": Decimal(1)},
        "order": ("a", "b"),
    }
    client.embed("a", provider=prices)
    client.embed_documents(["a"], provider=ore.ProviderPreferences(zdr=True), user="u")
    assert_type(client.with_options(timeout=5, user=None), ore.Client)
    client.with_options(modle="m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    parts = client.embed_stream((text for text in "abc"), batch_size=5, concurrency=2)
    assert_type(parts, Iterator[ore.EmbeddingResult])
    assert_type(result.vectors, NDArray[np.float32])
    assert_type(result.usage.cost, Decimal | None)
    assert_type(result.usage.is_byok, bool | None)
    assert_type(result.usage.cost_details, Mapping[str, Decimal])
    assert_type(result.providers, tuple[str, ...])
    client.embed("a", modle="m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.embed(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.embed("a", extra_body=["x"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ore.Audio(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.embed("a", provider={"zdrr": True})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.embed("a", provider={"max_price": {"promt": 1}})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.embed("a", provider={"data_collection": "no"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.embed("a", encoding_format="x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def async_client(http: httpx.AsyncClient) -> None:
    """The same with `await`."""
    async with ore.AsyncClient(http_client=http, model="m", timeout=5) as client:
        assert_type(await client.embed(["a"]), ore.EmbeddingResult)
        parts: AsyncIterator[ore.EmbeddingResult] = client.embed_stream(["a"])
        async for part in parts:
            assert_type(part, ore.EmbeddingResult)
        assert_type(client.with_options(timeout=5), ore.AsyncClient)
    local = ore.AsyncClient.local(dimensions=64)
    assert_type(local, ore.AsyncClient)
    ore.Client(ssl_context=ssl.create_default_context())
    ore.Client(ssl_context="ca.pem")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ore.AsyncClient(http_client=httpx.Client())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def http_clients() -> None:
    """httpx, httpx2, and the name that stands for an httpx client of our own."""
    ore.Client(http_client=httpx.Client())
    ore.Client(http_client=httpx2.Client())
    ore.Client(http_client=openai.DefaultHttpx2Client())
    ore.Client(http_client="httpx")
    ore.AsyncClient(http_client=httpx2.AsyncClient())
    ore.AsyncClient(http_client="httpx")
    ore.Client(http_client="aiohttp")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ore.Client(http_client=httpx2.AsyncClient())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ore.AsyncClient(http_client=httpx2.Client())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def results(result: ore.EmbeddingResult, parts: Iterator[ore.EmbeddingResult]) -> None:
    """What a result converts to, and what it compares itself with."""
    assert_type(result.shape, tuple[int, int])
    assert_type(result.tolist(), list[list[float]])
    assert_type(result.truncate(256), ore.EmbeddingResult)
    assert_type(result.similarity(), NDArray[np.float32])
    result.similarity([[1.0, 2.0]])
    rows, similarities = neighbors = result.nearest(result[0], k=5)
    assert_type(neighbors, ore.NearestNeighbors)
    assert_type(rows, NDArray[np.int64])
    assert_type(similarities, NDArray[np.float32])
    assert_type(result.quantize("float16"), NDArray[np.float16])
    assert_type(result.quantize("int8"), NDArray[np.int8])
    assert_type(result.quantize("ubinary"), NDArray[np.uint8])
    result.quantize("int4")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    assert_type(ore.EmbeddingResult.concat(parts), ore.EmbeddingResult)


def codecs() -> None:
    """Vectors and their base64 form."""
    assert_type(ore.encode_base64([1.0, 2.0]), str)
    assert_type(ore.decode_base64("AAAA"), NDArray[np.float32])


def errors(error: ore.EmbeddingsError) -> None:
    """Attributes that every error has."""
    assert_type(error.status, int | None)
    assert_type(error.inputs, tuple[int, ...])
    assert_type(error.retry_after, float | None)
    extra: Any = error.usage
    assert extra is None
