"""Extracting vectors from chunks of a response, compared with decoding the whole response."""

import json
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.core.batching import Batch
from openrouter_embeddings.core.decode import decode
from openrouter_embeddings.core.streaming import StreamDecoder

from tests.core.reference import Matrix, changed_by_streaming, streamed

ROWS = np.array([[0.5, -1.0, 2.0], [3.0, 0.25, -4.0], [7.0, 8.0, -0.5]], np.float32)


def body(rows: Matrix = ROWS, *, order: list[int] | None = None, **more: Any) -> bytes:
    """A response as most servers print it."""
    data = [
        {"object": "embedding", "index": index, "embedding": ore.encode_base64(rows[index])}
        for index in order or range(len(rows))
    ]
    return json.dumps({"data": data, "model": "m", **more}, separators=(",", ":")).encode()


def decoded_in_place(raw: bytes, ends: list[int], rows: Matrix = ROWS) -> Matrix:
    """The matrix that was reserved, after `decode` has used it for the result."""
    reserved = np.zeros_like(rows)
    reply = streamed(raw, ends, len(rows), lambda w: reserved if w == rows.shape[1] else None)
    matrix = decode(reply, Batch(range(len(rows)), [""] * len(rows)), None).matrix
    assert np.shares_memory(matrix, reserved)
    return reserved


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_vectors_are_decoded_in_place_wherever_chunks_end(width: int) -> None:
    """Every position of one chunk boundary, with and without padding in the base64."""
    rows = ROWS[:, :1].repeat(width, axis=1)
    raw = body(rows)
    for end in range(len(raw) + 1):
        assert np.array_equal(decoded_in_place(raw, [end], rows), rows)
    assert np.array_equal(decoded_in_place(raw, [*range(1, len(raw))], rows), rows)


@pytest.mark.parametrize(
    "raw",
    [
        body(order=[2, 0, 1]),
        body().replace(b'"embedding":"', b'"embedding": "'),
        body().replace(b'"embedding":"', b'"embedding" :\n "'),
        b"\n   \n" + body(),
        body(note='"embedding":"AACAPw=="', usage={"prompt_tokens": 3}),
        body().replace(b'"index":0,', b"").replace(b'"index":1,', b"").replace(b'"index":2,', b""),
    ],
    ids=["shuffled", "a space", "more white space", "kept alive", "a text like it", "no index"],
)
def test_vectors_of_usual_responses_are_extracted(raw: bytes) -> None:
    """Shuffled items, spaces and further fields do not prevent it."""
    assert np.array_equal(decoded_in_place(raw, [len(raw) // 2]), ROWS)


VECTOR = ore.encode_base64(ROWS[0]).encode()
OTHER = ore.encode_base64(ROWS[1]).encode()


@pytest.mark.parametrize(
    "raw",
    [
        body().replace(b'{"data"', b'{"embedding":"%b","data"' % VECTOR),
        body().replace(b'"model"', b'"embedding":"%b","model"' % VECTOR),
        body().replace(b'"index":1', b'"embedding":"%b","index":1' % VECTOR),
        body().replace(b'"index":1', b'"nested":{"embedding":"%b"},"index":1' % VECTOR),
        body().replace(OTHER, b"[3.0,0.25,-4.0]"),
        body()
        .replace(b'{"data"', b'{"embedding":"%b","data"' % OTHER)
        .replace(b'"%b"},{"object"' % VECTOR, b'7},{"object"'),
        body().replace(b'"model"', b'"\\"embedding":"%b","model"' % VECTOR),
        body().replace(OTHER, OTHER.replace(b"A", b"\\u0041", 1)),
        body().replace(OTHER, OTHER[:-4]),
        body().replace(OTHER, OTHER[:-1] + b"*"),
        body().replace(OTHER, b"A" * len(OTHER)),
        body(ROWS[:, :2]).replace(b"gD8=", b"gD9="),
        body().replace(b'"model":"m"', b'"seed":7318349394000000000'),
        body().replace(b'"%b"' % OTHER, b"7318349394000000001"),
        body().replace(b'"%b"' % OTHER, b"7.318349394000000001e18"),
        body().replace(b'"index":0', b'"index":false'),
        body().replace(b'"index":0', b'"index":0.0'),
        body().replace(b'"index":0', b'"index":1'),
        body().replace(b'"%b"' % OTHER, b'"%b"5' % OTHER),
        body(error={"code": 502, "message": "no"}),
        body()[:-20],
        body()[:60],
        body(np.float32(1e20) * ROWS),
        body(np.float32(1e-20) * ROWS),
        b'"embedding":"%b"' % VECTOR,
        b"",
    ],
)
def test_unusual_responses_decode_as_if_read_as_a_whole(raw: bytes) -> None:
    """Vectors elsewhere, escapes, other forms, placeholders and errors give identical outcomes."""
    for end in range(len(raw) + 1):
        assert not changed_by_streaming(raw, [end], 3, None)
    assert not changed_by_streaming(raw, range(len(raw)), 3, 3)
    assert not changed_by_streaming(raw, [], 2, None)
    assert not changed_by_streaming(raw, [], 4, 2)


@given(
    st.lists(st.text(max_size=6), max_size=4).map('"embedding":"'.join),
    st.sets(st.integers(0, 400), max_size=6),
    st.booleans(),
)
def test_strings_are_never_taken_for_vectors(note: str, ends: set[int], plain: bool) -> None:
    """Quotes, backslashes and keys inside strings are left unchanged."""
    raw = body(note=note)
    if not plain:
        raw = json.dumps(json.loads(raw), ensure_ascii=False).encode(errors="surrogatepass")
    assert not changed_by_streaming(raw, (end for end in ends if end < len(raw)), 3, None)


def test_the_original_body_can_be_restored() -> None:
    """It is identical byte by byte, for the text of an error."""
    raw = body()
    reply = streamed(raw, [50, 100], 3)
    assert reply.extracted is not None
    assert VECTOR not in reply.body
    assert reply.extracted.restore(reply.body) == raw


def test_a_response_above_its_maximum_size_is_rejected_while_it_arrives() -> None:
    """The request limits the memory used, not the server."""
    decoder = StreamDecoder(3, 100)
    decoder.add(b" " * 100)
    with pytest.raises(ore.ResponseError, match="exceeds 100 bytes"):
        decoder.add(b" ")


def test_no_more_vectors_than_requested_are_extracted() -> None:
    """Surplus vectors stay in the text, and the wrong count is rejected."""
    reply = streamed(body(), [], 2)
    assert reply.extracted is not None
    assert reply.extracted.matrix.shape == (2, 3)
    with pytest.raises(ore.ResponseError, match="3 embeddings for 2 inputs"):
        decode(reply, Batch(range(2), ["", ""]), None)
