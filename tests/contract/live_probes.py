"""The requests of `make contract AGAINST=live`: small and cheap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MODEL = "openai/text-embedding-3-small"
_CAT = "a cat sat on the mat"
_THREE = [_CAT, "shares fell on Monday", "how to bake bread"]
_TOKENS = [64, 8415, 7731, 389, 279, 5634]  # token numbers that every model has


@dataclass(frozen=True)
class Probe:
    """One request.

    Attributes:
        name: what it tries, in words.
        request: the fields of the body, without the model.
        valid: whether the contract allows the request.
        rows: how many vectors the answer must have.
        same_as: an earlier probe whose first vector must equal the first vector of this one.
        with_key: whether to send the key.
    """

    name: str
    request: dict[str, Any]
    valid: bool = True
    rows: int = 1
    same_as: str | None = None
    with_key: bool = True


PROBES = [
    Probe("one text", {"input": _CAT}),
    Probe("three texts in order", {"input": _THREE}, rows=3, same_as="one text"),
    Probe("base64", {"input": _CAT, "encoding_format": "base64"}, same_as="one text"),
    Probe("floats", {"input": _CAT, "encoding_format": "float"}, same_as="one text"),
    Probe("tokens", {"input": _TOKENS}),
    Probe("lists of tokens", {"input": [_TOKENS, [9642]]}, rows=2),
    Probe("64 dimensions", {"input": _CAT, "dimensions": 64}),
    Probe("a role", {"input": _CAT, "input_type": "search_query"}),
    Probe("a user", {"input": _CAT, "user": "contract-live"}, same_as="one text"),
    Probe("preferences", {"input": _CAT, "provider": {"sort": "price", "allow_fallbacks": True}}),
    Probe("an empty preference", {"input": _CAT, "provider": {}}),
    Probe("no input", {}, valid=False),
    Probe("an unknown encoding", {"input": _CAT, "encoding_format": "binary"}, valid=False),
    Probe("dimensions in words", {"input": _CAT, "dimensions": "many"}, valid=False),
    Probe("a null input", {"input": None}, valid=False),
    Probe("no such model", {"input": _CAT, "model": "no/such-model"}, valid=False),
    Probe("no key", {"input": _CAT}, valid=False, with_key=False),
]


def most_tokens() -> int:
    """An upper bound of what the probes use: a token for each byte, and some for each text."""
    return sum(_most(probe.request.get("input")) for probe in PROBES)


def _most(given: Any) -> int:
    if isinstance(given, str):
        return len(given.encode()) + 8
    return sum(map(_most, given)) + 8 if isinstance(given, list) else 1
