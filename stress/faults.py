"""`python -m stress.faults`: every fault over a socket, with both clients.

Writes two tables of docs/reliability.md: what each fault leads to, and what the kinds are.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import openrouter_embeddings as ore
from openrouter_embeddings.local.fault_kinds import FAULT_KINDS
from openrouter_embeddings.testing import no_waiting
from stamina.instrumentation import set_on_retry_hooks

from stress.report import record
from stress.scenarios import BATCHES, SCENARIOS, embed, judge
from stress.servers import served

if TYPE_CHECKING:
    from stress.scenarios import Kind, Outcome, Scenario

CLIENTS: dict[Kind, Any] = {"sync": ore.Client, "async": ore.AsyncClient}


def kinds_table() -> str:
    """The kinds of faults, as docs/reliability.md lists them."""
    rows = [f"| `{name}` | {kind.doc} |" for name, kind in FAULT_KINDS.items()]
    return "\n".join(["| kind | what happens |", "|---|---|", *rows])


def run(scenario: Scenario, how: str, kind: Kind, options: ore.EmbedOptions) -> Outcome:
    """The outcome of one call."""
    faults = scenario.script(how)
    with served(faults) as url:
        make = partial(CLIENTS[kind], "local", base_url=url, model="local/hash", timeout=0.5)
        return judge(lambda: embed(kind, make, options), faults)


def row(scenario: Scenario) -> tuple[list[str], list[str]]:
    """A scenario's cells in the table, and the problems found."""
    cells, problems = [scenario.name], []
    for how, expected in (("once", scenario.once), ("always", scenario.always)):
        outcomes = {
            f"{kind}, {name}": run(scenario, how, kind, options)
            for kind in CLIENTS
            for name, options in BATCHES.items()
        }
        for where, outcome in outcomes.items():
            problems += [f"{scenario.name} {how}, {where}: {one}" for one in outcome.problems]
            if outcome.error is not expected:
                problems.append(f"{scenario.name} {how}, {where}: got {outcome.error}")
        again = max(outcome.billed_again for outcome in outcomes.values())
        names = {o.error.__name__ if o.error else "the matrix" for o in outcomes.values()}
        cells += [" or ".join(sorted(names)), str(again)]
    return cells, problems


def main() -> int:
    """Run every scenario; 0 if every outcome is as expected."""
    head = (
        "| fault | if only the first request has it, the call ends in | inputs billed again "
        "| if every request has it | inputs billed again |\n|---|---|---|---|---|"
    )
    lines = [head]
    problems: list[str] = []
    set_on_retry_hooks([])  # do not log hundreds of expected retries
    for scenario in SCENARIOS:
        in_real_time = scenario.fault.kind == "rate-limit"
        with nullcontext() if in_real_time else no_waiting():
            cells, found = row(scenario)
        problems += found
        lines.append(f"| {' | '.join(cells)} |")
    record("stress.faults kinds", kinds_table())
    status = record("stress.faults outcomes", "\n".join(lines), passed=not problems)
    print("\n".join([*problems, f"{8 * len(SCENARIOS)} runs, {len(problems)} problems"]))
    return status


if __name__ == "__main__":
    sys.exit(main())
