"""Signals that end `orembed run`."""

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
    """A service that answers when the test lets it.

    Attributes:
        asked: released for each request that arrives.
        answering: set to let all requests be answered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Semaphore(0)
        self.answering = threading.Event()

    def refusal(self, asked: dict[str, Any]) -> None:
        """Refuse nothing, but wait until the test lets requests be answered."""
        self.asked.release()
        self.answering.wait(60)


@pytest.fixture
def slow() -> Iterator[Slow]:
    """The service, on a socket."""
    with Slow() as service:
        yield service
        service.answering.set()


def started_job(service: Slow, folder: Path, before: str = "") -> subprocess.Popen[str]:
    """A process with a job of nine texts, whose first requests are in flight."""
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
    """How many vectors the job has stored."""
    with closing(Store(folder / "t.npy.job")) as store:
        return store.kept


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_keeps_the_vectors_in_flight(
    slow: Slow, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """The job waits for requests in flight, sends no more, and says how to continue."""
    with started_job(slow, tmp_path) as process:
        assert process.stderr is not None
        process.send_signal(number)
        assert "finishing the requests already sent" in process.stderr.readline()
        slow.answering.set()
        assert process.wait(60) == status
        assert "run the same command again to continue" in process.stderr.read()
    assert kept(tmp_path) == CONCURRENCY
    assert not slow.asked.acquire(blocking=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_stops_at_once(slow: Slow, tmp_path: Path, number: signal.Signals) -> None:
    """The job does not wait for responses after a second signal."""
    with started_job(slow, tmp_path) as process:
        assert process.stderr is not None
        process.send_signal(signal.SIGTERM)
        assert "finishing the requests already sent" in process.stderr.readline()
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    assert kept(tmp_path) == 0


def test_a_signal_that_is_ignored_stays_ignored(slow: Slow, tmp_path: Path) -> None:
    """A job under nohup, which ignores SIGHUP, runs to its end after a SIGHUP."""
    with started_job(slow, tmp_path, "trap '' HUP; ") as process:
        process.send_signal(signal.SIGHUP)
        slow.answering.set()
        assert process.wait(60) == 0
    assert (tmp_path / "t.npy").exists()


def test_ctrl_c_in_the_progress_callback_of_a_stopping_job_stops_at_once(
    slow: Slow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as the second Ctrl-C, so the job does not wait for responses."""
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
