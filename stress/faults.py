"""`make faults`: every fault over a socket, sync and async; makes docs/reliability.md's table."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import openrouter_embeddings as ore
from openrouter_embeddings.local.servers.faulty import FaultyServer
from openrouter_embeddings.testing import no_waiting
from stamina.instrumentation import set_on_retry_hooks

from stress.scenarios import BATCHES, SCENARIOS, Kind, Outcome, Scenario, embed, judge
from tools import ROOT
from tools.pages import fill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openrouter_embeddings.local.faults import Faults

PAGE = ROOT / "docs" / "reliability.md"
_BEGIN, _END = "<!-- made by make faults -->", "<!-- end -->"
KINDS: tuple[Kind, ...] = ("sync", "async")


@contextmanager
def served(faults: Faults) -> Iterator[str]:
    """The base URL of the stand-in with faults, on a socket of this process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        loop = asyncio.new_event_loop()
        serving = loop.create_task(FaultyServer(faults).serve(listener))
        thread = threading.Thread(target=_run, args=(loop, serving))
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/api/v1"
        finally:
            loop.call_soon_threadsafe(serving.cancel)
            thread.join()


def _run(loop: asyncio.AbstractEventLoop, serving: asyncio.Task[None]) -> None:
    try:
        loop.run_until_complete(asyncio.gather(serving, return_exceptions=True))
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def play(scenario: Scenario, how: str, kind: Kind, options: ore.EmbedOptions) -> Outcome:
    """One scenario, once."""
    faults = scenario.script(how)
    clients: dict[Kind, Any] = {"sync": ore.Client, "async": ore.AsyncClient}
    with served(faults) as url:
        make = partial(clients[kind], "local", base_url=url, model="local/hash", timeout=0.5)
        return judge(lambda: embed(kind, make, options), faults)


def row(scenario: Scenario) -> tuple[list[str], list[str]]:
    """The cells of a scenario, and what is not as it should be."""
    cells, problems = [scenario.name], []
    for how, wanted in (("once", scenario.once), ("always", scenario.always)):
        outcomes = {
            f"{kind}, {name}": play(scenario, how, kind, options)
            for kind in KINDS
            for name, options in BATCHES.items()
        }
        for where, outcome in outcomes.items():
            problems += [f"{scenario.name} {how}, {where}: {said}" for said in outcome.problems]
            if outcome.error is not wanted:
                problems.append(f"{scenario.name} {how}, {where}: {outcome.error} came")
        again = max(outcome.again for outcome in outcomes.values())
        names = {o.error.__name__ if o.error else "the matrix" for o in outcomes.values()}
        cells += [" or ".join(sorted(names)), str(again)]
    return cells, problems


def main() -> int:
    """0 when every outcome is as it should be."""
    lines = [
        "| fault | of the first request | billed again | of every request | billed again |",
        "|---|---|---|---|---|",
    ]
    wrong: list[str] = []
    set_on_retry_hooks([])  # hundreds of retries are the point here, and no news
    for scenario in SCENARIOS:
        in_real_time = scenario.fault.kind == "rate-limit"
        with nullcontext() if in_real_time else no_waiting():
            cells, problems = row(scenario)
        wrong += problems
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    runs = 8 * len(SCENARIOS)
    print("\n".join([*wrong, f"{runs} runs, {len(wrong)} not as they should be"]))
    if not wrong:
        fill(PAGE, _BEGIN, _END, "\n".join(lines) + "\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
