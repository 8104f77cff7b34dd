"""`python -m stress.kills`: jobs that are killed or whose files are damaged, run until they finish.

First, `orembed run` is killed at random moments and restarted. Its target must be identical to that
of an undisturbed job, and at most the inputs in flight at a kill may be billed again. Then a job's
file or its cache is damaged between two runs: no row may get a wrong vector.
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
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.parquet as pq
from openrouter_embeddings import jobs
from openrouter_embeddings.local.faults import Fault, Faults
from openrouter_embeddings.testing import Service

from stress.report import record
from stress.servers import served

PAGE_SIZE = 16_384  # of SQLite in these files
BATCH, CONCURRENCY, WIDTH = 64, 8, 32
# Only faults that bill nothing: a lost answer would be billed again without any kill.
SCRIPT = [
    Fault("status", status=429, probability=0.01),
    Fault("status", status=503, probability=0.01),
    Fault("status", status=529, probability=0.01),
    Fault("shuffled", probability=0.02),
]


@dataclass
class KillResults:
    """What happened in jobs that were killed.

    Attributes:
        jobs: jobs that finished.
        kills: processes that were killed.
        differing: files that differ from those of an undisturbed job.
        billed_again: inputs that were billed more than once.
    """

    jobs: int = 0
    kills: int = 0
    differing: int = 0
    billed_again: int = 0

    @property
    def in_flight(self) -> int:
        """The most inputs that can have been in flight at all kills together."""
        return self.kills * BATCH * CONCURRENCY


def source(folder: Path, rows: int) -> Path:
    """A file of short texts: one in twenty is a duplicate, one in a thousand is empty."""
    texts = [f"text {n - 7 if n % 20 == 19 else n}" if n % 1000 else "" for n in range(rows)]
    path = folder / "source.parquet"
    pq.write_table(pa.table({"id": range(rows), "text": texts}), path)
    return path


def start_job(url: str, path: Path, target: Path) -> subprocess.Popen[bytes]:
    """Start `orembed run`."""
    tuning = ["--batch-size", str(BATCH), "--concurrency", str(CONCURRENCY)]
    model = ["--model", "local/hash", "--dimensions", str(WIDTH)]
    files = [str(path), "-o", str(target)]
    command = [sys.executable, "-m", "openrouter_embeddings.cli", "run", *files]
    return subprocess.Popen(
        [*command, *model, *tuning],
        env={**os.environ, "OPENROUTER_BASE_URL": url, "OPENROUTER_API_KEY": "local"},
        stderr=subprocess.DEVNULL,
    )


def run_killed_jobs(rows: int, kills: int, seed: int) -> KillResults:
    """Run jobs of so many rows, and kill processes at random moments until `kills` are reached."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    results = KillResults()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, target = source(folder, rows), folder / "target.parquet"
        with served(Faults(SCRIPT, seed=seed)) as url:
            began = time.monotonic()
            if start_job(url, path, folder / "whole.parquet").wait():
                raise SystemExit("the undisturbed job failed")
            longest = time.monotonic() - began
        while results.kills < kills:
            results.jobs += 1
            faults = Faults(SCRIPT, seed=seed + results.jobs)
            with served(faults) as url:
                while _killed(url, path, target, chance.uniform(0, longest)):
                    results.kills += 1
            for end in ("", ".errors.jsonl"):
                one, other = (folder / f"{n}.parquet{end}" for n in ("target", "whole"))
                results.differing += one.read_bytes() != other.read_bytes()
                one.unlink()
            billed = Counter(text for bill in faults.billed for text in bill.inputs)
            results.billed_again += sum(times - 1 for times in billed.values())
    return results


def _killed(url: str, path: Path, target: Path, seconds: float) -> bool:
    """Run the job for so many seconds; whether it was killed before it finished."""
    with start_job(url, path, target) as process:
        with suppress(subprocess.TimeoutExpired):
            if process.wait(seconds):
                raise SystemExit(f"a job ended with status {process.returncode}")
            return False
        process.kill()
        return process.wait() != 0


@dataclass
class DamageResults:
    """What happened in jobs whose file or cache was damaged between two runs.

    Attributes:
        tries: files that were damaged, each in one place.
        no_effect: the job noticed nothing, and paid for nothing again.
        repaired: the job reported damaged vectors and requested them again.
        not_repaired: the job stopped and said that the file cannot be repaired.
        unreported: the job requested vectors again without reporting damage.
        wrong_rows: rows with a wrong vector.
    """

    tries: int = 0
    no_effect: int = 0
    repaired: int = 0
    not_repaired: int = 0
    unreported: int = 0
    wrong_rows: int = 0


def flip(contents: bytearray, chance: random.Random) -> None:
    """Flip a random bit."""
    at = chance.randrange(8 * len(contents))
    contents[at // 8] ^= 1 << at % 8


def blank(contents: bytearray, chance: random.Random) -> None:
    """Replace a random page by zeros, as a failed disk or file system may."""
    start = PAGE_SIZE * chance.randrange(len(contents) // PAGE_SIZE)
    contents[start : start + PAGE_SIZE] = bytes(PAGE_SIZE)


class InterruptedJob:
    """An interrupted job and a complete cache, to be damaged and resumed any number of times.

    Args:
        folder: an empty folder for the files.
        rows: of the job. The last 128 or so are not embedded yet; the cache holds all of them.
    """

    def __init__(self, folder: Path, rows: int) -> None:
        self._folder = folder
        self._table = pa.table({"text": [f"text {n}" for n in range(rows)]})
        self._target = folder / "target.npy"
        self.run(cache=folder / "cache")
        self._whole = np.load(self._target)
        self._clear()
        unpaid = Fault("status", status=402, requests=[rows // BATCH - 2])
        with suppress(ore.PaymentRequiredError):
            self.run(unpaid)
        self._job = folder / "target.npy.job"
        (self._cache,) = (folder / "cache").iterdir()
        self.files = {path: path.read_bytes() for path in (self._job, self._cache)}
        self._missing = {self._job: rows % BATCH + 2 * BATCH, self._cache: 0}

    def run(self, *faults: Fault, **options: Any) -> tuple[jobs.JobReport, int]:
        """Run the job; its report, and how many inputs were billed."""
        service = Service(*faults)
        with service.client(
            model="local/hash", dimensions=256, batch_size=BATCH, concurrency=1, max_retries=0
        ) as client:
            report = jobs.embed_file(self._table, self._target, client=client, **options)
        return report, sum(len(bill.inputs) for bill in service.faults.billed)

    def _clear(self) -> None:
        for path in self._folder.glob("target.npy*"):
            path.unlink()

    def resume(self, path: Path, contents: bytes, results: DamageResults) -> None:
        """Resume the job with these contents in one of its files, and count what happens."""
        self._clear()
        path.write_bytes(contents)
        results.tries += 1
        try:
            report, billed = self.run(cache=path.parent if path == self._cache else None)
        except jobs.JobError:
            results.not_repaired += 1
            return
        results.wrong_rows += int((np.load(self._target) != self._whole).any(axis=1).sum())
        again = billed - self._missing[path]
        results.repaired += report.damaged > 0
        results.unreported += again > report.damaged
        results.no_effect += again == 0 and report.damaged == 0


def run_damaged_jobs(rows: int, tries: int, seed: int) -> dict[str, DamageResults]:
    """Damage the job's file and the cache, by flipped bits and by pages of zeros."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    results: dict[str, DamageResults] = {}
    with tempfile.TemporaryDirectory() as name:
        job = InterruptedJob(Path(name), rows)
        for path, contents in job.files.items():
            which = "a cache" if path.suffix == ".vectors" else "`TARGET.job`"
            for damage, what in ((flip, "a flipped bit"), (blank, "a page of zeros")):
                counts = results.setdefault(f"{what} in {which}", DamageResults())
                for _ in range(tries):
                    damaged = bytearray(contents)
                    damage(damaged, chance)
                    job.resume(path, bytes(damaged), counts)
    return results


def table(results: dict[str, DamageResults]) -> str:
    """The results as a table in Markdown."""
    lines = [
        "| damage | tried | no effect | repaired | not repaired | unreported | wrong rows |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, counts in results.items():
        lines.append(f"| {name} | {' | '.join(f'{count:,}' for count in astuple(counts))} |")
    return "\n".join(lines)


def main() -> int:
    """0 if no target and no row is wrong, and nothing was billed again without need."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument(
        "--damage", type=int, default=200, help="tries of each kind of damage in each file"
    )
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    killed = run_killed_jobs(args.rows, args.kills, args.seed)
    text = (
        f"{killed.kills} processes killed in {killed.jobs} jobs of {args.rows:,} rows: "
        f"{killed.differing} files differ from those of an undisturbed job; "
        f"{killed.billed_again:,} inputs were billed again, and at most {killed.in_flight:,} "
        f"were in flight at the kills."
    )
    passed = not killed.differing and killed.billed_again <= killed.in_flight
    if record("stress.kills", text, passed=passed):
        return 1
    damaged = run_damaged_jobs(2000, args.damage, args.seed)
    passed = not any(counts.wrong_rows for counts in damaged.values())
    return record("stress.kills damage", table(damaged), passed=passed)


if __name__ == "__main__":
    sys.exit(main())
