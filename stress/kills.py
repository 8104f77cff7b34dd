"""`make kills`: jobs that are killed at any moment, again and again, until they are done.

Each target has to be the same to the byte as that of a job which nobody disturbed, and no more
inputs may have been billed again than were in flight when a process was killed. Then jobs whose
files were damaged between two runs: no row may get a wrong vector. Writes what it found into
docs/reliability.md.
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

from stress.faults import served
from tools import ROOT
from tools.pages import fill

PAGE = ROOT / "docs" / "reliability.md"
_BEGIN, _END = "<!-- made by make kills -->", "<!-- end of kills -->"
_BEGIN_DAMAGE, _END_DAMAGE = "<!-- damage made by make kills -->", "<!-- end of damage -->"
PAGE_SIZE = 4096  # SQLite's
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


@dataclass
class Damage:
    """What came of files that were damaged while no job ran.

    Attributes:
        tries: files that were damaged, each in one place.
        harmless: the place does not matter to the target.
        mended: the job said how many vectors were damaged, and asked for them again.
        refused: the job stopped, and said that the file cannot be mended.
        unsaid: the job asked for inputs again, and did not say so.
        wrong: rows with another vector than they should have.
    """

    tries: int = 0
    harmless: int = 0
    mended: int = 0
    refused: int = 0
    unsaid: int = 0
    wrong: int = 0


def flip(contents: bytearray, chance: random.Random) -> None:
    """Another bit."""
    at = chance.randrange(8 * len(contents))
    contents[at // 8] ^= 1 << at % 8


def blank(contents: bytearray, chance: random.Random) -> None:
    """A page of zeros, as a disk or a file system may give after it has failed."""
    start = PAGE_SIZE * chance.randrange(len(contents) // PAGE_SIZE)
    contents[start : start + PAGE_SIZE] = bytes(PAGE_SIZE)


class Damaged:
    """A job that has stopped, and a cache, to be damaged again and again.

    Args:
        folder: empty.
        rows: of the job, of which the last 128 are not embedded yet; the cache has all.
    """

    def __init__(self, folder: Path, rows: int) -> None:
        self._folder = folder
        self._table = pa.table({"text": [f"text {n}" for n in range(rows)]})
        self._target = folder / "target.npy"
        self.run(cache=folder / "cache")
        self._whole = np.load(self._target)
        self._clear()
        broke = Fault("status", status=402, requests=[rows // BATCH - 2])
        with suppress(ore.PaymentRequiredError):
            self.run(broke)
        self._job = folder / "target.npy.job"
        (self._cache,) = (folder / "cache").iterdir()
        self.files = {path: path.read_bytes() for path in (self._job, self._cache)}
        self._missing = {self._job: rows % BATCH + 2 * BATCH, self._cache: 0}

    def run(self, *faults: Fault, **options: Any) -> tuple[jobs.JobReport, int]:
        """The job; its report, and how many inputs were billed."""
        service = Service(*faults)
        with service.client(
            model="local/hash", dimensions=256, batch_size=BATCH, concurrency=1, max_retries=0
        ) as client:
            report = jobs.embed_file(self._table, self._target, client=client, **options)
        return report, sum(len(bill.inputs) for bill in service.faults.billed)

    def _clear(self) -> None:
        for path in self._folder.glob("target.npy*"):
            path.unlink()

    def go_on(self, path: Path, contents: bytes, found: Damage) -> None:
        """Whether the job goes on rightly with such a file."""
        self._clear()
        path.write_bytes(contents)
        found.tries += 1
        try:
            report, billed = self.run(cache=path.parent if path == self._cache else None)
        except jobs.JobError:
            found.refused += 1
            return
        found.wrong += int((np.load(self._target) != self._whole).any(axis=1).sum())
        again = billed - self._missing[path]
        found.mended += report.damaged > 0
        found.unsaid += again > report.damaged
        found.harmless += again == 0 and report.damaged == 0


def damaged(rows: int, tries: int, seed: int) -> dict[str, Damage]:
    """Flipped bits and blank pages, in the file of a job and in a cache."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    results: dict[str, Damage] = {}
    with tempfile.TemporaryDirectory() as name:
        job = Damaged(Path(name), rows)
        for path, contents in job.files.items():
            which = "a cache" if path.suffix == ".vectors" else "`TARGET.job`"
            for harm, what in ((flip, "a flipped bit"), (blank, "a page of zeros")):
                found = results.setdefault(f"{what} in {which}", Damage())
                for _ in range(tries):
                    spoilt = bytearray(contents)
                    harm(spoilt, chance)
                    job.go_on(path, bytes(spoilt), found)
    return results


def table(results: dict[str, Damage]) -> str:
    """Those results in Markdown."""
    lines = [
        "| damage | tried | no effect | mended | not mended | paid again unsaid | wrong rows |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        lines.append(f"| {name} | {' | '.join(f'{count:,}' for count in astuple(found))} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Kill, damage, look, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--damage", type=int, default=200, help="of each kind, in each file")
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
    results = damaged(2000, given.damage, given.seed)
    print(table(results))
    if any(found.wrong for found in results.values()):
        raise SystemExit(1)
    fill(PAGE, _BEGIN_DAMAGE, _END_DAMAGE, table(results))


if __name__ == "__main__":
    main()
