"""Checking and converting inputs, and the errors for invalid ones."""

import json
import math
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import PIL.Image
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings import Audio, Content, File, Image, InputError, Video
from openrouter_embeddings.core.validate import InputValidator, validate_inputs, validate_stream
from openrouter_embeddings.inputs import MISSING, RawPart

from tests.support import TEXT, json_values

HUGE = 10**5000  # Python prints no integer of more than 4,300 digits
TOKENS = st.lists(st.integers(0, 2**31 - 1), min_size=1)


@given(st.lists(TEXT, min_size=1))
def test_texts_are_unchanged(texts: list[str]) -> None:
    """A list of texts is returned as it is."""
    assert validate_inputs(texts) == texts


@given(TOKENS)
def test_one_list_of_integers_is_one_input(tokens: list[int]) -> None:
    """A flat list of tokens is one input, and its integers stay integers."""
    assert validate_inputs(tokens) == [tokens]
    (only,) = validate_inputs(tokens)
    assert isinstance(only, list)
    assert all(type(token) is int for token in only)


@given(st.lists(TOKENS, min_size=1))
def test_token_lists_are_unchanged(tokens: list[list[int]]) -> None:
    """Each token list of a list is an input."""
    assert validate_inputs(tokens) == tokens


@pytest.mark.parametrize(
    ("given_", "right"),
    [
        ("a", ["a"]),
        (("a", "b"), ["a", "b"]),
        ((text for text in "ab"), ["a", "b"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([101, 7], np.int32), [[101, 7]]),
        (np.array([[101, 7]], np.uint16), [[101, 7]]),
        (np.array([101, 7], np.uint8), [[101, 7]]),
        (array("i", [101, 7]), [[101, 7]]),
        ([array("H", [101, 7])], [[101, 7]]),
        ([np.array([101]), np.array([7, 8])], [[101], [7, 8]]),
        ([np.int64(5), 6], [[5, 6]]),
        (range(3), [[0, 1, 2]]),
        (np.array("abc"), ["abc"]),
        (pa.chunked_array([["a"], ["b"]]), ["a", "b"]),
        (pa.array([[101, 7], [8]]), [[101, 7], [8]]),
        (pa.array([101, 7]), [[101, 7]]),
        ([pa.scalar("a"), pa.scalar("b")], ["a", "b"]),
        ([pa.scalar([101]), pa.array([7, 8])], [[101], [7, 8]]),
        (pd.Series(["a", "b"]), ["a", "b"]),
        (pd.Series([[101, 7], [8]]), [[101, 7], [8]]),
    ],
)
def test_equivalents_of_lists_are_accepted(given_: Any, right: list[Any]) -> None:
    """Tuples, generators, ranges, arrays and columns mean the same as the equal list."""
    assert validate_inputs(given_) == right


@pytest.mark.parametrize("kind", [Image, Audio, Video, File])
def test_one_media_input_makes_all_multimodal(kind: type[Image | Audio | Video | File]) -> None:
    """The API requires one kind of input per request."""
    image = kind(b"")
    both = Content("red", image)
    assert validate_inputs(["a", image, both]) == [Content("a"), Content(image), both]


def test_the_apis_own_form_is_accepted() -> None:
    """A mapping in the API's form becomes the `Content` it describes."""
    url = "https://example.org/cat.png"
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": url}}]
    (content,) = validate_inputs({"content": parts})
    assert isinstance(content, Content)
    text, image = content.parts
    assert text == "a"
    assert isinstance(image, Image)
    assert image.source == url


def raw_part(inputs: Any) -> RawPart:
    """The only part of the only input."""
    (content,) = validate_inputs(inputs)
    assert isinstance(content, Content)
    (raw,) = content.parts
    assert isinstance(raw, RawPart)
    return raw


@given(
    TEXT.filter(lambda kind: kind not in ("text", "image_url")),
    st.dictionaries(TEXT, json_values(9)),
)
def test_unknown_parts_are_sent_unchanged(kind: str, fields: dict[str, Any]) -> None:
    """In a `Content` and in the API's form; later changes to the mapping have no effect."""
    part = {**fields, "type": kind}
    expected = json.dumps(part, sort_keys=True)
    raws = raw_part(Content(part)), raw_part({"content": [part]})
    part["type"] = "other"
    for raw in raws:
        assert json.dumps(json.loads(raw.json), sort_keys=True) == expected


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "a", "weight": 2},
        {"type": "image_url", "image_url": {"url": "https://x.org/y", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ],
)
def test_new_fields_of_known_parts_are_kept(part: dict[str, Any]) -> None:
    """The part is sent unchanged."""
    assert json.loads(raw_part([Content(part)]).json) == part


@pytest.mark.parametrize(
    ("part", "kind", "source"),
    [
        ({"type": "text", "text": "a", "weight": 2}, "text", ""),
        ({"type": "image_url", "image_url": {"url": "data:x", "detail": 1}}, "image", "data:x"),
        ({"type": "image_url", "image_url": {"url": "data:x"}, "more": 1}, "image", "data:x"),
        ({"type": "input_audio", "input_audio": {"data": "x"}}, "audio", "x"),
        ({"type": "input_video", "input_video": {"data": "x", "format": "y"}}, "video", "x"),
        ({"type": "input_file", "input_file": {"data": "x"}, "more": 1}, "file", "x"),
        ({"type": "input_file", "input_file": "x"}, "", ""),
        ({"type": "smell"}, "", ""),
    ],
)
def test_kind_and_source_of_raw_parts_are_known(
    part: dict[str, Any], kind: str, source: str
) -> None:
    """Media checks and token estimates use them; for unknown parts they are empty."""
    raw = raw_part([Content(part)])
    assert (raw.kind, raw.source) == (kind, source)


def test_long_keys_are_truncated_in_the_error() -> None:
    """The error has only the beginning of each key."""
    with pytest.raises(InputError, match="with the keys 'kkk") as caught:
        validate_inputs({"k" * 200_000: 1})
    assert len(str(caught.value)) < 500


WIRE = '{"content": [{"type": "text", "text": "…"}, {"type": "image_url", "image_url": {"url":'


@pytest.mark.parametrize(
    ("wrong", "position", "words"),
    [
        ("", 0, "the text is empty"),
        (["a", ""], 1, "the text is empty"),
        (None, 0, "Content, got None"),
        (["a", None], 1, "missing value (None); remove it"),
        (["a", math.nan, None], 1, "missing value (NaN); remove it"),
        ([[1], None], 1, "missing value (None)"),
        ([math.nan, math.nan], 0, "missing value (NaN)"),
        ([101, math.nan], 0, "token 1: expected an integer from 0 to 2³¹-1, got nan"),
        (["a", 5], 1, "got a number; pass tokens as a list"),
        ([5, "a"], 0, "got a number; pass tokens as a list"),
        (["a", 0.5], 1, "got a number; pass tokens as a list"),
        ([[101, 1.5]], 0, "token 1: expected an integer from 0 to 2³¹-1, got 1.5"),
        ([101, 1.0], 0, "token 1: expected an integer from 0 to 2³¹-1, got 1.0"),
        ([[1], [True]], 1, "token 0: expected an integer from 0 to 2³¹-1, got True"),
        ([101, -1], 0, "token 1: expected an integer from 0 to 2³¹-1, got -1"),
        ([[2**31]], 0, "token 0: expected an integer from 0 to 2³¹-1, got 2147483648"),
        ([[1], []], 1, "the list of tokens is empty"),
        ([["a"]], 0, "got a list of texts inside the list of inputs"),
        (b"text", 0, "got bytes"),
        (["a", bytearray(b"x")], 1, "got bytes"),
        (["ab\ud83d"], 0, "UTF-8 cannot encode the lone surrogate U+D83D at character 2"),
        ([Content("a", "\udc00")], 0, "part 1: UTF-8 cannot encode the lone surrogate U+DC00"),
        ([Content()], 0, "the Content is empty"),
        ([Content("")], 0, "part 0: the text is empty"),
        ([Content(5)], 0, "part 0: expected a text, an Image"),  # type: ignore[arg-type]
        (["a", {"type": "text", "text": "b"}], 1, WIRE),
        ([{"content": "a"}], 0, WIRE),
        ([{"content": [], "x": 1}], 0, WIRE),
        ([{"content": ["a"]}], 0, WIRE),
        ([{"content": [{"type": "image_url", "image_url": "https://x"}]}], 0, WIRE),
        ([{"content": []}], 0, "the Content is empty"),
        ([{"content": [{"type": "text", "text": 5}]}], 0, WIRE),
        ([{"content": [{"type": "text", "text": "", "x": 1}]}], 0, "part 0: the text is empty"),
        ([{"content": [{"type": "image_url", "image_url": {"url": "/etc/hosts"}}]}], 0, "neither"),
        ([Content({"type": "image_url", "image_url": {"url": "x", "y": 1}})], 0, "neither"),
        ([Content({})], 0, 'part 0 has no "type"'),
        ([Content("a", {"input_audio": {"data": "x"}})], 0, 'part 1 has no "type"'),
        ([Content({"type": ""})], 0, 'part 0 has no "type"'),
        ([Content({"type": 5})], 0, 'part 0 has no "type"'),
        ([Content({"type": "x", "y": float("nan")})], 0, "part 0.y: JSON cannot represent nan"),
        ([Content({"type": "x", "y": [{5: 1}]})], 0, "part 0.y[0]: expected keys of type str"),
        ([Content({"type": "x", "y": "\ud800"})], 0, "part 0.y: UTF-8 cannot encode the lone"),
        ([Content({"type": "x", "y": b"a"})], 0, "part 0.y: JSON cannot represent bytes"),
        ([[1], "a"], 1, "text or media after tokens"),
        ([Image(b""), [1]], 1, "tokens after text or media"),
        ([Audio(b""), [1]], 1, "tokens after text or media"),
        (["a", {1, 2}], 1, "Content, got set"),
        ([int], 0, "Content, got type"),
        (np.array(b"abc"), 0, "got bytes"),
        (memoryview(b"text"), 0, "got bytes; decode them if they are text, wrap them in Image("),
        (memoryview(array("i", [101, 7])), 0, "or pass tokens as a list of integers"),
        (["a", memoryview(b"x")], 1, "got bytes"),
        ([[101], memoryview(b"x")], 1, "got bytes"),
        (array("B", b"text"), 0, "got bytes"),
        ([array("b", b"text")], 0, "got bytes"),
        ([HUGE], 0, "token 0: expected an integer from 0 to 2³¹-1, got <int too long to print>"),
        ([[1], [2, -HUGE]], 1, "from 0 to 2³¹-1, got <int too long to print>"),
        (["a", HUGE], 1, "got a number; pass tokens as a list"),
        (["a", {HUGE: 1}], 1, "<int too long to print>"),
        (
            [Content({"type": "x", "y": {HUGE: 1}})],
            0,
            "part 0.y: expected keys of type str, got <int too long to print>",
        ),
        ([Path("cat.png")], 0, "wrap it in Image(…) if it is an image"),
    ],
)
def test_invalid_inputs_are_rejected_by_position(wrong: Any, position: int, words: str) -> None:
    """The error says what is expected instead."""
    with pytest.raises(InputError) as caught:
        validate_inputs(wrong)
    assert caught.value.inputs == (position,)
    assert f"input {position}: " in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [([], "empty"), ((), "empty"), ({"a", "b"}, "no order"), (5, "got int"), (object(), "object")],
)
def test_values_that_are_no_list_of_inputs_are_rejected(wrong: Any, words: str) -> None:
    """Without an order there is no position to name."""
    with pytest.raises(InputError, match=words):
        validate_inputs(wrong)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.binary()
        | st.builds(cast("Any", memoryview), st.binary()),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=12,
    )
)
def test_any_value_gives_one_form_or_an_input_error(anything: Any) -> None:
    """The items are all text, all tokens or all `Content`."""
    try:
        items = validate_inputs(anything)
    except InputError:
        return
    assert len({type(item) for item in items}) == 1
    assert isinstance(items[0], str | list | Content)


class Table:
    """Like a table of pandas or Polars: iterating over it gives the names of its columns."""

    columns = ("title", "text")

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


def test_tables_are_rejected() -> None:
    """Otherwise their column names would be embedded and billed."""
    with pytest.raises(InputError, match=r"got a table \(Table\); pass one of its columns"):
        validate_inputs(Table())
    with pytest.raises(InputError, match="pass one of its columns"):
        validate_stream(Table())


@pytest.mark.parametrize("table", [pa.table({"a": ["b"]}), pd.DataFrame({"a": ["b"]})])
def test_tables_of_known_libraries_are_rejected(table: Any) -> None:
    """Arrow's tables as well, although they convert to a list of rows."""
    with pytest.raises(InputError, match=r"got a table .* pass one of its columns"):
        validate_inputs(table)
    with pytest.raises(InputError, match=r"Content, got (DataFrame|Table)"):
        validate_inputs(["a", table])


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (pd.Series(["a", None, "b"]), "NaN"),
        (pd.Series(["a", None, "b"], dtype=object), "None"),
        (pd.Series(["a", pd.NA, "b"], dtype=object), "NA"),
        (pd.Series(["a", pd.NaT, "b"], dtype=object), "NaT"),
        (np.array(["a", np.nan, "b"], object), "NaN"),
        (pa.chunked_array([["a"], [None, "b"]]), "None"),
        ((value for value in ["a", np.float32("nan"), "b"]), "NaN"),
    ],
)
def test_a_missing_value_is_rejected_by_position_or_marked(values: Any, name: str) -> None:
    """The error names it; with `skip` it becomes `MISSING`."""
    values = values if hasattr(values, "__len__") else [*values]
    with pytest.raises(InputError, match=rf"^input 1: missing value \({name}\); ") as caught:
        validate_inputs(values)
    assert caught.value.inputs == (1,)
    assert validate_inputs(values, skip=True) == ["a", MISSING, "b"]


def test_columns_of_polars_are_accepted_and_its_tables_rejected() -> None:
    """As those of Arrow and pandas; Polars has no wheels for some Pythons."""
    pl = pytest.importorskip("polars")
    assert validate_inputs(pl.Series(["a", "b"])) == ["a", "b"]
    assert validate_inputs(pl.Series([[101, 7], [8]])) == [[101, 7], [8]]
    assert validate_inputs([pl.Series([101, 7]), [8]]) == [[101, 7], [8]]
    assert validate_inputs(pl.Series(["a", None]), skip=True) == ["a", MISSING]
    for values in (pl.DataFrame({"a": ["b"]}), pl.Series(["a", None])):
        with pytest.raises(InputError, match=r"got a table .*|input 1: missing value \(None\)"):
            validate_inputs(values)


def test_missing_values_mix_with_every_kind_of_input() -> None:
    """They neither make a call multimodal nor count as text among tokens."""
    image = Image(b"")
    assert validate_inputs(["a", None, image], skip=True) == [Content("a"), MISSING, Content(image)]
    assert validate_inputs([None, [101], None], skip=True) == [MISSING, [101], MISSING]
    assert validate_inputs([None, math.nan], skip=True) == [MISSING, MISSING]
    validator = InputValidator()
    assert [*map(validator.validate, [None, "a", pd.NA])] == [MISSING, "a", MISSING]
    with pytest.raises(InputError, match="input 3: got tokens after text or media"):
        validator.validate([101])


@pytest.mark.parametrize("alone", [None, math.nan, pd.NA])
def test_a_single_missing_value_is_rejected(alone: Any) -> None:
    """With `skip` as well, because no input is left."""
    with pytest.raises(InputError, match="expected a text, "):
        validate_inputs(alone, skip=True)


@pytest.mark.parametrize("bare", [Path("cat.png"), PIL.Image.new("L", (1, 1))])
def test_a_bare_image_is_rejected_with_a_hint(bare: Any) -> None:
    """The hint is the same for a single input and in a list."""
    for given_ in (bare, [bare]):
        with pytest.raises(InputError, match=r"input 0: got \w+; wrap it in Image\(…\)"):
            validate_inputs(given_)


@pytest.mark.parametrize("buffer", [b"text", bytearray(b"x"), memoryview(b"x"), array("B", b"x")])
def test_a_stream_of_bytes_is_rejected(buffer: Any) -> None:
    """Iterating over bytes would give numbers, so the error says what to do with bytes."""
    with pytest.raises(InputError, match="got bytes; decode them if they are text, wrap them"):
        validate_stream(buffer)
