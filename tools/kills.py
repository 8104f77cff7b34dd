"""`make kills`: jobs that are killed at any moment, again and again, until they are done.

Each target has to be the same to the byte as that of a job which nobody disturbed, and no more
inputs may have been billed again than were in flight when a process was killed. Writes what it
found into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from openrouter_embeddings.local.faults import Fault, Faults

from tools import ROOT
from tools.faults import served
from tools.pages import fill

PAGE = ROOT / "docs" / "reliability.md"
_BEGIN, _END = "<!-- made by make kills -->", "<!-- end of kills -->"
BATCH, CONCURRENCY, WIDTH = 64, 8, 32
# Refusals before anything is computed: an answer that is lost on its way would be billed, too.
SCRIPT = [
    Fault("status", status=429, probability=0.01),
    Fault("status", status=503, probability=0.01),
    Fault("status", status=529, probability=0.01),
    Fault("shuffled", probability=0.02),
]


@dataclass
class Found:
    """What came of many jobs."""

    jobs: int = 0
    kills: int = 0
    differing: int = 0
    again: int = 0

    @property
    def in_flight(self) -> int:
        """The most inputs that were in flight at all the kills together."""
        return self.kills * BATCH * CONCURRENCY


def source(folder: Path, rows: int) -> Path:
    """Short texts, one of twenty twice, one of a thousand empty."""
    texts = [f"text {n - 7 if n % 20 == 19 else n}" if n % 1000 else "" for n in range(rows)]
    path = folder / "source.parquet"
    pq.write_table(pa.table({"id": range(rows), "text": texts}), path)
    return path


def begun(url: str, path: Path, target: Path) -> subprocess.Popen[bytes]:
    """`orembed run`."""
    tuning = ["--batch-size", str(BATCH), "--concurrency", str(CONCURRENCY)]
    model = ["--model", "local/hash", "--dimensions", str(WIDTH)]
    files = [str(path), "-o", str(target)]
    command = [sys.executable, "-m", "openrouter_embeddings.cli", "run", *files]
    return subprocess.Popen(
        [*command, *model, *tuning],
        env={**os.environ, "OPENROUTER_BASE_URL": url, "OPENROUTER_API_KEY": "local"},
        stderr=subprocess.DEVNULL,
    )


def killed(rows: int, kills: int, seed: int) -> Found:
    """Jobs of so many rows, until so many processes were killed."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    found = Found()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, target = source(folder, rows), folder / "target.parquet"
        with served(Faults(SCRIPT, seed=seed)) as url:
            began = time.monotonic()
            if begun(url, path, folder / "whole.parquet").wait():
                raise SystemExit("the job that nobody disturbed failed")
            longest = time.monotonic() - began
        while found.kills < kills:
            found.jobs += 1
            faults = Faults(SCRIPT, seed=seed + found.jobs)
            with served(faults) as url:
                while _cut_short(url, path, target, chance.uniform(0, longest)):
                    found.kills += 1
            for end in ("", ".errors.jsonl"):
                one, other = (folder / f"{n}.parquet{end}" for n in ("target", "whole"))
                found.differing += one.read_bytes() != other.read_bytes()
                one.unlink()
            billed = Counter(text for bill in faults.billed for text in bill.inputs)
            found.again += sum(times - 1 for times in billed.values())
    return found


def _cut_short(url: str, path: Path, target: Path, seconds: float) -> bool:
    """Whether the process was killed before it was done."""
    with begun(url, path, target) as process:
        with suppress(subprocess.TimeoutExpired):
            if process.wait(seconds):
                raise SystemExit(f"a job ended with status {process.returncode}")
            return False
        process.kill()
        return process.wait() != 0


def main() -> None:
    """Kill, look, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    found = killed(given.rows, given.kills, given.seed)
    said = (
        f"{found.kills} processes killed in {found.jobs} jobs of {given.rows:,} rows: "
        f"{found.differing} targets differ from the undisturbed one; {found.again:,} inputs were "
        f"billed again, of {found.in_flight:,} at most in flight at the kills."
    )
    print(said)
    if found.differing or found.again > found.in_flight:
        raise SystemExit(1)
    fill(PAGE, _BEGIN, _END, f"{said}\n")


if __name__ == "__main__":
    main()
