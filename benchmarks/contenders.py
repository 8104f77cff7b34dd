"""Our client and others, each used the way its documentation suggests, up to a float32 matrix.

A contender takes the server's address, the concurrency, the batch size and the dimensions, and
returns a function from texts to a matrix. Only the calls of that function are measured.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .vectors import Matrix

Embed = Callable[[list[str]], Matrix]
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


def ours(url: str, concurrency: int, size: int, width: int) -> Embed:
    """openrouter-embeddings, Client."""
    import openrouter_embeddings as ore

    client = ore.Client(
        KEY, base_url=url, model=MODEL, concurrency=concurrency, batch_size=size, dimensions=width
    )
    return lambda texts: client.embed(texts).vectors


def ours_async(
    url: str, concurrency: int, size: int, width: int, transport: Callable[[], Any] | None = None
) -> Embed:
    """openrouter-embeddings, AsyncClient."""
    import httpx
    import openrouter_embeddings as ore

    loop = asyncio.new_event_loop()

    async def make() -> ore.AsyncClient:
        http = httpx.AsyncClient(transport=transport()) if transport else None
        return ore.AsyncClient(
            KEY, base_url=url, model=MODEL, concurrency=concurrency, batch_size=size,
            dimensions=width, http_client=http,
        )  # fmt: skip

    client = loop.run_until_complete(make())
    return lambda texts: loop.run_until_complete(client.embed(texts)).vectors


def ours_aiohttp(url: str, concurrency: int, size: int, width: int) -> Embed:
    """openrouter-embeddings, AsyncClient over httpx-aiohttp."""
    import aiohttp
    from httpx_aiohttp import AiohttpTransport

    def transport() -> Any:
        connector = aiohttp.TCPConnector(limit=0)
        return AiohttpTransport(
            client=lambda: aiohttp.ClientSession(connector=connector, read_bufsize=1 << 20)
        )

    return ours_async(url, concurrency, size, width, transport)


def ours_pyreqwest(url: str, concurrency: int, size: int, width: int) -> Embed:
    """openrouter-embeddings, AsyncClient over pyreqwest (Rust)."""
    from pyreqwest.compatibility.httpx import HttpxTransport

    return ours_async(url, concurrency, size, width, HttpxTransport)


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


def bare_httpx(url: str, concurrency: int, size: int, width: int) -> Embed:
    """Httpx + orjson + pybase64, with no checks."""
    import httpx
    import orjson
    import pybase64

    client = httpx.Client(headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
    fields = {"model": MODEL, "encoding_format": "base64", "dimensions": width}

    def embed(texts: list[str]) -> Matrix:
        reply = client.post(
            f"{url}/embeddings",
            content=orjson.dumps({**fields, "input": texts}),
            headers={"Content-Type": "application/json"},
        )
        reply.raise_for_status()
        vectors = [
            np.frombuffer(pybase64.b64decode(item["embedding"], validate=True), np.float32)
            for item in orjson.loads(reply.content)["data"]
        ]
        return np.stack(vectors)

    return embed


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


def litellm(url: str, concurrency: int, size: int, width: int) -> Embed:
    """Litellm."""
    import litellm as module

    def embed(texts: list[str]) -> Matrix:
        reply = module.embedding(
            model="openai/text-embedding-3-small", input=texts, api_base=url, api_key=KEY,
            dimensions=width,
        )  # fmt: skip
        return np.asarray([item["embedding"] for item in reply.data], np.float32)

    def all_of(texts: list[str]) -> Matrix:
        return np.concatenate([embed(batch) for batch in _batches(texts, size)])

    return all_of


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


# The package of each contender that needs more than ours. Each has its own environment,
# `.venv/bench/NAME`: in a shared one, some would hold others back to old versions.
PACKAGES = {
    "ours aiohttp": "httpx-aiohttp",
    "ours pyreqwest": "pyreqwest",
    "requests": "requests",
    "openai": "openai",
    "openai async": "openai",
    "openai base64": "openai",
    "openrouter": "openrouter",
    "litellm": "litellm",
    "langchain-openai": "langchain-openai",
    "baseten": "baseten-performance-client",
}


def python_of(environment: str) -> str:
    """The interpreter of an environment in the folder that also holds the running one."""
    return str(Path(sys.prefix).parent / environment / "bin" / "python")


def version_of(package: str, environment: str = "") -> str:
    """The version of a package in an environment; default: the environment named after it."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    command = [python_of(environment or package), "-c", code]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


CONTENDERS: dict[str, Callable[[str, int, int, int], Embed]] = {
    "ours": ours,
    "ours async": ours_async,
    "ours aiohttp": ours_aiohttp,
    "ours pyreqwest": ours_pyreqwest,
    "ours unchecked": ours_unchecked,
    "bare httpx": bare_httpx,
    "requests": requests_floats,
    "openai": openai_sync,
    "openai async": openai_default,
    "openai base64": openai_base64,
    "openrouter": openrouter_sdk,
    "litellm": litellm,
    "langchain-openai": langchain,
    "baseten": baseten,
}
