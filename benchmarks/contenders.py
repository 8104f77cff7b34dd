"""Our client and others, each used the way its documentation suggests, up to a float32 matrix.

A contender takes the server's address, the concurrency, the batch size and the dimensions, and
returns a function from texts to a matrix, or to the parts of a stream. Only the calls of that
function are measured.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .vectors import Matrix

Found = Matrix | Iterator[Matrix]
Embed = Callable[[list[str]], Found]
MODEL, KEY, WIDTH = "benchmark", "sk-or-v1-benchmark", 1536


def _batches(texts: list[str], size: int) -> list[list[str]]:
    return [texts[start : start + size] for start in range(0, len(texts), size)]


def _fan_out(embed: Callable[[list[str]], Any], concurrency: int, size: int) -> Embed:
    """Send requests of `size` texts, `concurrency` at a time, and keep the rows in order."""
    loop = asyncio.new_event_loop()

    async def run(texts: list[str]) -> Matrix:
        free = asyncio.Semaphore(concurrency)

        async def one(batch: list[str]) -> list[Any]:
            async with free:
                return list(await embed(batch))

        done = await asyncio.gather(*map(one, _batches(texts, size)))
        return np.asarray([vector for batch in done for vector in batch], np.float32)

    return lambda texts: loop.run_until_complete(run(texts))


def ours(url: str, concurrency: int, size: int, width: int, http_client: Any = None) -> Embed:
    """openrouter-embeddings, Client."""
    import openrouter_embeddings as ore

    client = ore.Client(
        KEY, base_url=url, model=MODEL, concurrency=concurrency, batch_size=size, dimensions=width,
        http_client=http_client,
    )  # fmt: skip
    return lambda texts: client.embed(texts).vectors


def ours_stream(url: str, concurrency: int, size: int, width: int) -> Embed:
    """openrouter-embeddings, embed_stream of Client."""
    import openrouter_embeddings as ore

    client = ore.Client(
        KEY, base_url=url, model=MODEL, concurrency=concurrency, batch_size=size, dimensions=width
    )
    return lambda texts: (part.vectors for part in client.embed_stream(texts))


def ours_async(
    url: str, concurrency: int, size: int, width: int, http_client: Callable[[], Any] | None = None
) -> Embed:
    """openrouter-embeddings, AsyncClient."""
    import openrouter_embeddings as ore

    loop = asyncio.new_event_loop()

    async def make() -> ore.AsyncClient:
        return ore.AsyncClient(
            KEY, base_url=url, model=MODEL, concurrency=concurrency, batch_size=size,
            dimensions=width, http_client=http_client() if http_client else None,
        )  # fmt: skip

    client = loop.run_until_complete(make())
    return lambda texts: loop.run_until_complete(client.embed(texts)).vectors


def ours_httpx(url: str, concurrency: int, size: int, width: int) -> Embed:
    """openrouter-embeddings over httpx.Client, which keeps every connection."""
    import httpx

    return ours(url, concurrency, size, width, httpx.Client(limits=httpx.Limits()))


def ours_async_httpx(url: str, concurrency: int, size: int, width: int) -> Embed:
    """openrouter-embeddings over httpx.AsyncClient, which keeps every connection."""
    import httpx

    return ours_async(
        url, concurrency, size, width, lambda: httpx.AsyncClient(limits=httpx.Limits())
    )


def ours_aiohttp(url: str, concurrency: int, size: int, width: int) -> Embed:
    """openrouter-embeddings, AsyncClient over httpx-aiohttp."""
    import aiohttp
    import httpx
    from httpx_aiohttp import AiohttpTransport

    def http_client() -> httpx.AsyncClient:
        connector = aiohttp.TCPConnector(limit=0)
        transport = AiohttpTransport(
            client=lambda: aiohttp.ClientSession(connector=connector, read_bufsize=1 << 20)
        )
        return httpx.AsyncClient(transport=transport)

    return ours_async(url, concurrency, size, width, http_client)


def ours_pyreqwest(url: str, concurrency: int, size: int, width: int) -> Embed:
    """openrouter-embeddings, AsyncClient over pyreqwest (Rust)."""
    import httpx
    from pyreqwest.compatibility.httpx import HttpxTransport

    return ours_async(
        url, concurrency, size, width, lambda: httpx.AsyncClient(transport=HttpxTransport())
    )


def ours_unchecked(url: str, concurrency: int, size: int, width: int) -> Embed:
    """openrouter-embeddings without the checks of every value, to see what they cost."""
    from contextlib import nullcontext
    from types import SimpleNamespace

    from openrouter_embeddings.core import streaming

    ones = np.ones(2048)
    unchecked: Any = SimpleNamespace(
        empty=np.empty,
        float32=np.float32,
        errstate=lambda **_: nullcontext(),
        vecdot=lambda a, _: ones[: len(a)],
    )
    streaming.np = unchecked
    return ours(url, concurrency, size, width)


def _bare(client: Any, url: str, width: int) -> tuple[Callable[[list[str]], Any], Any]:
    """Send texts and decode the reply with orjson and pybase64, with no checks."""
    import orjson
    import pybase64

    fields = {"model": MODEL, "encoding_format": "base64", "dimensions": width}

    def send(texts: list[str]) -> Any:
        return client.post(
            f"{url}/embeddings",
            content=orjson.dumps({**fields, "input": texts}),
            headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
        )

    def decode(reply: Any) -> Matrix:
        reply.raise_for_status()
        vectors = [
            np.frombuffer(pybase64.b64decode(item["embedding"], validate=True), np.float32)
            for item in orjson.loads(reply.content)["data"]
        ]
        return np.stack(vectors)

    return send, decode


def bare_httpx(url: str, concurrency: int, size: int, width: int) -> Embed:
    """Httpx + orjson + pybase64, with no checks."""
    import httpx

    send, decode = _bare(httpx.Client(timeout=60), url, width)
    return lambda texts: decode(send(texts))


def bare_httpx_async(url: str, concurrency: int, size: int, width: int) -> Embed:
    """The same with httpx.AsyncClient."""
    import httpx

    loop = asyncio.new_event_loop()
    send, decode = _bare(httpx.AsyncClient(timeout=60), url, width)

    async def embed(texts: list[str]) -> Matrix:
        return decode(await send(texts))

    return lambda texts: loop.run_until_complete(embed(texts))


def requests_floats(url: str, concurrency: int, size: int, width: int) -> Embed:
    """requests, floats."""
    import requests

    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {KEY}"

    def embed(texts: list[str]) -> Matrix:
        payload = {"model": MODEL, "input": texts, "dimensions": width}
        reply = session.post(f"{url}/embeddings", json=payload, timeout=60)
        reply.raise_for_status()
        return np.asarray([item["embedding"] for item in reply.json()["data"]], np.float32)

    return embed


def openai_default(url: str, concurrency: int, size: int, width: int) -> Embed:
    """openai, as documented (base64 to Python lists)."""
    import openai

    client = openai.AsyncOpenAI(api_key=KEY, base_url=url)

    async def embed(texts: list[str]) -> Any:
        reply = await client.embeddings.create(model=MODEL, input=texts, dimensions=width)
        return [item.embedding for item in reply.data]

    return _fan_out(embed, concurrency, size)


def openai_sync(url: str, concurrency: int, size: int, width: int) -> Embed:
    """openai, as documented (base64 to Python lists), blocking."""
    import openai

    client = openai.OpenAI(api_key=KEY, base_url=url)

    def embed(texts: list[str]) -> Matrix:
        reply = client.embeddings.create(model=MODEL, input=texts, dimensions=width)
        return np.asarray([item.embedding for item in reply.data], np.float32)

    return embed


def openai_base64(url: str, concurrency: int, size: int, width: int) -> Embed:
    """openai, with base64 requested and decoded by numpy."""
    import openai

    client = openai.OpenAI(api_key=KEY, base_url=url)

    def embed(texts: list[str]) -> Matrix:
        reply = client.embeddings.create(
            model=MODEL, input=texts, dimensions=width, encoding_format="base64"
        )
        coded: list[Any] = [item.embedding for item in reply.data]
        return np.stack([np.frombuffer(base64.b64decode(text), np.float32) for text in coded])

    return embed


def openrouter_sdk(url: str, concurrency: int, size: int, width: int) -> Embed:
    """Openrouter (the official SDK), floats."""
    from openrouter import OpenRouter

    client = OpenRouter(api_key=KEY, server_url=url)

    def embed(texts: list[str]) -> Matrix:
        reply: Any = client.embeddings.generate(model=MODEL, input=texts, dimensions=width)
        return np.asarray([item.embedding for item in reply.data], np.float32)

    return embed


def openrouter_async(url: str, concurrency: int, size: int, width: int) -> Embed:
    """Openrouter (the official SDK), floats, asyncio."""
    from openrouter import OpenRouter

    client = OpenRouter(api_key=KEY, server_url=url)

    async def embed(texts: list[str]) -> Any:
        reply: Any = await client.embeddings.generate_async(
            model=MODEL, input=texts, dimensions=width
        )
        return [item.embedding for item in reply.data]

    return _fan_out(embed, concurrency, size)


def litellm(url: str, concurrency: int, size: int, width: int) -> Embed:
    """Litellm."""
    import litellm as module

    fields: dict[str, Any] = {"model": "openai/text-embedding-3-small", "dimensions": width}

    def embed(texts: list[str]) -> Matrix:
        reply = module.embedding(input=texts, api_base=url, api_key=KEY, **fields)
        return np.asarray([item["embedding"] for item in reply.data], np.float32)

    return embed


def litellm_async(url: str, concurrency: int, size: int, width: int) -> Embed:
    """Litellm, asyncio."""
    import litellm as module

    fields: dict[str, Any] = {"model": "openai/text-embedding-3-small", "dimensions": width}

    async def embed(texts: list[str]) -> Any:
        reply = await module.aembedding(input=texts, api_base=url, api_key=KEY, **fields)
        return [item["embedding"] for item in reply.data]

    return _fan_out(embed, concurrency, size)


def mistral(url: str, concurrency: int, size: int, width: int) -> Embed:
    """Mistral's SDK, floats."""
    from mistralai.client import Mistral

    client = Mistral(api_key=KEY, server_url=url.removesuffix("/v1"))

    def embed(texts: list[str]) -> Matrix:
        reply = client.embeddings.create(model=MODEL, inputs=texts, output_dimension=width)
        return np.asarray([item.embedding for item in reply.data], np.float32)

    return embed


def mistral_async(url: str, concurrency: int, size: int, width: int) -> Embed:
    """Mistral's SDK, floats, asyncio."""
    from mistralai.client import Mistral

    client = Mistral(api_key=KEY, server_url=url.removesuffix("/v1"))

    async def embed(texts: list[str]) -> Any:
        reply = await client.embeddings.create_async(
            model=MODEL, inputs=texts, output_dimension=width
        )
        return [item.embedding for item in reply.data]

    return _fan_out(embed, concurrency, size)


def voyage(url: str, concurrency: int, size: int, width: int) -> Embed:
    """Voyage AI's SDK."""
    import voyageai

    client = voyageai.Client(api_key=KEY, base_url=url)

    def embed(texts: list[str]) -> Matrix:
        reply = client.embed(texts, model=MODEL, output_dimension=width)
        return np.asarray(reply.embeddings, np.float32)

    return embed


def voyage_async(url: str, concurrency: int, size: int, width: int) -> Embed:
    """Voyage AI's SDK, asyncio."""
    import voyageai

    client = voyageai.AsyncClient(api_key=KEY, base_url=url)

    async def embed(texts: list[str]) -> Any:
        return (await client.embed(texts, model=MODEL, output_dimension=width)).embeddings

    return _fan_out(embed, concurrency, size)


def langchain(url: str, concurrency: int, size: int, width: int) -> Embed:
    """langchain-openai."""
    from langchain_openai import OpenAIEmbeddings

    client = OpenAIEmbeddings(
        model=MODEL, api_key=KEY, base_url=url, dimensions=width, chunk_size=size,
        check_embedding_ctx_length=False,
    )  # fmt: skip
    return lambda texts: np.asarray(client.embed_documents(texts), np.float32)


def baseten(url: str, concurrency: int, size: int, width: int) -> Embed:
    """baseten-performance-client (Rust)."""
    from baseten_performance_client import PerformanceClient, RequestProcessingPreference

    client = PerformanceClient(base_url=url.removesuffix("/v1"), api_key=KEY)
    preference = RequestProcessingPreference(batch_size=size, max_concurrent_requests=concurrency)

    def embed(texts: list[str]) -> Matrix:
        reply = client.embed(texts, model=MODEL, dimensions=width, preference=preference)
        return np.asarray(reply.numpy(), np.float32)

    return embed


# The name of each contender, and its package if it needs more than ours. Each package has its own
# environment, `.venv/bench/NAME`: in a shared one, some would hold others back to old versions.
_LISTED: tuple[tuple[str, Callable[[str, int, int, int], Embed], str], ...] = (
    ("ours", ours, ""),
    ("ours stream", ours_stream, ""),
    ("ours async", ours_async, ""),
    ("ours over httpx", ours_httpx, ""),
    ("ours async over httpx", ours_async_httpx, ""),
    ("ours aiohttp", ours_aiohttp, "httpx-aiohttp"),
    ("ours pyreqwest", ours_pyreqwest, "pyreqwest"),
    ("ours unchecked", ours_unchecked, ""),
    ("bare httpx", bare_httpx, ""),
    ("bare httpx async", bare_httpx_async, ""),
    ("requests", requests_floats, "requests"),
    ("openai", openai_sync, "openai"),
    ("openai async", openai_default, "openai"),
    ("openai base64", openai_base64, "openai"),
    ("openrouter", openrouter_sdk, "openrouter"),
    ("openrouter async", openrouter_async, "openrouter"),
    ("litellm", litellm, "litellm"),
    ("litellm async", litellm_async, "litellm"),
    ("langchain-openai", langchain, "langchain-openai"),
    ("mistralai", mistral, "mistralai"),
    ("mistralai async", mistral_async, "mistralai"),
    ("voyageai", voyage, "voyageai"),
    ("voyageai async", voyage_async, "voyageai"),
    ("baseten", baseten, "baseten-performance-client"),
)
CONTENDERS = {name: make for name, make, _ in _LISTED}
PACKAGES = {name: package for name, _, package in _LISTED if package}


def python_of(environment: str) -> str:
    """The interpreter of an environment in the folder that also holds the running one."""
    return str(Path(sys.prefix).parent / environment / "bin" / "python")


def version_of(package: str, environment: str = "") -> str:
    """The version of a package in an environment; default: the environment named after it."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    command = [python_of(environment or package), "-c", code]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
