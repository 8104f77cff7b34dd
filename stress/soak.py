"""`make soak`: a long call through random faults, and calls to services that refuse some.

Says what was wrong, missing, sent too often or kept in memory; writes it into docs/reliability.md.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import openrouter_embeddings as ore
from openrouter_embeddings.local.faults import Fault, Faults
from openrouter_embeddings.local.models import MODELS
from openrouter_embeddings.local.models.parts import read_inputs
from stamina.instrumentation import set_on_retry_hooks

from stress.faults import served as served_here
from tools import ROOT
from tools.pages import fill

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs" / "reliability.md"
_BEGIN, _END = "<!-- made by make soak -->", "<!-- end of soak -->"
TEXTS, BATCH, CONCURRENCY, WIDTH = 200_000, 128, 32, 64
# 5 % of all requests together, each kind as likely.
KINDS = [
    *('kind = "status"\nstatus = 429', 'kind = "status"\nstatus = 429\nretry_after = 1'),
    *('kind = "status"\nstatus = 500', 'kind = "status"\nstatus = 502', 'kind = "html"'),
    *('kind = "status"\nstatus = 503\nretry_after = 1', 'kind = "status"\nstatus = 529'),
    *('kind = "error-in-200"\nstatus = 502', 'kind = "empty-data"', 'kind = "missing-item"'),
    *('kind = "shuffled"', 'kind = "floats"', 'kind = "duplicate-index"', 'kind = "null-vector"'),
    *(
        'kind = "truncated-json"',
        'kind = "nan-vector"',
        'kind = "zero-vector"',
        'kind = "broken-base64"',
    ),
    *(
        'kind = "truncated-json"',
        'kind = "stall"\nseconds = 30',
        'kind = "slow-headers"\nseconds = 2',
    ),
    *('kind = "reset-before-headers"', 'kind = "reset-mid-body"', 'kind = "accept-and-close"'),
]


@contextmanager
def served(script: str, books: list[str]) -> Iterator[str]:
    """The base URL of `orembed serve --faults` in a process of its own; its books at the end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faults.toml"
        path.write_text(script)
        command = [sys.executable, "-m", "openrouter_embeddings.cli", "serve", "--port", "0"]
        with subprocess.Popen(
            [*command, "--faults", str(path)], stdout=subprocess.PIPE, text=True
        ) as process:
            if process.stdout is None:
                raise RuntimeError("stdout was asked for")
            url = process.stdout.readline().strip().partition("=")[2]
            process.stdout.readline()
            try:
                yield url
            finally:
                process.send_signal(signal.SIGTERM)
                books += process.stdout.read().splitlines()


def resident() -> float:
    """This process's memory in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def soak() -> tuple[list[str], bool]:
    """A stream of TEXTS through faults: lines of what was seen, and whether all was right."""
    script = "seed = 11\n" + "".join(
        f"[[fault]]\n{kind}\nprobability = {0.05 / len(KINDS)}\n" for kind in KINDS
    )
    seen = np.zeros(TEXTS, np.uint8)
    wrong, memory, books = 0, [], list[str]()
    usage, began = ore.Usage(), time.monotonic()
    with (
        served(script, books) as url,
        ore.Client("local", base_url=url, model="local/hash", timeout=10) as client,
    ):
        texts = (f"text number {number} of the soak" for number in range(TEXTS))
        for part in client.embed_stream(
            texts, batch_size=BATCH, concurrency=CONCURRENCY, dimensions=WIDTH
        ):
            rows = range(part.start, part.start + len(part))
            seen[part.start : part.start + len(part)] += 1
            given = read_inputs([f"text number {number} of the soak" for number in rows])
            expected = MODELS["local/hash"].embed(given, WIDTH).vectors
            wrong += int((part.vectors != expected).any(axis=1).sum())
            usage += part.usage
            memory.append(resident())
    least = -(-TEXTS // BATCH)
    sent = int(books[0].split()[0])
    missing, twice = int((seen == 0).sum()), int((seen > 1).sum())
    tenth = len(memory) // 10
    early, late = (float(np.median(m)) for m in (memory[tenth : 2 * tenth], memory[-tenth:]))
    fine = not (wrong or missing or twice) and sent <= 1.2 * least and late - early < 10
    seconds = time.monotonic() - began
    lines = [
        (
            f"- {TEXTS:,} texts in batches of {BATCH} at concurrency {CONCURRENCY}, 5 % of the "
            f"requests befallen by one of {len(KINDS)} faults: {wrong} wrong, {missing} missing, "
            f"{twice} duplicate rows, in {seconds:.0f} s."
        ),
        (
            f"- {sent / least:.3f} × the fewest requests. {books[0]}. {books[1]}; "
            f"the usage says {usage.refused} vectors refused and {usage.unanswered} unanswered."
        ),
        f"- Resident memory: {early:.0f} MB after a tenth of it, {late:.0f} MB at its end.",
    ]
    return lines, fine


def limited(rate: int, retry_after: str, seconds: float) -> tuple[str, bool]:
    """Many small requests to a service that lets `rate` a second pass."""
    script = f'[[fault]]\nkind = "rate-limit"\nper_second = {rate}\n{retry_after}\n'
    books: list[str] = []
    with served(script, books) as url:
        answered = answers(url, seconds, max_retries=9)
    came = int(books[0].split()[0])
    refused = sum(int(n) for n in re.findall(r"(\d+) × 429", books[0]))
    goodput = answered / (rate * seconds + rate)
    said = f", `{retry_after}`" if retry_after else ""
    line = (
        f"- {rate} requests/s allowed{said}, 16 threads for {seconds:.0f} s from a cold start: "
        f"goodput {goodput:.0%} of what the service allows, {refused / came:.1%} refused."
    )
    return line, goodput >= 0.9 and refused <= 0.05 * came


def answers(url: str, seconds: float, *passed_over: type[Exception], max_retries: int) -> int:
    """How many small calls of 16 threads are answered in so many seconds."""
    answered, counting = 0, threading.Lock()
    ends = time.monotonic() + seconds
    with ore.Client("local", base_url=url, model="local/hash", concurrency=16) as client:

        def work() -> None:
            nonlocal answered
            while time.monotonic() < ends:
                with suppress(*passed_over):
                    client.embed("a text", dimensions=WIDTH, max_retries=max_retries)
                    with counting:
                        answered += time.monotonic() < ends

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return answered


def calls_per_second(url: str, seconds: float) -> float:
    """Calls that do not retry, and pass over 429s."""
    return answers(url, seconds, ore.RateLimitError, max_retries=0) / seconds


def unlucky(seconds: float) -> tuple[str, bool]:
    """A constant share of 429s whatever the pace, against none."""
    speeds = []
    for share in (0.0, 0.01, 0.02, 0.05, 0.1):
        script = f'[[fault]]\nkind = "status"\nstatus = 429\nprobability = {share}\n'
        with served(script if share else "", []) as url:
            speeds.append(calls_per_second(url, seconds))
    most, *others = speeds
    said = ", ".join(f"{speed / most:.0%}" for speed in others)
    line = (
        f"- 1, 2, 5 and 10 % of the calls answered with 429 whatever the pace, 16 threads for "
        f"{seconds:.0f} s each: {said} of the speed without ({most:.0f} calls/s)."
    )
    return line, all(speed >= 0.7 * most for speed in others)


def moving(low: int, high: int, seconds: float) -> tuple[str, bool]:
    """A service whose limit changes every 20 seconds."""
    faults, over = Faults([Fault("rate-limit", per_second=high)]), threading.Event()

    def move() -> None:
        while not over.wait(20):
            now = faults.faults[0].per_second
            faults.faults = [Fault("rate-limit", per_second=low if now == high else high)]

    mover = threading.Thread(target=move)
    mover.start()
    with served_here(faults) as url:
        goodput = calls_per_second(url, seconds) / ((low + high) / 2)
    over.set()
    mover.join()
    refused = faults.refused[429] / faults.requests
    line = (
        f"- A limit that changes between {high} and {low} requests/s every 20 s, 16 threads for "
        f"{seconds:.0f} s: goodput {goodput:.0%}, {refused:.1%} refused."
    )
    return line, goodput >= 0.75 and refused <= 0.1


def main() -> int:
    """0 when everything is as it should be."""
    set_on_retry_hooks([])
    lines, fine = soak()
    for rate, retry_after in ((20, ""), (50, ""), (50, "retry_after = 1")):
        line, held = limited(rate, retry_after, 60.0)
        lines.append(line)
        fine = fine and held
    for line, held in (unlucky(15.0), moving(20, 50, 80.0)):
        lines.append(line)
        fine = fine and held
    print("\n".join(lines))
    if fine:
        fill(PAGE, _BEGIN, _END, "\n".join(lines) + "\n")
    return not fine


if __name__ == "__main__":
    sys.exit(main())
