"""A scripted service for tests, and both clients behind one blocking face."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
import uvloop
from openrouter_embeddings import cli
from stamina import instrumentation

KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"
MODEL = "acme/embed-1"
Kind = Literal["sync", "async"]
KINDS: tuple[Kind, ...] = ("sync", "async")
LARGE, MUCH = 5_000_000, 1_200_000  # characters, of a request over TLS and of its answer
T = TypeVar("T")

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360f8cfc0f01f0005000101005d2b3c0000000049454e44ae426082"
)


def vector_of(item: Any) -> list[float]:
    """A vector that tells its input: what a test expects in that input's row."""
    said = json.dumps(item, sort_keys=True).encode()
    return [float(len(said)), float(sum(said) % 8191), 1.0, -0.5]


def answer(inputs: list[Any], **changes: Any) -> dict[str, Any]:
    """A correct answer to `inputs`, with top-level fields changed or added."""
    data = [
        {"object": "embedding", "index": i, "embedding": ore.encode_base64(vector_of(item))}
        for i, item in enumerate(inputs)
    ]
    usage = {"prompt_tokens": len(inputs), "total_tokens": len(inputs), "cost": 1.4e-7}
    whole = {"object": "list", "data": data, "model": "embed-1", "usage": usage}
    return {**whole, "id": "gen-1", "provider": "Acme", **changes}


def items_of(*embeddings: Any) -> list[dict[str, Any]]:
    """`data` with these embeddings, in order."""
    return [{"object": "embedding", "index": i, "embedding": e} for i, e in enumerate(embeddings)]


Script = Callable[[dict[str, Any], int], Any]
"""From a request's JSON and number to the answer: a dict, what makes a response, or an error."""


class Service:
    """A service in this process that answers by a script and remembers what it was asked."""

    def __init__(self, script: Script | None = None) -> None:
        self.requests: list[httpx.Request] = []
        self.transport: Any = lambda: httpx.MockTransport(self.handle)
        self._script = script or (lambda body, _: answer(body["input"]))

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The JSON of every request, in the order of arrival."""
        return [json.loads(request.content) for request in self.requests]

    def handle(self, request: httpx.Request) -> httpx.Response:
        """For httpx.MockTransport."""
        number = len(self.requests)
        self.requests.append(request)
        said = self._script(json.loads(request.content), number)
        if isinstance(said, BaseException):
            raise said
        if callable(said):  # an httpx.Response can be read only once, so each needs its own
            return cast(httpx.Response, said())
        return httpx.Response(200, json=said)

    def run(self, kind: Kind, call: Callable[[Any], Any], **defaults: Any) -> Any:
        """Make a client of `kind`, and do `call(client)` with it."""
        transport = self.transport()
        defaults = {"model": MODEL, "api_key": KEY, **defaults}
        if kind == "sync":
            with (
                httpx.Client(transport=transport) as http,
                ore.Client(http_client=http, **defaults) as client,
            ):
                return _collected(call(client))

        async def run() -> Any:
            async with (
                httpx.AsyncClient(transport=transport) as http,
                ore.AsyncClient(http_client=http, **defaults) as client,
            ):
                return await _awaited(call(client))

        return asyncio.run(run())

    def embed(self, kind: Kind, inputs: Any, **options: Any) -> ore.EmbeddingResult:
        """One call of `embed`."""
        result: ore.EmbeddingResult = self.run(kind, lambda c: c.embed(inputs, **options))
        return result


def _collected(outcome: Any) -> Any:
    return list(outcome) if hasattr(outcome, "__next__") else outcome


async def _awaited(outcome: Any) -> Any:
    if isinstance(outcome, Awaitable):
        return await outcome
    return [part async for part in outcome]


def run(*command: Any, cwd: Path) -> str:
    """Run a command; its output, or a failure that shows it."""
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def orembed(
    *arguments: Any,
    stdin: str = "",
    cwd: Path | None = None,
    encoding: str = "utf-8",
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, with streams and an environment of its own."""
    command = [*map(str, arguments)]
    streams = [io.TextIOWrapper(io.BytesIO(text), encoding) for text in (stdin.encode(), b"", b"")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd or Path())
        for name, value in {"COLUMNS": "100", **environment}.items():
            patch.setenv(name, value)
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            patch.setattr(sys, name, stream)
        try:
            status: Any = cli.main(command)
        except SystemExit as end:
            status = end.code
        finally:
            instrumentation.set_on_retry_hooks(None)
    for stream in streams[1:]:
        stream.seek(0)
    return subprocess.CompletedProcess(command, status, streams[1].read(), streams[2].read())


def expected(inputs: Iterable[Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The matrix that a correct client makes of a correct service's answers."""
    return np.array([vector_of(item) for item in inputs], np.float32)


def embed_over(kind: str, url: str, texts: list[str], **more: Any) -> ore.EmbeddingResult:
    """With connections of our own; the kind `uvloop` is asyncio in that loop."""
    options: dict[str, Any] = {"model": "m", "max_retries": 0, "batch_size": 16, **more}
    if kind == "sync":
        with ore.Client(KEY, base_url=url, **options) as client:
            return client.embed(texts)

    async def run() -> ore.EmbeddingResult:
        async with ore.AsyncClient(KEY, base_url=url, **options) as client:
            return await client.embed(texts)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if kind == "uvloop" else None) as runner:
        return runner.run(run())


def in_a_fork(work: Callable[[], bool]) -> int:
    """The exit status of a child that does this: 0 where it was right."""
    child = os.fork()
    if not child:
        signal.alarm(30)
        try:
            os._exit(0 if work() else 4)
        finally:
            os._exit(5)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextmanager
def held_by_another(lock: Any) -> Iterator[None]:
    """A lock that another thread has for as long as this lasts."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    try:
        yield
    finally:
        done.set()
        thread.join()
