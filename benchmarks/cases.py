"""The measurements: which contenders take part in each, with how many texts and requests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .vectors import BATCH

SLOW, FEWEST = 3.0, 3  # a contender whose first run takes SLOW seconds gets FEWEST short rounds
PATIENCE = 180.0  # after so many seconds, a case gets no further rounds beyond FEWEST
KEPT = 2  # rounds with a malloc that keeps its memory
LATENCY = 0.05

Results = list[dict[str, Any]]  # one record for each contender of each case


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        name: its heading in the report.
        rows: the number of texts.
        width: the dimensions of each vector.
        contenders: their names; "floor" is the program in C.
        concurrency: requests at a time.
        batch: texts per request.
        latency: seconds before the server answers.
        tls: whether requests go over https.
        repeats: runs per round, where one run is too short to measure.
        rounds: how often each contender is measured, taking turns with the others.
        fewer: the number of texts for contenders that would otherwise take minutes.
    """

    name: str
    rows: int
    width: int
    contenders: tuple[str, ...]
    concurrency: int = 1
    batch: int = 2048
    latency: float = 0.0
    tls: bool = False
    repeats: int = 1
    rounds: int = 7
    fewer: tuple[tuple[str, int], ...] = ()


_SAME = ("ours", "ours over httpx", "ours async", "ours async over httpx")
# baseten rejects batches of 2048
_ONE = (
    "floor", *_SAME, "bare httpx", "bare httpx async", "requests", "openai", "openai base64",
    "openrouter", "litellm", "langchain-openai", "mistralai", "voyageai",
)  # fmt: skip
_PEERS = (
    "openai async", "openrouter async", "litellm async", "langchain-openai", "mistralai async",
    "voyageai async", "baseten",
)  # fmt: skip
_OURS = ("ours", "ours stream", "ours async")
# whole rounds of 32 requests, so that none of them waits for stragglers
_ROUND = 32 * BATCH
_FEWER = (
    ("langchain-openai", _ROUND), ("litellm async", _ROUND // 4), ("openai async", 3 * _ROUND),
    ("openrouter async", 2 * _ROUND), ("mistralai async", _ROUND), ("voyageai async", 2 * _ROUND),
)  # fmt: skip

DECODE = [
    Case("1 × 1536", 1, 1536, _ONE, repeats=100, rounds=9),
    Case("8 × 1536", 8, 1536, _SAME, repeats=50, rounds=9),
    Case("64 × 1536", 64, 1536, _ONE, repeats=10, rounds=9),
    Case("512 × 1536", 512, 1536, _SAME, repeats=5, rounds=9),
    Case("2048 × 1536", 2048, 1536, _ONE, repeats=3, rounds=9),
    Case("checks", 2048, 1536, ("ours", "ours unchecked"), repeats=10, rounds=15),
    Case("2048 × 3072", 2048, 3072, ("floor", "ours", "bare httpx", "openai", "openai base64")),
]
OVER_HTTP = [
    Case(
        f"corpus, {concurrency} at a time", rows, 1536, (*_OURS, *more, *_PEERS),
        concurrency=concurrency, batch=BATCH, latency=LATENCY, rounds=5, fewer=_FEWER,
    )
    for concurrency, rows, more in (
        (8, 8 * _ROUND, ()),
        (16, 12 * _ROUND, ()),
        (32, 25 * _ROUND, (*_SAME[1::2], "ours aiohttp", "ours pyreqwest")),
    )
]  # fmt: skip
OVER_TLS = [
    replace(
        OVER_HTTP[-1],
        name=f"{OVER_HTTP[-1].name}, https",
        tls=True,
        contenders=(*_OURS, "openai async", "voyageai async"),
    )
]
GROWTH = [
    Case(f"growth {rows} × {width}", rows, width, ("ours",), repeats=max(1, 256 // rows), rounds=5)
    for rows in (1, 16, 128, 512, 2048)
    for width in (256, 1536, 3072)
] + [
    Case(
        f"growth, {concurrency} at a time", 6_400, 1536, ("ours", "ours async"),
        concurrency=concurrency, batch=BATCH, latency=LATENCY, rounds=FEWEST,
    )
    for concurrency in (1, 2, 4)
]  # fmt: skip
_QUICK = ("floor", "ours", "ours async", "bare httpx", "bare httpx async", "openai")
QUICK = [
    *(replace(DECODE[at], contenders=_QUICK, rounds=5) for at in (0, 2, 4)),
    replace(OVER_HTTP[2], contenders=("ours", "ours async", "openai async"), rounds=3),
]
