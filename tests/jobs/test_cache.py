"""The cache shares vectors between jobs."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from openrouter_embeddings.jobs._store import Store

from tests.job_support import billed, run


def test_a_cache_shares_vectors_between_jobs(source: Path, tmp_path: Path) -> None:
    """Only between jobs with the same model and dimensions."""
    cache = tmp_path / "cache"
    run(source, tmp_path / "a.npy", cache=cache)
    report, service = run(source, tmp_path / "b.npy", cache=cache)
    assert service.faults.requests == 0
    assert (report.reused, report.embedded) == (80, 0)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    _, service = run(source, tmp_path / "c.npy", cache=cache, dimensions=4)
    assert sum(billed(service).values()) == 80


def test_a_cache_can_be_created_by_two_processes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite does not wait for a lock when it sets the journal mode, so the store tries again."""
    other = sqlite3.connect(tmp_path / "cache", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    tries: list[Store] = []

    def opened(self: Store) -> None:
        if tries:
            other.rollback()
        tries.append(self)
        begin(self)

    begin = Store._open
    monkeypatch.setattr(Store, "_open", opened)
    with closing(other), closing(Store(tmp_path / "cache", shared=True)) as store:
        assert store.kept == 0
    assert len(tries) == 2


def test_a_cache_records_models_and_providers(source: Path, tmp_path: Path) -> None:
    """The report of a job that reuses vectors names who served them."""
    cache = tmp_path / "cache"
    first, _ = run(source, tmp_path / "a.parquet", cache=cache, column="text")
    second, _ = run(source, tmp_path / "b.parquet", cache=cache, column="text")
    assert second.reused == 80
    assert (second.models, second.providers) == (first.models, first.providers)
    assert second.models
