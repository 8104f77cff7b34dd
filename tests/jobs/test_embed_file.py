"""`embed_file` embeds a corpus from file to file."""

import json
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

from tests.job_support import TABLE, TEXTS, billed, matrix, run, vectors
from tests.support import PNG


def test_every_row_gets_its_vector(source: Path, tmp_path: Path) -> None:
    """Rows keep their columns and order, equal inputs are embedded once, provenance is written."""
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


@pytest.mark.parametrize("take", [jobs.embed_file, jobs.estimate])
def test_a_misspelt_option_is_answered_with_the_right_one(take: Any, tmp_path: Path) -> None:
    """Parameters of the function and options of the call are both suggested."""
    for wrong, right in [("colum", "column"), ("delimeter", "delimiter"), ("modell", "model")]:
        with pytest.raises(TypeError, match=f"option '{wrong}'; did you mean '{right}'"):
            take(pa.table({"a": ["b"]}), tmp_path / "t.npy", **{wrong: "a"})


def test_a_budget_stops_a_job(source: Path, tmp_path: Path) -> None:
    """The job stops before it exceeds the budget; a larger budget resumes it."""
    with pytest.raises(ore.BudgetExceededError):
        run(source, tmp_path / "t.npy", budget=Decimal("0.000003"))
    report, service = run(source, tmp_path / "t.npy", budget=Decimal(1))
    assert [len(bill.inputs) for bill in service.faults.billed][:2] == [16, 16]  # at a known price
    assert 0 < sum(billed(service).values()) < 80
    assert report.embedded == 80


def test_invalid_arguments_are_refused_before_anything_is_sent(
    source: Path, tmp_path: Path
) -> None:
    """The error says what would be valid."""
    target = tmp_path / "t.npy"
    embedded = TABLE.append_column("embedding", TABLE["id"])
    wrong: list[tuple[Any, Path, dict[str, Any], str]] = [
        (tmp_path / "none.parquet", target, {}, "none.parquet does not exist"),
        (tmp_path / "none-*.parquet", target, {}, "no file matches"),
        (tmp_path, target, {}, "has no images"),
        (5, target, {}, "a source of type int is not supported"),
        ([], target, {}, "one path at least"),
        (source, tmp_path / "t.txt", {}, "a file that ends in .parquet, .jsonl or .npy"),
        (source, tmp_path / "no" / "t.npy", {}, "of the target does not exist"),
        (source, target, {"column": "nope"}, "no column 'nope'; the columns are id, text, more"),
        (source, target, {"template": "{nope}"}, "no column 'nope'"),
        (source, target, {"template": "{text"}, "single brace"),
        (source, target, {"column": "text", "template": "{text}"}, "pass only one"),
        (source, target, {"key": "nope"}, "no column 'nope'"),
        (source, target, {"only_key": True}, "needs key=… to name the column"),
        (source, target, {"precision": "int8"}, "precision is 'int8'"),
        (TABLE.rename_columns(["id", "b", "more"]), target, {}, "which column"),
        (embedded, tmp_path / "t.parquet", {}, "has a column 'embedding'"),
    ]
    for given, path, options, said in wrong:
        with pytest.raises(ore.InputError, match=said):
            run(given, path, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["source.parquet"]


def test_requests_are_limited_in_bytes(tmp_path: Path) -> None:
    """The client would split larger ones, and part of a batch cannot be saved."""
    large = pa.table({"text": ["x" * 200_000 + str(n) for n in range(6)]})
    _, service = run(large, tmp_path / "t.npy")
    assert [len(bill.inputs) for bill in service.faults.billed] == [2, 2, 2]
    images = pa.table({"image": [PNG + bytes(1_500_000) + b"%d" % n for n in range(6)]})
    _, service = run(images, tmp_path / "u.npy", images="image")
    assert [len(bill.inputs) for bill in service.faults.billed] == [2, 2, 2]


def test_an_async_client_is_refused(source: Path, tmp_path: Path) -> None:
    """A misspelt option raises TypeError."""
    asynchronous: Any = ore.AsyncClient.local()
    with pytest.raises(ore.InputError, match="pass a blocking Client"):
        jobs.embed_file(source, tmp_path / "t.npy", client=asynchronous, column="text")
    misspelt: Any = {"colum": "text"}
    with pytest.raises(TypeError, match="colum"):
        jobs.embed_file(source, tmp_path / "t.npy", **misspelt)
