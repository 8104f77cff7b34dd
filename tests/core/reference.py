"""The simplest correct decoder: standard library only, one value after another.

tests/core/test_fuzz.py and `make stress` compare `core/decode.py` with it.
"""

import binascii
import json
import math
import random
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np
import openrouter_embeddings as ore
from numpy.typing import NDArray
from openrouter_embeddings.core.batching import Batch
from openrouter_embeddings.core.decode import decode
from openrouter_embeddings.core.streaming import StreamDecoder
from openrouter_embeddings.core.wire import Reply

_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", re.ASCII)
Matrix = NDArray[np.float32]
Verdict = tuple[Any, ...]


def reference(body: bytes, count: int, dimensions: int | None) -> Verdict:
    """("vectors", {row: values}), ("refused",) or ("error",): the meaning of a 200 response."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return ("refused",)
    if isinstance(answer, dict) and answer.get("error"):
        return ("error",)
    items = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(items, list) or len(items) != count:
        return ("refused",)
    if not all(isinstance(item, dict) for item in items):
        return ("refused",)
    order = [item.get("index") for item in items]
    if all(index is None for index in order):
        order = [*range(count)]
    if any(type(index) is not int for index in order) or sorted(order) != [*range(count)]:
        return ("refused",)
    rows = {index: _values(item.get("embedding")) for index, item in zip(order, items, strict=True)}
    readable = {row: values for row, values in sorted(rows.items()) if values}
    widths = Counter(len(values) for values in readable.values())
    if dimensions and readable and dimensions not in widths:
        return ("refused",)
    width = dimensions or (widths.most_common(1)[0][0] if widths else 0)
    return (
        "vectors",
        {
            row: tuple(values)
            for row, values in readable.items()
            if len(values) == width and all(map(math.isfinite, values)) and any(values)
        },
    )


def _values(embedding: Any) -> list[float]:
    """The float32 values of an embedding; empty if it has none."""
    if isinstance(embedding, str):
        if not _BASE64.fullmatch(embedding):
            return []
        raw = binascii.a2b_base64(embedding)
        return [value for (value,) in struct.iter_unpack("<f", raw)] if len(raw) % 4 == 0 else []
    if not isinstance(embedding, list) or any(type(v) not in (int, float) for v in embedding):
        return []
    try:
        return [*map(_float32, map(float, embedding))]
    except OverflowError:  # an integer of hundreds of digits
        return []


def _float32(value: float) -> float:
    try:
        (rounded,) = struct.unpack("<f", struct.pack("<f", value))
    except OverflowError:
        return math.copysign(math.inf, value)
    return float(rounded)


def verdict(body: bytes, count: int, dimensions: int | None) -> Verdict:
    """The same from the decoder under test."""
    try:
        decoded = decode(Reply(200, {}, body), Batch(range(count), ["a"] * count), dimensions)
    except ore.APIStatusError:
        return ("error",)
    except ore.ResponseError:
        return ("refused",)
    rows = decoded.served.positions
    return (
        "vectors",
        {row: (*map(float, v),) for row, v in zip(rows, decoded.matrix, strict=True)},
    )


def streamed(
    body: bytes,
    ends: Iterable[int],
    rows: int,
    reserve: Callable[[int], Matrix | None] = lambda _: None,
) -> Reply:
    """The reply after a body has arrived in chunks that end at `ends`."""
    decoder = StreamDecoder(rows, len(body), reserve)
    for start, stop in pairwise([0, *sorted(ends), len(body)]):
        decoder.add(body[start:stop])
    text, extracted = decoder.end()
    return Reply(200, {}, text, extracted=extracted)


def outcome(reply: Reply, count: int, dimensions: int | None) -> Verdict:
    """Everything a reply decodes to: each bit of each vector, or each word of the error."""
    try:
        decoded = decode(reply, Batch(range(10, 10 + count), ["a"] * count), dimensions)
    except ore.EmbeddingsError as error:
        return _details(error)
    refused = decoded.error and _details(decoded.error)
    served = decoded.served
    vectors = (decoded.matrix.shape, decoded.matrix.tobytes(), [*served.positions])
    return (vectors, served.usage, repr(served.body), refused)


def _details(error: ore.EmbeddingsError) -> Verdict:
    return type(error), repr(error), repr({**vars(error), "inputs": [*error.inputs]})


def changed_by_streaming(body: bytes, ends: Iterable[int], count: int, width: int | None) -> bool:
    """Whether a body in chunks decodes differently than the same body as a whole."""
    in_pieces = streamed(body, ends, count)
    return outcome(in_pieces, count, width) != outcome(Reply(200, {}, body), count, width)


_TOKENS = [b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":", b"null", b"true", b"NaN", b"-Infinity"]
_TOKENS += [b'"index"', b'"embedding"', b'"data"', b'"error"', b"0", b"1e400", b"-0.0", b"\xff"]
_TOKENS += [b"\\ud800", b"\\u0022", b" \n", b"AAAA", b"=", b"==", b"123456789012345678901234567890"]
_TOKENS += [
    b'"embedding":"AACAPw=="',
    b'"embedding": "AACAP5=="',
    b'\\"embedding":"',
    b'","embedding"',
]
_TOKENS += [
    b" 7318349394000000000 ",
    b"7318349394000000001",
    b"7.318349394e18",
    b"7318349394000000000.0",
]


def mutated(chance: random.Random) -> tuple[bytes, int, int | None]:
    """A valid body with a few changes, the number of its inputs, and the width requested."""
    count, width = chance.randint(1, 4), chance.randint(1, 4)
    base64 = chance.choice([0.7, 1.0])
    values = chance.choice([[0.5, -1.0, 0.25], [0.0, 0.5, -1.0, 3e38, 1e-45]])
    rows = [[chance.choice(values) for _ in range(width)] for _ in range(count)]
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": ore.encode_base64(row) if chance.random() < base64 else row,
        }
        for index, row in enumerate(rows)
    ]
    chance.shuffle(data)
    if chance.random() < 0.8:
        data.sort(key=itemgetter("index"))
    answer = {"object": "list", "data": data, "model": "m", "usage": {}}
    body = bytearray(json.dumps(answer, separators=(",", ":")).encode())
    if chance.random() < 0.2:
        body = bytearray(json.dumps(answer, indent=chance.choice([None, 2])).encode())
    for _ in range(chance.randint(0, 3)):
        at = chance.randrange(len(body) + 1)
        match chance.randrange(5):
            case 0:
                body[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                body[at:at] = chance.choice(_TOKENS)
            case 2:
                del body[at : at + chance.randint(1, 9)]
            case 3:
                other = chance.randrange(len(body) + 1)
                body[at:at] = body[other : other + chance.randint(1, 30)]
            case _:
                body[at : at + 1] = (
                    b"" if at >= len(body) else bytes([body[at] ^ 1 << chance.randrange(8)])
                )
    return bytes(body), count, chance.choice([None, None, width])


def differing(seed: int, bodies: int) -> tuple[bytes, int, int | None] | None:
    """The first of `bodies` mutated bodies on which two decoders differ."""
    chance = random.Random(seed)
    for _ in range(bodies):
        case = mutated(chance)
        body, count, width = case
        if verdict(*case) != reference(*case):
            return case
        ends = [chance.randrange(len(body) + 1) for _ in range(chance.choice([0, 1, 2, 9]))]
        if changed_by_streaming(body, ends, count, width):
            return case
    return None
