"""FastAPI under uvicorn, and in Starlette's TestClient."""

import asyncio
import gc
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import openrouter_embeddings as ore
import pytest

from tests.compat.loopback import KEY, Service, vector
from tests.compat.programs import blocks, command, connect, running, wait_until, write
from tests.compat.rows import Row

ROW = Row("FastAPI under uvicorn", "clients made in `lifespan`", "fastapi")
TESTS = Row("Starlette's TestClient", "a client of its module, over many event loops", "starlette")
both = pytest.mark.parametrize(
    "kind",
    [pytest.param("sync", marks=ROW.sync), pytest.param("async", marks=ROW.asynchronous)],
)
# an endpoint that streams, and one for the names of what is still running
STREAM = """
import asyncio, gc, json, threading
from fastapi.responses import StreamingResponse

@app.post("/stream/async")
async def stream(texts: list[str]):
    parts = app.state.client.embed_stream(texts, batch_size=1, concurrency=2)
    async def lines():
        async for part in parts:
            yield json.dumps(part.vectors.tolist()) + "\\n"
    return StreamingResponse(lines())

@app.post("/stream/sync")
def stream_in_threads(texts: list[str]):
    parts = app.state.blocking_client.embed_stream(texts, batch_size=1, concurrency=2)
    return StreamingResponse(json.dumps(part.vectors.tolist()) + "\\n" for part in parts)

@app.get("/running")
async def running():
    gc.collect()  # Starlette leaves a blocking iterator to the garbage collector
    tasks = [repr(task.get_coro()) for task in asyncio.all_tasks()]
    return [name for name in tasks + [t.name for t in threading.enumerate()] if "mbed" in name]
"""


# Event loops may be closed while connections are open; asyncio warns about that later.
closed_loops = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def collected() -> Iterator[None]:
    """What the test leaves is collected now, so that asyncio warns while this is ignored."""
    yield
    gc.collect()


@both
def test_requests_at_the_same_time_share_a_client(
    kind: str, service: Service, tmp_path: Path
) -> None:
    """Eight are in flight together; each gets its vectors, and the server ends without a word."""
    write(tmp_path, "FastAPI")
    path = tmp_path / "socket"
    code = (tmp_path / "api.py").read_text()
    (tmp_path / "api.py").write_text(re.sub('MODEL = ".*"', 'MODEL = "together"', code))
    service.crowd = 8
    with (
        running(command("FastAPI", "--uds", path), tmp_path, service) as process,
        connect(path, process) as browser,
        ThreadPoolExecutor(16) as threads,
    ):

        def ask(number: int) -> Any:
            return browser.post(f"/{kind}", json=[f"text {number}"]).json()

        answers = [*threads.map(ask, range(40))]
    assert answers == [[vector(f"text {number}")] for number in range(40)]
    assert service.opened <= 8
    assert set(service.arrived.values()) == {1}


@both
def test_a_user_who_hangs_up_aborts_the_requests_of_a_stream(
    kind: str, service: Service, tmp_path: Path
) -> None:
    """No further input is sent, nothing is left running, and the next request works."""
    write(tmp_path, "FastAPI", STREAM)
    path = tmp_path / "socket"
    service.latency = 0.01
    texts = [f"text {number}" for number in range(2000)]
    with (
        running(command("FastAPI", "--uds", path), tmp_path, service) as process,
        connect(path, process) as browser,
    ):
        with browser.stream("POST", f"/stream/{kind}", json=texts) as response:
            assert next(response.iter_lines()) == str(vector("text 0")).join("[]")
        wait_until(lambda: browser.get("/running").json() == [], process)
        sent = len(service.arrived)
        assert browser.post(f"/{kind}", json=["a"]).json() == [vector("a")]
        assert len(service.arrived) == sent + 1 < 1000


@both
def test_stopping_the_server_waits_for_its_requests(
    kind: str, service: Service, tmp_path: Path
) -> None:
    """SIGTERM comes while an endpoint waits for a response: its user gets the vectors."""
    write(tmp_path, "FastAPI")
    path = tmp_path / "socket"
    code = (tmp_path / "api.py").read_text()
    (tmp_path / "api.py").write_text(re.sub('MODEL = ".*"', 'MODEL = "held"', code))
    with (
        ThreadPoolExecutor(1) as threads,
        running(command("FastAPI", "--uds", path), tmp_path, service) as process,
        connect(path, process) as browser,
    ):
        answer = threads.submit(lambda: browser.post(f"/{kind}", json=["a"]).json())
        service.wait_for(lambda: service.arrived["a"])
        process.terminate()
        service.release()
        assert answer.result() == [vector("a")]
        process.wait(60)


@closed_loops
@pytest.mark.usefixtures("collected")
@TESTS.asynchronous
@pytest.mark.parametrize("enters", [False, True])
def test_a_client_of_the_module_works_in_every_test_client(
    service: Service, *, enters: bool
) -> None:
    """Each runs event loops of its own, one after another."""
    fastapi: Any = import_module("fastapi")
    make: Any = import_module("fastapi.testclient").TestClient
    client = ore.AsyncClient(KEY, base_url=service.url, model="m")
    app = fastapi.FastAPI()

    async def embed(texts: list[str]) -> Any:
        return (await client.embed(texts, batch_size=1)).vectors.tolist()

    app.add_api_route("/", embed, methods=["POST"])
    for number in range(3):
        texts = [f"{number}", "a"]
        if enters:
            with make(app) as browser:
                answers = [browser.post("/", json=texts).json() for _ in range(2)]
        else:
            browser = make(app)
            answers = [browser.post("/", json=texts).json() for _ in range(2)]
        assert answers == [[vector(text) for text in texts]] * 2
    asyncio.run(client.close())


@TESTS.sync
@TESTS.asynchronous
def test_the_page_works_in_a_test_client_again_and_again(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lifespan makes and closes the clients each time; what a user gets wrong is a 422."""
    for name in ("OPENROUTER_BASE_URL", "OPENROUTER_API_KEY"):
        monkeypatch.setenv(name, service.environment[name])
    scope: dict[str, Any] = {}
    exec(compile(blocks("FastAPI")[0], "api.py", "exec"), scope)
    make: Any = import_module("fastapi.testclient").TestClient
    for _ in range(2):
        with make(scope["app"]) as browser:
            for path in ("/sync", "/async"):
                assert browser.post(path, json=["a"]).json() == [vector("a")]
                refused = browser.post(path, json=["a", ""])
                assert refused.status_code == 422
                assert refused.json()["detail"].startswith("input 1: the text is empty")


@closed_loops
@pytest.mark.usefixtures("collected")
@TESTS.asynchronous
def test_two_event_loops_at_once_are_refused_in_words(service: Service) -> None:
    """The error says what to do; the first loop goes on."""
    client = ore.AsyncClient(KEY, base_url=service.url, model="m")
    entered, done = threading.Event(), threading.Event()

    async def first() -> int:
        await client.embed("a")
        entered.set()
        await asyncio.to_thread(done.wait, 60)
        return len(await client.embed("b"))

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(lambda: asyncio.run(first()))
        entered.wait(60)
        with pytest.raises(ore.InputError, match="make one AsyncClient in each loop, or use"):
            asyncio.run(client.embed("c"))
        done.set()
        assert waiting.result(60) == 1
    asyncio.run(client.close())
