"""A Celery worker, with a broker and results in files."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.compat.loopback import Service, vector
from tests.compat.programs import command, running, write
from tests.compat.rows import Row

ROW = Row("Celery", "a client at the top of the module", "celery")
CONFIG = """
broker_url = "filesystem://"
broker_transport_options = {name: "broker" for name in ("data_folder_in", "data_folder_out")}
broker_transport_options["control_folder"] = "control"
result_backend = "file://results"
worker_hijack_root_logger = False
"""
# a task that runs an event loop of its own, and a client made in each process
MORE = """
import asyncio, os
import httpx
from celery.signals import worker_process_init

asynchronous = ore.AsyncClient(model="m", batch_size=1)
asyncio.run(asynchronous.embed("before the fork"))
client.embed("before the fork")
made_here = None

@worker_process_init.connect
def make_client(**_):
    global made_here
    made_here = ore.Client(model="m", http_client=httpx.Client())

@app.task
def in_an_event_loop(texts):
    return asyncio.run(asynchronous.embed(texts)).vectors.tolist()

@app.task
def with_a_client_of_this_process(texts):
    return made_here.embed(texts).vectors.tolist()

@app.task
def process(texts):
    client.embed(texts)
    return os.getpid()
"""
# sends tasks as any other program would, and prints their results
ASK = """
import sys, json, tasks
waiting = [getattr(tasks, sys.argv[1]).delay([f"{n} a", f"{n} b"]) for n in range(int(sys.argv[2]))]
print(json.dumps([task.get(timeout=50) for task in waiting]))
"""


def ask(folder: Path, service: Service, task: str, count: int = 12) -> Any:
    """The results of some tasks, which another process sends."""
    words = [sys.executable, "-c", ASK, task, str(count)]
    output = subprocess.run(
        words, cwd=folder, env=service.environment, capture_output=True, text=True, check=False
    )
    assert output.returncode == 0, output.stderr
    return json.loads(output.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the module of the page, more tasks, and the configuration."""
    write(tmp_path, "Celery", MORE)
    (tmp_path / "celeryconfig.py").write_text(CONFIG)
    for name in ("broker", "results", "control"):
        (tmp_path / name).mkdir()
    return tmp_path


EXPECTED = [[vector(f"{n} a"), vector(f"{n} b")] for n in range(12)]


@ROW.sync
@ROW.asynchronous
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_every_task_gets_its_vectors(folder: Path, service: Service, pool: str) -> None:
    """Nothing is sent twice. With prefork, the tasks run in two processes."""
    words = command("Celery", "--without-gossip", "--without-mingle", "--pool", pool)
    with running(words, folder, service) as worker:
        tasks = ["embed"]
        tasks += ["with_a_client_of_this_process"] if pool == "prefork" else []
        tasks += ["in_an_event_loop"] if pool != "threads" else []
        for task in tasks:
            assert ask(folder, service, task) == EXPECTED
        processes = {*ask(folder, service, "process", 30)}
        assert len(processes) == (2 if pool == "prefork" else 1)
        assert (worker.pid in processes) == (pool != "prefork")
    del service.arrived["before the fork"]
    assert {*service.arrived.values()} == {len(tasks) + 1, 1}
