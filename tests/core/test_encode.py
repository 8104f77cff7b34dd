"""Encoding batches as request bodies, checked against a contract with every kind of part."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.core.batching import Batch
from openrouter_embeddings.core.encode import encode
from openrouter_embeddings.inputs import Kind, Loaded, LoadedMedia, RawPart

from tests.newest import newest
from tests.support import TEXT

FIELDS = {"input": [], "model": "m"}


def sent(items: list[Loaded]) -> Any:
    """`input` as a server parses it, after the request was checked against the contract."""
    body = json.loads(encode(FIELDS, Batch(range(len(items)), items)))
    newest().check_request(body)
    return body["input"]


@given(st.lists(TEXT, min_size=1) | st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1)))
def test_texts_and_tokens_arrive_unchanged(items: list[Any]) -> None:
    """The server parses the same values, and integers have no decimal point."""
    assert sent(items) == items
    assert b"." not in encode({}, Batch([0], [[101, 7]]))


@given(st.binary(min_size=1), TEXT)
def test_images_arrive_as_data_urls(data: bytes, text: str) -> None:
    """Images keep their bytes and media type; texts beside them become objects."""
    image = LoadedMedia("image", data, "image/webp", "webp")
    alone, mixed = sent([text, (text, image)])
    assert alone == {"content": [{"type": "text", "text": text}]}
    assert mixed["content"][0] == {"type": "text", "text": text}
    assert mixed["content"][1].keys() == {"type", "image_url"}
    assert mixed["content"][1]["image_url"].keys() == {"url"}
    assert decoded(mixed["content"][1]["image_url"]["url"]) == ("data:image/webp;base64", data)


def decoded(url: str) -> tuple[str, bytes]:
    """The header of a data: URL, and its bytes."""
    head, _, payload = url.partition(",")
    return head, base64.b64decode(payload, validate=True)


@given(st.sampled_from(["audio", "video", "file"]), st.binary(min_size=1))
def test_other_files_arrive_as_data_urls_with_their_format(kind: Kind, data: bytes) -> None:
    """Audio, video and files are sent under the name of their kind, with their format."""
    (only,) = sent([(LoadedMedia(kind, data, "a/b", "c"),)])
    (part,) = only["content"]
    assert part.keys() == {"type", f"input_{kind}"}
    assert part["type"] == f"input_{kind}"
    assert part[f"input_{kind}"].keys() == {"data", "format"}
    assert part[f"input_{kind}"]["format"] == "c"
    assert decoded(part[f"input_{kind}"]["data"]) == ("data:a/b;base64", data)


def test_urls_are_sent_unchanged() -> None:
    """The provider fetches them, so they have no format."""
    url = "https://example.org/cat"
    kinds: tuple[Kind, ...] = ("image", "audio", "video", "file")
    (only,) = sent([tuple(LoadedMedia(kind, url=url) for kind in kinds)])
    assert only["content"] == [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "input_audio", "input_audio": {"data": url}},
        {"type": "input_video", "input_video": {"data": url}},
        {"type": "input_file", "input_file": {"data": url}},
    ]


def test_a_raw_part_is_sent_unchanged() -> None:
    """It may stand beside typed parts."""
    raw = b'{"type":"input_audio","input_audio":{"data":"x","rate":8000}}'
    assert sent([("a", RawPart(raw))]) == [
        {"content": [{"type": "text", "text": "a"}, json.loads(raw)]}
    ]


def test_keys_are_always_in_the_same_order() -> None:
    """The service's cache compares requests byte by byte."""
    audio = LoadedMedia("audio", b"abc", "audio/wav", "wav")
    assert encode({**FIELDS, "user": "u"}, Batch([0], [("a", audio)])) == (
        b'{"input":[{"content":[{"type":"text","text":"a"},{"type":"input_audio","input_audio":'
        b'{"data":"data:audio/wav;base64,YWJj","format":"wav"}}]}],"model":"m","user":"u"}'
    )


def test_the_contract_rejects_malformed_inputs() -> None:
    """The check that these tests rely on can fail."""
    flat = {"type": "text", "text": "flat"}
    media = {"content": [{"type": "input_audio", "input_audio": {"url": "x"}}]}
    for wrong in (flat, media):
        with pytest.raises(Exception, match=r"input\.0"):
            newest().check_request({"model": "m", "input": [wrong]})
