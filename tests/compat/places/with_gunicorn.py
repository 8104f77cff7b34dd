"""gunicorn with workers that inherit a client."""

import os
import re
import signal
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.compat.loopback import Service, vector
from tests.compat.programs import command, connect, running, wait_until, write
from tests.compat.rows import Row

ROW = Row("gunicorn", "`--preload`, or a client in each worker", "gunicorn")
USED = '\nclient.embed(["in the master"])\n'
# each request embeds its path, in four requests to the service
EACH = """
def app(environ, start_response):
    texts = [environ["PATH_INFO"] + letter for letter in "abcd"]
    rows = client.embed(texts, batch_size=1, concurrency=2).vectors.tolist()
    start_response("200 OK", [("X-Process", str(os.getpid()))])
    return [repr(rows).encode()]
"""
ASYNC = """
import asyncio, os
from fastapi import Response

shared = ore.AsyncClient(model="m")
asyncio.run(shared.embed("in the master"))

@app.get("/{path}")
async def inherited(path: str, response: Response):
    response.headers["X-Process"] = str(os.getpid())
    texts = [f"/{path}" + letter for letter in "abcd"]
    return (await shared.embed(texts, batch_size=1, concurrency=2)).vectors.tolist()
"""
WORKERS = [
    pytest.param(["--worker-class", "sync", "--threads", "1"], marks=ROW.sync),
    pytest.param(["--worker-class", "gthread"], marks=ROW.sync),
    pytest.param(
        ["--worker-class", "uvicorn_worker.UvicornWorker", "api:app"], marks=ROW.asynchronous
    ),
]


@pytest.mark.parametrize("preload", [True, False])
@pytest.mark.parametrize("options", WORKERS)
def test_every_worker_embeds_with_the_client_of_its_master(
    options: list[str], service: Service, tmp_path: Path, *, preload: bool
) -> None:
    """All requests get their vectors, before and after a reload, and every process ends well."""
    write(tmp_path, "gunicorn", USED + EACH)
    write(tmp_path, "FastAPI", ASYNC)
    path = tmp_path / "socket"
    words = command("gunicorn", "--bind", f"unix:{path}", *options)
    if "api:app" in options:
        words.remove("app:app")
    if not preload:
        words.remove("--preload")
    with running(words, tmp_path, service) as process, connect(path, process) as browser:
        before = ask(browser, range(40))
        process.send_signal(signal.SIGHUP)  # new workers; with --preload, of the same application
        wait_until(lambda: not before & alive(before), process)
        after = ask(browser, range(40, 80))
        assert not before & after
    assert service.arrived.pop("in the master") == (1 if preload else 4)
    assert set(service.arrived.values()) == {1}
    assert len(service.arrived) == 320


def ask(browser: httpx.Client, numbers: Iterable[int]) -> set[int]:
    """Ask for the vectors of these requests, and check them. Returns the processes."""

    def one(number: int) -> int:
        response = browser.get(f"/{number}", headers={"Connection": "close"})
        assert response.json() == [vector(f"/{number}{letter}") for letter in "abcd"]
        return int(response.headers["X-Process"])

    with ThreadPoolExecutor(8) as threads:
        return {*threads.map(one, numbers)}


def alive(processes: set[int]) -> set[int]:
    """Those that have not ended."""
    return {process for process in processes if Path(f"/proc/{process}").exists()}


@pytest.mark.parametrize("options", WORKERS[:2])
def test_a_worker_that_is_stopped_finishes_its_request(
    options: list[str], service: Service, tmp_path: Path
) -> None:
    """SIGTERM comes while it waits for a response."""
    write(tmp_path, "gunicorn", EACH)
    code = (tmp_path / "app.py").read_text()
    (tmp_path / "app.py").write_text(re.sub('model="[^"]*"', 'model="held"', code))
    path = tmp_path / "socket"
    words = command("gunicorn", "--bind", f"unix:{path}", *options)
    with (
        ThreadPoolExecutor(1) as threads,
        running(words, tmp_path, service) as process,
        connect(path, process) as browser,
    ):
        answer = threads.submit(ask, browser, [0])
        service.wait_for(lambda: len(service.arrived) == 2)
        process.terminate()
        service.release()
        assert answer.result() != {os.getpid()}
        process.wait(60)


def test_the_page_answers(service: Service, tmp_path: Path) -> None:
    """The application and the command of the page, as they are."""
    write(tmp_path, "gunicorn")
    path = tmp_path / "socket"
    words = command("gunicorn", "--bind", f"unix:{path}")
    with running(words, tmp_path, service) as process, connect(path, process) as browser:
        assert re.fullmatch(r"process \d+: \(2, 4\)\n", browser.get("/").text)
