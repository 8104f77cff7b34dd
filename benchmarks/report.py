"""Tables and charts of the figures, and a comparison with the goals."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.goals import MB, of_speed, of_the_rest, share
from benchmarks.pages import fill
from tools import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from .cases import Results
    from .goals import Goal

DOCS = ROOT / "docs"
BEGIN, END = "<!-- made by make bench -->", "<!-- end -->"
FIGURES = "performance.json"
MACHINE = f"{os.cpu_count()} cores, Python {platform.python_version()}"


def cells(record: dict[str, Any]) -> list[str]:
    """What `make bench SUITE=corpus` shows, too: name, CPU, rate, share of the limit and memory."""
    rows = record["rows"]
    per = sorted(seconds / rows * 1e6 for seconds in record["cpu"])
    rate = rows / statistics.median(record["wall"])
    return [
        record["contender"],
        f"{statistics.median(per):,.1f} ({per[0]:,.1f}-{per[-1]:,.1f})",
        f"{rate:,.0f}",
        _share(record, record),
        f"{statistics.median(record['peak']) / MB:,.0f}",
    ]


def _share(record: dict[str, Any], times: dict[str, Any]) -> str:
    """The share of the limit, if there is one."""
    return f"{share({**record, **times}):.2f}" if "limit" in record and times else ""


HEAD = [
    "", "CPU, µs per vector", "page faults per vector", "vectors per second", "share of the limit",
    "server, share of a core", "peak MB", "CPU, `KEEP`", "share, `KEEP`",
]  # fmt: skip


def row(record: dict[str, Any]) -> list[str]:
    """One row of a table, under the columns of `HEAD`."""
    name, per, rate, share, most = cells(record)
    rows, kept = record["rows"], record.get("kept", {})
    busy = zip(record["server"], record["wall"], strict=True)
    return [
        name, per, f"{statistics.median(record['faults']) / rows:,.1f}", rate, share,
        f"{statistics.median(cpu / wall for cpu, wall in busy):.2f}", most,
        f"{statistics.median(kept['cpu']) / rows * 1e6:,.1f}" if kept else "", _share(record, kept),
    ]  # fmt: skip


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
    """Print the tables, and the goals that these results are about."""
    tables = {case: [HEAD, *map(row, records)] for case, records in by_case(results).items()}
    goals = [_goal(goal) for goal in of_speed(results) if not math.isnan(goal.found)]
    for name, rows in {**tables, "goals": goals}.items():
        print(f"\n{name}")
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for cells_of_row in rows:
            padded = [cell.rjust(width) for cell, width in zip(cells_of_row, widths, strict=True)]
            print("  ".join(padded))


def _goal(goal: Goal) -> list[str]:
    target = f"{'≥' if goal.least else '≤'} {goal.limit:g}"
    return [goal.text, target, f"{goal.found:.2f}", "yes" if goal.met else "**no**"]


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


def shares(results: Results) -> dict[str, list[tuple[int, float]]]:
    """Requests at a time and share of the limit: ours, and the three best of the others."""
    found: dict[str, list[tuple[int, float]]] = {}
    for record in results:
        if record["case"].startswith("corpus") and "https" not in record["case"]:
            at = int(record["case"].split()[1])
            found.setdefault(record["contender"], []).append((at, share(record)))
    peers = [name for name in found if not name.startswith("ours")]
    best = sorted(peers, key=lambda name: -max(share for _, share in found[name]))[:3]
    return {name: found[name] for name in ("ours", "ours stream", "ours async", *best)}


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
    for name, points in shares(results).items():
        middle.plot(*zip(*points, strict=True), marker="o", label=name)
    middle.set(
        title="1536 dimensions, 128 texts a request, 50 ms latency", xlabel="requests at a time",
        ylabel="share of the limit", xticks=[8, 16, 32], ylim=(0, 1),
    )  # fmt: skip
    middle.legend(fontsize="small")
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
    return textwrap.fill(text, 100, break_on_hyphens=False)


def lines(kept: dict[str, Any]) -> Iterator[str]:
    """The tables of docs/performance.md: the goals on each day, then each day's figures."""
    runs = kept["runs"]
    goals = [[*of_speed(run["results"]), *of_the_rest(run)] for run in runs]
    head = ["goal", "target", *(f"{run['date']} | met" for run in runs)]
    rows = [
        [*_goal(days[0])[:2], *(cell for goal in days for cell in _goal(goal)[2:])]
        for days in zip(*goals, strict=True)
    ]
    yield from table([part for column in head for part in column.split(" | ")], rows)
    yield "\n![Charts of the latest figures](performance.png)"
    for run in reversed(runs):
        yield f"\n### {run['date']}\n"
        yield from _figures(run)


def _figures(found: dict[str, Any]) -> Iterator[str]:
    yield measured(found)
    yield ""
    a, b, c = found["fit"]
    yield (
        f"A request costs {a:,.0f} µs of CPU, a vector {b:.1f} µs and each dimension "
        f"{c * 1e3:.1f} ns,\n"
        f"so a vector of 1536 costs {b + 1536 * c:.1f} µs (a fit to *growth*).\n"
    )
    growing: list[list[str]] = []
    for case, records in by_case(found["results"]).items():
        if case.startswith("growth"):
            growing += [
                [f"{case[7:].strip()}: {cells[0]}", *cells[1:]] for cells in map(row, records)
            ]
            continue
        yield f"#### {case}\n"
        yield from table(HEAD, map(row, records))
        yield ""
    yield "#### growth\n"
    yield from table(HEAD, growing)
    yield "\n#### 10,000 calls of one asyncio client\n"
    waiting = found["waiting"]
    yield (
        f"A call takes {waiting['together'] * 1e6:,.0f} µs of CPU, and alone "
        f"{waiting['alone'] * 1e6:,.0f} µs.\n"
    )
    stalls = {"ours": waiting["stall"], **waiting["stalls"]}
    rows = [[who, f"{seconds * 1e3:,.1f}"] for who, seconds in stalls.items()]
    yield from table(["", "longest stall of the loop, ms"], rows)
    for count, profile in found["profile"].items():
        yield f"\n#### Where the time of a {count}-text request goes\n"
        yield "Share of cProfile's time in each package, without the wait for the answer.\n"
        few = [(owner, part) for owner, part in profile.items() if part >= 0.02]
        yield from table(["", "share"], [[owner, f"{part:.0%}"] for owner, part in few])
    yield "\n#### 16 images of a megabyte in one request\n"
    rows = [
        [who, f"{figures['cpu'] * 1e3:.0f}", f"{figures['memory'] / MB:.0f}"]
        for who, figures in found["images"].items()
    ]
    yield from table(["", "CPU, ms", "memory, MB"], rows)
    yield "\n#### Imports\n"
    rows = [[name, f"{seconds * 1e3:.0f}"] for name, seconds in found["imports"].items()]
    yield from table(["", "CPU, ms"], rows)


def latest(kept: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The figures of the latest two days; those of a day replace earlier ones of that day."""
    earlier = [run for run in kept["runs"] if run["date"] != found["date"]]
    return {"runs": [*earlier[-1:], found]}


def write(found: dict[str, Any]) -> None:
    """Write docs/performance.json and .png, and the tables in performance.md."""
    found["fit"] = growth(found["results"])
    _chart(found["results"], DOCS / "performance.png")
    kept = latest(json.loads((DOCS / FIGURES).read_text()), found)
    publish(kept, FIGURES, BEGIN, END, lines(kept))


def publish(found: dict[str, Any], name: str, begin: str, end: str, text: Iterable[str]) -> None:
    """Write figures into docs/NAME and their tables into docs/performance.md; print the tables."""
    (DOCS / name).write_text(json.dumps(found, indent=1) + "\n")
    tables = "\n".join(text)
    fill(DOCS / "performance.md", begin, end, f"{tables}\n")
    print(tables)
