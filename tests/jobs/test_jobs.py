"""A corpus from file to file."""

import json
from collections.abc import Iterator
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
from openrouter_embeddings.local.faults import Fault

from tests.job_support import TABLE, TEXTS, billed, matrix, run, vectors
from tests.support import PNG


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
    assert "not a known image" in json.loads(line)["reason"]


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


def test_a_matrix_has_no_columns_to_be_in_the_way(tmp_path: Path) -> None:
    """A column named as that of the vectors is refused where it would stand beside them."""
    run(TABLE.append_column("embedding", TABLE["id"]), tmp_path / "t.npy", column="text")
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))


@pytest.mark.parametrize("take", [jobs.embed_file, jobs.estimate])
def test_a_misspelt_parameter_is_told_with_the_right_one(take: Any, tmp_path: Path) -> None:
    """The function's own ones are known, too."""
    for wrong, right in [("colum", "column"), ("delimeter", "delimiter"), ("modell", "model")]:
        with pytest.raises(TypeError, match=f"option '{wrong}'; did you mean '{right}'"):
            take(pa.table({"a": ["b"]}), tmp_path / "t.npy", **{wrong: "a"})


def test_rows_that_cannot_be_embedded_have_a_reason(tmp_path: Path) -> None:
    """The others have vectors; a row without one is null, and NaN in a matrix."""
    table = pa.table({"text": ["a", "", "poison b", None, "c", "poison b"]})
    report, _ = run(table, tmp_path / "t.npy", Fault("poison"))
    assert report.errors == 4
    lines = [json.loads(line) for line in report.errors_file.read_text().splitlines()]
    assert [line["key"] for line in lines] == [1, 2, 3, 5]
    assert lines[0]["reason"] == "the text is empty"
    assert lines[2]["reason"] == "the text is null"
    found = np.load(tmp_path / "t.npy")
    assert np.array_equal(found[[0, 4]], vectors(["a", "c"]))
    assert np.isnan(found[[1, 2, 3, 5]]).all()
    run(table, tmp_path / "t.parquet", Fault("poison"))
    found = pq.read_table(tmp_path / "t.parquet")["embedding"].to_pylist()
    assert [row is None for row in found] == [False, True, True, True, False, True]


def test_too_many_errors_stop_the_job(tmp_path: Path) -> None:
    """It goes on when more may be."""
    table = pa.table({"text": ["a", "poison b", "poison c", "d"]})
    with pytest.raises(jobs.JobError, match="2 rows cannot be embedded, and max_errors is 1"):
        run(table, tmp_path / "t.npy", Fault("poison"), max_errors=1)
    report, service = run(table, tmp_path / "t.npy", max_errors=2)
    assert report.errors == 2
    assert service.faults.billed == []


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
    assert [len(bill.inputs) for bill in service.faults.billed][:2] == [16, 16]  # at a known price
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
        (source, tmp_path / "t.txt", {}, "a target ends in .parquet, .jsonl or .npy"),
        (source, tmp_path / "no" / "t.npy", {}, "there is no directory"),
        (source, target, {"column": "nope"}, "no column 'nope'; there are id, text, more"),
        (source, target, {"template": "{nope}"}, "no column 'nope'"),
        (source, target, {"template": "{text"}, "single brace"),
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
