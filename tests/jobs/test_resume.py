"""Jobs that were stopped, and go on: nothing is paid for twice, and nothing mixed."""

from concurrent.futures import wait
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings.jobs import _embed, _progress
from openrouter_embeddings.jobs._rows import Reader
from openrouter_embeddings.jobs._store import Store
from openrouter_embeddings.jobs._write import TargetWriter
from openrouter_embeddings.local.faults import Fault
from openrouter_embeddings.testing import Service

from tests.job_support import OPTIONS, TABLE, TEXTS, billed, first_of, run, vectors


@pytest.mark.parametrize("name", ["t.parquet", "t.npy", "t.jsonl"])
def test_a_job_that_failed_goes_on(source: Path, tmp_path: Path, name: str) -> None:
    """What came is not paid for again, and the target is the same to the byte."""
    run(source, tmp_path / f"whole-{name}")
    with pytest.raises(ore.PaymentRequiredError):
        run(source, tmp_path / name, Fault("status", status=402, requests=[3]))
    assert not (tmp_path / name).exists()
    assert (tmp_path / f"{name}.job").exists()
    report, service = run(source, tmp_path / name)
    assert report.usage.requests == 2
    assert report.embedded == 80
    assert sum(billed(service).values()) == 32
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert not (tmp_path / f"{name}.job").exists()


def test_an_input_is_asked_for_once_while_it_is_under_way(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its duplicate is read before its answer has come."""
    monkeypatch.setattr(Reader, "rows", 7)
    again = pa.concat_tables([TABLE.slice(0, 10), TABLE])
    report, service = run(again, tmp_path / "t.npy", batch_size=64)
    assert set(billed(service).values()) == {1}
    assert report.duplicates == 30
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors([*TEXTS[:10], *TEXTS]))


def test_what_came_of_a_request_that_was_divided_is_kept(source: Path, tmp_path: Path) -> None:
    """When a later part of it failed."""
    target = tmp_path / "t.npy"
    first = Service(Fault("batch-cap", at_most=4), Fault("status", status=402, requests=[4]))
    with first.client(**OPTIONS) as client, pytest.raises(ore.PaymentRequiredError) as caught:
        jobs.embed_file(source, target, client=client)
    assert caught.value.partial is not None
    _, second = run(source, target)
    assert set(billed(first, second).values()) == {1}


def test_a_target_holds_one_vector_space(tmp_path: Path) -> None:
    """Vectors of another width stop the job, before any of them is kept."""
    table = pa.table({"text": [*"abc"]})
    options: Any = {"dimensions": None, "batch_size": 1}
    with pytest.raises(jobs.JobError, match="of 255 dimensions after vectors of 256"):
        run(table, tmp_path / "t.npy", Fault("wrong-width", requests=[1]), **options)
    run(table, tmp_path / "t.npy", **options)
    wanted = ore.Client.local(model="local/hash").embed([*"abc"]).vectors
    assert np.array_equal(np.load(tmp_path / "t.npy"), wanted)


@pytest.mark.parametrize("kind", ["txt", "parquet"])
def test_a_source_that_changes_meanwhile_is_said(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that nobody has embedded gets no other's vector, and no target is left."""
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


def test_a_source_whose_rows_change_places_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though all of them have a vector."""
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


def test_ctrl_c_keeps_what_is_in_flight(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the cache, too; and the job goes on from there."""
    monkeypatch.setattr(_embed, "wait", first_of)
    monkeypatch.setattr(_progress, "INTERVAL", 0.0)
    target, cache = tmp_path / "t.npy", tmp_path / "cache"
    first = Service()

    def interrupt(progress: jobs.Progress) -> None:
        if progress.embedded and progress.stage == "embedding":
            raise KeyboardInterrupt

    made: Any = {**OPTIONS, "concurrency": 3}
    with first.client(**made) as client, pytest.raises(KeyboardInterrupt):
        jobs.embed_file(source, target, client=client, on_progress=interrupt, cache=cache)
    _, second = run(source, target)
    assert set(billed(first, second).values()) == {1}
    assert np.array_equal(np.load(target), vectors(TEXTS))
    _, third = run(source, tmp_path / "other.npy", cache=cache)
    assert set(billed(first, third).values()) == {1}


def test_a_job_is_not_mixed_with_another(source: Path, tmp_path: Path) -> None:
    """Another model, column or source is refused, with what differs and what can be done."""
    target = tmp_path / "t.npy"
    with pytest.raises(ore.PaymentRequiredError):
        run(source, target, Fault("status", status=402, requests=[3]))
    for changed, said in (
        ({"model": "local/minilm"}, "model: 'local/hash', now 'local/minilm'"),
        ({"dimensions": 9}, "asked_dimensions: 8, now 9"),
        ({"column": "more"}, "column: 'text', now 'more'"),
    ):
        with pytest.raises(jobs.JobError, match=said):
            run(source, target, **changed)
    pq.write_table(TABLE.slice(1), source)
    with pytest.raises(jobs.JobError, match="the source's path or contents changed"):
        run(source, target)


def test_a_job_that_is_done_is_not_done_again(source: Path, tmp_path: Path) -> None:
    """A target that was made otherwise is left alone."""
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


def test_a_job_has_its_target_alone(source: Path, tmp_path: Path) -> None:
    """A second one at the same time is told so."""
    with (
        closing(Store(tmp_path / "t.npy.job")),
        pytest.raises(jobs.JobError, match=r"another process has .* open"),
    ):
        run(source, tmp_path / "t.npy")


def test_a_damaged_checkpoint_is_said(source: Path, tmp_path: Path) -> None:
    """With what to do; nothing is overwritten."""
    target = tmp_path / "t.npy"
    with pytest.raises(ore.PaymentRequiredError):
        run(source, target, Fault("status", status=402, requests=[3]))
    checkpoint = tmp_path / "t.npy.job"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(jobs.JobError, match=r"is damaged .* remove it to start\s+again"):
        run(source, target)
    assert checkpoint.stat().st_size == 5000


def test_a_disk_that_is_full_is_said(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sentence, though it is found out while a vector is written."""

    def opened(self: Store) -> None:
        begin(self)
        self._database.execute("PRAGMA max_page_count = 6")

    begin = Store._open
    monkeypatch.setattr(Store, "_open", opened)
    with pytest.raises(jobs.JobError, match="full; everything saved before is safe"):
        run(source, tmp_path / "t.npy", dimensions=2000)


def test_other_answers_are_kept_when_one_is_of_another_width(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were paid for, though the job cannot go on; they are in the cache, too."""

    def wait_for_all(pending: Any, **_: Any) -> Any:
        wait(pending)
        first, *others, last = sorted(pending, key=lambda one: one.result().vectors.shape[1])
        return [others[0], first, *others[1:], last], []

    monkeypatch.setattr(_embed, "wait", wait_for_all)
    options: Any = {"dimensions": None, "batch_size": 1, "concurrency": 4}
    with pytest.raises(jobs.JobError, match=r"another\s+vector space"):
        run(
            source, tmp_path / "t.npy", Fault("wrong-width", requests=[1]),
            cache=tmp_path / "cache", **options,
        )  # fmt: skip
    (name,) = (tmp_path / "cache").glob("*.vectors")
    for path in (tmp_path / "t.npy.job", name):
        with closing(Store(path)) as store:
            assert store.count("vectors") == 3
