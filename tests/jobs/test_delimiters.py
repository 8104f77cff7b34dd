"""What separates the columns of a CSV file, found or said."""

import csv
from pathlib import Path
from typing import Any

import openrouter_embeddings as ore
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.jobs._sources import open_source
from openrouter_embeddings.jobs._spec import InputSpec

from tests.support import orembed


def read(path: Path, column: str | None) -> list[Any]:
    """What would be embedded."""
    source = open_source(path)
    reader = source.reader(InputSpec(column))
    return [row.value for batch in source.batches(10) for row in reader.read(batch)]


DELIMITED = [
    ("id;title\n1;a, b\n", "title"),
    ("id\ttitle\n1\ta, b\n", "title"),
    ("id|title\n1|a, b\n", "title"),
    ('\ufeffid,"a;b|c",title\n1,x,"a, b"\n', "title"),
    ('\r\n"i;d\n,""";title\n1;a, b\n', "title"),
    ('title\n"a, b"\n', "title"),
]


@pytest.mark.parametrize(("contents", "column"), DELIMITED)
def test_the_header_tells_what_separates_columns(
    tmp_path: Path, contents: str, column: str
) -> None:
    """What stands in quotes does not count."""
    (tmp_path / "s.csv").write_text(contents, newline="")
    assert read(tmp_path / "s.csv", column) == ["a, b"]


@given(
    st.lists(st.text('ab,;\t|"\n ', min_size=1), min_size=2, max_size=4, unique=True),
    st.sampled_from(",;\t|"),
    st.booleans(),
)
def test_a_header_is_read_as_it_was_written_or_refused(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], delimiter: str, mark: bool
) -> None:
    """Never otherwise: it is refused where another delimiter stands outside of quotes."""
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
    """Until the caller says which; the shell's way to write a tab is taken, too."""
    path = tmp_path / "s.csv"
    path.write_text("id;price,eur\ttext\n1;2,50\tx\n")
    with pytest.raises(
        ore.InputError,
        match=r"s\.csv has ',' and ';' and '\\t'; name the delimiter .*: --delimiter '\\t',",
    ):
        open_source(path)
    found = {one: open_source(path, delimiter=one).schema.names for one in (",", ";", "\t", "\\t")}
    assert found == {
        ",": ["id;price", "eur\ttext"],
        ";": ["id", "price,eur\ttext"],
        "\t": ["id;price,eur", "text"],
        "\\t": ["id;price,eur", "text"],
    }


def test_tsv_files_are_separated_by_tabs(tmp_path: Path) -> None:
    """Though the only column's name has a comma."""
    (tmp_path / "s.tsv").write_text("last, first\nDoe, Jane\n")
    assert read(tmp_path / "s.tsv", None) == ["Doe, Jane"]


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n", "¦"])
def test_a_delimiter_that_cannot_be_right_is_refused(tmp_path: Path, delimiter: str) -> None:
    """Arrow takes one character of ASCII."""
    (tmp_path / "s.csv").write_text("a\nb\n")
    with pytest.raises(ore.InputError, match="use one character, such as"):
        open_source(tmp_path / "s.csv", delimiter=delimiter)


def test_a_delimiter_is_for_csv_alone(tmp_path: Path) -> None:
    """Elsewhere it would have no effect."""
    (tmp_path / "s.txt").write_text("a\n")
    for source in (tmp_path / "s.txt", tmp_path, pa.table({"a": ["b"]})):
        with pytest.raises(ore.InputError, match=r"only \.csv files have a delimiter"):
            open_source(source, delimiter=";")


def test_files_with_several_delimiters_are_refused(tmp_path: Path) -> None:
    """One of them would be read as a single column."""
    (tmp_path / "a.csv").write_text("id,text\n1,x\n")
    (tmp_path / "b.csv").write_text("id;text\n2;y\n")
    with pytest.raises(
        ore.InputError, match=r"b\.csv seem to be separated by ';', but those of \S*a"
    ):
        open_source([tmp_path / "a.csv", tmp_path / "b.csv"])


def test_another_delimiter_is_another_source(tmp_path: Path) -> None:
    """What was begun with one is not mixed with the other; the same one may be said or found."""
    path = tmp_path / "s.csv"
    path.write_text("id;text\n1;x\n")
    found = open_source(path).identity
    assert open_source(path, delimiter=";").identity == found
    assert open_source(path, delimiter=",").identity != found


@pytest.mark.parametrize("more", [["--dry-run", "--price", "1"], []])
def test_the_command_takes_a_delimiter(tmp_path: Path, more: list[str]) -> None:
    """For a job and for its estimate; a tab as the shell has it."""
    path = tmp_path / "s.csv"
    path.write_text("id,n\ttext\n1\ta\n")
    local = ("--local", "--model", "local/hash", "--dimensions", 4)
    asked = ("run", path, "-o", tmp_path / "t.npy", *local, *more)
    assert orembed(*asked).returncode == 2
    assert orembed(*asked, "--column", "text", "--delimiter", "\\t").returncode == 0
