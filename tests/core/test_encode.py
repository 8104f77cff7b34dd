"""Batches to request bodies, held to the repaired contract."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.core.encode import encode
from openrouter_embeddings.core.plan import Batch
from openrouter_embeddings.inputs import Loaded, LoadedImage
from openrouter_embeddings.local.contract import check_request

FIELDS = {"input": [], "model": "m"}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def sent(items: list[Loaded]) -> Any:
    """`input` as a server reads it, after the whole request was held to the contract."""
    body = json.loads(encode(FIELDS, Batch(range(len(items)), items)))
    check_request(body)
    return body["input"]


@given(st.lists(TEXT, min_size=1) | st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1)))
def test_texts_and_tokens_arrive_unchanged(items: list[Any]) -> None:
    """What a server parses is what was given; integers have no decimal point."""
    assert sent(items) == items
    assert b"." not in encode({}, Batch([0], [[101, 7]]))


@given(st.binary(min_size=1), TEXT)
def test_images_arrive_as_data_urls(data: bytes, text: str) -> None:
    """The very bytes, labelled with the type that they have; texts become objects beside them."""
    image = LoadedImage(data, "image/webp")
    alone, mixed = sent([text, (text, image)])
    assert alone == {"content": [{"type": "text", "text": text}]}
    assert mixed["content"][0] == {"type": "text", "text": text}
    head, _, payload = mixed["content"][1]["image_url"]["url"].partition(",")
    assert head == "data:image/webp;base64"
    assert base64.b64decode(payload, validate=True) == data


def test_urls_are_passed_on() -> None:
    """The provider fetches them."""
    url = "https://example.org/cat.png"
    (only,) = sent([(LoadedImage(url=url),)])
    assert only == {"content": [{"type": "image_url", "image_url": {"url": url}}]}


def test_the_contract_would_notice_a_wrong_shape() -> None:
    """The check these tests rest on can fail."""
    with pytest.raises(Exception, match=r"input\.0"):
        check_request({"model": "m", "input": [{"type": "text", "text": "flat"}]})
