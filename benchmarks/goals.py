"""The goals of speed and memory, and what a run found for each."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .cases import Results

BUSIEST = "corpus, 32 at a time"
MB = 1e6


class Goal(NamedTuple):
    """A goal: at most `limit`, or at least; and what was found, NaN if it was not measured."""

    text: str
    limit: float
    found: float
    least: bool = False

    @property
    def met(self) -> bool:
        """Whether the goal is met; what was not measured is not."""
        return self.found >= self.limit if self.least else self.found <= self.limit


def share(record: dict[str, Any]) -> float:
    """The share of the limit, of the median round."""
    return float(record["rows"] / statistics.median(record["wall"]) / record["limit"])


def ratio(results: Results, case: str, who: str, other: str, what: str = "cpu") -> float:
    """What `who` needed per vector ÷ what `other` needed: the median of the rounds' ratios."""
    per: dict[str, list[float]] = {
        record["contender"]: [figure / record["rows"] for figure in record[what]]
        for record in results
        if record["case"] == case
    }
    # taken within a round, because the machine's speed changes between rounds
    rounds = zip(per.get(who, []), per.get(other, []), strict=False)
    ratios = [one / another for one, another in rounds]
    return statistics.median(ratios) if ratios else math.nan


def _share(results: Results, case: str, who: str) -> float:
    found = [r for r in results if (r["case"], r["contender"]) == (case, who)]
    return share(found[0]) if found else math.nan


def _per_vector(results: Results, what: str, who: str) -> float:
    found = [r for r in results if (r["case"], r["contender"]) == (BUSIEST, who)]
    return statistics.median(found[0][what]) / found[0]["rows"] if found else math.nan


def _corpus(results: Results) -> Iterator[Goal]:
    for at, blocking, asynchronous in ((8, 0.92, 0.88), (16, 0.88, 0.82), (32, 0.85, 0.75)):
        for who, least in (("ours", blocking), ("ours async", asynchronous)):
            case = f"corpus, {at} at a time"
            found = _share(results, case, who)
            yield Goal(f"{case}: share of the limit, {who}", least, found, least=True)
    found = _share(results, f"{BUSIEST}, https", "ours")
    yield Goal(f"{BUSIEST}, https: share of the limit, ours", 0.75, found, least=True)
    for who in ("ours", "ours stream", "ours async"):
        found = _per_vector(results, "cpu", who) * 1e6
        yield Goal(f"{BUSIEST}: µs of CPU per vector, {who}", 11, found)
        found = _per_vector(results, "faults", who)
        text = f"{BUSIEST}: page faults per vector, with at most 1.5 of the matrix, {who}"
        yield Goal(text, 3.5, found)
    for who, times in (("openai async", 5), ("baseten", 2)):
        found = ratio(results, BUSIEST, who, "ours", "wall")
        yield Goal(f"{BUSIEST}: time of {who} ÷ time of ours", times, found, least=True)
    found = ratio(results, BUSIEST, "ours", "baseten")
    yield Goal(f"{BUSIEST}: CPU of ours ÷ CPU of baseten", 0.25, found)


def of_speed(results: Results) -> Iterator[Goal]:
    """The goals that are about the cases."""
    yield from _corpus(results)
    at_most = [
        (rows, who, f"{who} over httpx", 0.8)
        for rows in (1, 8, 64, 512, 2048)
        for who in ("ours", "ours async")
    ] + [
        (1, "ours", "bare httpx", 1.0),
        (1, "ours async", "bare httpx async", 1.15),
        (1, "ours", "openai", 0.6),
        (2048, "ours", "floor", 3.5),
    ]
    for rows, who, other, most in at_most:
        found = ratio(results, f"{rows} × 1536", who, other)
        yield Goal(f"{rows} × 1536: CPU of {who} ÷ CPU of {other}", most, found)
    for rows, who, times in ((64, "openai", 6), (2048, "openai", 10), (2048, "openai base64", 4)):
        found = ratio(results, f"{rows} × 1536", who, "ours")
        yield Goal(f"{rows} × 1536: CPU of {who} ÷ CPU of ours", times, found, least=True)
    checks = 1 - ratio(results, "checks", "ours unchecked", "ours")
    yield Goal("checks: share of our CPU that checks every value", 0.08, checks)


def of_the_rest(found: dict[str, Any]) -> Iterator[Goal]:
    """The goals of memory, of imports, and of calls that wait."""
    result, stream, imports = found["result"], found["stream"], found["imports"]
    matrix = (result["peak"] - result["baseline"]) / result["matrix"]
    more = (stream["peak"] - stream["baseline"]) / MB
    late = imports["openrouter_embeddings"] / imports["httpx"]
    yield Goal("1,000,000 × 1536 in a result: memory ÷ size of the matrix", 1.08, matrix)
    yield Goal("1,000,000 × 1536 in a stream: MB above the baseline", 150, more)
    yield Goal("our import: CPU ÷ CPU of `import httpx`", 1.1, late)
    waiting = found["waiting"]
    yield Goal("10,000 calls: CPU of a call ÷ CPU of a call alone", 1.2, waiting["ratio"])
    yield Goal("10,000 calls: longest stall of the loop, ms", 20, waiting["stall"] * 1e3)
