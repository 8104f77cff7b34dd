"""`python -m stress.soak`: a long stream through faults, and many calls to limited services.

Reports wrong, missing and duplicate rows, repeated requests, memory, goodput and refusals.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openrouter_embeddings as ore
from openrouter_embeddings.local.faults import Fault, Faults
from openrouter_embeddings.local.models import MODELS
from openrouter_embeddings.local.models.parts import read_inputs
from stamina.instrumentation import set_on_retry_hooks

from stress.report import record
from stress.servers import orembed_serve, served

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXTS, BATCH, CONCURRENCY, WIDTH = 200_000, 128, 32, 64
STRIDE = 20  # every so many requests one is struck, which makes 5 %
# A response that fails validation is requested only once more, and two in a row end the stream.
# A repeated request comes less than two strides later, so at least two other faults lie between.
INVALID = (
    *("empty-data", "missing-item", "duplicate-index", "truncated-json"),
    *("null-vector", "nan-vector", "zero-vector", "broken-base64"),
)
OTHERS: list[dict[str, Any]] = [
    *({"kind": "status", "status": status} for status in (429, 500, 502, 529)),
    *({"kind": "status", "status": status, "retry_after": 1} for status in (429, 503)),
    {"kind": "error-in-200", "status": 502},
    {"kind": "stall", "seconds": 30},
    {"kind": "slow-headers", "seconds": 2},
    *({"kind": kind} for kind in ("html", "shuffled", "floats", "accept-and-close")),
    *({"kind": kind} for kind in ("reset-before-headers", "reset-mid-body")),
]
FAULTS: list[dict[str, Any]] = [
    fault
    for number, kind in enumerate(INVALID)
    for fault in ({"kind": kind}, *OTHERS[2 * number : 2 * number + 2])
]


@contextmanager
def served_script(script: str) -> Iterator[tuple[str, list[str]]]:
    """`orembed serve --faults` with a script: its base URL, and a list for its output."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faults.toml"
        path.write_text(script)
        with orembed_serve("--faults", str(path)) as serving:
            yield serving


def resident() -> float:
    """This process's resident memory in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def soak() -> tuple[list[str], bool]:
    """Embed a long stream through faults: lines of results, and whether the test passed."""
    struck = range(0, 2 * TEXTS // BATCH, STRIDE)
    script = "seed = 11\n"
    for number, fault in enumerate(FAULTS):
        options = {**fault, "requests": [*struck[number :: len(FAULTS)]]}
        script += "[[fault]]\n" + "".join(f"{n} = {json.dumps(v)}\n" for n, v in options.items())
    seen = np.zeros(TEXTS, np.uint8)
    wrong, memory = 0, []
    usage, began = ore.Usage(), time.monotonic()
    with (
        served_script(script) as (url, output),
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
    arrived, billed = output[0].splitlines()
    sent = int(arrived.split()[0])
    missing, twice = int((seen == 0).sum()), int((seen > 1).sum())
    tenth = len(memory) // 10
    early, late = (float(np.median(m)) for m in (memory[tenth : 2 * tenth], memory[-tenth:]))
    fine = not (wrong or missing or twice) and sent <= 1.2 * least and late - early < 10
    seconds = time.monotonic() - began
    lines = [
        (
            f"- {TEXTS:,} texts in batches of {BATCH} at concurrency {CONCURRENCY}, 5 % of the "
            f"requests struck by one of {len(FAULTS)} faults: {wrong} wrong, {missing} missing and "
            f"{twice} duplicate rows, in {seconds:.0f} s."
        ),
        (
            f"- {sent / least:.3f} times as many requests as without faults. {arrived}. {billed}; "
            f"`usage` counts {usage.refused} refused vectors and {usage.unanswered} unanswered "
            f"requests."
        ),
        f"- Resident memory: {early:.0f} MB after a tenth of the stream, {late:.0f} MB at its end.",
    ]
    return lines, fine


def limited(rate: int, retry_after: str, seconds: float) -> tuple[str, bool]:
    """Many small requests to a service that admits `rate` requests per second."""
    script = f'[[fault]]\nkind = "rate-limit"\nper_second = {rate}\n{retry_after}\n'
    with served_script(script) as (url, output):
        answered = answers(url, seconds, max_retries=9)
    sent = int(output[0].split()[0])
    refused = sum(int(n) for n in re.findall(r"(\d+) × 429", output[0]))
    goodput = answered / (rate * seconds + rate)
    header = f", `{retry_after}`" if retry_after else ""
    line = (
        f"- A limit of {rate} requests/s{header}, 16 threads for {seconds:.0f} s from a cold "
        f"start: goodput {goodput:.0%} of the limit, {refused / sent:.1%} refused."
    )
    return line, goodput >= 0.9 and refused <= 0.05 * sent


def answers(url: str, seconds: float, *ignored: type[Exception], max_retries: int) -> int:
    """How many small calls of 16 threads return within so many seconds."""
    answered, lock = 0, threading.Lock()
    ends = time.monotonic() + seconds
    with ore.Client("local", base_url=url, model="local/hash", concurrency=16) as client:

        def work() -> None:
            nonlocal answered
            while time.monotonic() < ends:
                with suppress(*ignored):
                    client.embed("a text", dimensions=WIDTH, max_retries=max_retries)
                    with lock:
                        answered += time.monotonic() < ends

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return answered


def calls_per_second(url: str, seconds: float) -> float:
    """How many calls succeed per second if none is retried and 429s are ignored."""
    return answers(url, seconds, ore.RateLimitError, max_retries=0) / seconds


def unlucky(seconds: float) -> tuple[str, bool]:
    """The speed when a constant share of calls gets 429 at any pace, compared with no 429s."""
    speeds = []
    for share in (0.0, 0.01, 0.02, 0.05, 0.1):
        script = f'[[fault]]\nkind = "status"\nstatus = 429\nprobability = {share}\n'
        with served_script(script if share else "") as (url, _):
            speeds.append(calls_per_second(url, seconds))
    most, *others = speeds
    shares = ", ".join(f"{speed / most:.0%}" for speed in others)
    line = (
        f"- 429 for 1, 2, 5 and 10 % of the calls at any pace, 16 threads for {seconds:.0f} s "
        f"each: {shares} of the speed without 429s ({most:.0f} calls/s)."
    )
    return line, all(speed >= 0.7 * most for speed in others)


def moving(low: int, high: int, seconds: float) -> tuple[str, bool]:
    """Many calls to a service whose limit changes every 20 seconds."""
    faults, done = Faults([Fault("rate-limit", per_second=high)]), threading.Event()

    def move() -> None:
        while not done.wait(20):
            now = faults.faults[0].per_second
            faults.faults = [Fault("rate-limit", per_second=low if now == high else high)]

    mover = threading.Thread(target=move)
    mover.start()
    with served(faults) as url:
        answered = calls_per_second(url, seconds) * seconds
    # a change lets as many requests as in a second pass at once
    goodput = answered / ((low + high) / 2 * (seconds + seconds // 20))
    done.set()
    mover.join()
    refused = faults.refused[429] / faults.requests
    line = (
        f"- A limit that changes between {high} and {low} requests/s every 20 s, 16 threads for "
        f"{seconds:.0f} s: goodput {goodput:.0%}, {refused:.1%} refused."
    )
    return line, goodput >= 0.75 and refused <= 0.1


def main() -> int:
    """0 if every measurement is within its bounds."""
    set_on_retry_hooks([])  # do not log expected retries
    lines, passed = soak()
    limits = ((20, ""), (50, ""), (50, "retry_after = 1"))
    results = [limited(rate, retry_after, 60.0) for rate, retry_after in limits]
    for line, held in (*results, unlucky(15.0), moving(20, 50, 80.0)):
        lines.append(line)
        passed = passed and held
    return record("stress.soak", "\n".join(lines), passed=passed)


if __name__ == "__main__":
    sys.exit(main())
