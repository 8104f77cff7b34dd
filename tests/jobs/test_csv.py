"""CSV files are read as written, or refused; the delimiter is found in the header, or set."""

import csv
from pathlib import Path

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.jobs._sources import open_source

from tests.job_support import matrix, run, texts, vectors
from tests.support import HASH, orembed

DELIMITED = [
    ("id;title\n1;a, b\n", "title"),
    ("id\ttitle\n1\ta, b\n", "title"),
    ("id|title\n1|a, b\n", "title"),
    ('\ufeffid,"a;b|c",title\n1,x,"a, b"\n', "title"),
    ('\r\n"i;d\n,""";title\n1;a, b\n', "title"),
    ('title\n"a, b"\n', "title"),
]


@pytest.mark.parametrize(("contents", "column"), DELIMITED)
def test_the_delimiter_is_found_in_the_header(tmp_path: Path, contents: str, column: str) -> None:
    """Delimiters in quotes do not count."""
    (tmp_path / "s.csv").write_text(contents, newline="")
    assert texts(tmp_path / "s.csv", column) == ["a, b"]


@given(
    st.lists(st.text('ab,;\t|"\n ', min_size=1), min_size=2, max_size=4, unique=True),
    st.sampled_from(",;\t|"),
    st.booleans(),
)
def test_a_header_is_read_correctly_or_refused(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], delimiter: str, mark: bool
) -> None:
    """It is refused only if another delimiter occurs outside of quotes."""
    path = tmp_path_factory.mktemp("csv") / "s.csv"
    with path.open("w", newline="", encoding="utf-8-sig" if mark else "utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([names, names])
    plain = [name for name in names if not {*name} & {delimiter, '"', "\n"}]
    others = {*"".join(plain)} & {*",;\t|"}
    if others:
        with pytest.raises(ore.InputError, match="name the delimiter of the columns"):
            open_source(path)
    source = open_source(path, delimiter=delimiter if others else None)
    (batch,) = source.batches(10)
    assert batch.to_pylist() == [dict(zip(names, names, strict=True))]


def test_a_header_with_several_delimiters_is_refused(tmp_path: Path) -> None:
    """The caller can name the delimiter, also a tab as the two characters that a shell passes."""
    path = tmp_path / "s.csv"
    path.write_text("id;price,eur\ttext\n1;2,50\tx\n")
    words = r"s\.csv has ',' and ';' and '\\t'; name the delimiter .*: --delimiter '\\t',"
    with pytest.raises(ore.InputError, match=words):
        open_source(path)
    found = {one: open_source(path, delimiter=one).schema.names for one in (",", ";", "\t", "\\t")}
    assert found == {
        ",": ["id;price", "eur\ttext"],
        ";": ["id", "price,eur\ttext"],
        "\t": ["id;price,eur", "text"],
        "\\t": ["id;price,eur", "text"],
    }


def test_tsv_files_are_separated_by_tabs(tmp_path: Path) -> None:
    """A comma in the name of the only column makes no difference."""
    (tmp_path / "s.tsv").write_text("last, first\nDoe, Jane\n")
    assert texts(tmp_path / "s.tsv", None) == ["Doe, Jane"]


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n", "¦"])
def test_an_invalid_delimiter_is_refused(tmp_path: Path, delimiter: str) -> None:
    """Arrow supports a single ASCII character."""
    (tmp_path / "s.csv").write_text("a\nb\n")
    with pytest.raises(ore.InputError, match="use one character, such as"):
        open_source(tmp_path / "s.csv", delimiter=delimiter)


def test_only_csv_files_have_a_delimiter(tmp_path: Path) -> None:
    """Other sources refuse one, because it would have no effect."""
    (tmp_path / "s.txt").write_text("a\n")
    for source in (tmp_path / "s.txt", tmp_path, pa.table({"a": ["b"]})):
        with pytest.raises(ore.InputError, match=r"only \.csv files have a delimiter"):
            open_source(source, delimiter=";")


def test_files_with_several_delimiters_are_refused(tmp_path: Path) -> None:
    """Otherwise one file would be read as a single column."""
    (tmp_path / "a.csv").write_text("id,text\n1,x\n")
    (tmp_path / "b.csv").write_text("id;text\n2;y\n")
    words = r"b\.csv seem to be separated by ';', but those of \S*a"
    with pytest.raises(ore.InputError, match=words):
        open_source([tmp_path / "a.csv", tmp_path / "b.csv"])


@pytest.mark.parametrize("more", [["--dry-run", "--price", "1"], []])
def test_the_command_takes_a_delimiter(tmp_path: Path, more: list[str]) -> None:
    """The job and the estimate get it; a tab may be written as in a shell."""
    path = tmp_path / "s.csv"
    path.write_text("id,n\ttext\n1\ta\n")
    asked = ("run", path, "-o", tmp_path / "t.npy", *HASH, *more)
    assert orembed(*asked).returncode == 2
    assert orembed(*asked, "--column", "text", "--delimiter", "\\t").returncode == 0


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
