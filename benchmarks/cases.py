"""The measurements: which contenders take part in each, with how many texts and requests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .vectors import BATCH

SLOW, FEWEST = 3.0, 3  # a contender that takes longer than SLOW seconds gets FEWEST rounds
LATENCY = 0.05
CORPUS = 100_000

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


# baseten rejects batches of 2048
_ONE = (
    "floor", "ours", "ours async", "bare httpx", "requests", "openai", "openai base64",
    "openrouter", "litellm", "langchain-openai",
)  # fmt: skip
_OURS = ("ours", "ours async", "ours aiohttp", "ours pyreqwest")
_MANY = (*_OURS, "openai async", "langchain-openai", "litellm")
_FEWER = (("langchain-openai", 6_400), ("litellm", 1_280), ("openai async", 25_600))

DECODE = [
    Case("1 × 1536", 1, 1536, _ONE, repeats=50),
    Case("64 × 1536", 64, 1536, _ONE, repeats=5),
    Case("2048 × 1536", 2048, 1536, _ONE, repeats=3, rounds=9),
    Case("checks", 2048, 1536, ("ours", "ours unchecked"), repeats=10, rounds=21),
    Case("2048 × 3072", 2048, 3072, ("floor", "ours", "bare httpx", "openai", "openai base64")),
]
OVER_HTTP = [
    Case(
        f"corpus, {concurrency} at a time", CORPUS, 1536, (*_MANY, "baseten"),
        concurrency=concurrency, batch=BATCH, latency=LATENCY, rounds=FEWEST, fewer=_FEWER,
    )
    for concurrency in (8, 16, 32)
]  # fmt: skip
OVER_TLS = [
    replace(
        case,
        name=f"{case.name}, https",
        tls=True,
        contenders=("ours", "ours async", "openai async"),
    )
    for case in OVER_HTTP
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
_QUICK = ("floor", "ours", "ours async", "bare httpx", "openai", "openai base64")
QUICK = [
    *(replace(case, contenders=_QUICK, rounds=5) for case in DECODE[:3]),
    replace(
        OVER_HTTP[2], contenders=("ours", "ours async", "openai async"), rounds=3,
        fewer=(("openai async", 12_800),),
    ),
]  # fmt: skip
