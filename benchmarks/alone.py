"""Measurements that need a process of their own.

`python -m benchmarks.alone WHAT URL [WHO or ROWS]`; WHAT is result, stream, waiting, images or
profile.
"""

from __future__ import annotations

import asyncio
import base64
import cProfile
import json
import pstats
import statistics
import sys
import time
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import openrouter_embeddings as ore

from .cases import LATENCY
from .contenders import KEY, MODEL, WIDTH
from .vectors import BATCH, differences, text, texts
from .worker import cpu, peak

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MILLION = 1_000_000
CALLS, CALLS_AT_ONCE, STARTED_AT_ONCE = 10_000, 64, 10


def memory(url: str, *, stream: bool) -> dict[str, Any]:
    """Peak memory of embedding a million texts, and the peak before them as a baseline."""
    inputs = [] if stream else texts(MILLION)
    client = ore.Client(
        KEY, base_url=url, model=MODEL, concurrency=8, batch_size=BATCH, dimensions=WIDTH
    )
    client.embed(texts(BATCH))
    baseline = peak()
    if not stream:
        vectors = client.embed(inputs).vectors
        highest = peak()
        wrong = differences(vectors, MILLION, WIDTH)
    else:
        rows, wrong, middle = 0, "", 0
        for part in client.embed_stream(map(text, range(MILLION))):
            rows += len(part)
            middle = middle or (peak() if rows > MILLION // 10 else 0)
        highest = peak()
        wrong = wrong or ("" if rows == MILLION else f"{rows} rows")
    if wrong:
        raise AssertionError(wrong)
    figures = {"baseline": baseline, "peak": highest, "matrix": MILLION * WIDTH * 4}
    return {**figures, "after a tenth": middle} if stream else figures


async def _open(call: Callable[[int], Awaitable[Any]], at_once: int) -> tuple[float, float]:
    """Start CALLS calls, `at_once` in a turn of the loop, and await them all.

    Returns the CPU of a call, and the most CPU that the thread took between two turns: what the
    loop stands still, without the time in which other processes had the core.
    """
    loop, longest, last, used = asyncio.get_running_loop(), 0.0, time.thread_time(), cpu()

    def tick() -> None:
        nonlocal longest, last
        now = time.thread_time()
        longest, last = max(longest, now - last), now
        if not ended:
            loop.call_later(0.001, tick)

    ended, calls = False, []
    tick()
    for number in range(CALLS):
        calls.append(asyncio.ensure_future(call(number)))
        if number % at_once == at_once - 1:
            await asyncio.sleep(0)
    await asyncio.gather(*calls)
    ended = True
    return (cpu() - used) / CALLS, longest


async def waiting(url: str) -> dict[str, Any]:
    """CPU of a call of one text, alone and with CALLS open, and how long the loop stands still.

    Only the open calls have a latency: after a pause, a call alone would find its caches cold.
    """
    free = asyncio.Semaphore(CALLS_AT_ONCE)

    async def sleep(number: int) -> None:
        async with free:
            await asyncio.sleep(LATENCY)

    options: Any = {"model": MODEL, "concurrency": CALLS_AT_ONCE, "dimensions": WIDTH}
    late = url.replace("/v1", f"/latency/{LATENCY}/v1")
    async with (
        ore.AsyncClient(KEY, base_url=url, **options) as client,
        ore.AsyncClient(KEY, base_url=late, **options) as waiter,
    ):

        async def call(number: int) -> Any:
            return await waiter.embed(text(number))

        await asyncio.gather(*map(call, range(CALLS_AT_ONCE)))
        found: dict[str, list[float]] = {"alone": [], "together": [], "ratio": [], "stall": []}
        for _ in range(3):
            before = cpu()
            for number in range(500):
                await client.embed(text(number))
            alone = (cpu() - before) / 500
            together, stall = await _open(call, STARTED_AT_ONCE)
            for name, figure in zip(found, (alone, together, together / alone, stall), strict=True):
                found[name].append(figure)
        stalls = {
            "ours, started at once": await _open(call, CALLS),
            "asyncio alone": await _open(sleep, STARTED_AT_ONCE),
            "asyncio alone, started at once": await _open(sleep, CALLS),
        }
        return {
            **{name: statistics.median(figures) for name, figures in found.items()},
            "stalls": {name: stall for name, (_, stall) in stalls.items()},
        }


def _picture() -> bytes:
    """A PNG of about a megabyte."""
    side = 590
    pixels = np.random.default_rng(0).integers(0, 256, (side, 1 + 3 * side), np.uint8)
    pixels[:, 0] = 0

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return len(data).to_bytes(4, "big") + checked + zlib.crc32(checked).to_bytes(4, "big")

    head = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    body = (
        chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels.tobytes())) + chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + body


def images(url: str, who: str) -> dict[str, Any]:
    """CPU and memory of one request with 16 images of a megabyte each."""
    import httpx

    picture = _picture()
    pictures = [picture] * 16
    if who == "ours":
        client = ore.Client(KEY, base_url=url, model=MODEL)

        def embed() -> None:
            client.embed([ore.Image(data) for data in pictures])

    else:
        http = httpx.Client(timeout=60)

        def embed() -> None:
            parts = [
                {"url": f"data:image/png;base64,{base64.b64encode(data).decode()}"}
                for data in pictures
            ]
            inputs = [{"content": [{"type": "image_url", "image_url": part}]} for part in parts]
            http.post(
                f"{url}/embeddings", json={"model": MODEL, "input": inputs}
            ).raise_for_status()

    before = peak()
    embed()
    after = peak()
    took = []
    for _ in range(9):
        started = cpu()
        embed()
        took.append(cpu() - started)
    return {"cpu": float(np.median(took)), "memory": after - before, "bytes": 16 * len(picture)}


def profile(url: str, rows: int) -> dict[str, float]:
    """Each package's share of the time that requests of `rows` texts take."""
    client = ore.Client(KEY, base_url=url, model=MODEL, batch_size=rows, dimensions=WIDTH)
    inputs = texts(rows)
    client.embed(inputs)
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(500 // rows + 5):
        client.embed(inputs)
    profiler.disable()
    spent: dict[str, float] = {}
    stats: Any = pstats.Stats(profiler)
    for (file, _, name), (_, _, own, _, _) in stats.stats.items():
        if "'recv' of '_socket" not in name:  # this is mostly waiting
            spent[_owner(file)] = spent.get(_owner(file), 0) + own
    whole = sum(spent.values())
    return {owner: own / whole for owner, own in sorted(spent.items(), key=lambda item: -item[1])}


def _owner(file: str) -> str:
    for package in ("httpx", "httpcore", "h11", "stamina", "tenacity", "openrouter_embeddings_api"):
        if f"/{package}/" in file:
            return package
    if "/openrouter_embeddings/" in file:
        inside = file.split("/openrouter_embeddings/")[1]
        return f"ours: {inside.split('/')[0].removesuffix('.py')}"
    return "the standard library, and what is written in C"


if __name__ == "__main__":
    what, url = sys.argv[1:3]
    if what == "profile":
        print(json.dumps(profile(url, int(sys.argv[3]))))
    elif what == "images":
        print(json.dumps(images(url, sys.argv[3])))
    elif what == "waiting":
        print(json.dumps(asyncio.run(waiting(url))))
    else:
        print(json.dumps(memory(url, stream=what == "stream")))
