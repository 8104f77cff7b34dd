"""A corpus from file to file."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import wait
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings.jobs import _embed, _run, _write
from openrouter_embeddings.jobs._rows import Reader
from openrouter_embeddings.jobs._store import Store
from openrouter_embeddings.local.faults import Fault
from openrouter_embeddings.testing import Service

from tests.support import PNG

TEXTS = [f"text {n % 80}" for n in range(100)]  # twenty of them twice
TABLE = pa.table({"id": range(100), "text": TEXTS, "more": [f"more {n}" for n in range(100)]})
OPTIONS: Any = {"model": "local/hash", "dimensions": 8, "batch_size": 16, "concurrency": 1}


def run(source: Any, target: Path, *faults: Fault, **options: Any) -> tuple[Any, Service]:
    """A job against the stand-in with these faults; its report, and the service's books."""
    service = Service(*faults)
    made: Any = {**OPTIONS, "max_retries": 0}
    with service.client(**made) as client:
        return jobs.embed_file(source, target, client=client, **options), service


def vectors(texts: list[Any]) -> Any:
    """What the stand-in gives."""
    return ore.Client.local(**OPTIONS).embed(texts).vectors


def matrix(path: Path) -> Any:
    """The vectors of a Parquet target."""
    column = pq.read_table(path)["embedding"].combine_chunks()
    return np.asarray(column.flatten()).reshape(len(column), -1)


def billed(*services: Service) -> Counter[str]:
    """How often each input was billed."""
    return Counter(i for service in services for bill in service.faults.billed for i in bill.inputs)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A Parquet file."""
    pq.write_table(TABLE, tmp_path / "source.parquet", row_group_size=30)
    return tmp_path / "source.parquet"


def test_every_row_gets_its_vector(source: Path, tmp_path: Path) -> None:
    """Beside its own columns, in order; equal inputs are embedded once; provenance is kept."""
    target = tmp_path / "target.parquet"
    report, service = run(source, target)
    table = pq.read_table(target)
    assert table.drop_columns(["embedding"]).equals(TABLE)
    assert table.schema.field("embedding").type == pa.list_(
        pa.field("item", pa.float32(), nullable=False), 8
    )
    assert np.array_equal(matrix(target), vectors(TEXTS))
    assert set(billed(service).values()) == {1}
    assert (report.rows, report.duplicates, report.embedded, report.errors) == (100, 20, 80, 0)
    assert report.usage.requests == 5
    said = json.loads(pq.read_metadata(target).metadata[b"openrouter-embeddings"])
    assert (said["model"], said["models"], said["dimensions"]) == ("local/hash", ["local/hash"], 8)
    assert said["package"] == ore.__version__
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source.parquet", "target.parquet"]


def _sources(folder: Path) -> Iterator[Any]:
    (folder / "a.txt").write_text("\n".join(TEXTS) + "\n")
    yield folder / "a.txt"
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in TABLE.to_pylist()))
    yield str(folder / "a.jsonl")
    pyarrow.csv.write_csv(TABLE, folder / "a.csv")
    yield folder / "a.csv"
    pq.write_table(TABLE.slice(0, 70), folder / "part-0.parquet")
    pq.write_table(TABLE.slice(70), folder / "part-1.parquet")
    yield str(folder / "part-*.parquet")
    yield [folder / "part-0.parquet", folder / "part-1.parquet"]
    yield TABLE
    yield pa.RecordBatchReader.from_batches(TABLE.schema, TABLE.to_batches(33))


@pytest.mark.parametrize("number", range(7))
def test_rows_come_from_many_places(tmp_path: Path, number: int) -> None:
    """Lines, JSON lines, CSV, several files, and what speaks Arrow."""
    chosen = [*_sources(tmp_path)][number]
    run(chosen, tmp_path / "target.npy", column="text")
    assert np.array_equal(np.load(tmp_path / "target.npy"), vectors(TEXTS))


def test_csv_is_taken_as_it_is_written(tmp_path: Path) -> None:
    """A code is no number, and an empty field no missing one."""
    (tmp_path / "s.csv").write_text("code,flag\n007,true\n1e5,\n")
    run(tmp_path / "s.csv", tmp_path / "t.parquet", template="{code} {flag}")
    table = pq.read_table(tmp_path / "t.parquet")
    assert table["code"].to_pylist() == ["007", "1e5"]
    assert np.array_equal(matrix(tmp_path / "t.parquet"), vectors(["007 true", "1e5 "]))


def test_json_lines_have_all_columns(source: Path, tmp_path: Path) -> None:
    """And the vector as numbers."""
    run(source, tmp_path / "t.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [row["more"] for row in rows] == TABLE["more"].to_pylist()
    found = np.array([row["embedding"] for row in rows], np.float32)
    assert np.array_equal(found, vectors(TEXTS))
    said = json.loads((tmp_path / "t.jsonl.provenance.json").read_text())
    assert said["rows"] == 100


def test_a_template_makes_the_text(source: Path, tmp_path: Path) -> None:
    """Of several columns; a missing value is nothing."""
    run(source, tmp_path / "t.npy", template="{more}: {text}")
    wanted = [f"more {n}: {text}" for n, text in enumerate(TEXTS)]
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(wanted))
    table = pa.table({"a": ["x", None], "b": ["y", "z"]})
    run(table, tmp_path / "u.npy", template="{a}-{b}")
    assert np.array_equal(np.load(tmp_path / "u.npy"), vectors(["x-y", "-z"]))


def test_a_directory_of_images_is_a_source(tmp_path: Path) -> None:
    """Sorted by path; an image that is none has a reason in place of a vector."""
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for name in ("b.png", "a.PNG", "deep/c.png"):
        (folder / name).write_bytes(PNG)
    (folder / "broken.jpg").write_bytes(b"no image")
    report, service = run(folder, tmp_path / "t.parquet", key="path")
    table = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert [row["path"] for row in table] == ["a.PNG", "b.png", "broken.jpg", "deep/c.png"]
    assert [row["embedding"] is None for row in table] == [False, False, True, False]
    assert sum(billed(service).values()) == 1
    (line,) = report.errors_file.read_text().splitlines()
    assert json.loads(line)["key"] == "broken.jpg"
    assert "found no image" in json.loads(line)["reason"]


def test_text_and_images_make_one_input(tmp_path: Path) -> None:
    """Images as bytes, as paths beside the source, and as URLs."""
    (tmp_path / "a.png").write_bytes(PNG)
    pictures = tmp_path / "s.parquet"
    pq.write_table(
        pa.table({"text": ["red", "blue"], "image": ["a.png", "https://x.org/b.png"]}), pictures
    )
    run(pictures, tmp_path / "t.npy", column="text", images="image")
    wanted = [
        ore.Content("red", ore.Image(PNG)),
        ore.Content("blue", ore.Image("https://x.org/b.png")),
    ]
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(wanted))


def test_the_target_has_what_was_asked_for(source: Path, tmp_path: Path) -> None:
    """Only the key, and half precision."""
    target = tmp_path / "t.parquet"
    run(source, target, key="id", only_key=True, precision="float16")
    table = pq.read_table(target)
    assert table.column_names == ["id", "embedding"]
    assert np.array_equal(matrix(target), vectors(TEXTS).astype(np.float16))


def test_rows_that_cannot_be_embedded_have_a_reason(tmp_path: Path) -> None:
    """The others have vectors; a row without one is null, and NaN in a matrix."""
    table = pa.table({"text": ["a", "", "poison b", None, "c", "poison b"]})
    report, _ = run(table, tmp_path / "t.npy", Fault("poison"))
    assert report.errors == 4
    lines = [json.loads(line) for line in report.errors_file.read_text().splitlines()]
    assert [line["key"] for line in lines] == [1, 2, 3, 5]
    assert lines[0]["reason"] == "the text is empty"
    found = np.load(tmp_path / "t.npy")
    assert np.array_equal(found[[0, 4]], vectors(["a", "c"]))
    assert np.isnan(found[[1, 2, 3, 5]]).all()
    run(table, tmp_path / "t.parquet", Fault("poison"))
    found = pq.read_table(tmp_path / "t.parquet")["embedding"].to_pylist()
    assert [row is None for row in found] == [False, True, True, True, False, True]


def test_too_many_errors_stop_the_job(tmp_path: Path) -> None:
    """It goes on when more may be."""
    table = pa.table({"text": ["a", "poison b", "poison c", "d"]})
    with pytest.raises(jobs.JobError, match="2 inputs cannot be embedded, and 1 may"):
        run(table, tmp_path / "t.npy", Fault("poison"), max_errors=1)
    report, service = run(table, tmp_path / "t.npy", max_errors=2)
    assert report.errors == 2
    assert service.faults.billed == []


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
    with pytest.raises(jobs.JobError, match="of 255 dimensions came, and of 256 before"):
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
        return _write.write(*arguments, **options)

    fill("text")
    monkeypatch.setattr(_run, "write", changed)
    with pytest.raises(jobs.JobError, match=r"the source (has changed|cannot be read)"):
        run(source, tmp_path / "t.npy")
    assert sorted(p.name for p in tmp_path.iterdir()) == [source.name, "t.npy.job"]


def test_ctrl_c_keeps_what_is_in_flight(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the job goes on from there."""

    def wait_for_one(pending: Any, **_: Any) -> Any:
        wait(pending)
        return [*pending][:1], [*pending][1:]

    monkeypatch.setattr(_embed, "wait", wait_for_one)
    monkeypatch.setattr(_run, "_OFTEN", 0.0)
    target = tmp_path / "t.npy"
    first = Service()

    def interrupt(progress: jobs.Progress) -> None:
        if progress.in_flight:
            raise KeyboardInterrupt

    made: Any = {**OPTIONS, "concurrency": 3}
    with first.client(**made) as client, pytest.raises(KeyboardInterrupt):
        jobs.embed_file(source, target, client=client, on_progress=interrupt)
    _, second = run(source, target)
    assert set(billed(first, second).values()) == {1}
    assert np.array_equal(np.load(target), vectors(TEXTS))


def test_a_job_is_not_mixed_with_another(source: Path, tmp_path: Path) -> None:
    """Another model, column or source is refused, with what differs and what can be done."""
    target = tmp_path / "t.npy"
    with pytest.raises(ore.PaymentRequiredError):
        run(source, target, Fault("status", status=402, requests=[3]))
    for changed, said in (
        ({"model": "local/minilm"}, "model: 'local/hash', now 'local/minilm'"),
        ({"dimensions": 9}, "asked_dimensions: 8, now 9"),
        ({"column": "more"}, "text: '{text}', now '{more}'"),
    ):
        with pytest.raises(jobs.JobError, match=said):
            run(source, target, **changed)
    pq.write_table(TABLE.slice(1), source)
    with pytest.raises(jobs.JobError, match="the source was another or has changed"):
        run(source, target)


def test_a_job_that_is_done_is_not_done_again(source: Path, tmp_path: Path) -> None:
    """A target that was made otherwise is left alone."""
    target = tmp_path / "t.parquet"
    before, _ = run(source, target)
    after, service = run(source, target)
    assert service.faults.requests == 0
    assert (after.rows, after.duplicates, after.usage.requests) == (before.rows, 20, 0)
    with pytest.raises(jobs.JobError, match="was made otherwise"):
        run(source, target, dimensions=4)
    (tmp_path / "other.npy").write_bytes(b"something else")
    with pytest.raises(jobs.JobError, match="made by something else"):
        run(source, tmp_path / "other.npy")


def test_a_job_has_its_target_alone(source: Path, tmp_path: Path) -> None:
    """A second one at the same time is told so."""
    with (
        Store(tmp_path / "t.npy.job"),
        pytest.raises(jobs.JobError, match="another process works on this"),
    ):
        run(source, tmp_path / "t.npy")


def test_a_damaged_checkpoint_is_said(source: Path, tmp_path: Path) -> None:
    """With what to do; nothing is overwritten."""
    target = tmp_path / "t.npy"
    with pytest.raises(ore.PaymentRequiredError):
        run(source, target, Fault("status", status=402, requests=[3]))
    checkpoint = tmp_path / "t.npy.job"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(jobs.JobError, match=r"is damaged .* remove it to begin\s+anew"):
        run(source, target)
    assert checkpoint.stat().st_size == 5000


def test_a_cache_remembers_across_jobs(source: Path, tmp_path: Path) -> None:
    """For the same model only."""
    cache = tmp_path / "cache"
    run(source, tmp_path / "a.npy", cache=cache)
    report, service = run(source, tmp_path / "b.npy", cache=cache)
    assert service.faults.requests == 0
    assert (report.reused, report.embedded) == (80, 0)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    _, service = run(source, tmp_path / "c.npy", cache=cache, dimensions=4)
    assert sum(billed(service).values()) == 80


def test_a_budget_stops_a_job(source: Path, tmp_path: Path) -> None:
    """Before it is passed; with more it goes on."""
    with pytest.raises(ore.BudgetExceededError):
        run(source, tmp_path / "t.npy", budget=Decimal("0.000003"))
    report, service = run(source, tmp_path / "t.npy", budget=Decimal(1))
    assert [len(bill.inputs) for bill in service.faults.billed][:2] == [1, 15]  # to learn the price
    assert 0 < sum(billed(service).values()) < 80
    assert report.embedded == 80


def test_what_cannot_be_right_is_said_before_anything_is_sent(source: Path, tmp_path: Path) -> None:
    """With what would be."""
    target = tmp_path / "t.npy"
    wrong: list[tuple[Any, Path, dict[str, Any], str]] = [
        (tmp_path / "none.parquet", target, {}, "there is no file"),
        (tmp_path / "none-*.parquet", target, {}, "no file fits"),
        (tmp_path, target, {}, "has no images"),
        (5, target, {}, "a source of type int is not taken"),
        ([], target, {}, "one at least"),
        (source, tmp_path / "t.txt", {}, "is no .parquet, .npy or .jsonl file"),
        (source, tmp_path / "no" / "t.npy", {}, "there is no directory"),
        (source, target, {"column": "nope"}, "no column 'nope'; there are id, text, more"),
        (source, target, {"template": "{nope}"}, "no column 'nope'"),
        (source, target, {"template": "{text"}, "is none"),
        (source, target, {"column": "text", "template": "{text}"}, "not both"),
        (source, target, {"key": "nope"}, "no column 'nope'"),
        (source, target, {"only_key": True}, "key=… names the column"),
        (source, target, {"precision": "int8"}, "precision is 'int8'"),
        (
            TABLE.drop_columns(["text"]).append_column("b", TABLE["text"]),
            target,
            {},
            "which column",
        ),
        (
            TABLE.append_column("embedding", TABLE["id"]),
            tmp_path / "t.parquet",
            {},
            "has a column 'embedding'",
        ),
    ]
    for given, path, options, said in wrong:
        with pytest.raises(ore.InputError, match=said):
            run(given, path, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["source.parquet"]
