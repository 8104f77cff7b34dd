"""Random calls of the public face, each with what it means on the wire."""

import base64
from dataclasses import dataclass, field
from typing import Any

import openrouter_embeddings as ore
import orjson
from hypothesis import strategies as st

from tests.contract.oracle import bodies, nulls, schema_of
from tests.support import PNG

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
    """Inputs and options as a person gives them, and the wire's `input` and fields they mean."""

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


def _content(parts: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    return ore.Content(*(given for given, _ in parts)), {"content": [wire for _, wire in parts]}


CONTENT = st.lists(PARTS, min_size=1, max_size=3).map(_content)
ALONE = PARTS.map(lambda part: (part[0], {"content": [part[1]]}))
# the API's own form, as it stands in the answer of some other program
WIRE = CONTENT.map(lambda pair: (pair[1], pair[1]))
MULTIMODAL = st.lists(CONTENT | ALONE | WIRE, min_size=1, max_size=5).filter(
    lambda items: not all(isinstance(given, str) for given, _ in items)
)


def _mixed(items: list[tuple[Any, Any]]) -> Call:
    return Call([given for given, _ in items], [wire for _, wire in items])


INPUTS: st.SearchStrategy[Call] = st.one_of(
    TEXT.map(lambda text: Call(text, [text])),
    st.lists(TEXT, min_size=1, max_size=6).map(lambda texts: Call(texts, texts)),
    TOKENS.map(lambda tokens: Call(tokens, [tokens])),
    st.lists(TOKENS, min_size=1, max_size=6).map(lambda lists: Call(lists, lists)),
    (CONTENT | IMAGE_PARTS.map(lambda part: (part[0], {"content": [part[1]]}))).map(
        lambda pair: Call(pair[0], [pair[1]])
    ),
    MULTIMODAL.map(_mixed),
)


def _provider_schema() -> dict[str, Any]:
    whole = schema_of("requestBody")
    return {**whole["properties"]["provider"], "components": whole["components"]}


def _known_only(preferences: Any) -> Any:
    """Without keys that the contract does not name: the wrapper refuses those in a mapping."""
    known = _names(_provider_schema(), _provider_schema()["components"])
    return _cut(preferences, known)


def _names(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return _names(components["schemas"][schema["$ref"].rsplit("/", 1)[-1]], components)
    found = {k: _names(v, components) for k, v in schema.get("properties", {}).items()}
    for alternative in schema.get("anyOf", []):
        found |= _names(alternative, components)
    return found


def _cut(value: Any, names: dict[str, Any]) -> Any:
    if isinstance(value, dict) and names:
        return {k: _cut(v, names[k]) for k, v in value.items() if k in names}
    return value


def _ordinary(preferences: Any) -> bool:
    """Without prices of 2⁶⁴ and more, which the client refuses before anything is sent."""
    try:
        orjson.dumps(preferences)
    except TypeError:
        return False
    return isinstance(preferences, dict)


PROVIDER = bodies(_provider_schema()).map(_known_only).filter(_ordinary)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "dimensions": st.integers(1, 64),
        "input_type": TEXT,
        "user": TEXT,
        "encoding_format": st.sampled_from(["base64", "float"]),
        "provider": PROVIDER,
        "batch_size": st.integers(1, 7),
        "concurrency": st.integers(1, 4),
    },
)
CALLS: st.SearchStrategy[Call] = st.builds(
    lambda call, options: Call(call.inputs, call.wire, options), INPUTS, OPTIONS
)


def without_nulls(value: Any) -> Any:
    """A preference that is null says what leaving it out says."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [*map(without_nulls, value)] if isinstance(value, list) else value


def has_null(value: Any) -> bool:
    """Whether a request holds a null anywhere."""
    return any(True for _ in nulls(value))
