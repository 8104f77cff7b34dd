"""The rehearsal finds what would fail later before a job pays for anything."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings.testing import Service

from tests.job_support import json_lines, run, stopped


def _categories_in_a_struct(path: Path, rows: int) -> pa.Table:
    """A file whose row groups have categories of their own."""
    kinds = pa.array([f"kind {n % 7}" for n in range(rows)])
    inner = pa.StructArray.from_arrays([kinds.dictionary_encode()], ["kind"])
    table = pa.table({"text": [f"text {n}" for n in range(rows)], "s": inner})
    pq.write_table(table, path, row_group_size=rows // 4)
    return table


def test_categories_inside_a_struct_are_values(tmp_path: Path) -> None:
    """Over several row groups, each with its own dictionary."""
    table = _categories_in_a_struct(tmp_path / "s.parquet", 100)
    run(tmp_path / "s.parquet", tmp_path / "t.parquet")
    found = pq.read_table(tmp_path / "t.parquet")
    assert found["s"].to_pylist() == table["s"].to_pylist()
    assert found.schema.field("s").type == pa.struct([("kind", pa.string())])


def _damaged(path: Path, column: int) -> None:
    """Parquet whose last row group cannot be read in one column."""
    text, more = ([f"{name} {n} " * 50 for n in range(200)] for name in ("text", "more"))
    pq.write_table(
        pa.table({"text": text, "more": more}),
        path,
        row_group_size=100,
        use_dictionary=False,
    )
    chunk = pq.read_metadata(path).row_group(1).column(column)
    contents = bytearray(path.read_bytes())
    contents[chunk.data_page_offset : chunk.data_page_offset + 8] = b"\xff" * 8
    path.write_bytes(contents)


def test_a_column_that_the_job_does_not_need_is_not_read(tmp_path: Path) -> None:
    """Even if it is damaged: a matrix has no columns, and `only_key` drops all but the key."""
    _damaged(tmp_path / "s.parquet", 1)
    for name in ("t.npy", "t.parquet", "t.jsonl"):
        report, _ = run(
            tmp_path / "s.parquet", tmp_path / name, column="text", key="text", only_key=True
        )
        assert (report.rows, report.errors) == (200, 0)
    with pytest.raises(ore.InputError, match="cannot be read to its end"):
        run(tmp_path / "s.parquet", tmp_path / "u.parquet", column="text")


@pytest.mark.parametrize("column", [0, 1])
def test_a_source_is_read_to_its_end_before_anything_is_sent(tmp_path: Path, column: int) -> None:
    """Both the text and the columns of the target."""
    _damaged(tmp_path / "s.parquet", column)
    service = Service()
    words = r"(?s)cannot be read to its end: .*/s.parquet: .*nothing was sent"
    with pytest.raises(ore.InputError, match=words):
        run(tmp_path / "s.parquet", tmp_path / "t.parquet", service=service, column="text")
    assert service.faults.requests == 0
    assert [path.name for path in tmp_path.iterdir()] == ["s.parquet"]


def test_numbers_that_do_not_fit_are_found_before_anything_is_sent(tmp_path: Path) -> None:
    """However far they are from the others; the error names the line."""
    lines = [json.dumps({"text": f"text {n % 9}", "v": 1.5}) for n in range(20_000)]
    lines.append(json.dumps({"text": "last", "v": 1152921504606846977}))
    (tmp_path / "s.jsonl").write_text("\n".join(lines))
    service = Service()
    with pytest.raises(ore.InputError, match=r"line 20001: the value of 'v' does not fit double"):
        run(tmp_path / "s.jsonl", tmp_path / "t.parquet", service=service, column="text")
    assert service.faults.requests == 0
    report, _ = run(tmp_path / "s.jsonl", tmp_path / "t.npy", column="text")
    assert report.rows == 20_001


def test_a_disk_without_room_is_found_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the length of the vectors is known, from the options or from an earlier run."""
    table = pa.table({"text": [f"text {n}" for n in range(100)]})
    stopped(table, tmp_path / "u.npy", at=2, dimensions=None)
    width = run(table, tmp_path / "w.npy", dimensions=None)[0].dimensions

    def usage(_: Path) -> SimpleNamespace:
        return SimpleNamespace(free=free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    for name, dimensions, needed in (("t.npy", 8, 3200), ("u.npy", None, 400 * width)):
        free = needed - 1
        with pytest.raises(jobs.JobError, match=r"has 0\.\d MB left; nothing was sent"):
            run(table, tmp_path / name, dimensions=dimensions)
        free = needed
        assert run(table, tmp_path / name, dimensions=dimensions)[0].rows == 100


def test_a_target_that_cannot_be_created_is_found_before_anything_is_sent(tmp_path: Path) -> None:
    """For example because a directory has the name of the file."""
    (tmp_path / "t.npy.part").mkdir()
    service = Service()
    with pytest.raises(IsADirectoryError):
        run(pa.table({"text": ["a"]}), tmp_path / "t.npy", service=service)
    assert service.faults.requests == 0


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A source with 300 objects in each other."""
    inner: object = 1
    for _ in range(300):
        inner = {"a": inner}
    (tmp_path / "s.jsonl").write_text(json.dumps({"text": "a", "deep": inner}))
    return tmp_path / "s.jsonl"


def test_deep_nesting_is_found_before_anything_is_sent(tmp_path: Path, deep: Path) -> None:
    """Pyarrow could write it to Parquet but not read it."""
    service = Service()
    with pytest.raises(ore.InputError, match="Parquet cannot hold the column"):
        run(deep, tmp_path / "t.parquet", service=service, column="text")
    assert service.faults.requests == 0


def test_json_lines_hold_deep_nesting(tmp_path: Path, deep: Path) -> None:
    """The target has what the source has."""
    run(deep, tmp_path / "t.jsonl", column="text")
    (line,) = json_lines(tmp_path / "t.jsonl")
    assert {"text": "a", "deep": line["deep"]} == json.loads(deep.read_text())


def test_nesting_too_deep_for_the_stack_is_refused(tmp_path: Path) -> None:
    """An InputError names the column's source before anything is sent."""
    source, service = tmp_path / "s.jsonl", Service()
    source.write_text('{"text": "a", "deep": ' + '{"a":' * 800 + "1" + "}" * 800 + "}")
    with pytest.raises(ore.InputError, match="nested too deeply"):
        run(source, tmp_path / "t.jsonl", service=service, column="text")
    assert service.faults.requests == 0
