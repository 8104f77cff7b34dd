"""Compares each framework's own route to OpenRouter with our adapter: `make adapters COMPARE=1`.

Writes the table of docs/frameworks.md, and its figures into docs/frameworks.json; with
ONLY=langchain, the rows of LangChain. This process is the service, and each route runs in a process
of its framework's environment.
"""

import json
import math
import os
import platform
import statistics
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from openrouter_embeddings.local.faults import Fault, Faults
from openrouter_embeddings.local.models.hash import HashModel
from openrouter_embeddings.local.models.parts import read_inputs

from benchmarks.pages import fill
from stress.servers import served
from tests.adapters.routes import FRAMEWORKS, MODEL, SHORT, Route
from tests.environments import ROOT, python

PAGE = ROOT / "docs" / "frameworks.md"
FIGURES = ROOT / "docs" / "frameworks.json"
BEGIN, END = "<!-- made by make adapters COMPARE=1 -->", "<!-- end -->"
TEXTS = [f"text number {number}" for number in range(2000)]
FEW = TEXTS[:12]
MODELS = {name: HashModel() for name in (MODEL, SHORT)}
# each strikes the first request; the answers after it are right
FAULTS = {
    "order": Fault("shuffled", requests=[0]),
    "one missing": Fault("missing-item", requests=[0]),
    "error in a 200": Fault("error-in-200", status=429, requests=[0]),
    "429": Fault("status", status=429, retry_after=1, requests=[0]),
}
LATENCY = Fault("slow-headers", seconds=0.05)
TIMES = 3  # that the load is measured


def outcome(answer: dict[str, Any], right: ArrayLike) -> str:
    """What the framework gets: the right vectors, an error, or wrong vectors without an error."""
    if "error" in answer:
        return f"raised {answer['error']}"
    expected = np.asarray(right)
    vectors = [vector for vector in answer["vectors"] if vector is not None]
    if len(vectors) != len(expected):
        return f"**WRONG**: {len(vectors)} of {len(expected)}"
    if {len(vector) for vector in vectors} != {expected.shape[1]}:
        return "**WRONG**: other vectors"
    if np.allclose(vectors, expected, atol=1e-6):
        return "right"
    same = np.allclose(np.sort(vectors, axis=0), np.sort(expected, axis=0), atol=1e-6)
    return "**WRONG**: order" if same else "**WRONG**: other vectors"


def cost(answer: dict[str, Any], billed: float) -> str:
    """Whether the route knows what the service billed."""
    known = answer.get("cost")
    if known is None:
        return "no"
    return "yes" if math.isclose(known, billed) else f"{known / billed:.0%} of it"


def measured(name: str, which: str) -> dict[str, Any]:
    """The figures of one route."""
    expected = HashModel().embed(read_inputs(TEXTS), None).vectors
    scripts = [Faults([fault], models=MODELS) for fault in FAULTS.values()]
    loads = [Faults([LATENCY], models=MODELS) for _ in range(TIMES)]
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        urls = [stack.enter_context(served(faults)) for faults in (*scripts, *loads)]
        calls = [*zip(urls, [FEW] * len(scripts) + [TEXTS] * TIMES, strict=True)]
        results = Path(folder, "answers.json")
        route = ("-m", "tests.adapters.routes", name, which, results)
        if not python(f"adapters/{name}", *route, given=json.dumps(calls)):
            raise SystemExit(f"{name}, {which}: failed")
        found = json.loads(results.read_text())
    answers = found["answers"][: len(scripts)]
    under_load = found["answers"][len(scripts) :]
    outcomes = {outcome(answer, expected) for answer in under_load}
    return {
        "package": found["package"],
        "faults": [outcome(answer, expected[: len(FEW)]) for answer in answers],
        "load": ", ".join(sorted(outcomes)),
        "requests": loads[0].requests,
        "seconds": statistics.median(answer.get("seconds", 0) for answer in under_load),
        "cost": cost(under_load[0], sum(bill.cost for bill in loads[0].billed)),
    }


def compared(name: str) -> dict[str, Any]:
    """The figures of both routes of a framework, or of ours, and the machine."""
    framework = FRAMEWORKS[name]
    routes = [which for which in ("existing", "ours") if getattr(framework, which)]
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    return {"machine": machine} | {which: measured(name, which) for which in routes}


def row(framework: str, route: Route, figures: dict[str, Any]) -> Sequence[str]:
    """A row of the table."""
    name = f"{route.name} of {figures['package']}" if figures["package"] else f"ours: {route.name}"
    load = f"{figures['requests']}, {figures['seconds']:.2f} s"
    if figures["load"] != "right":
        load += f", {figures['load']}"
    return framework, name, *figures["faults"], load, figures["cost"]


def lines(figures: dict[str, Any]) -> list[str]:
    """The conditions and the table."""
    head = ["", "route", *FAULTS, f"{len(TEXTS):,} texts: requests, time", "cost known"]
    rows = [head, ["---"] * len(head)]
    for name, framework in FRAMEWORKS.items():
        found = figures[name]
        if framework.existing:
            rows.append([*row(framework.name, framework.existing, found["existing"])])
        else:
            rows.append([framework.name, "it has none", *["–"] * (len(FAULTS) + 2)])
        rows.append([*row("", framework.ours, found["ours"])])
    machines: dict[str, list[str]] = {}
    for name, found in figures.items():
        machines.setdefault(found["machine"], []).append(FRAMEWORKS[name].name)
    on = "; ".join(f"with {machine}: {', '.join(names)}" for machine, names in machines.items())
    return [*textwrap.wrap(f"Measured {on}.", 100), "", *(f"| {' | '.join(r)} |" for r in rows)]


def main(names: list[str]) -> None:
    """Compare in these frameworks, and write their rows."""
    if others := {*names} - {*FRAMEWORKS}:
        sys.exit(f"{', '.join(sorted(others))}: use one of {', '.join(FRAMEWORKS)}")
    figures: dict[str, Any] = json.loads(FIGURES.read_text())
    for name in names:
        print(f"{name}:", flush=True)
        figures[name] = compared(name)
        print(json.dumps(figures[name], indent=1))
    FIGURES.write_text(f"{json.dumps(figures, indent=1)}\n")
    fill(PAGE, BEGIN, END, "".join(f"{line}\n" for line in lines(figures)))


if __name__ == "__main__":
    main(sys.argv[1:])
