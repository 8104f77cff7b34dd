"""Tables and charts of the figures, and a comparison with the goals."""

from __future__ import annotations

import json
import os
import platform
import statistics
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.pages import fill
from tools import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from .cases import Results

DOCS = ROOT / "docs"
BEGIN, END = "<!-- made by make bench -->", "<!-- end -->"
MB = 1e6
MACHINE = f"{os.cpu_count()} cores, Python {platform.python_version()}"


def cells(record: dict[str, Any]) -> list[str]:
    """One row of a table, under the columns of `HEAD`."""
    rows = record["rows"]
    per = sorted(seconds / rows * 1e6 for seconds in record["cpu"])
    rate = rows / statistics.median(record["wall"])
    return [
        record["contender"],
        f"{statistics.median(per):,.1f} ({per[0]:,.1f}-{per[-1]:,.1f})",
        f"{rate:,.0f}",
        f"{rate / record['limit']:.2f}" if "limit" in record else "",
        f"{record['peak'] / MB:,.0f}",
    ]


HEAD = ["", "CPU, µs per vector", "vectors per second", "share of the limit", "peak MB"]


def table(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def by_case(results: Results) -> dict[str, Results]:
    grouped: dict[str, Results] = {}
    for record in results:
        grouped.setdefault(record["case"], []).append(record)
    return grouped


def show(results: Results) -> None:
    """Print the tables."""
    for case, records in by_case(results).items():
        print(f"\n{case}")
        rows = [HEAD, *map(cells, records)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def _goal(text: str, limit: float, found: float, *, least: bool = False) -> list[str]:
    met = found >= limit if least else found <= limit
    sign = "≥" if least else "≤"
    return [text, f"{sign} {limit:g}", f"{found:.2f}", "yes" if met else "**no**"]


def _compare(results: Results) -> Iterator[list[str]]:
    """A row for each goal of speed: what it is about, its limit, the median found, met or not."""

    def of(case: str, who: str, what: str) -> float:
        for record in results:
            if (record["case"], record["contender"]) == (case, who):
                return float(statistics.median(record[what]) / record["rows"])
        return float("nan")

    bound = "2048 × 1536"
    ours = of(bound, "ours", "cpu")
    yield _goal(f"{bound}: our CPU ÷ CPU of the C program", 4.5, ours / of(bound, "floor", "cpu"))
    for who, times in (("openai", 10), ("openai base64", 4)):
        found = of(bound, who, "cpu") / ours
        yield _goal(f"{bound}: CPU of {who} ÷ our CPU", times, found, least=True)
    one = of("1 × 1536", "ours", "cpu")
    for who, most in (("bare httpx", 1.15), ("openai", 0.6)):
        found = one / of("1 × 1536", who, "cpu")
        yield _goal(f"1 × 1536: our CPU ÷ CPU of {who}", most, found)
    case = "corpus, 32 at a time"
    for who, least in (("ours async", 0.7), ("ours", 0.75)):
        found = 1 / of(case, who, "wall") / (32 * 128 / 0.05)
        yield _goal(f"{case}: share of the limit, {who}", least, found, least=True)
    wall, cpu = of(case, "ours", "wall"), of(case, "ours", "cpu")
    for who, times in (("openai async", 5), ("baseten", 2)):
        found = of(case, who, "wall") / wall
        yield _goal(f"{case}: our speed ÷ speed of {who}", times, found, least=True)
    yield _goal(f"{case}: our CPU ÷ CPU of baseten", 0.25, cpu / of(case, "baseten", "cpu"))
    checks = 1 - of("checks", "ours unchecked", "cpu") / of("checks", "ours", "cpu")
    yield _goal("checks: share of our CPU that checks every value", 0.08, checks)


def _compare_memory(found: dict[str, Any]) -> Iterator[list[str]]:
    """The same for memory and imports."""
    result, stream, imports = found["result"], found["stream"], found["imports"]
    share = (result["peak"] - result["baseline"]) / result["matrix"]
    more = (stream["peak"] - stream["baseline"]) / MB
    late = imports["openrouter_embeddings"] / imports["httpx"]
    yield _goal("1,000,000 × 1536 in a result: memory ÷ size of the matrix", 1.08, share)
    yield _goal("1,000,000 × 1536 in a stream: MB above the baseline", 150, more)
    yield _goal("our import: CPU ÷ CPU of `import httpx`", 1.1, late)


def growth(results: Results) -> tuple[float, float, float]:
    """Fit CPU = a per request + b per vector + c per dimension of a vector; µs, least squares."""
    sizes = []
    for record in results:
        if record["case"].startswith("growth") and "limit" not in record:
            width = int(record["case"].rsplit(" ", 1)[1])
            sizes.append((record["rows"], width, statistics.median(record["cpu"]) * 1e6))
    rows, widths, took = np.array(sizes).T
    terms = np.stack([np.ones(len(rows)), rows, rows * widths], axis=1)
    # minimises relative errors: with absolute ones, the largest requests decide alone
    solution = np.linalg.lstsq(terms / took[:, None], np.ones(len(took)), rcond=None)[0]
    return float(solution[0]), float(solution[1]), float(solution[2])


def _chart(results: Results, target: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(16, 5), layout="constrained")
    grouped = by_case(results)
    records = sorted(grouped["2048 × 1536"], key=lambda record: -statistics.median(record["cpu"]))
    names = [record["contender"] for record in records]
    per = [statistics.median(record["cpu"]) / record["rows"] * 1e6 for record in records]
    colours = ["tab:orange" if name.startswith("ours") else "tab:gray" for name in names]
    left.barh(names, per, color=colours, log=True)
    left.bar_label(left.containers[0], [f" {value:,.1f}" for value in per])
    left.set(title="2048 × 1536 in one answer", xlabel="CPU, µs per vector")
    left.margins(x=0.2)
    series: dict[str, list[tuple[int, float]]] = {}
    for record in results:
        if record["case"].startswith("corpus") and "https" not in record["case"]:
            at = int(record["case"].split()[1])
            rate = record["rows"] / statistics.median(record["wall"])
            series.setdefault(record["contender"], []).append((at, rate))
    for name, points in series.items():
        middle.plot(*zip(*points, strict=True), marker="o", label=name)
    ticks = [8, 16, 32]
    middle.plot(ticks, [n * 128 / 0.05 for n in ticks], "k--", label="limit")
    middle.set(
        title="100,000 texts, 50 ms latency", xlabel="requests at a time",
        ylabel="vectors per second", yscale="log", xticks=ticks,
    )  # fmt: skip
    middle.legend(ncols=2, fontsize="small")
    a, b, c = growth(results)
    for width, colour in ((256, "tab:blue"), (1536, "tab:orange"), (3072, "tab:green")):
        points = [
            (record["rows"], statistics.median(record["cpu"]) * 1e3)
            for record in results
            if record["case"].startswith("growth") and record["case"].endswith(f"× {width}")
        ]
        right.plot(*zip(*points, strict=True), "o", color=colour, label=f"{width} dimensions")
        line = np.geomspace(1, 2048)
        right.plot(line, (a + b * line + c * line * width) / 1e3, color=colour)
    right.set(title="one request of ours, and the fit", xlabel="vectors", ylabel="CPU, ms")
    right.set(xscale="log", yscale="log")
    right.legend()
    figure.savefig(target, dpi=90)


def measured(found: dict[str, Any]) -> str:
    """The line that names the machine, the duration and the versions."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    text = f"Measured on {found['machine']}, in {found['minutes']} minutes, with {versions}."
    return textwrap.fill(text, 100)


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The tables of docs/performance.md."""
    yield measured(found)
    yield ""
    yield from table(
        ["goal", "target", "found", "met"], [*_compare(found["results"]), *_compare_memory(found)]
    )
    yield "\n![Charts of the figures below](performance.png)\n"
    a, b, c = found["fit"]
    yield (
        f"A request costs {a:,.0f} µs of CPU, a vector {b:.1f} µs and each dimension "
        f"{c * 1e3:.1f} ns,\n"
        f"so a vector of 1536 costs {b + 1536 * c:.1f} µs (a fit to the cases named growth).\n"
    )
    for case, records in by_case(found["results"]).items():
        yield f"### {case}\n"
        yield from table(HEAD, map(cells, records))
        yield ""
    for rows, shares in found["profile"].items():
        yield f"### Where the time of a {rows}-text request goes\n"
        yield "Share of cProfile's time in each package, without the wait for the answer.\n"
        few = [(owner, share) for owner, share in shares.items() if share >= 0.02]
        yield from table(["", "share"], [[owner, f"{share:.0%}"] for owner, share in few])
        yield ""
    yield "### 16 images of a megabyte in one request\n"
    rows = [
        [who, f"{figures['cpu'] * 1e3:.0f}", f"{figures['memory'] / MB:.0f}"]
        for who, figures in found["images"].items()
    ]
    yield from table(["", "CPU, ms", "memory, MB"], rows)
    yield "\n### Imports\n"
    rows = [[name, f"{seconds * 1e3:.0f}"] for name, seconds in found["imports"].items()]
    yield from table(["", "CPU, ms"], rows)


def write(found: dict[str, Any]) -> None:
    """Write docs/performance.json and .png, and the tables in performance.md."""
    found["fit"] = growth(found["results"])
    _chart(found["results"], DOCS / "performance.png")
    publish(found, "performance.json", BEGIN, END, lines(found))


def publish(found: dict[str, Any], name: str, begin: str, end: str, text: Iterable[str]) -> None:
    """Write figures into docs/NAME and their tables into docs/performance.md; print the tables."""
    (DOCS / name).write_text(json.dumps(found, indent=1) + "\n")
    tables = "\n".join(text)
    fill(DOCS / "performance.md", begin, end, f"{tables}\n")
    print(tables)
