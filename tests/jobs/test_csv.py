"""CSV files are read as written, or refused."""

from pathlib import Path

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from openrouter_embeddings.jobs._sources import open_source

from tests.job_support import matrix, run, texts, vectors


def test_csv_columns_are_texts_as_written(tmp_path: Path) -> None:
    """007 is not a number, and an empty field is not a null."""
    (tmp_path / "s.csv").write_text("code,flag\n007,true\n1e5,\n")
    run(tmp_path / "s.csv", tmp_path / "t.parquet", template="{code} {flag}")
    table = pq.read_table(tmp_path / "t.parquet")
    assert table["code"].to_pylist() == ["007", "1e5"]
    assert np.array_equal(matrix(tmp_path / "t.parquet"), vectors(["007 true", "1e5 "]))


def test_quoted_texts_may_contain_line_breaks(tmp_path: Path) -> None:
    """Also in a CSV file of several blocks."""
    rows = [f'line {n}\n"quoted", and\n\nmore' for n in range(250_000)]
    path = tmp_path / "s.csv"
    pyarrow.csv.write_csv(pa.table({"id": range(len(rows)), "text": rows}), path)
    assert path.stat().st_size > 8 << 20
    assert texts(path, "text") == rows


def test_a_malformed_csv_row_is_found_before_anything_is_paid_for(tmp_path: Path) -> None:
    """Even if it is the last row."""
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
def test_an_error_in_a_csv_file_names_the_file(tmp_path: Path, contents: bytes, words: str) -> None:
    """The message is one sentence, also if another file is read first."""
    (tmp_path / "good.csv").write_text("id,text\n1,a\n")
    (tmp_path / "bad.csv").write_bytes(contents)
    for sources in ([tmp_path / "bad.csv"], [tmp_path / "good.csv", tmp_path / "bad.csv"]):
        with pytest.raises(ore.InputError) as caught:
            open_source(sources)
        assert str(caught.value).startswith(f"{tmp_path / 'bad.csv'}: {words}")


def test_the_encoding_check_may_end_within_a_character(tmp_path: Path) -> None:
    """The check reads the first megabyte only."""
    text = "é" * (1 << 20)
    (tmp_path / "s.csv").write_text(f"text\n{text}\n")
    assert texts(tmp_path / "s.csv", "text") == [text]


def test_csv_files_with_different_columns_are_refused(tmp_path: Path) -> None:
    """Another order of columns is fine."""
    (tmp_path / "a.csv").write_text("id,text\n1,x\n")
    (tmp_path / "b.csv").write_text("text,id\ny,2\n")
    run([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "t.npy", column="text")
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(["x", "y"]))
    (tmp_path / "b.csv").write_text("id,body\n2,y\n")
    with pytest.raises(ore.InputError, match=r"b\.csv has a column 'body' and .*a\.csv does not"):
        run([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "u.npy", column="text")
