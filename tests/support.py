"""What tests share: a scripted service, and both clients behind one blocking interface."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partialmethod
from pathlib import Path
from typing import Any, Literal, cast

import httpx
import httpx2
import numpy as np
import openrouter_embeddings as ore
import pytest
from hypothesis import strategies as st
from openrouter_embeddings import cli, testing
from stamina import instrumentation

ROOT = Path(__file__).parents[1]
KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"
MODEL = "acme/embed-1"
Kind = Literal["sync", "async"]
KINDS: tuple[Kind, ...] = ("sync", "async")
HASH = ("--local", "--model", "local/hash", "--dimensions", "4")  # of `orembed`
LARGE, MUCH = 5_000_000, 1_200_000  # characters of a large request and of its response
both = pytest.mark.parametrize("kind", KINDS)  # the blocking client and the asyncio client
# uvloop: asyncio in that event loop, which Windows has not
LOOPS = [asyncio.new_event_loop]
with suppress(ImportError):
    import uvloop

    LOOPS.append(uvloop.new_event_loop)
EVERY = [*KINDS, "uvloop"][: len(LOOPS) + 1]
every = pytest.mark.parametrize("kind", EVERY)
# Over the connections of the caller's client
OVER_HTTPX = [f"{kind} {module}" for kind in KINDS for module in ("httpx", "httpx2")]
everywhere = pytest.mark.parametrize("kind", [*EVERY, *OVER_HTTPX])

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)  # that UTF-8 can encode

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360f8cfc0f01f0005000101005d2b3c0000000049454e44ae426082"
)


def json_values(max_leaves: int = 100) -> st.SearchStrategy[Any]:
    """Values that JSON can represent."""
    text = st.just("") | TEXT
    numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        st.none() | st.booleans() | numbers | text,
        lambda inner: st.lists(inner) | st.dictionaries(text, inner),
        max_leaves=max_leaves,
    )


def vector_of(item: Any) -> list[float]:
    """The vector of an input in every test; different inputs have different vectors."""
    text = json.dumps(item, sort_keys=True).encode()
    return [float(len(text)), float(sum(text) % 8191), 1.0, -0.5]


def answer(inputs: list[Any], **changes: Any) -> dict[str, Any]:
    """A correct response to `inputs`, with top-level fields changed or added."""
    data = [
        {"object": "embedding", "index": i, "embedding": ore.encode_base64(vector_of(item))}
        for i, item in enumerate(inputs)
    ]
    usage = {"prompt_tokens": len(inputs), "total_tokens": len(inputs), "cost": 1.4e-7}
    body = {"object": "list", "data": data, "model": "embed-1", "usage": usage}
    return {**body, "id": "gen-1", "provider": "Acme", **changes}


def items_of(*embeddings: Any) -> list[dict[str, Any]]:
    """`data` with these embeddings, in order."""
    return [{"object": "embedding", "index": i, "embedding": e} for i, e in enumerate(embeddings)]


Script = Callable[[dict[str, Any], int], Any]
"""Maps a request's JSON and number to a dict, a function that makes a response, or an error."""


class Service:
    """A service in this process that responds by a script and records the requests.

    Attributes:
        http: httpx or httpx2, of which the clients and the responses are.
    """

    http: Any = httpx

    def __init__(self, script: Script | None = None) -> None:
        self.requests: list[httpx.Request] = []
        self.transport: Any = lambda: self.http.MockTransport(self.handle)
        self._script = script or (lambda body, _: answer(body["input"]))

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The JSON of every request, in the order of arrival."""
        return [json.loads(request.content) for request in self.requests]

    def handle(self, request: Any) -> httpx.Response:
        """The handler of a MockTransport."""
        number = len(self.requests)
        self.requests.append(request)
        outcome = self._script(json.loads(request.content), number)
        if isinstance(outcome, httpx.HTTPError):
            raise getattr(self.http, type(outcome).__name__)(str(outcome))
        if isinstance(outcome, BaseException):
            raise outcome
        if callable(outcome):  # a new httpx.Response each time, because it can be read only once
            response = cast(httpx.Response, outcome())
            if self.http is not httpx:
                status, headers = response.status_code, response.headers.raw
                response = self.http.Response(status, headers=headers, content=response.content)
            return response
        return cast(httpx.Response, self.http.Response(200, json=outcome))

    def run(self, kind: Kind, call: Callable[[Any], Any], **defaults: Any) -> Any:
        """The result of `call(client)`, awaited or collected, with a new client of `kind`."""
        transport = self.transport()
        defaults = {"model": MODEL, "api_key": KEY, **defaults}
        if kind == "sync":
            with (
                self.http.Client(transport=transport) as http,
                ore.Client(http_client=http, **defaults) as client,
            ):
                return _collected(call(client))

        async def run() -> Any:
            async with (
                asyncio.timeout(120),
                self.http.AsyncClient(transport=transport) as http,
                ore.AsyncClient(http_client=http, **defaults) as client,
            ):
                return await _awaited(call(client))

        return asyncio.run(run())

    def embed(self, kind: Kind, inputs: Any, **options: Any) -> ore.EmbeddingResult:
        """The result of one call of `embed`."""
        result: ore.EmbeddingResult = self.run(kind, lambda c: c.embed(inputs, **options))
        return result


def _collected(outcome: Any) -> Any:
    return list(outcome) if hasattr(outcome, "__next__") else outcome


async def _awaited(outcome: Any) -> Any:
    if isinstance(outcome, Awaitable):
        return await outcome
    return [part async for part in outcome]


class _Blocking:
    """An AsyncClient whose methods block. Its event loop runs only while one of them does."""

    def __init__(self, client: ore.AsyncClient, runner: asyncio.Runner) -> None:
        self._client, self._runner = client, runner

    def embed(self, inputs: Any, **options: Any) -> ore.EmbeddingResult:
        """As `Client.embed`."""
        return self._runner.run(self._client.embed(inputs, **options))

    def with_options(self, **defaults: Any) -> "_Blocking":
        """As `Client.with_options`."""
        return _Blocking(self._client.with_options(**defaults), self._runner)

    def close(self) -> None:
        """As `Client.close`."""
        self._runner.run(self._client.close())

    def embed_stream(self, inputs: Any, **options: Any) -> Iterator[ore.EmbeddingResult]:
        """As `Client.embed_stream`."""
        parts = self._client.embed_stream(inputs, **options)

        async def take() -> ore.EmbeddingResult | None:
            return await anext(parts, None)

        while (part := self._runner.run(take())) is not None:
            yield part


@contextmanager
def _blocking(client: ore.Client | ore.AsyncClient, kind: str, http: Any = None) -> Iterator[Any]:
    """This client with methods that block; it is closed in the end, and its httpx client too."""
    if isinstance(client, ore.Client):
        with client, http or nullcontext():
            yield client
        return
    factory = LOOPS[-1] if kind == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        try:
            yield _Blocking(client, runner)
        finally:
            runner.run(client.close())
            if http:
                runner.run(http.aclose())


def _pass_on(self: Any, original: Any, *args: Any) -> Any:
    return original(self, *args)


@contextmanager
def traced() -> Iterator[None]:
    """Replace the methods of httpx's transports, as a tracer does: the requests go through."""
    with pytest.MonkeyPatch.context() as patch:
        for transport, name in (
            (httpx.HTTPTransport, "handle_request"),
            (httpx.AsyncHTTPTransport, "handle_async_request"),
        ):
            original = getattr(transport, name)
            patch.setattr(transport, name, partialmethod(_pass_on, original))
        yield


def client_of(service: testing.Service, kind: Kind, **defaults: Any) -> AbstractContextManager[Any]:
    """A client of the stand-in, of either kind, whose methods block."""
    make: Any = service.client if kind == "sync" else service.async_client
    return _blocking(make(**defaults), kind)


@contextmanager
def client_over(kind: str, url: str, **options: Any) -> Iterator[Any]:
    """A client with real connections, of a kind of `everywhere`, whose methods block."""
    kind, _, through = kind.partition(" ")
    make: Any = ore.Client if kind == "sync" else ore.AsyncClient
    options = {"model": "m", "max_retries": 0, **options}
    http: Any = None
    if through:
        module: Any = httpx if through == "httpx" else httpx2
        http = options["http_client"] = (module.Client if kind == "sync" else module.AsyncClient)()
    with _blocking(make(KEY, base_url=url, **options), kind, http) as client:
        yield client


def embed_over(kind: str, url: str, texts: list[str], **options: Any) -> ore.EmbeddingResult:
    """The result of one call over real connections."""
    with client_over(kind, url, **{"batch_size": 16, **options}) as client:
        result: ore.EmbeddingResult = client.embed(texts)
    return result


def ended(
    *command: Any, stdin: str | None = None, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command that has ended, with its exit status and output; `environment` is added to ours."""
    return subprocess.run(
        [*map(str, command)], input=stdin, cwd=cwd, env={**os.environ, **environment},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


def run(*command: Any, cwd: Path = ROOT) -> str:
    """The output of a command. Fails, and shows the output, if the command fails."""
    process = ended(*command, cwd=cwd)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


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
    """The matrix that a correct client returns for a correct service."""
    return np.array([vector_of(item) for item in inputs], np.float32)


def in_a_fork(work: Callable[[], bool]) -> int:
    """The exit status of a forked child that calls `work`: 0 if it returns True."""
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
    """While this lasts, another thread holds the lock."""
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


def in_threads(count: int, work: Callable[[], object]) -> None:
    """Call `work` in this many threads at the same time, until all have returned."""
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def worker_threads() -> list[threading.Thread]:
    """The threads of this package that are alive."""
    return [t for t in threading.enumerate() if t.name == "openrouter-embeddings"]
