"""Random calls of the public interface, each with the requests it should send."""

import base64
import re
from dataclasses import dataclass, field
from typing import Any

import openrouter_embeddings as ore
from hypothesis import strategies as st
from openrouter_embeddings._json import dumps
from openrouter_embeddings.local.contract import shipped

from tests.contract.oracle import bodies, nulls, schema_of
from tests.support import PNG
from tools.openapi import dereference
from tools.schema.model import SchemaReader

_ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
TEXT = _ANY_TEXT | st.sampled_from([" a ", "\n", "a\t", "é\u0301", "\0"])
TOKENS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9)
URL = st.sampled_from(["https://example.org/a.png", "http://example.org/b?c=d", "HTTPS://x.org/e"])
GIF = b"GIF89a" + PNG
DATA_URLS = {
    PNG: "data:image/png;base64," + base64.b64encode(PNG).decode(),
    GIF: "data:image/gif;base64," + base64.b64encode(GIF).decode(),
}


@dataclass
class Call:
    """Inputs and options as a caller passes them, and the `input` and fields they should become."""

    inputs: Any
    wire: list[Any]
    options: dict[str, Any] = field(default_factory=dict)


def text_part(text: str) -> dict[str, Any]:
    """A text in a multimodal input."""
    return {"type": "text", "text": text}


def image_part(url: str) -> dict[str, Any]:
    """An image in a multimodal input."""
    return {"type": "image_url", "image_url": {"url": url}}


TEXT_PARTS = TEXT.map(lambda text: (text, text_part(text)))
IMAGE_PARTS = st.one_of(
    st.sampled_from([PNG, GIF]).map(lambda d: (ore.Image(d), image_part(DATA_URLS[d]))),
    st.sampled_from([PNG, GIF]).map(lambda d: (ore.Image(DATA_URLS[d]), image_part(DATA_URLS[d]))),
    URL.map(lambda url: (ore.Image(url), image_part(url))),
)
PARTS = TEXT_PARTS | IMAGE_PARTS
# The first bytes of a file of each kind, and the name and media type of its format.
FILES: dict[Any, list[tuple[bytes, str, str]]] = {
    ore.Audio: [
        (b"RIFF\0\0\0\0WAVE", "wav", "audio/wav"),
        (b"\xff\xfb\x90\x64", "mp3", "audio/mpeg"),
    ],
    ore.Video: [(b"\0\0\0\x18ftypmp42", "mp4", "video/mp4")],
    ore.File: [(b"%PDF-1.7", "pdf", "application/pdf")],
}


def _file_parts(media: Any) -> st.SearchStrategy[tuple[Any, Any]]:
    kind = f"input_{media.__name__.lower()}"

    def of_data(file: tuple[bytes, str, str]) -> tuple[Any, Any]:
        data, name, media_type = file
        url = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
        return media(data), {"type": kind, kind: {"data": url, "format": name}}

    def of_url(url: str) -> tuple[Any, Any]:
        return media(url), {"type": kind, kind: {"data": url}}

    return st.sampled_from(FILES[media]).map(of_data) | URL.map(of_url)


FILE_PARTS = st.one_of(*map(_file_parts, FILES))
# In the API's own form, with a field that does not exist yet.
NEW = {"new": [1.5, None]}
RAW_PARTS = FILE_PARTS.map(lambda part: ({**part[1], **NEW}, {**part[1], **NEW}))


def _content(parts: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    return ore.Content(*(value for value, _ in parts)), {"content": [wire for _, wire in parts]}


def _mixed(items: list[tuple[Any, Any]]) -> Call:
    return Call([value for value, _ in items], [wire for _, wire in items])


def inputs_of(parts: st.SearchStrategy[tuple[Any, Any]]) -> st.SearchStrategy[Call]:
    """Every form of input, with `parts` in the multimodal ones."""
    content = st.lists(parts, min_size=1, max_size=3).map(_content)
    files = parts.filter(lambda part: not isinstance(part[0], str | dict))
    alone = files.map(lambda part: (part[0], {"content": [part[1]]}))
    text_alone = TEXT_PARTS.map(lambda part: (part[0], {"content": [part[1]]}))
    # the API's own form, as other programs may print it
    wire = content.map(lambda pair: (pair[1], pair[1]))
    multimodal = st.lists(content | alone | text_alone | wire, min_size=1, max_size=5).filter(
        lambda items: not all(isinstance(value, str) for value, _ in items)
    )
    return st.one_of(
        TEXT.map(lambda text: Call(text, [text])),
        st.lists(TEXT, min_size=1, max_size=6).map(lambda texts: Call(texts, texts)),
        TOKENS.map(lambda tokens: Call(tokens, [tokens])),
        st.lists(TOKENS, min_size=1, max_size=6).map(lambda lists: Call(lists, lists)),
        (content | alone).map(lambda pair: Call(pair[0], [pair[1]])),
        multimodal.map(_mixed),
    )


def _provider_schema() -> dict[str, Any]:
    whole = schema_of("requestBody")
    preferences = dereference(whole, whole)["properties"]["provider"]
    return {**preferences, "components": whole["components"]}


_KNOWN = SchemaReader(shipped().document).paths(_provider_schema())


def _known_only(value: Any, path: str = "") -> Any:
    """The preferences without keys outside the contract, which the wrapper rejects."""
    prefix = f"{path}.".lstrip(".")
    if not isinstance(value, dict) or not any(name.startswith(prefix) for name in _KNOWN):
        return value
    return {k: _known_only(v, prefix + k) for k, v in value.items() if prefix + k in _KNOWN}


def _ordinary(preferences: Any) -> bool:
    """Whether the client accepts the preferences: no invalid prices, no integer of 2⁶⁴."""
    try:
        dumps(preferences)
    except TypeError:
        return False
    return isinstance(preferences, dict) and all(
        price is not True and price is not False and price >= 0
        for price in (preferences.get("max_price") or {}).values()
        if isinstance(price, int | float)
    )


PROVIDER = bodies(_provider_schema()).map(_known_only).filter(_ordinary)
PRICES = st.integers(0, 9) | st.floats(0, 9) | st.decimals(0, 9, places=4).map(str)
# With prices that every edition accepts.
PRICED = st.builds(
    lambda preferences, prices: {**preferences, "max_price": prices},
    PROVIDER,
    st.dictionaries(st.sampled_from(["prompt", "completion", "request"]), PRICES),
)


def calls_of(inputs: st.SearchStrategy[Call], provider: st.SearchStrategy[Any]) -> Any:
    """Calls with any option that shows in a request."""
    optional = {
        "dimensions": st.integers(1, 64),
        "input_type": TEXT,
        "user": TEXT,
        "encoding_format": st.sampled_from(["base64", "float"]),
        "provider": provider,
        "batch_size": st.integers(1, 7),
        "concurrency": st.integers(1, 4),
    }
    return st.builds(
        lambda call, options: Call(call.inputs, call.wire, options),
        inputs,
        st.fixed_dictionaries({}, optional=optional),
    )


CALLS: st.SearchStrategy[Call] = calls_of(inputs_of(PARTS), PROVIDER)
# With parts that the shipped contract may lack.
NEWEST_CALLS: st.SearchStrategy[Call] = calls_of(inputs_of(PARTS | FILE_PARTS | RAW_PARTS), PRICED)


def without_nulls(value: Any) -> Any:
    """The preferences without nulls, which mean the same as absent keys."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [*map(without_nulls, value)] if isinstance(value, list) else value


def same_preferences(sent: Any, meant: Any) -> bool:
    """Whether both mean the same: nulls are dropped, and prices are decimal text."""
    meant = without_nulls(meant)
    for name, price in (meant.get("max_price") or {}).items():
        if isinstance(price, int | float):
            text = sent["max_price"][name]
            if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or type(price)(text) != price:
                return False
            meant["max_price"][name] = text
    return bool(sent == meant)


def has_null(value: Any) -> bool:
    """Whether a request has a null anywhere."""
    return any(True for _ in nulls(value))
