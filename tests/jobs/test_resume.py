"""A job that was interrupted is resumed: nothing is paid for twice, and no vectors are mixed."""

import os
from concurrent.futures import wait
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings.client.workers import Workers
from openrouter_embeddings.jobs import _embed, _progress
from openrouter_embeddings.jobs._rows import Reader
from openrouter_embeddings.jobs._store import Store
from openrouter_embeddings.jobs._write import TargetWriter
from openrouter_embeddings.local.faults import Fault
from openrouter_embeddings.testing import Service

from tests.job_support import TABLE, TEXTS, billed, first_of, run, stopped, vectors
from tests.support import PNG


@pytest.mark.parametrize(
    ("owner", "name", "comes"),
    [
        (_embed.Embedding, "_keep", "before"),
        (_embed.Embedding, "_spend", "before"),
        (Workers, "put", "after"),
    ],
)
def test_ctrl_c_at_any_time_loses_no_response(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, comes: str
) -> None:
    """Every response that was billed is saved."""
    real = getattr(owner, name)
    interrupted: list[bool] = []

    def interrupt(self: Any, *arguments: Any) -> None:
        now = not interrupted
        interrupted.append(True)
        if now and comes == "before":
            raise KeyboardInterrupt
        real(self, *arguments)
        if now:
            raise KeyboardInterrupt

    monkeypatch.setattr(owner, name, interrupt)
    first = Service()
    with pytest.raises(KeyboardInterrupt):
        run(TABLE, tmp_path / "t.npy", service=first, column="text")
    _, second = run(TABLE, tmp_path / "t.npy", column="text")
    assert set(billed(first, second).values()) == {1}


def test_a_source_that_was_only_touched_is_the_same(source: Path, tmp_path: Path) -> None:
    """Only its contents count, during a run and between two runs."""
    times = count(1)

    def touch(_: Any) -> None:
        os.utime(source, (next(times), 1))

    stopped(source, tmp_path / "t.npy", at=1, column="text")
    touch(None)
    run(source, tmp_path / "t.npy", column="text", on_progress=touch)
    assert next(times) > 2
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))


def test_a_job_without_vectors_can_get_other_parameters(tmp_path: Path) -> None:
    """For example after a misspelt model."""
    with pytest.raises(ore.NotFoundError):
        run(TABLE, tmp_path / "t.npy", column="text", model="local/typo")
    assert [*tmp_path.iterdir()] == []
    run(TABLE, tmp_path / "t.npy", column="text")


def test_an_image_that_was_missing_is_read_again(tmp_path: Path) -> None:
    """An unreadable image is not a refusal by the service, so the next run tries it again."""
    rows = pa.table({"image": ["a.png", "b.png"]})
    source = tmp_path / "s.parquet"
    pq.write_table(rows, source)
    (tmp_path / "a.png").write_bytes(PNG)
    with pytest.raises(jobs.JobError, match="1 row cannot be embedded, and max_errors is 0"):
        run(source, tmp_path / "t.npy", images="image", max_errors=0)
    assert b"b.png" in (tmp_path / "t.npy.errors.jsonl").read_bytes()
    (tmp_path / "b.png").write_bytes(PNG + b"other")
    report, _ = run(source, tmp_path / "t.npy", images="image", max_errors=0)
    assert (report.errors, report.duplicates) == (0, 0)
    assert not np.isnan(np.load(tmp_path / "t.npy")).any()
    assert not (tmp_path / "t.npy.errors.jsonl").exists()


def test_a_changed_image_is_not_a_duplicate(tmp_path: Path) -> None:
    """The vector of the earlier image is not counted for the row."""
    pq.write_table(pa.table({"image": ["a.png", "b.png"]}), tmp_path / "s.parquet")
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(PNG + name.encode())
    stopped(tmp_path / "s.parquet", tmp_path / "t.npy", at=1, images="image", batch_size=1)
    (tmp_path / "a.png").write_bytes(PNG + b"other")
    report, _ = run(tmp_path / "s.parquet", tmp_path / "t.npy", images="image", batch_size=1)
    assert (report.rows, report.duplicates, report.embedded) == (2, 0, 3)


@pytest.mark.parametrize("name", ["t.parquet", "t.npy", "t.jsonl"])
def test_a_failed_job_is_resumed(source: Path, tmp_path: Path, name: str) -> None:
    """Nothing is paid for twice, and the target is the same to the byte."""
    run(source, tmp_path / f"whole-{name}")
    job = stopped(source, tmp_path / name, at=3)
    assert not (tmp_path / name).exists()
    assert job.exists()
    report, service = run(source, tmp_path / name)
    assert report.usage.requests == 2
    assert report.embedded == 80
    assert sum(billed(service).values()) == 32
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert not job.exists()


def test_an_input_in_flight_is_not_sent_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although its duplicate is read before its response arrives."""
    monkeypatch.setattr(Reader, "rows", 7)
    again = pa.concat_tables([TABLE.slice(0, 10), TABLE])
    report, service = run(again, tmp_path / "t.npy", batch_size=64)
    assert set(billed(service).values()) == {1}
    assert report.duplicates == 30
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors([*TEXTS[:10], *TEXTS]))


def test_part_of_a_split_request_is_saved(source: Path, tmp_path: Path) -> None:
    """If a later part of the request fails, the earlier parts are not paid for again."""
    target = tmp_path / "t.npy"
    first = Service(Fault("batch-cap", at_most=4), Fault("status", status=402, requests=[4]))
    with pytest.raises(ore.PaymentRequiredError) as caught:
        run(source, target, service=first)
    assert caught.value.partial is not None
    _, second = run(source, target)
    assert set(billed(first, second).values()) == {1}


def test_a_target_holds_one_vector_space(tmp_path: Path) -> None:
    """Vectors of another length stop the job before any of them is saved."""
    table = pa.table({"text": [*"abc"]})
    options: Any = {"dimensions": None, "batch_size": 1}
    with pytest.raises(jobs.JobError, match="of 255 dimensions after vectors of 256"):
        run(table, tmp_path / "t.npy", Fault("wrong-width", requests=[1]), **options)
    run(table, tmp_path / "t.npy", **options)
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors([*"abc"], dimensions=None))


@pytest.mark.parametrize("kind", ["txt", "parquet"])
def test_a_source_that_changes_during_a_job_is_an_error(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row gets a wrong vector, and no target is left."""
    source = tmp_path / f"source.{kind}"

    def fill(name: str) -> None:
        if kind == "parquet":
            pq.write_table(TABLE.select([name]).rename_columns(["text"]), source)
        else:
            source.write_text("\n".join(TABLE[name].to_pylist()))

    def changed(*arguments: Any, **options: Any) -> Any:
        fill("more")
        return write(*arguments, **options)

    fill("text")
    write = TargetWriter.write
    monkeypatch.setattr(TargetWriter, "write", changed)
    with pytest.raises(jobs.JobError, match=r"the source (has changed|cannot be read)"):
        run(source, tmp_path / "t.npy")
    assert sorted(p.name for p in tmp_path.iterdir()) == [source.name, "t.npy.job"]


def test_a_source_whose_rows_are_reordered_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although all of them have a vector."""
    source = tmp_path / "source.txt"
    source.write_text("a\nb\nc\n")

    def changed(*arguments: Any, **options: Any) -> Any:
        source.write_text("b\na\nc\n")
        return write(*arguments, **options)

    write = TargetWriter.write
    monkeypatch.setattr(TargetWriter, "write", changed)
    with pytest.raises(jobs.JobError, match="the source has changed"):
        run(source, tmp_path / "t.npy")
    assert not (tmp_path / "t.npy").exists()


def test_ctrl_c_saves_requests_in_flight(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their vectors are in the job file and in the cache."""
    monkeypatch.setattr(_embed, "wait", first_of)
    monkeypatch.setattr(_progress, "INTERVAL", 0.0)
    target, cache = tmp_path / "t.npy", tmp_path / "cache"
    first = Service()

    def interrupt(progress: jobs.Progress) -> None:
        if progress.embedded and progress.stage == "embedding":
            raise KeyboardInterrupt

    options: Any = {"concurrency": 3, "on_progress": interrupt, "cache": cache}
    with pytest.raises(KeyboardInterrupt):
        run(source, target, service=first, **options)
    _, second = run(source, target)
    assert set(billed(first, second).values()) == {1}
    assert np.array_equal(np.load(target), vectors(TEXTS))
    _, third = run(source, tmp_path / "other.npy", cache=cache)
    assert set(billed(first, third).values()) == {1}


def test_a_finished_job_sends_nothing(source: Path, tmp_path: Path) -> None:
    """A target that was made with other parameters, or by another program, stays as it is."""
    target = tmp_path / "t.parquet"
    before, _ = run(source, target)
    after, service = run(source, target)
    assert service.faults.requests == 0
    assert (after.rows, after.duplicates, after.usage.requests) == (before.rows, 20, 0)
    with pytest.raises(jobs.JobError, match="was made with other parameters"):
        run(source, target, dimensions=4)
    (tmp_path / "other.npy").write_bytes(b"something else")
    with pytest.raises(jobs.JobError, match="exists and was not made by orembed run"):
        run(source, tmp_path / "other.npy")


def test_a_second_job_on_the_same_target_is_refused(source: Path, tmp_path: Path) -> None:
    """The error says that another process has the job file open."""
    with (
        closing(Store(tmp_path / "t.npy.job")),
        pytest.raises(jobs.JobError, match=r"another process has .* open"),
    ):
        run(source, tmp_path / "t.npy")


def test_a_truncated_job_file_is_an_error(source: Path, tmp_path: Path) -> None:
    """The error says what to do, and the file is not changed."""
    target = tmp_path / "t.npy"
    job = stopped(source, target, at=3)
    job.write_bytes(job.read_bytes()[:5000])
    with pytest.raises(jobs.JobError, match=r"is damaged .* remove it to start\s+again"):
        run(source, target)
    assert job.stat().st_size == 5000


def test_a_full_disk_is_an_error(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is one sentence, even if the disk fills up while a vector is written."""

    def opened(self: Store) -> None:
        begin(self)
        self._database.execute("PRAGMA max_page_count = 6")

    begin = Store._open
    monkeypatch.setattr(Store, "_open", opened)
    with pytest.raises(jobs.JobError, match="full; everything saved before is safe"):
        run(source, tmp_path / "t.npy", dimensions=2000)


def test_responses_are_saved_when_another_has_a_wrong_length(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the job file and in the cache, because they were paid for."""

    def wait_for_all(pending: Any, **_: Any) -> Any:
        wait(pending)
        first, *others, last = sorted(pending, key=lambda one: one.result().vectors.shape[1])
        return [others[0], first, *others[1:], last], []

    monkeypatch.setattr(_embed, "wait", wait_for_all)
    options: Any = {"dimensions": None, "batch_size": 1, "concurrency": 4}
    options["cache"] = tmp_path / "cache"
    with pytest.raises(jobs.JobError, match=r"another\s+vector space"):
        run(source, tmp_path / "t.npy", Fault("wrong-width", requests=[1]), **options)
    (name,) = (tmp_path / "cache").glob("*.vectors")
    for path in (tmp_path / "t.npy.job", name):
        with closing(Store(path)) as store:
            assert store.kept == 3
