"""Rows without a vector: their reasons, and the limit on their number."""

import json
from pathlib import Path

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings.jobs._rows import Reader
from openrouter_embeddings.local.faults import Fault

from tests.job_support import TABLE, json_lines, run, vectors


def test_rows_that_cannot_be_embedded_have_a_reason(tmp_path: Path) -> None:
    """The other rows have vectors; these rows are null, or NaN in a matrix."""
    table = pa.table({"text": ["a", "", "poison b", None, "c", "poison b"]})
    report, _ = run(table, tmp_path / "t.npy", Fault("poison"))
    assert report.errors == 4
    lines = json_lines(report.errors_file)
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
    """Empty texts and refusals of earlier runs count; a higher `max_errors` resumes the job."""
    table = pa.table({"text": ["a", "poison b", "poison c", "d"]})
    for _ in range(2):
        with pytest.raises(jobs.JobError, match="2 rows cannot be embedded, and max_errors is 1"):
            run(table, tmp_path / "t.npy", Fault("poison"), max_errors=1)
    report, service = run(table, tmp_path / "t.npy", max_errors=2)
    assert report.errors == 2
    assert service.faults.billed == []
    with pytest.raises(jobs.JobError, match="1 row cannot be embedded, and max_errors is 0"):
        run(pa.table({"text": [""]}), tmp_path / "u.npy", max_errors=0)


def test_unreadable_or_refused_rows_do_not_count_as_empty(tmp_path: Path) -> None:
    """A wrong folder, or a model that refuses everything, makes the job fail."""
    for table, fault in (
        (pa.table({"image": ["/none/a.png", None]}), []),
        (pa.table({"text": ["poison", None]}), [Fault("poison")]),
    ):
        with pytest.raises(jobs.JobError, match="no row could be embedded"):
            run(table, tmp_path / "t.npy", *fault, images="image" if not fault else None)
        assert not (tmp_path / "t.npy").exists()


def test_a_job_that_stops_for_its_errors_lists_them(tmp_path: Path) -> None:
    """The errors file includes those that the service refused."""
    table = pa.table({"name": ["x", "y", "z"], "text": ["good", "poison", ""]})
    poison = Fault("poison", text="poison")
    with pytest.raises(jobs.JobError, match="2 rows cannot be embedded, and max_errors is 1"):
        run(table, tmp_path / "t.npy", poison, column="text", key="name", max_errors=1)
    lines = json_lines(tmp_path / "t.npy.errors.jsonl")
    assert [line["key"] for line in lines] == ["y", "z"]


def test_a_negative_max_errors_is_refused(tmp_path: Path) -> None:
    """It would stop every job."""
    with pytest.raises(ore.InputError, match="max_errors is -1"):
        run(TABLE, tmp_path / "t.npy", column="text", max_errors=-1)


def test_rows_without_a_vector_are_not_duplicates(tmp_path: Path) -> None:
    """Whether texts are empty or refused, and however often each occurs."""
    table = pa.table({"text": ["a", "", "b", "", "poison", "poison", "a", None]})
    report, _ = run(table, tmp_path / "t.npy", Fault("poison"))
    assert (report.rows, report.embedded, report.errors, report.duplicates) == (8, 2, 5, 1)
    said = json.loads((tmp_path / "t.npy.provenance.json").read_text())
    assert (said["errors"], said["duplicates"]) == (5, 1)


@pytest.mark.parametrize(
    "texts", [["", *"abc", "", "", ""], [*"abc", *["poison"] * 4], ["a", "poison", *["poison"] * 3]]
)
def test_errors_are_counted_by_rows(tmp_path: Path, texts: list[str]) -> None:
    """A wrong column may hold the same useless value in every row."""
    table = pa.table({"text": texts})
    for _ in range(2):
        with pytest.raises(jobs.JobError, match="4 rows cannot be embedded, and max_errors is 3"):
            run(table, tmp_path / "t.npy", Fault("poison"), max_errors=3)
    report, _ = run(table, tmp_path / "t.npy", max_errors=4)
    assert report.errors == 4


def test_rows_that_wait_for_a_refused_input_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are read while the input is in flight."""
    monkeypatch.setattr(Reader, "rows", 2)
    table = pa.table({"text": ["poison", "a", "poison", "b", "poison"]})
    with pytest.raises(jobs.JobError, match="3 rows cannot be embedded, and max_errors is 2"):
        run(table, tmp_path / "t.npy", Fault("poison"), max_errors=2)
