"""A column or a template gives the text of a row."""

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.jobs._rows import Reader
from openrouter_embeddings.jobs._sources import open_source
from openrouter_embeddings.jobs._spec import InputSpec

from tests.job_support import TEXTS, run, texts, vectors
from tests.support import PNG


def test_a_template_combines_columns(source: Path, tmp_path: Path) -> None:
    """A null is an empty text."""
    run(source, tmp_path / "t.npy", template="{more}: {text}")
    wanted = [f"more {n}: {text}" for n, text in enumerate(TEXTS)]
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(wanted))
    table = pa.table({"a": ["x", None], "b": ["y", "z"]})
    run(table, tmp_path / "u.npy", template="{a}-{b}")
    assert np.array_equal(np.load(tmp_path / "u.npy"), vectors(["x-y", "-z"]))


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
def test_values_are_converted_to_text(values: pa.Array, written: str) -> None:
    """With all their digits."""
    assert texts(pa.table({"x": values}), "x") == [written]


@pytest.mark.parametrize("values", [[b"a"], [[1, 2]], [{"a": 1}]])
def test_a_column_of_bytes_lists_or_structs_is_refused(values: list[Any]) -> None:
    """They would be embedded as Python prints them."""
    with pytest.raises(ore.InputError, match="a column of texts, numbers or dates is needed"):
        texts(pa.table({"x": values}), "x")


@pytest.mark.parametrize("name", ["note:20", "a.b", "0", "a!r", "{", "a[0]"])
def test_a_column_may_have_any_name(name: str) -> None:
    """Its name is not a template."""
    assert texts(pa.table({name: ["right"], "note": ["wrong"], "a": ["wrong"]}), name) == ["right"]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{a:20}", "no column 'a:20'"),
        ("{a:{b}}", "single brace at character 0"),
        ("{a!r}", "no column 'a!r'"),
        ("a}", "single brace at character 1"),
        ("{0}", "no column '0'"),
        ("{}", "no column ''"),
        ("{a.real}", "no column 'a.real'"),
        ("{a", "single brace at character 0"),
        ("none at all", "names no column"),
    ],
)
def test_an_invalid_template_is_refused(template: str, said: str) -> None:
    """Templates contain column names, and no other syntax of Python's formats."""
    with pytest.raises(ore.InputError, match=said):
        texts(pa.table({"a": ["x"], "b": ["y"]}), template=template)


def test_doubled_braces_are_literal() -> None:
    """A column name may contain a dot."""
    table = pa.table({"a.b": ["{x}"], "c": [None]})
    assert texts(table, template="{{{a.b}}}-{c}!") == ["{{x}}-!"]


@given(st.text("a:!{} .", min_size=1), st.text("b:!{}"), st.text("b:!{}"))
def test_a_template_can_name_every_column(name: str, before: str, after: str) -> None:
    """Braces are doubled, in the text and in the name; no other character is special."""
    doubled = [part.replace("{", "{{").replace("}", "}}") for part in (before, name, after)]
    table = pa.table({name: ["x"], "other": ["y"]})
    template = "{}{{{}}}{}{{other}}".format(*doubled)
    assert texts(table, template=template) == [f"{before}x{after}y"]


@pytest.mark.parametrize("names", [["a", "a}"], ["a}", "a"]])
def test_the_longest_column_name_wins(names: list[str]) -> None:
    """Otherwise no template could name that column."""
    table = pa.table({name: ["short" if name == "a" else "long"] for name in names})
    assert texts(table, template="{a}}}") == ["long"]


def test_a_template_over_empty_columns_is_an_empty_text() -> None:
    """The template's own text is not worth a vector; zero and spaces are values."""
    table = pa.table({"a": [None, "", "x", None], "b": pa.array([None, None, None, 0])})
    assert texts(table, template="{a}: {b}") == [None, None, "x: ", ": 0"]


@given(st.lists(st.none() | st.text(max_size=3) | st.binary(max_size=3)))
def test_a_column_is_read_like_a_template_of_it(values: list[Any]) -> None:
    """Also nulls and texts that are not UTF-8; only the reason for a null differs."""
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    column = pa.array(encoded, pa.binary()).view(pa.string())  # which does not check them
    batch = pa.record_batch([column], ["a"])
    by_column, by_template = (
        [row._replace(reason="") for row in Reader(batch.schema, None, spec).read(batch)]
        for spec in (InputSpec("a"), InputSpec(template="{a}"))
    )
    assert by_column == by_template


def test_an_image_without_text_is_embedded_alone() -> None:
    """A template over empty columns adds no text; one without columns adds its own."""
    table = pa.table({"a": [None, "x"], "image": [PNG, PNG]})
    (batch,) = open_source(table).batches(2)
    for template, wanted in (("{a}: ", [False, True]), ("a photo", [True, True])):
        rows = open_source(table).reader(InputSpec(None, template, "image")).read(batch)
        assert [isinstance(row.value, ore.Content) for row in rows] == wanted
