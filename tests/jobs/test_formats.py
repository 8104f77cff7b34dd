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
from openrouter_embeddings.jobs._spec import InputSpec
from openrouter_embeddings.jobs._store import Store
from openrouter_embeddings.local.faults import Fault

from tests.job_support import OPTIONS, run, vectors
from tests.support import PNG


def texts(source: Any, column: str | None = None, template: str | None = None) -> list[Any]:
    """What would be embedded."""
    opened = open_source(source)
    reader = opened.reader(InputSpec(column, template))
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
    with pytest.raises(ore.InputError, match=r"s\.csv: row 100002 has .* \(3\) than .* \(2\)"):
        open_source(tmp_path / "s.csv")


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ("id,prix é\n1,a\n".encode("latin1"), "not UTF-8; save it as UTF-8"),
        ("id,text\n1,a\n".encode("utf-16"), "not UTF-8; save it as UTF-8"),
        (b"id,text\n" + b"1,a\n" * 400_000 + b"2,\xe9\n", "not UTF-8; save it as UTF-8"),
        (b"id,text\n1,a\n2\n", "row 3 has another number of columns (1) than the header (2)"),
        (b"id,id\n1,2\n", "the header has more than one column 'id'; rename them"),
    ],
)
def test_what_is_wrong_with_a_csv_file_is_said_in_a_sentence(
    tmp_path: Path, contents: bytes, words: str
) -> None:
    """With the file's name, also where another stands before it."""
    (tmp_path / "good.csv").write_text("id,text\n1,a\n")
    (tmp_path / "bad.csv").write_bytes(contents)
    for sources in ([tmp_path / "bad.csv"], [tmp_path / "good.csv", tmp_path / "bad.csv"]):
        with pytest.raises(ore.InputError) as caught:
            open_source(sources)
        assert str(caught.value).startswith(f"{tmp_path / 'bad.csv'}: {words}")


def test_a_column_cut_within_a_character_is_read(tmp_path: Path) -> None:
    """The look at the first megabyte may end there."""
    text = "é" * (1 << 20)
    (tmp_path / "s.csv").write_text(f"text\n{text}\n")
    assert texts(tmp_path / "s.csv", "text") == [text]


@pytest.mark.parametrize(
    ("values", "words"),
    [([None, None], "all its values are null"), ([float("nan")] * 2, "but double")],
)
def test_the_only_column_without_text_is_named(values: list[Any], words: str) -> None:
    """There is no other to choose."""
    table = pa.table({"text": pa.array(values)})
    with pytest.raises(ore.InputError, match=rf"the only column, 'text', has no text \({words}\)"):
        open_source(table).reader(InputSpec())


def test_the_reason_for_a_source_or_target_of_the_wrong_kind_is_said(tmp_path: Path) -> None:
    """Whether one is unknown, or two differ."""
    for name in ("a.csv", "b.parquet", "c.docx"):
        (tmp_path / name).touch()
    with pytest.raises(ore.InputError, match=r"the same format; these are \.csv and \.parquet$"):
        open_source([tmp_path / "a.csv", tmp_path / "b.parquet"])
    with pytest.raises(
        ore.InputError, match=r"^\.docx is not supported as a source; use a \.parquet, "
    ):
        open_source(tmp_path / "c.docx")
    with pytest.raises(ore.InputError, match=r"b\.csv: a target ends in \.parquet, \.jsonl or"):
        jobs.embed_file(tmp_path / "a.csv", tmp_path / "b.csv")


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
    ).filter(any)
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
        with pytest.raises(ore.InputError, match=r"s\.jsonl, line \d+: "):
            open_source(path)
        return
    found = [row for batch in open_source(path).batches(3) for row in batch.to_pylist()]
    names = {name for row in rows for name in row}
    assert found == [{name: row.get(name) for name in names} for row in rows]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "line 3, is not JSON"),
        (b"[1]", "line 3, is not a JSON object"),
        (b'{"a": 5}', r"s\.jsonl, line 3: .*Field a has incompatible types"),
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
    (tmp_path / "r.jsonl").write_text('{"text": "a file before it"}')
    with pytest.raises(ore.InputError, match=r"s\.jsonl, line 20002: .*Field a has"):
        open_source([tmp_path / "r.jsonl", tmp_path / "s.jsonl"])


def test_unsigned_integers_are_taken_as_they_are(tmp_path: Path) -> None:
    """From 2**63 on, as hashes have them, wherever they first come, in lists and objects too."""
    large = 2**64 - 1
    rows: list[dict[str, Any]] = [{"text": "x" * 60, "id": 5, "o": None, "f": 2}] * 20_000
    rows += [{"text": "y", "id": large, "o": {"l": [1, 2**63]}, "f": 0.5}]
    rows += [{"text": "z", "id": 0, "o": {"l": []}, "f": -1}]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert (tmp_path / "s.jsonl").stat().st_size > 1 << 20
    for name in ("t.parquet", "t.jsonl"):
        run(tmp_path / "s.jsonl", tmp_path / name, column="text", batch_size=128)
    assert open_source(tmp_path / "s.jsonl").schema.field("id").type == pa.uint64()
    columns = ["text", "id", "o", "f"]
    assert pq.read_table(tmp_path / "t.parquet", columns=columns).to_pylist() == rows
    lines = map(json.loads, (tmp_path / "t.jsonl").read_text().splitlines())
    assert [{name: line[name] for name in columns} for line in lines] == rows


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (2**63, -1, r"line 2: the value of 'v' does not fit uint64"),
        (2**63, 0.5, r"line 1: the value of 'v' does not fit double"),
        (2**63, "a", r"line 2: .*Field v has incompatible types"),
    ],
)
def test_integers_that_no_type_holds_are_refused(
    tmp_path: Path, one: object, other: object, said: str
) -> None:
    """In every order, near by and far apart."""
    lines = [json.dumps({"v": one}), json.dumps({"v": other})]
    (tmp_path / "s.jsonl").write_text("\n".join(lines))
    with pytest.raises((ore.InputError, jobs.JobError), match=said):
        list(open_source(tmp_path / "s.jsonl").batches(10))


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    """Nor the carriage returns of another system."""
    (tmp_path / "s.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert texts(tmp_path / "s.txt") == ["one", "two"]
    (tmp_path / "s.txt").write_bytes(b"one\n\xff\n")
    with pytest.raises(ore.InputError, match="is not UTF-8"):
        open_source(tmp_path / "s.txt")


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
    """One piece of a source may be empty; a file that does not name its columns takes any name."""
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
    """Each row is in the errors file; without `dimensions` nobody knows how long a vector is."""
    table = pa.table({"text": pa.array([None, "", None], pa.string())})
    for _ in range(2):  # again it is done already
        report, service = run(table, tmp_path / target, dimensions=dimensions)
        assert (report.rows, report.errors, report.dimensions) == (3, 3, dimensions or 0)
        assert service.faults.requests == 0
    reasons = (tmp_path / f"{target}.errors.jsonl").read_text().splitlines()
    found = [json.loads(line)["reason"] for line in reasons]
    assert found == [f"the text is {what}" for what in ("null", "empty", "null")]
    assert jobs.search(tmp_path / target, "x", client=ore.Client.local(**OPTIONS)) == []
    if target == "t.npy":
        assert np.isnan(np.load(tmp_path / target)).all()
        return
    if target == "t.jsonl":
        lines = (tmp_path / target).read_text().splitlines()
        assert [json.loads(line)["embedding"] for line in lines] == [None] * 3
        return
    run(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    both = pq.read_table([tmp_path / "a.parquet", tmp_path / target])
    assert [row is None for row in both["embedding"].to_pylist()] == [False, True, True, True]


def test_a_source_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    """A wrong folder, or a model that refuses everything, is no piece without rows."""
    for table, fault in (
        (pa.table({"image": ["/none/a.png", None]}), []),
        (pa.table({"text": ["poison", None]}), [Fault("poison")]),
    ):
        with pytest.raises(jobs.JobError, match="no row could be embedded"):
            run(table, tmp_path / "t.npy", *fault, images="image" if not fault else None)
        assert not (tmp_path / "t.npy").exists()


def test_rows_need_a_column(tmp_path: Path) -> None:
    """Objects without any field are no empty file."""
    (tmp_path / "s.jsonl").write_text("{}\n{}\n")
    with pytest.raises(ore.InputError, match="rows without any column"):
        open_source(tmp_path / "s.jsonl")


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
def test_files_with_other_columns_are_refused(
    tmp_path: Path, table: dict[str, Any], said: str
) -> None:
    """Their rows would lose them; the error names the column."""
    for name, one in (("a", {"text": ["a"]}), ("b", table)):
        pq.write_table(pa.table(one), tmp_path / f"{name}.parquet")
    with pytest.raises(ore.InputError, match=said):
        open_source(str(tmp_path / "*.parquet"))


def test_a_damaged_file_among_others_is_named(tmp_path: Path) -> None:
    """And one with two columns of a name."""
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and so on")
    with pytest.raises(ore.InputError, match=r"b\.parquet: "):
        open_source(str(tmp_path / "*.parquet"))
    pq.write_table(_same_twice(), tmp_path / "b.parquet")
    with pytest.raises(ore.InputError, match="more than one column 'text'"):
        open_source(str(tmp_path / "*.parquet"))


def test_files_may_be_written_by_several_programs(tmp_path: Path) -> None:
    """Their columns may differ in order, in nullability, in the width of text, and one in nulls."""
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
    with pytest.raises(ore.InputError, match="a column of texts, numbers or dates is needed"):
        texts(pa.table({"x": values}), "x")


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
