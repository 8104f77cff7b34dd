"""Signals interrupt `orembed run`."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import openrouter_embeddings as ore
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings.jobs import _progress
from openrouter_embeddings.jobs._store import Store

from tests.http_service import HTTPService

CONCURRENCY = 2


class Slow(HTTPService):
    """Answers when it is told to.

    Attributes:
        asked: released when a request has come.
        answering: set when all may be answered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Semaphore(0)
        self.answering = threading.Event()

    def refusal(self, asked: dict[str, Any]) -> None:
        """No refusal, but an answer that lets its client wait."""
        self.asked.release()
        self.answering.wait(60)


@pytest.fixture
def slow() -> Iterator[Slow]:
    """On a socket."""
    with Slow() as service:
        service.start()
        yield service
        service.answering.set()
        service.shutdown()


def begun(service: Slow, folder: Path, before: str = "") -> subprocess.Popen[str]:
    """A job of nine texts whose first requests are under way."""
    (folder / "s.txt").write_text("".join(f"{n}\n" for n in range(9)))
    options = f"--model m --batch-size 1 --concurrency {CONCURRENCY}"
    command = f"exec {sys.executable} -m openrouter_embeddings.cli run s.txt -o t.npy {options}"
    process = subprocess.Popen(
        ["sh", "-c", f"{before}{command}"],
        cwd=folder,
        env={**os.environ, "OPENROUTER_BASE_URL": service.url, "OPENROUTER_API_KEY": "local"},
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(CONCURRENCY):
        assert service.asked.acquire(timeout=60)
    return process


def kept(folder: Path) -> int:
    """How many vectors the job has."""
    with closing(Store(folder / "t.npy.job")) as store:
        return store.kept


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_saves_requests_in_flight(
    slow: Slow, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """No more requests are sent, and the command says how to resume."""
    with begun(slow, tmp_path) as process:
        assert process.stderr is not None
        process.send_signal(number)
        assert "finishing the requests already sent" in process.stderr.readline()
        slow.answering.set()
        assert process.wait(60) == status
        assert "the same command goes on" in process.stderr.read()
    assert kept(tmp_path) == CONCURRENCY
    assert not slow.asked.acquire(blocking=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_stops_at_once(slow: Slow, tmp_path: Path, number: signal.Signals) -> None:
    """Although no response has arrived."""
    with begun(slow, tmp_path) as process:
        assert process.stderr is not None
        process.send_signal(signal.SIGTERM)
        assert "finishing the requests already sent" in process.stderr.readline()
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    assert kept(tmp_path) == 0


def test_an_ignored_signal_stays_ignored(slow: Slow, tmp_path: Path) -> None:
    """As nohup does with SIGHUP."""
    with begun(slow, tmp_path, "trap '' HUP; ") as process:
        process.send_signal(signal.SIGHUP)
        slow.answering.set()
        assert process.wait(60) == 0
    assert (tmp_path / "t.npy").exists()


def test_ctrl_c_during_the_stopping_report_stops_at_once(
    slow: Slow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as the second Ctrl-C."""
    monkeypatch.setattr(_progress, "INTERVAL", 0.0)

    def interrupt(progress: jobs.Progress) -> None:
        if progress.stage == "stopping" or slow.asked.acquire(timeout=0.1):
            raise KeyboardInterrupt

    (tmp_path / "s.txt").write_text("a\nb\n")
    client = ore.Client("key", base_url=slow.url, model="m", batch_size=1, allow_http=True)
    with client, pytest.raises(KeyboardInterrupt):
        jobs.embed_file(
            tmp_path / "s.txt", tmp_path / "t.npy", client=client, on_progress=interrupt
        )
    assert not slow.answering.is_set()
    assert kept(tmp_path) == 0
