"""The progress that a job reports."""

from concurrent.futures import wait
from pathlib import Path
from typing import Any

import openrouter_embeddings as ore
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings.jobs import _embed, _progress
from openrouter_embeddings.local.faults import Fault

from tests.job_support import first_of, run, stopped


def test_progress_shows_a_lowered_concurrency(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It also counts retries."""
    monkeypatch.setattr(_progress, "INTERVAL", 0.0)
    seen: list[jobs.Progress] = []
    busy = Fault("status", status=503, requests=range(4))
    options: Any = {"concurrency": 4, "max_retries": 4}
    run(source, tmp_path / "t.npy", busy, column="text", on_progress=seen.append, **options)
    assert 1 <= min(one.concurrency for one in seen) < 4
    assert all(one.in_flight <= 4 for one in seen)
    assert seen[-1].usage.retries >= 4


def test_progress_counts_rows_of_earlier_runs_apart(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would distort the speed and the expected cost of this run."""
    monkeypatch.setattr(_progress, "INTERVAL", 0.0)
    stopped(source, tmp_path / "t.npy", at=2, column="text")
    seen: list[jobs.Progress] = []
    run(source, tmp_path / "t.npy", column="text", on_progress=seen.append)
    assert {one.earlier for one in seen} == {52}  # two requests of 16, and 20 rows like those


def test_a_failing_job_reports_that_it_waits(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, before the error is raised, while requests are in flight."""
    seen: list[jobs.Progress] = []
    monkeypatch.setattr(_embed, "wait", first_of)
    refused = Fault("status", status=401, requests=[0])
    options: Any = {"concurrency": 4, "on_progress": seen.append}
    with pytest.raises(ore.AuthenticationError) as raised:
        run(source, tmp_path / "t.npy", refused, column="text", **options)
    stages = [progress.stage for progress in seen]
    assert stages[-1] == "stopping"
    assert stages.count("stopping") == 1
    assert raised.value.inputs == ()  # a position in a request is nobody's row


def test_progress_is_reported_while_the_service_is_slow(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user sees that time passes."""
    looks = iter(range(5))
    seen: list[jobs.Progress] = []

    def wait_in_vain(pending: Any, timeout: float, **how: Any) -> Any:
        return wait(pending, timeout, **how) if next(looks, None) is None else (set(), pending)

    monkeypatch.setattr(_progress, "INTERVAL", 0.0)
    monkeypatch.setattr(_embed, "wait", wait_in_vain)
    run(source, tmp_path / "t.npy", column="text", on_progress=seen.append)
    assert len([one for one in seen if not one.embedded and one.stage == "embedding"]) >= 5
