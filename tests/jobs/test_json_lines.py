"""JSON lines are read as written, or refused."""

import json
from pathlib import Path
from typing import Any

import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings import jobs
from openrouter_embeddings.jobs._sources import open_source

from tests.job_support import json_lines, run


def test_json_texts_stay_texts(tmp_path: Path) -> None:
    """A text that looks like a date stays a text, and a field of later lines gets a column."""
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
    """A field of several types is refused instead."""
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
        (rb'{"text": "\ud800"}', "line 3, is not JSON: .* has half of a surrogate pair"),
        (b"[1]", "line 3, is not a JSON object"),
        (b'{"a": 5}', r"s\.jsonl, line 3: .*Field a has incompatible types"),
    ],
)
def test_invalid_json_lines_are_refused(tmp_path: Path, line: bytes, said: str) -> None:
    """The error has the line number, or the types that differ."""
    (tmp_path / "s.jsonl").write_bytes(b'{"a": "x"}\n\n' + line + b"\n")
    with pytest.raises(ore.InputError, match=said):
        open_source(tmp_path / "s.jsonl")


def test_fields_of_two_types_far_apart_are_refused(tmp_path: Path) -> None:
    """The error names the line, however far it is from the first one."""
    lines = ['{"a": 1}', *[json.dumps({"text": "x" * 100})] * 20_000, '{"a": "1"}']
    (tmp_path / "s.jsonl").write_text("\n".join(lines))
    (tmp_path / "r.jsonl").write_text('{"text": "a file before it"}')
    with pytest.raises(ore.InputError, match=r"s\.jsonl, line 20002: .*Field a has"):
        open_source([tmp_path / "r.jsonl", tmp_path / "s.jsonl"])


def test_unsigned_integers_of_64_bits_are_kept(tmp_path: Path) -> None:
    """In any line, in lists and in objects."""
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
    lines = json_lines(tmp_path / "t.jsonl")
    assert [{name: line[name] for name in columns} for line in lines] == rows


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (2**63, -1, r"line 2: the value of 'v' does not fit uint64"),
        (2**63, 0.5, r"line 1: the value of 'v' does not fit double"),
        (2**63, "a", r"line 2: .*Field v has incompatible types"),
    ],
)
def test_integers_that_fit_no_common_type_are_refused(
    tmp_path: Path, one: object, other: object, said: str
) -> None:
    """The error names the line."""
    lines = [json.dumps({"v": one}), json.dumps({"v": other})]
    (tmp_path / "s.jsonl").write_text("\n".join(lines))
    with pytest.raises((ore.InputError, jobs.JobError), match=said):
        list(open_source(tmp_path / "s.jsonl").batches(10))


def test_rows_need_a_column(tmp_path: Path) -> None:
    """Objects without fields are not an empty file."""
    (tmp_path / "s.jsonl").write_text("{}\n{}\n")
    with pytest.raises(ore.InputError, match="rows without any column"):
        open_source(tmp_path / "s.jsonl")
