"""What a source says is what is embedded, whatever its format, or it is an error at once."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings import jobs
from openrouter_embeddings.jobs._sources import open_source
from openrouter_embeddings.jobs._store import Store
from openrouter_embeddings.local.faults import Fault

from tests.job_support import run, vectors
from tests.support import PNG


def texts(source: Any, column: str | None = None, template: str | None = None) -> list[Any]:
    """What would be embedded."""
    opened = open_source(source)
    reader = opened.reader(column, template, None)
    return [row.value for batch in opened.batches(1000) for row in reader.read(batch)]


def test_line_breaks_inside_quotes_are_the_texts_own(tmp_path: Path) -> None:
    """In a CSV file of several blocks, too."""
    rows = [f'line {n}\n"quoted", and\n\nmore' for n in range(250_000)]
    path = tmp_path / "s.csv"
    pyarrow.csv.write_csv(pa.table({"id": range(len(rows)), "text": rows}), path)
    assert path.stat().st_size > 8 << 20
    assert texts(path, "text") == rows


def test_a_csv_row_that_is_none_is_found_before_anything_is_paid_for(tmp_path: Path) -> None:
    """Though it is the last."""
    (tmp_path / "s.csv").write_text("a,b\n" + "1,2\n" * 100_000 + "1,2,3\n")
    with pytest.raises(ore.InputError, match="Expected 2 columns, got 3"):
        open_source(tmp_path / "s.csv")


def test_json_texts_stay_texts(tmp_path: Path) -> None:
    """A text that looks like a date is none, and a field that first comes late has a column."""
    rows: list[dict[str, Any]] = [{"text": "2024-01-01", "n": n} for n in range(50_000)]
    rows += [{"text": "2024-01-02T03:04:05Z", "n": 1.5, "late": {"a": [1]}}, {"late": {"b": "x"}}]
    path = tmp_path / "s.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + b"\n".join(json.dumps(row).encode() for row in rows) + b"\n\n"
    )
    assert path.stat().st_size > 1 << 20
    found = [row for batch in open_source(path).batches(1000) for row in batch.to_pylist()]
    assert [row["text"] for row in found[-3:]] == ["2024-01-01", "2024-01-02T03:04:05Z", None]
    assert [row["n"] for row in found] == [*map(float, range(50_000)), 1.5, None]
    assert [row["late"] for row in found[-3:]] == [
        None,
        {"a": [1], "b": None},
        {"a": None, "b": "x"},
    ]


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("abc"),
            st.none()
            | st.text(max_size=5)
            | st.lists(st.floats(allow_nan=False, allow_infinity=False)),
        ),
        min_size=1,
    )
)
def test_json_lines_are_read_as_json_reads_them(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    """Or refused, where a field is of several types."""
    path = tmp_path_factory.mktemp("json") / "s.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kinds = {
        (name, type(value)) for row in rows for name, value in row.items() if value is not None
    }
    if len({name for name, _ in kinds}) < len(kinds):
        with pytest.raises(ore.InputError, match="cannot be read"):
            open_source(path)
        return
    found = [row for batch in open_source(path).batches(3) for row in batch.to_pylist()]
    names = {name for row in rows for name in row}
    assert found == [{name: row.get(name) for name in names} for row in rows]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "line 3, is no JSON"),
        (b"[1]", "line 3, is no JSON object"),
        (b'{"a": 5}', "cannot be read"),
        (b'{"a": "x", "b": 18446744073709551615}', "cannot be read"),
    ],
)
def test_json_lines_that_are_none_are_refused(tmp_path: Path, line: bytes, said: str) -> None:
    """With their number, or what of them differs."""
    (tmp_path / "s.jsonl").write_bytes(b'{"a": "x"}\n\n' + line + b"\n")
    with pytest.raises(ore.InputError, match=said):
        open_source(tmp_path / "s.jsonl")


def test_fields_of_two_types_far_apart_are_refused(tmp_path: Path) -> None:
    """As near by."""
    lines = ['{"a": 1}', *[json.dumps({"text": "x" * 100})] * 20_000, '{"a": "1"}']
    (tmp_path / "s.jsonl").write_text("\n".join(lines))
    with pytest.raises(ore.InputError, match="of one type here, another there"):
        open_source(tmp_path / "s.jsonl")


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    """Nor the carriage returns of another system."""
    (tmp_path / "s.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert texts(tmp_path / "s.txt") == ["one", "two"]
    (tmp_path / "s.txt").write_bytes(b"one\n\xff\n")
    with pytest.raises(ore.InputError, match="is no UTF-8"):
        open_source(tmp_path / "s.txt")


@pytest.mark.parametrize("kind", ["s.csv", "s.jsonl", "s.txt", "s.parquet"])
def test_a_source_without_rows_is_refused(tmp_path: Path, kind: str) -> None:
    """And nothing is left beside the target."""
    (tmp_path / kind).write_text("text\n" if kind == "s.csv" else "")
    if kind == "s.parquet":
        pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / kind)
    with pytest.raises(ore.InputError, match="has no rows"):
        run(tmp_path / kind, tmp_path / "t.npy")
    assert [path.name for path in tmp_path.iterdir()] == [kind]


def test_files_with_other_columns_are_refused(tmp_path: Path) -> None:
    """Their rows would lose them."""
    for name, table in (("a", {"text": ["a"]}), ("b", {"text": ["b"], "more": [1]})):
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    with pytest.raises(ore.InputError, match=r"b\.parquet has other columns than .*a\.parquet"):
        open_source(str(tmp_path / "*.parquet"))


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
def test_text_is_found_in_every_form(kind: pa.DataType) -> None:
    """Categories, as pandas has them, and Polars' views."""
    table = pa.table({"n": [1, 2], "x": pa.array(["a", "b"]).cast(kind)})
    assert texts(table) == ["a", "b"]


@pytest.mark.parametrize(
    ("values", "written"),
    [
        (pa.array([1.5]), "1.5"),
        (pa.array([True]), "True"),
        (pa.array([date(2024, 1, 2)]), "2024-01-02"),
        (pa.array([datetime(2024, 1, 2, 3)]), "2024-01-02 03:00:00.000000"),  # noqa: DTZ001 - local
        (pa.array([1], pa.timestamp("ns")), "1970-01-01 00:00:00.000000001"),
        (pa.array([Decimal("1.50")]), "1.50"),
        (pa.array([7]).dictionary_encode(), "7"),
    ],
)
def test_values_are_written_as_text(values: pa.Array, written: str) -> None:
    """To the last digit."""
    assert texts(pa.table({"x": values}), "x") == [written]


@pytest.mark.parametrize("values", [[b"a"], [[1, 2]], [{"a": 1}]])
def test_what_is_no_text_is_refused(values: list[Any]) -> None:
    """It would be embedded as Python writes it."""
    with pytest.raises(ore.InputError, match="text or numbers are right"):
        texts(pa.table({"x": values}), "x")


@pytest.mark.parametrize("name", ["note:20", "a.b", "0", "a!r", "{", "a[0]"])
def test_a_column_may_have_any_name(name: str) -> None:
    """It is no template."""
    assert texts(pa.table({name: ["right"], "note": ["wrong"], "a": ["wrong"]}), name) == ["right"]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{a:20}", "followed by a format"),
        ("{a:{b}}", "followed by a format"),
        ("{a!r}", "followed by a format"),
        ("{0}", "no column '0'"),
        ("{}", "no column ''"),
        ("{a.real}", "no column 'a.real'"),
        ("{a", "is none"),
        ("none at all", "names no column"),
    ],
)
def test_a_template_that_cannot_be_right_is_refused(template: str, said: str) -> None:
    """It knows columns and nothing else of Python's formats."""
    with pytest.raises(ore.InputError, match=said):
        texts(pa.table({"a": ["x"], "b": ["y"]}), template=template)


def test_a_template_is_filled_as_it_stands() -> None:
    """Braces that are doubled are braces; a name with a dot is one."""
    table = pa.table({"a.b": ["{x}"], "c": [None]})
    assert texts(table, template="{{{a.b}}}-{c}!") == ["{{x}}-!"]


def _same_twice() -> pa.Table:
    return pa.table([pa.array(["a"]), pa.array(["b"])], ["text", "text"])


@pytest.mark.parametrize(
    ("target", "table", "said"),
    [
        ("t.parquet", _same_twice, "more than one column 'text'"),
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
def test_a_target_that_cannot_be_written_is_refused_before_anything_is_sent(
    tmp_path: Path, target: str, table: Callable[[], pa.Table], said: str
) -> None:
    """With the column that is in the way; a matrix takes them all."""
    with pytest.raises(ore.InputError, match=said):
        run(table(), tmp_path / target)
    assert not [*tmp_path.iterdir()]
    if "than one" not in said:
        run(table(), tmp_path / "t.npy", column="text")
        assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(["a"]))


def test_images_inside_parquet_take_bounded_memory(tmp_path: Path) -> None:
    """Though a row group holds far more of them, where a page does not."""
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


def test_a_request_holds_no_more_images_than_memory_should(tmp_path: Path) -> None:
    """Nor more text than the client sends together: what came of a part of it would be lost."""
    large = pa.table({"text": ["x" * 200_000 + str(n) for n in range(6)]})
    _, service = run(large, tmp_path / "t.npy")
    assert [len(bill.inputs) for bill in service.faults.billed] == [2, 2, 2]
    images = pa.table({"image": [PNG + bytes(1_500_000) + b"%d" % n for n in range(6)]})
    _, service = run(images, tmp_path / "u.npy", images="image")
    assert [len(bill.inputs) for bill in service.faults.billed] == [2, 2, 2]


def test_a_cache_that_several_begin_at_once_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite refuses at once to set the journal's mode while another process begins, too."""
    other = sqlite3.connect(tmp_path / "cache", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    tries: list[Store] = []

    def opened(self: Store) -> None:
        if tries:
            other.rollback()
        tries.append(self)
        begin(self)

    begin = Store._open
    monkeypatch.setattr(Store, "_open", opened)
    with closing(other), closing(Store(tmp_path / "cache", shared=True)) as store:
        assert store.count("vectors") == 0
    assert len(tries) == 2


def test_errors_count_when_a_job_goes_on(tmp_path: Path) -> None:
    """Those of earlier runs, and empty texts, are errors as others are."""
    table = pa.table({"text": ["a", "poison b", "poison c", "d"]})
    for _ in range(2):
        with pytest.raises(jobs.JobError, match="2 rows cannot be embedded, and max_errors is 1"):
            run(table, tmp_path / "t.npy", Fault("poison"), max_errors=1)
    with pytest.raises(jobs.JobError, match="1 row cannot be embedded, and max_errors is 0"):
        run(pa.table({"text": [""]}), tmp_path / "u.npy", max_errors=0)
