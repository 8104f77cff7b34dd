"""Sources of every format give the same rows in batches of one size."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openrouter_embeddings import jobs
from openrouter_embeddings.jobs._rows import _digest
from openrouter_embeddings.jobs._sources import open_source
from openrouter_embeddings.jobs._spec import InputSpec

from tests.job_support import TABLE, TEXTS, billed, json_lines, run, same_name_twice, texts, vectors
from tests.support import PNG


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
def test_every_format_of_source_is_read(tmp_path: Path, number: int) -> None:
    """Text, JSON lines, CSV, several files, and objects with the Arrow interface."""
    chosen = [*_sources(tmp_path)][number]
    run(chosen, tmp_path / "target.npy", column="text")
    assert np.array_equal(np.load(tmp_path / "target.npy"), vectors(TEXTS))


def test_a_directory_of_images_is_a_source(tmp_path: Path) -> None:
    """Images are sorted by path; one that cannot be read has a reason instead of a vector."""
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
    (line,) = json_lines(report.errors_file)
    assert line["key"] == "broken.jpg"
    assert "not a known image" in line["reason"]


def test_text_and_images_make_one_input(tmp_path: Path) -> None:
    """Images may be bytes, paths relative to the source, or URLs."""
    (tmp_path / "a.png").write_bytes(PNG)
    table = pa.table({"text": ["red", "blue"], "image": ["a.png", "https://x.org/b.png"]})
    pq.write_table(table, tmp_path / "s.parquet")
    run(tmp_path / "s.parquet", tmp_path / "t.npy", column="text", images="image")
    wanted = [
        ore.Content("red", ore.Image(PNG)),
        ore.Content("blue", ore.Image("https://x.org/b.png")),
    ]
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(wanted))


@pytest.mark.parametrize(
    ("values", "words"),
    [([None, None], "all its values are null"), ([float("nan")] * 2, "but double")],
)
def test_an_only_column_without_text_is_named(values: list[Any], words: str) -> None:
    """The error says why it has no text."""
    table = pa.table({"text": pa.array(values)})
    with pytest.raises(ore.InputError, match=rf"the only column, 'text', has no text \({words}\)"):
        open_source(table).reader(InputSpec())


def test_an_unsupported_format_is_named(tmp_path: Path) -> None:
    """For a source of unknown format, for several formats, and for a target."""
    for name in ("a.csv", "b.parquet", "c.docx"):
        (tmp_path / name).touch()
    with pytest.raises(ore.InputError, match=r"the same format; these are \.csv and \.parquet$"):
        open_source([tmp_path / "a.csv", tmp_path / "b.parquet"])
    words = r"^\.docx is not supported as a source; use a \.parquet, "
    with pytest.raises(ore.InputError, match=words):
        open_source(tmp_path / "c.docx")
    with pytest.raises(ore.InputError, match=r"b\.csv cannot be a target; name a file that ends"):
        jobs.embed_file(tmp_path / "a.csv", tmp_path / "b.csv")


def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path: Path) -> None:
    """Neither are carriage returns at the end of a line."""
    (tmp_path / "s.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert texts(tmp_path / "s.txt") == ["one", "two"]
    (tmp_path / "s.txt").write_bytes(b"one\n\xff\n")
    with pytest.raises(ore.InputError, match="is not UTF-8"):
        open_source(tmp_path / "s.txt")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            {"text": ["b"], "more": [1]},
            r"b\.parquet has a column 'more' and \S*a\.parquet does not",
        ),
        ({}, r"a\.parquet has a column 'text' and \S*b\.parquet does not"),
        ({"text": [1]}, r"the column 'text' is int64 in \S*b\.parquet and string in \S*a\.parquet"),
    ],
)
def test_parquet_files_with_different_columns_are_refused(
    tmp_path: Path, table: dict[str, Any], said: str
) -> None:
    """The error names the column and the file."""
    for name, one in (("a", {"text": ["a"]}), ("b", table)):
        pq.write_table(pa.table(one), tmp_path / f"{name}.parquet")
    with pytest.raises(ore.InputError, match=said):
        open_source(str(tmp_path / "*.parquet"))


def test_a_damaged_file_among_others_is_named(tmp_path: Path) -> None:
    """So is a file with two columns of the same name."""
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and so on")
    with pytest.raises(ore.InputError, match=r"b\.parquet: "):
        open_source(str(tmp_path / "*.parquet"))
    pq.write_table(same_name_twice(), tmp_path / "b.parquet")
    with pytest.raises(ore.InputError, match="more than one column 'text'"):
        open_source(str(tmp_path / "*.parquet"))


def test_files_may_be_written_by_several_programs(tmp_path: Path) -> None:
    """Columns may differ in order, nullability and width of text, and one may have only nulls."""
    fields = [
        pa.field("text", pa.string(), nullable=False),
        pa.field("tags", pa.list_(pa.field("item", pa.string(), nullable=False))),
        pa.field("n", pa.int64()),
        pa.field("f", pa.list_(pa.field("item", pa.int8(), nullable=False), 2)),
    ]
    wide = [
        pa.field("n", pa.null()),
        pa.field("tags", pa.large_list(pa.large_string())),
        pa.field("f", pa.list_(pa.int8(), 2)),
        pa.field("text", pa.large_string()),
    ]
    first = pa.table([["a"], [["x"]], [1], [[1, 2]]], pa.schema(fields))
    lists = pa.array([[None, 3], None], wide[2].type)
    second = pa.table([pa.nulls(2), [[None], None], lists, ["b", None]], pa.schema(wide))
    pq.write_table(first, tmp_path / "a.parquet")
    pq.write_table(second, tmp_path / "b.parquet")
    rows = [
        {"text": "a", "tags": ["x"], "n": 1, "f": [1, 2]},
        {"text": "b", "tags": [None], "n": None, "f": [None, 3]},
        {"text": None, "tags": None, "n": None, "f": None},
    ]
    for names, wanted in (("ab", rows), ("ba", rows[1:] + rows[:1])):
        source = open_source([tmp_path / f"{name}.parquet" for name in names])
        (batch,) = source.batches(10)
        assert batch.schema == source.schema
        assert batch.to_pylist() == wanted


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.large_string()),
    ],
)
def test_every_arrow_type_of_text_is_found(kind: pa.DataType) -> None:
    """Categories, as in pandas, and string views, as in Polars, too."""
    table = pa.table({"n": [1, 2], "x": pa.array(["a", "b"]).cast(kind)})
    assert texts(table) == ["a", "b"]


def test_images_inside_parquet_take_bounded_memory(tmp_path: Path) -> None:
    """A row group may hold far more images than a page does."""
    path = tmp_path / "s.parquet"
    picture = np.random.default_rng(5).bytes(1 << 20)
    table = pa.table({"image": pa.array([picture[n:] for n in range(100)], pa.binary())})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_batch_size=8)
    del table
    before = pa.total_allocated_bytes()
    most = 0
    for batch in open_source(path).batches(8):
        most = max(most, pa.total_allocated_bytes() - before)
        assert batch.num_rows in (8, 4)
    assert most < 50 << 20


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any), st.integers(1, 12))
def test_batches_have_the_requested_size(pieces: list[int], rows: int) -> None:
    """All rows come in order, and only the last batch may be smaller."""
    schema = pa.schema([("n", pa.int64())])
    numbers = iter(range(1000))
    batches = [pa.record_batch([[next(numbers) for _ in range(size)]], schema) for size in pieces]
    table = pa.Table.from_batches(batches, schema)
    found = [batch.column("n").to_pylist() for batch in open_source(table).batches(rows)]
    assert [n for batch in found for n in batch] == [*range(sum(pieces))]
    assert all(len(batch) == rows for batch in found[:-1])
    assert all(0 < len(batch) <= rows for batch in found[-1:])


@given(st.lists(st.binary(max_size=3), max_size=3), st.lists(st.binary(max_size=3), max_size=3))
@example([b"ab", b"c"], [b"a", b"bc"])  # where a text ends and an image begins
def test_only_equal_inputs_have_equal_digests(one: list[bytes], other: list[bytes]) -> None:
    """A text and an image that would be equal when concatenated have different digests."""
    assert (_digest(*one) == _digest(*other)) == (one == other)


@pytest.mark.parametrize("make", [pa.table, pd.DataFrame, pl.DataFrame])
def test_tables_of_other_libraries_are_sources(tmp_path: Path, make: Any) -> None:
    """Any object with the Arrow interface works; categories become their values."""
    made = make({"id": [*range(100)], "text": TEXTS})
    if make is pd.DataFrame:
        made["text"] = made["text"].astype("category")
    elif make is pl.DataFrame:
        made = made.with_columns(pl.col("text").cast(pl.Categorical))
    run(made, tmp_path / "t.parquet", column="text")
    assert pq.read_table(tmp_path / "t.parquet")["text"].to_pylist() == TEXTS
    run(made, tmp_path / "t.npy", column="text")
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))


def test_polars_frames_with_lists_are_sources(tmp_path: Path) -> None:
    """Polars' lists hold string views, and may contain nulls."""
    tags = [["x"], None, [None, "y"]]
    frame = pl.DataFrame({"text": ["a", "b", "c"], "tags": tags})
    run(frame, tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet")["tags"].to_pylist() == tags


def test_a_relative_image_path_needs_files_in_one_directory(tmp_path: Path) -> None:
    """Otherwise it would always mean the directory of the first file."""
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(PNG)
        (tmp_path / name / "s.jsonl").write_text('{"text": "same", "image": "x.png"}\n')
    with pytest.raises(jobs.JobError, match="no row could be embedded"):
        run(str(tmp_path / "*" / "s.jsonl"), tmp_path / "t.npy", column="text", images="image")
    run(tmp_path / "a" / "s.jsonl", tmp_path / "u.npy", column="text", images="image")


def test_audio_in_a_column_of_images_is_an_error(tmp_path: Path) -> None:
    """The reason names the format."""
    table = pa.table({"image": [PNG, b"ID3\x04 and so on"]})
    report, _ = run(table, tmp_path / "t.npy", images="image")
    assert report.errors == 1
    assert "this is mp3" in report.errors_file.read_text()


def test_a_text_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    """Parquet does not check texts; the other rows get their vectors."""
    broken = pa.array([b"fine", b"\xff", b"too"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": broken}), tmp_path / "s.parquet")
    report, _ = run(tmp_path / "s.parquet", tmp_path / "t.npy")
    assert report.errors == 1
    assert "is not UTF-8" in report.errors_file.read_text()
    assert np.array_equal(np.load(tmp_path / "t.npy")[[0, 2]], vectors(["fine", "too"]))


def test_directories_links_and_pipes_do_not_end_a_job(tmp_path: Path) -> None:
    """Directories are skipped; broken links and pipes are rows with a reason."""
    folder = tmp_path / "images"
    (folder / "folder.png").mkdir(parents=True)
    (folder / "folder.png" / "in.png").write_bytes(PNG)
    (folder / "a.png").symlink_to("gone.png")
    (folder / "b.png").symlink_to("b.png")
    os.mkfifo(folder / "c.png")
    report, _ = run(folder, tmp_path / "t.parquet", key="path")
    reasons = json_lines(report.errors_file)
    assert [reason["key"] for reason in reasons] == ["a.png", "b.png", "c.png"]
    assert "No such file" in reasons[0]["reason"]
    assert "a named pipe" in reasons[2]["reason"]
    paths = pq.read_table(tmp_path / "t.parquet")["path"].to_pylist()
    assert paths == ["a.png", "b.png", "c.png", "folder.png/in.png"]


@pytest.mark.parametrize(
    "column",
    [pa.array([1], pa.timestamp("s", "Mars/Base")), pa.nulls(1, pa.month_day_nano_interval())],
)
def test_dates_that_cannot_be_converted_to_text_are_refused(column: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(ore.InputError, match=r"cannot be converted to text|a column of texts"):
        open_source(pa.table({"t": column})).reader(InputSpec("t"))


def test_a_pattern_skips_files_that_the_job_writes(tmp_path: Path) -> None:
    """Also in a list, and when the target exists already."""
    for name in "ab":
        pq.write_table(pa.table({"text": [name]}), tmp_path / f"{name}.parquet")
    pattern = str(tmp_path / "*.parquet")
    for source in (pattern, [pattern]):
        for _ in range(2):
            assert run(source, tmp_path / "all.parquet")[0].rows == 2
    with pytest.raises(ore.InputError, match="no file matches"):
        run(str(tmp_path / "all*.parquet"), tmp_path / "all.parquet")


def test_categories_in_parquet_become_values(tmp_path: Path) -> None:
    """Although every row group has its own codes."""
    kind = pa.dictionary(pa.int32(), pa.string())
    pieces = [pa.array(TEXTS[n : n + 25]).dictionary_encode().cast(kind) for n in (75, 50, 25, 0)]
    table = pa.table({"text": pa.chunked_array(pieces), "n": range(100)})
    pq.write_table(table, tmp_path / "s.parquet", row_group_size=25)
    assert pq.read_schema(tmp_path / "s.parquet").field("text").type == kind
    run(tmp_path / "s.parquet", tmp_path / "t.jsonl")
    lines = json_lines(tmp_path / "t.jsonl")
    assert [line["text"] for line in lines] == table["text"].to_pylist()
    expected = vectors(table["text"].to_pylist())
    assert np.array_equal(np.array([line["embedding"] for line in lines], np.float32), expected)
