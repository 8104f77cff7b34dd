"""What a template, or the name of a column, makes of a row."""

from typing import Any

import openrouter_embeddings as ore
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.jobs._sources import open_source
from openrouter_embeddings.jobs._spec import InputSpec

from tests.support import PNG


def texts(table: pa.Table, column: str | None = None, template: str | None = None) -> list[Any]:
    """What would be embedded."""
    source = open_source(table)
    reader = source.reader(InputSpec(column, template))
    return [row.value for batch in source.batches(1000) for row in reader.read(batch)]


@pytest.mark.parametrize("name", ["note:20", "a.b", "0", "a!r", "{", "a[0]"])
def test_a_column_may_have_any_name(name: str) -> None:
    """It is no template."""
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
def test_a_template_that_cannot_be_right_is_refused(template: str, said: str) -> None:
    """It knows columns and nothing else of Python's formats."""
    with pytest.raises(ore.InputError, match=said):
        texts(pa.table({"a": ["x"], "b": ["y"]}), template=template)


def test_a_template_is_filled_as_it_stands() -> None:
    """Braces that are doubled are braces; a name with a dot is one."""
    table = pa.table({"a.b": ["{x}"], "c": [None]})
    assert texts(table, template="{{{a.b}}}-{c}!") == ["{{x}}-!"]


@given(st.text("a:!{} .", min_size=1), st.text("b:!{}"), st.text("b:!{}"))
def test_a_template_can_name_every_column(name: str, before: str, after: str) -> None:
    """Braces are doubled, in the text and in the name; nothing else has a meaning."""
    doubled = [part.replace("{", "{{").replace("}", "}}") for part in (before, name, after)]
    table = pa.table({name: ["x"], "other": ["y"]})
    template = "{}{{{}}}{}{{other}}".format(*doubled)
    assert texts(table, template=template) == [f"{before}x{after}y"]


@pytest.mark.parametrize("names", [["a", "a}"], ["a}", "a"]])
def test_what_can_be_a_longer_name_is_one(names: list[str]) -> None:
    """Otherwise no template could name it."""
    table = pa.table({name: ["short" if name == "a" else "long"] for name in names})
    assert texts(table, template="{a}}}") == ["long"]


def test_a_template_over_empty_columns_is_an_empty_text() -> None:
    """What stands between the columns is not worth a vector; zero and spaces are values."""
    table = pa.table({"a": [None, "", "x", None], "b": pa.array([None, None, None, 0])})
    assert texts(table, template="{a}: {b}") == [None, None, "x: ", ": 0"]


def test_an_image_without_text_is_embedded_alone() -> None:
    """A template over empty columns adds no text; one without columns adds its own."""
    table = pa.table({"a": [None, "x"], "image": [PNG, PNG]})
    (batch,) = open_source(table).batches(2)
    for template, wanted in (("{a}: ", [False, True]), ("a photo", [True, True])):
        rows = open_source(table).reader(InputSpec(None, template, "image")).read(batch)
        assert [isinstance(row.value, ore.Content) for row in rows] == wanted
