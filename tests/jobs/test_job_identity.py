"""What differs is told apart, what is the same is not, and nobody's files are in danger."""

import hashlib
import os
import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings import jobs
from openrouter_embeddings.client.workers import Workers
from openrouter_embeddings.jobs import _embed
from openrouter_embeddings.jobs._sources import open_source
from openrouter_embeddings.jobs._spec import InputSpec
from openrouter_embeddings.local.faults import Fault
from openrouter_embeddings.testing import Service

from tests.job_support import OPTIONS, TABLE, TEXTS, billed, run, vectors
from tests.support import PNG, orembed


@pytest.mark.parametrize("make", [pa.table, pd.DataFrame, pl.DataFrame])
def test_tables_of_other_libraries_are_sources(tmp_path: Path, make: Any) -> None:
    """By the interface that all of them speak; categories are their values."""
    made = make({"id": [*range(100)], "text": TEXTS})
    if make is pd.DataFrame:
        made["text"] = made["text"].astype("category")
    elif make is pl.DataFrame:
        made = made.with_columns(pl.col("text").cast(pl.Categorical))
    run(made, tmp_path / "t.parquet", column="text")
    assert pq.read_table(tmp_path / "t.parquet")["text"].to_pylist() == TEXTS
    run(made, tmp_path / "t.npy", column="text")
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))


def identity(table: Any) -> Any:
    """What tells a source from another."""
    return open_source(table).identity


def test_tables_are_told_by_their_values() -> None:
    """Not by codes, nor by how they are cut, nor by what stands where there is nothing."""
    plain = pa.table({"text": ["a", "b", None, "a"]})
    coded = pa.table({"text": plain["text"].combine_chunks().dictionary_encode()})
    others = pa.table({"text": pa.array(["x", "y", None, "x"]).dictionary_encode()})
    assert identity(coded) == identity(plain)
    assert identity(coded) != identity(others)
    assert identity(pa.concat_tables([plain.slice(0, 1), plain.slice(1)])) == identity(plain)
    hidden = pa.array([7, 8, 9], mask=np.array([False, True, False]))
    assert identity(pa.table({"n": hidden})) == identity(pa.table({"n": [7, None, 9]}))
    assert identity(pa.table({"n": hidden})) != identity(pa.table({"n": [7, 9, None]}))


@given(
    st.sampled_from(
        [
            pa.string(),
            pa.string_view(),
            pa.large_string(),
            pa.list_(pa.string_view()),
            pa.large_list(pa.large_string()),
            pa.list_(pa.int8(), 2),
            pa.map_(pa.string(), pa.string()),
            pa.struct([("a", pa.list_(pa.struct([("b", pa.string_view())]))), ("c", pa.int8())]),
            pa.list_(pa.dictionary(pa.int8(), pa.string())),
        ]
    ),
    st.data(),
)
def test_nested_tables_are_told_by_their_values(kind: pa.DataType, data: st.DataObject) -> None:
    """However they are cut, and whatever stands behind a missing value."""
    one = data.draw(st.lists(_values_of(kind), min_size=1, max_size=6))
    other = data.draw(st.lists(_values_of(kind), min_size=1, max_size=6))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(one)), max_size=3)))
    spare = data.draw(st.lists(_values_of(kind), max_size=2))
    long = pa.array([*spare, *one], kind)
    whole = long.slice(len(spare))
    pieces = [whole.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, len(one)], strict=True)]
    plain = identity(pa.table({"x": pa.array(one, kind)}))
    assert identity(pa.table({"x": pa.chunked_array(pieces, kind)})) == plain
    same = pa.array(one, kind).to_pylist() == pa.array(other, kind).to_pylist()
    assert (identity(pa.table({"x": pa.array(other, kind)})) == plain) == same


def _values_of(kind: pa.DataType) -> st.SearchStrategy[Any]:
    kinds = pa.types
    if kinds.is_struct(kind):
        inner = {kind.field(n).name: _values_of(kind.field(n).type) for n in range(kind.num_fields)}
        return st.none() | st.fixed_dictionaries(inner)
    if kinds.is_map(kind):
        pairs = st.tuples(st.text("ab", max_size=1), st.none() | st.text("ab", max_size=1))
        return st.none() | st.lists(pairs, max_size=2)
    if kinds.is_nested(kind):
        size = kind.list_size if kinds.is_fixed_size_list(kind) else None
        return st.none() | st.lists(
            _values_of(kind.value_type), min_size=size or 0, max_size=size or 2
        )
    return st.none() | (st.integers(0, 2) if kinds.is_int8(kind) else st.text("ab", max_size=1))


def test_what_stands_behind_a_missing_value_does_not_count() -> None:
    """Arrow may keep values there, in lists and structs too, which a copy of the table has not."""
    mask = pa.array([False, True])
    texts = pa.array(["a", "x", "y"])
    struct = pa.StructArray.from_arrays([pa.array(["a", "x"])], ["b"], mask=mask)
    lists = pa.ListArray.from_arrays([0, 1, 3], texts, mask=mask)
    for hidden in (
        lists,
        struct,
        pa.ListArray.from_arrays([0, 2], struct),
        pa.ListArray.from_arrays([0, 2], lists),
        pa.StructArray.from_arrays([lists], ["c"]),
        pa.FixedSizeListArray.from_arrays(lists, 2),
    ):
        plain = pa.array(hidden.to_pylist(), hidden.type)
        assert identity(pa.table({"x": hidden})) == identity(pa.table({"x": plain}))


def test_where_a_list_ends_counts() -> None:
    """Not only what all of them hold together."""
    different = [[["a"], ["b"]], [["a", "b"], []], [[], ["a", "b"]], [["a", "b"], None]]
    assert len({str(identity(pa.table({"x": lists}))) for lists in different}) == 4


def test_polars_frames_with_lists_are_sources(tmp_path: Path) -> None:
    """With missing ones: Polars' lists hold views of texts."""
    tags = [["x"], None, [None, "y"]]
    frame = pl.DataFrame({"text": ["a", "b", "c"], "tags": tags})
    run(frame, tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet")["tags"].to_pylist() == tags


def test_files_of_the_same_name_are_told_by_their_place(tmp_path: Path) -> None:
    """Though sizes and times are the same."""
    for name in "ab":
        (tmp_path / name).mkdir()
        path = tmp_path / name / "s.txt"
        path.write_text(f"text {name}\n")
    stat = (tmp_path / "a" / "s.txt").stat()
    os.utime(tmp_path / "b" / "s.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    run(tmp_path / "a" / "s.txt", tmp_path / "t.npy")
    with pytest.raises(jobs.JobError, match="the source's path or contents changed"):
        run(tmp_path / "b" / "s.txt", tmp_path / "t.npy")


def test_extra_fields_are_part_of_what_a_job_is(tmp_path: Path) -> None:
    """Other fields may give other vectors: a target, what was begun, and a cache are theirs."""
    cache = tmp_path / "cache"
    extra = {"a": {"c": "secret", "b": 1}, "d": 2}
    run(TABLE, tmp_path / "t.npy", column="text", cache=cache, extra_body=extra)
    for other in ({"a": {"c": "other", "b": 1}, "d": 2}, None):
        with pytest.raises(jobs.JobError, match="extra_body has other values of a") as caught:
            run(TABLE, tmp_path / "t.npy", column="text", extra_body=other)
        assert "secret" not in str(caught.value)
        _, service = run(TABLE, tmp_path / "u.npy", column="text", cache=cache, extra_body=other)
        assert billed(service)
        (tmp_path / "u.npy").unlink()
    turned = {"d": 2, "a": {"b": 1, "c": "secret"}}
    for name in ("t.npy", "u.npy"):
        _, service = run(TABLE, tmp_path / name, column="text", cache=cache, extra_body=turned)
        assert not billed(service)


def test_work_from_before_extra_body_goes_on(tmp_path: Path) -> None:
    """What was begun, a target and a cache without the option are what no extra fields make."""
    cache = tmp_path / "cache"
    unpaid = Fault("status", status=402, requests=[2])
    with pytest.raises(ore.PaymentRequiredError):
        run(TABLE, tmp_path / "t.npy", unpaid, column="text", cache=cache)
    with closing(sqlite3.connect(tmp_path / "t.npy.job")) as kept:
        ((begun,),) = kept.execute("SELECT value FROM facts WHERE name = 'parameters'")
    assert "extra_body" not in begun
    # the digest of its four parameters, as before
    space = {"model": "local/hash", "input_type": None, "provider": None, "asked_dimensions": 8}
    name = hashlib.blake2b(orjson.dumps(space), digest_size=8).hexdigest()
    assert [path.name for path in cache.iterdir()] == [f"{name}.vectors"]
    with pytest.raises(
        jobs.JobError, match=r"a job with other parameters \(extra_body has other values of a"
    ):
        run(TABLE, tmp_path / "t.npy", column="text", extra_body={"a": 1})
    _, service = run(TABLE, tmp_path / "t.npy", column="text", extra_body={})
    assert 0 < len(billed(service)) < 80


def test_a_relative_image_of_several_directories_is_nobodys(tmp_path: Path) -> None:
    """Rather than always that of the first."""
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(PNG)
        (tmp_path / name / "s.jsonl").write_text('{"text": "same", "image": "x.png"}\n')
    with pytest.raises(jobs.JobError, match="no row could be embedded"):
        run(str(tmp_path / "*" / "s.jsonl"), tmp_path / "t.npy", column="text", images="image")
    run(tmp_path / "a" / "s.jsonl", tmp_path / "u.npy", column="text", images="image")


def test_a_sound_in_a_column_of_images_is_a_row_without_a_vector(tmp_path: Path) -> None:
    """The reason says what it is."""
    table = pa.table({"image": [PNG, b"ID3\x04 and so on"]})
    report, _ = run(table, tmp_path / "t.npy", images="image")
    assert report.errors == 1
    assert "this is mp3" in report.errors_file.read_text()


def test_csv_files_with_other_columns_are_refused(tmp_path: Path) -> None:
    """Their rows would lose them; another order is fine."""
    (tmp_path / "a.csv").write_text("id,text\n1,x\n")
    (tmp_path / "b.csv").write_text("text,id\ny,2\n")
    run([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "t.npy", column="text")
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(["x", "y"]))
    (tmp_path / "b.csv").write_text("id,body\n2,y\n")
    with pytest.raises(ore.InputError, match=r"b\.csv has a column 'body' and .*a\.csv does not"):
        run([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "u.npy", column="text")


def test_a_text_that_is_none_is_a_row_without_a_vector(tmp_path: Path) -> None:
    """Parquet does not check what it calls text; the other rows have theirs."""
    broken = pa.array([b"fine", b"\xff", b"too"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": broken}), tmp_path / "s.parquet")
    report, _ = run(tmp_path / "s.parquet", tmp_path / "t.npy")
    assert report.errors == 1
    assert "is not UTF-8" in report.errors_file.read_text()
    assert np.array_equal(np.load(tmp_path / "t.npy")[[0, 2]], vectors(["fine", "too"]))


def test_a_value_that_cannot_be_written_ends_in_a_sentence(tmp_path: Path) -> None:
    """Before anything is sent, and nothing is left beside the target."""
    late = pa.array([0, 10**15], pa.timestamp("s"))
    table = pa.table({"text": ["a", "b"], "at": late})
    with pytest.raises(ore.InputError, match=r"written from row 0 on: .* nothing was sent"):
        run(table, tmp_path / "t.jsonl", column="text")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("rows", [1, TABLE.num_rows])
@pytest.mark.parametrize("name", ["t.parquet", "t.npy", "t.jsonl"])
def test_a_target_on_a_full_disk_leaves_nothing(tmp_path: Path, name: str, rows: int) -> None:
    """Though closing it fails, too, or that alone does; and what came is kept."""
    table = TABLE.slice(0, rows)

    def fill(progress: jobs.Progress) -> None:
        if progress.stage == "writing" and not progress.rows:
            (tmp_path / f"{name}.part").symlink_to("/dev/full")

    with pytest.raises(OSError, match="No space left"):
        run(table, tmp_path / name, column="text", on_progress=fill)
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.job"]
    _, service = run(table, tmp_path / name, column="text")
    assert not billed(service)


@pytest.mark.parametrize(
    ("owner", "name", "comes"),
    [
        (_embed.Embedding, "_keep", "before"),
        (_embed.Embedding, "_spend", "before"),
        (Workers, "put", "after"),
    ],
)
def test_ctrl_c_at_any_time_loses_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, comes: str
) -> None:
    """It was paid for."""
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
    with first.client(**OPTIONS) as client, pytest.raises(KeyboardInterrupt):
        jobs.embed_file(TABLE, tmp_path / "t.npy", column="text", client=client)
    _, second = run(TABLE, tmp_path / "t.npy", column="text")
    assert set(billed(first, second).values()) == {1}


def test_a_source_that_was_only_touched_is_the_same(source: Path, tmp_path: Path) -> None:
    """While the job runs, and between two runs of it; its contents count."""
    times = count(1)

    def touch(_: Any) -> None:
        os.utime(source, (next(times), 1))

    with pytest.raises(ore.PaymentRequiredError):
        run(source, tmp_path / "t.npy", Fault("status", status=402, requests=[1]), column="text")
    touch(None)
    run(source, tmp_path / "t.npy", column="text", on_progress=touch)
    assert next(times) > 2
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))


def test_a_job_that_has_nothing_yet_may_be_begun_otherwise(tmp_path: Path) -> None:
    """As after a misspelt model."""
    with pytest.raises(ore.NotFoundError):
        run(TABLE, tmp_path / "t.npy", column="text", model="local/typo")
    assert [*tmp_path.iterdir()] == []
    run(TABLE, tmp_path / "t.npy", column="text")


def test_a_job_does_not_overwrite_its_source(tmp_path: Path) -> None:
    """Nor does a map its target."""
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


def test_a_link_to_nothing_is_not_replaced(tmp_path: Path) -> None:
    """Somebody has put it there to have the target elsewhere; a link to a file is that file."""
    (tmp_path / "t.npy").symlink_to("elsewhere/t.npy")
    with pytest.raises(
        ore.InputError, match=r"a symbolic link to elsewhere/t\.npy, which does not exist"
    ):
        run(TABLE, tmp_path / "t.npy", column="text")
    assert [path.name for path in tmp_path.iterdir()] == ["t.npy"]
    assert (tmp_path / "t.npy").is_symlink()


def test_what_is_no_image_does_not_end_a_job(tmp_path: Path) -> None:
    """A folder is none; a link to nothing, to itself, or a pipe is a row with a reason."""
    folder = tmp_path / "images"
    (folder / "folder.png").mkdir(parents=True)
    (folder / "folder.png" / "in.png").write_bytes(PNG)
    (folder / "a.png").symlink_to("gone.png")
    (folder / "b.png").symlink_to("b.png")
    os.mkfifo(folder / "c.png")
    report, _ = run(folder, tmp_path / "t.parquet", key="path")
    reasons = [orjson.loads(line) for line in report.errors_file.read_bytes().splitlines()]
    assert [reason["key"] for reason in reasons] == ["a.png", "b.png", "c.png"]
    assert "No such file" in reasons[0]["reason"]
    assert "a named pipe" in reasons[2]["reason"]
    paths = pq.read_table(tmp_path / "t.parquet")["path"].to_pylist()
    assert paths == ["a.png", "b.png", "c.png", "folder.png/in.png"]


def test_a_file_that_came_meanwhile_is_left_alone(tmp_path: Path) -> None:
    """Though there is a job for it."""
    with pytest.raises(ore.PaymentRequiredError):
        run(TABLE, tmp_path / "t.npy", Fault("status", status=402, requests=[1]), column="text")
    (tmp_path / "t.npy").write_bytes(b"mine")
    with pytest.raises(jobs.JobError, match="exists and was not made by orembed run"):
        run(TABLE, tmp_path / "t.npy", column="text")
    assert (tmp_path / "t.npy").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "column",
    [pa.array([1], pa.timestamp("s", "Mars/Base")), pa.nulls(1, pa.month_day_nano_interval())],
)
def test_dates_that_cannot_be_written_are_refused(column: Any) -> None:
    """As text, before anything is sent."""
    with pytest.raises(ore.InputError, match=r"cannot be converted to text|a column of texts"):
        open_source(pa.table({"t": column})).reader(InputSpec("t"))


@pytest.mark.parametrize("name", ["t.parquet", "t.npy"])
def test_what_is_no_target_is_said(tmp_path: Path, name: str) -> None:
    """Whether the file or its provenance is damaged."""
    (tmp_path / name).write_bytes(b"garbage")
    (tmp_path / f"{name}.provenance.json").write_text("[1]")
    with pytest.raises(ore.InputError, match="was not made by orembed run"):
        jobs.info(tmp_path / name)
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "other.npz").replace(tmp_path / name)
    with pytest.raises(jobs.JobError, match="exists and was not made by orembed run"):
        run(TABLE, tmp_path / name, column="text")


def test_a_source_that_is_garbage_is_an_error_of_the_command(tmp_path: Path) -> None:
    """Without a traceback."""
    (tmp_path / "t.parquet").write_bytes(b"garbage")
    done = orembed("info", tmp_path / "t.parquet")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
