"""gevent, which replaces the standard library's threads, queues and sockets."""

import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.compat.loopback import Service, vector
from tests.compat.programs import blocks, connect, running, write
from tests.compat.rows import Row

trustme: Any = import_module("trustme")
ROW = Row("gevent", "`monkey.patch_all()` before the client is made")
GUNICORN = Row("gunicorn `--worker-class gevent`", "`--preload`, or a client in each worker", "")
CELERY = Row("Celery `--pool gevent`", "a client at the top of the module", "")
PATCH = "from gevent import monkey; monkey.patch_all()\n"
IMPORT = "import openrouter_embeddings as ore; ore.Client, ore.AsyncClient\n"
MAKE = 'client = ore.Client(model="together", batch_size=1, concurrency=50)\n'
ORDERS = [PATCH + IMPORT + MAKE, IMPORT + PATCH + MAKE, IMPORT + MAKE + PATCH]


def run(code: str, service: Service, folder: Path, **environment: str) -> str:
    """The output of a program that has ended without an error."""
    (folder / "program.py").write_text(code)
    output = subprocess.run(
        [sys.executable, "program.py"], cwd=folder, env={**service.environment, **environment},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert output.returncode == 0, output.stderr
    assert output.stderr == ""
    return output.stdout


TOGETHER = """
import gevent
jobs = [gevent.spawn(client.embed, f"text {number}") for number in range(50)]
gevent.joinall(jobs, raise_error=True)
print([job.value.vectors.tolist() for job in jobs])
texts = [f"batch {number}" for number in range(50)]
print(client.embed(texts).vectors.tolist())
"""


@ROW.sync
@pytest.mark.parametrize("order", ORDERS, ids=["first", "after the import", "after the client"])
def test_greenlets_share_a_client(service: Service, tmp_path: Path, order: str) -> None:
    """Fifty requests are in flight together: of fifty greenlets, then of one call."""
    service.crowd = 50
    lines = run(order + TOGETHER, service, tmp_path).splitlines()
    assert lines == [
        repr([[vector(f"text {number}")] for number in range(50)]),
        repr([vector(f"batch {number}") for number in range(50)]),
    ]
    assert set(service.arrived.values()) == {1}
    assert service.opened == 50


@ROW.sync
@pytest.mark.parametrize("order", ORDERS[:2], ids=["first", "after the import"])
def test_greenlets_share_a_client_over_tls(tmp_path: Path, order: str) -> None:
    """The client is made after gevent has replaced the ssl module."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with Service(context) as service:
        service.crowd = 50
        trusted = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
        assert len(run(order + TOGETHER, service, tmp_path, **trusted).splitlines()) == 2


KILLED = """
import threading
import gevent
ends = []

def embed(count):
    try:
        with gevent.Timeout(limit):
            client.embed([f"{count} {number}" for number in range(count)], model="held")
    except BaseException as error:
        ends.append(type(error).__name__)

def in_flight():
    queue = client._throttle._models.get("held")
    return len(queue.in_flight) if queue else 0

for count in (1, 8):
    for limit in (None, 0.3):
        greenlet = gevent.spawn(embed, count)
        while in_flight() < count:
            gevent.sleep(0.01)
        if limit is None:
            greenlet.kill()
        greenlet.join()
        assert in_flight() == 0
        assert not [t for t in threading.enumerate() if t.name == "openrouter-embeddings"]
parts = client.embed_stream((f"{number}" for number in range(20)), model="m")
next(parts)
del parts
assert not [t for t in threading.enumerate() if t.name == "openrouter-embeddings"]
print(ends, client.embed([*"abcdef"], model="m").vectors.shape)
"""


@ROW.sync
@pytest.mark.parametrize("order", ORDERS, ids=["first", "after the import", "after the client"])
def test_killing_a_greenlet_aborts_its_requests(
    service: Service, tmp_path: Path, order: str
) -> None:
    """GreenletExit and gevent.Timeout leave no request and no thread, and the client works."""
    ends = ["GreenletExit", "Timeout"] * 2
    assert run(order + KILLED, service, tmp_path) == f"{ends} (6, 4)\n"


LEFT = """
parts = client.embed_stream((f"{number}" for number in range(20)), model="m")
next(parts)
workers = parts.gi_frame.f_locals  # referred to until the end
"""


@ROW.sync
@pytest.mark.parametrize("order", ORDERS[:2], ids=["first", "after the import"])
def test_a_stream_that_is_left_at_the_end_of_the_program_is_silent(
    service: Service, tmp_path: Path, order: str
) -> None:
    """The last garbage collection may find its threads and its queue."""
    assert run(order + LEFT, service, tmp_path) == ""


def test_the_page_runs(service: Service, tmp_path: Path) -> None:
    """The program of the page, as it is."""
    (code,) = blocks("gevent")
    assert run(code, service, tmp_path) == "50 (1, 4)\n"


ASYNC = """
import asyncio, gevent

async def embed():
    async with ore.AsyncClient(model="m", batch_size=1) as client:
        return (await client.embed([*"abcdef"])).vectors.shape

print(asyncio.run(embed()), gevent.spawn(lambda: asyncio.run(embed())).get())
"""


@ROW.asynchronous
def test_an_event_loop_runs_in_one_greenlet(service: Service, tmp_path: Path) -> None:
    """In the main one, or in another."""
    assert run(PATCH + IMPORT + ASYNC, service, tmp_path) == "(6, 4) (6, 4)\n"


APP = """
import openrouter_embeddings as ore
client = ore.Client(model="together")

def app(environ, start_response):
    rows = client.embed(environ["PATH_INFO"]).vectors.tolist()
    start_response("200 OK", [])
    return [repr(rows).encode()]
"""


@GUNICORN.sync
@pytest.mark.parametrize("options", [[], ["--preload"]])
def test_a_worker_of_gunicorn_serves_greenlets(
    service: Service, tmp_path: Path, options: list[str]
) -> None:
    """Eight users at the same time share the client of their worker."""
    service.crowd = 8
    (tmp_path / "app.py").write_text(APP)
    path = tmp_path / "socket"
    gunicorn = Path(sys.executable).with_name("gunicorn")
    words = [
        str(gunicorn),
        "--worker-class",
        "gevent",
        "--bind",
        f"unix:{path}",
        *options,
        "app:app",
    ]
    with (
        running(words, tmp_path, service) as process,
        connect(path, process) as browser,
        ThreadPoolExecutor(8) as threads,
    ):
        answers = threads.map(lambda number: browser.get(f"/{number}").json(), range(40))
        assert [*answers] == [[vector(f"/{number}")] for number in range(40)]
    assert set(service.arrived.values()) == {1}


TASKS = """
import tasks
results = [tasks.embed.delay([f"{n} a", f"{n} b"]) for n in range(12)]
print([result.get(timeout=50) for result in results])
"""
CONFIG = """
broker_url = "filesystem://"
broker_transport_options = {name: "broker" for name in ("data_folder_in", "data_folder_out")}
broker_transport_options["control_folder"] = "control"
result_backend = "file://results"
"""


@CELERY.sync
def test_a_worker_of_celery_runs_tasks_in_greenlets(service: Service, tmp_path: Path) -> None:
    """Each of the tasks gets its vectors, once."""
    write(tmp_path, "Celery")
    (tmp_path / "celeryconfig.py").write_text(CONFIG)
    for name in ("broker", "results", "control"):
        (tmp_path / name).mkdir()
    celery = str(Path(sys.executable).with_name("celery"))
    words = [celery, "--app", "tasks", "worker", "--pool", "gevent", "--concurrency", "12"]
    with running(words, tmp_path, service):
        output = run(TASKS, service, tmp_path)
    assert output == f"{[[vector(f'{n} a'), vector(f'{n} b')] for n in range(12)]}\n"
    assert set(service.arrived.values()) == {1}
