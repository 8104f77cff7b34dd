"""Right answers made wrong, in each of the ways that providers have been seen to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import random
    from collections.abc import Callable


def _data(
    change: Callable[[list[dict[str, Any]], random.Random], Any],
) -> Callable[[bytes, random.Random], bytes]:
    """A change of `data`, in place, or to what is returned."""

    def spoil(body: bytes, chance: random.Random) -> bytes:
        answer = orjson.loads(body)
        changed = change(answer["data"], chance)
        if isinstance(changed, list):
            answer["data"] = changed
        return orjson.dumps(answer)

    return spoil


def _one(value: Callable[[dict[str, Any]], Any]) -> Callable[[bytes, random.Random], bytes]:
    """A change of the embedding of one item."""

    def change(data: list[dict[str, Any]], chance: random.Random) -> None:
        item = chance.choice(data)
        item["embedding"] = value(item)

    return _data(change)


def _floats(item: dict[str, Any]) -> list[float]:
    import numpy as np  # noqa: PLC0415 - only a few spoils need it
    import pybase64  # noqa: PLC0415 - goes with it

    given = item["embedding"]
    if isinstance(given, list):
        return [float(value) for value in given]
    return [float(value) for value in np.frombuffer(pybase64.b64decode(given), "<f4")]


def _indices(change: Callable[[int, int], int | None]) -> Callable[[bytes, random.Random], bytes]:
    """Other indices, from an item's own and the number of items; None leaves it out."""

    def spoil(data: list[dict[str, Any]], _: random.Random) -> None:
        for place, item in enumerate(data):
            index = change(place, len(data))
            if index is None:
                del item["index"]
            else:
                item["index"] = index

    return _data(spoil)


def _nan(body: bytes, _: random.Random) -> bytes:
    """NaN is no JSON, and some servers print it."""
    answer = orjson.loads(body)
    answer["data"][0]["embedding"] = ["HERE", *_floats(answer["data"][0])[1:]]
    return orjson.dumps(answer).replace(b'"HERE"', b"NaN")


CORRUPTIONS: dict[str, Any] = {
    "error-in-200": None,  # comes in place of an answer, as does html
    "html": None,
    "empty-data": _data(lambda data, _: data.clear()),
    "missing-item": _data(lambda data, chance: data.pop(chance.randrange(len(data)))),
    "surplus-item": _data(lambda data, _: data.append({**data[0], "index": len(data)})),
    "shuffled": _data(lambda data, chance: chance.shuffle(data)),
    "no-index": _indices(lambda *_: None),
    "some-indices": _indices(lambda place, _: place or None),
    "duplicate-index": _indices(lambda place, _: max(place, 1)),
    "index-out-of-range": _indices(lambda place, count: place + (place == count - 1)),
    "null-vector": _one(lambda _: None),
    "nan-vector": _nan,
    "zero-vector": _one(lambda item: [0.0] * len(_floats(item))),
    "wrong-width": _one(lambda item: _floats(item)[:-1]),
    "floats": _data(lambda data, _: [{**item, "embedding": _floats(item)} for item in data]),
    "broken-base64": _one(lambda _: "AAAA?A=="),
    "truncated-json": lambda body, _: body[: len(body) // 2],
}
