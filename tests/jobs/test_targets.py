"""Targets of every format, and files that a job must not replace."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings.local.models import hash as hashes

from tests.job_support import (
    OPTIONS,
    TABLE,
    TEXTS,
    billed,
    json_lines,
    matrix,
    run,
    same_name_twice,
    stopped,
    vectors,
)
from tests.support import orembed


def test_a_json_lines_target_has_all_columns(source: Path, tmp_path: Path) -> None:
    """The vector is a list of numbers."""
    run(source, tmp_path / "t.jsonl")
    rows = json_lines(tmp_path / "t.jsonl")
    assert [row["more"] for row in rows] == TABLE["more"].to_pylist()
    found = np.array([row["embedding"] for row in rows], np.float32)
    assert np.array_equal(found, vectors(TEXTS))
    said = json.loads((tmp_path / "t.jsonl.provenance.json").read_text())
    assert said["rows"] == 100


def test_a_target_can_have_only_the_key_and_half_precision(source: Path, tmp_path: Path) -> None:
    """`only_key` drops the other columns, and `precision` sets the type of the vectors."""
    target = tmp_path / "t.parquet"
    run(source, target, key="id", only_key=True, precision="float16")
    table = pq.read_table(target)
    assert table.column_names == ["id", "embedding"]
    assert np.array_equal(matrix(target), vectors(TEXTS).astype(np.float16))


def test_a_column_named_embedding_is_fine_for_a_matrix(tmp_path: Path) -> None:
    """A matrix has no columns; other targets refuse the name."""
    run(TABLE.append_column("embedding", TABLE["id"]), tmp_path / "t.npy", column="text")
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))


EMPTY = [
    ("blank.csv", b""),
    ("header.csv", b"text\n"),
    ("s.jsonl", b""),
    ("s.txt", b""),
    ("s.parquet", None),
]


@pytest.mark.parametrize(("name", "contents"), EMPTY)
@pytest.mark.parametrize("target", ["t.parquet", "t.npy", "t.jsonl"])
def test_a_source_without_rows_makes_a_target_without_rows(
    tmp_path: Path, name: str, contents: bytes | None, target: str
) -> None:
    """A piece of a source may be empty; if it does not name its columns, any name is valid."""
    source = tmp_path / name
    if contents is None:
        pq.write_table(pa.table({"text": pa.array([], pa.string())}), source)
    else:
        source.write_bytes(contents)
    report, service = run(source, tmp_path / target, column="text", key="text", only_key=True)
    assert (report.rows, report.dimensions, service.faults.requests) == (0, 8, 0)
    assert jobs.info(tmp_path / target)["rows"] == 0
    with pytest.raises(ore.InputError, match="has 0 vectors; a map needs at least 3"):
        jobs.write_map(tmp_path / target, tmp_path / "map.html")
    if target == "t.parquet":
        schema = pq.read_schema(tmp_path / target)
        vector = pa.list_(pa.field("element", pa.float32(), nullable=False), 8)
        assert schema.field("embedding").type == vector
        assert schema.names == (
            ["embedding"] if contents == b"" and name != "s.txt" else ["text", "embedding"]
        )
    elif target == "t.npy":
        assert np.load(tmp_path / target).shape == (0, 8)
    else:
        assert (tmp_path / target).read_bytes() == b""


@pytest.mark.parametrize("dimensions", [8, None])
@pytest.mark.parametrize("target", ["t.parquet", "t.npy", "t.jsonl"])
def test_a_source_of_empty_rows_makes_a_target_of_empty_rows(
    tmp_path: Path, target: str, dimensions: int | None
) -> None:
    """Each row is in the errors file; without `dimensions`, the length of a vector is unknown."""
    table = pa.table({"text": pa.array([None, "", None], pa.string())})
    for _ in range(2):  # again it is done already
        report, service = run(table, tmp_path / target, dimensions=dimensions)
        assert (report.rows, report.errors, report.dimensions) == (3, 3, dimensions or 0)
        assert service.faults.requests == 0
    found = [line["reason"] for line in json_lines(tmp_path / f"{target}.errors.jsonl")]
    assert found == [f"the text is {what}" for what in ("null", "empty", "null")]
    assert jobs.search(tmp_path / target, "x", client=ore.Client.local(**OPTIONS)) == []
    if target == "t.npy":
        assert np.isnan(np.load(tmp_path / target)).all()
        return
    if target == "t.jsonl":
        assert [line["embedding"] for line in json_lines(tmp_path / target)] == [None] * 3
        return
    run(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    both = pq.read_table([tmp_path / "a.parquet", tmp_path / target])
    assert [row is None for row in both["embedding"].to_pylist()] == [False, True, True, True]


@pytest.mark.parametrize(
    ("target", "table", "said"),
    [
        ("t.parquet", same_name_twice, "more than one column 'text'"),
        ("t.parquet", lambda: pa.table({"text": ["a"], "x": [{}]}), "Parquet cannot hold .* 'x'"),
        (
            "t.parquet",
            lambda: pa.table({"text": ["a"], "x": pa.nulls(1, pa.month_day_nano_interval())}),
            "Parquet cannot hold .* 'x'",
        ),
        (
            "t.jsonl",
            lambda: pa.table({"text": ["a"], "x": pa.array([1], pa.timestamp("ns"))}),
            "JSON cannot hold .* 'x' .*nanoseconds",
        ),
        ("t.jsonl", lambda: pa.table({"text": ["a"], "x": [[b"a"]]}), "JSON cannot hold .* 'x'"),
    ],
)
def test_a_column_that_the_target_cannot_hold_is_refused_first(
    tmp_path: Path, target: str, table: Callable[[], pa.Table], said: str
) -> None:
    """Nothing is sent; the error names the column, and a matrix leaves it out."""
    with pytest.raises(ore.InputError, match=said):
        run(table(), tmp_path / target)
    assert not [*tmp_path.iterdir()]
    if "than one" not in said:
        run(table(), tmp_path / "t.npy", column="text")
        assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(["a"]))


def test_a_value_that_cannot_be_written_is_found_first(tmp_path: Path) -> None:
    """Nothing is sent, and no file is left."""
    late = pa.array([0, 10**15], pa.timestamp("s"))
    table = pa.table({"text": ["a", "b"], "at": late})
    with pytest.raises(ore.InputError, match=r"written from row 0 on: .* nothing was sent"):
        run(table, tmp_path / "t.jsonl", column="text")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("rows", [1, TABLE.num_rows])
@pytest.mark.parametrize("name", ["t.parquet", "t.npy", "t.jsonl"])
def test_a_full_disk_leaves_no_partial_target(tmp_path: Path, name: str, rows: int) -> None:
    """The vectors are kept, whether writing or only closing the file fails."""
    table = TABLE.slice(0, rows)

    def fill(progress: jobs.Progress) -> None:
        if progress.stage == "writing" and not progress.rows:
            (tmp_path / f"{name}.part").symlink_to("/dev/full")

    with pytest.raises(OSError, match="No space left"):
        run(table, tmp_path / name, column="text", on_progress=fill)
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.job"]
    _, service = run(table, tmp_path / name, column="text")
    assert not billed(service)


def test_a_job_does_not_overwrite_its_source(tmp_path: Path) -> None:
    """A map does not overwrite its target either."""
    source = tmp_path / "t.npy.errors.jsonl"
    source.write_text('{"text": "a"}\n')
    with pytest.raises(ore.InputError, match="would overwrite its source"):
        run(source, tmp_path / "t.npy")
    assert source.read_text() == '{"text": "a"}\n'
    run(TABLE, tmp_path / "t.parquet", column="text")
    before = (tmp_path / "t.parquet").read_bytes()
    with pytest.raises(ore.InputError, match=r"is not an \.html file"):
        jobs.write_map(tmp_path / "t.parquet", tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").read_bytes() == before


def test_a_target_that_is_a_dangling_link_is_refused(tmp_path: Path) -> None:
    """The link may be there to store the target elsewhere."""
    (tmp_path / "t.npy").symlink_to("elsewhere/t.npy")
    words = r"a symbolic link to elsewhere/t\.npy, which does not exist"
    with pytest.raises(ore.InputError, match=words):
        run(TABLE, tmp_path / "t.npy", column="text")
    assert [path.name for path in tmp_path.iterdir()] == ["t.npy"]
    assert (tmp_path / "t.npy").is_symlink()


def test_a_file_created_during_the_job_is_not_overwritten(tmp_path: Path) -> None:
    """Even if there is a job for this target."""
    stopped(TABLE, tmp_path / "t.npy", at=1, column="text")
    (tmp_path / "t.npy").write_bytes(b"mine")
    with pytest.raises(jobs.JobError, match="exists and was not made by orembed run"):
        run(TABLE, tmp_path / "t.npy", column="text")
    assert (tmp_path / "t.npy").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["t.parquet", "t.npy"])
def test_a_file_that_is_not_a_target_is_refused(tmp_path: Path, name: str) -> None:
    """Whether the file or its provenance is damaged."""
    (tmp_path / name).write_bytes(b"garbage")
    (tmp_path / f"{name}.provenance.json").write_text("[1]")
    with pytest.raises(ore.InputError, match="was not made by orembed run"):
        jobs.info(tmp_path / name)
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "other.npz").replace(tmp_path / name)
    with pytest.raises(jobs.JobError, match="exists and was not made by orembed run"):
        run(TABLE, tmp_path / name, column="text")


def test_info_about_a_damaged_file_exits_with_an_error(tmp_path: Path) -> None:
    """There is no traceback."""
    (tmp_path / "t.parquet").write_bytes(b"garbage")
    done = orembed("info", tmp_path / "t.parquet")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_number_too_large_for_float16_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not become infinity; float32 can hold it."""
    monkeypatch.setattr(hashes, "_draw", lambda _, width: np.full(width, 1e6, np.float32))
    with pytest.raises(jobs.JobError, match="the target cannot be written: overflow"):
        run(pa.table({"text": ["a", "b"]}), tmp_path / "t.parquet", precision="float16")
    run(pa.table({"text": ["a", "b"]}), tmp_path / "u.parquet")


def test_a_matrix_of_another_shape_is_not_a_target(tmp_path: Path) -> None:
    """The shape must be that of its provenance."""
    run(TABLE, tmp_path / "t.npy", column="text")
    np.save(tmp_path / "t.npy", np.zeros((3, 8), np.float32))
    with pytest.raises(ore.InputError, match="was not made by orembed run"):
        jobs.info(tmp_path / "t.npy")
