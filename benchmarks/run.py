"""`make bench`: all cases, into docs/performance.*; `make bench SUITE=quick`: a few, printed only.

The vectors of every contender are checked first. Then the contenders of a case take turns, and the
report shows medians over the rounds. Compare ratios: the machine's own speed varies more than the
contenders do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import cases, report
from .contenders import PACKAGES, python_of, version_of
from .programs import certificate, compiled, served
from .vectors import differences, texts
from .worker import cpu_of, peak

if TYPE_CHECKING:
    from .cases import Case, Results
    from .programs import Server

# Have malloc reuse memory instead of returning it. Users' programs do not run so: it shows how much
# of a contender's time goes to memory that the system takes back and gives again.
KEEP = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
}


class Worker:
    """A contender that runs in its own process; `keep`: with `KEEP`."""

    def __init__(self, name: str, folder: Path, *, keep: bool) -> None:
        self._errors = folder / f"{name}-{keep}.txt"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [python_of(PACKAGES.get(name, "ours")), "-m", "benchmarks.worker", name],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                env={
                    **os.environ, **(KEEP if keep else {}),
                    "SSL_CERT_FILE": str(folder / "ca.pem"),
                },
            )  # fmt: skip

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run a job; return its figures, or `error`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{json.dumps(job)}\n")
            self._process.stdin.flush()
        except OSError:
            return {"error": self._errors.read_text()[-300:]}
        for line in self._process.stdout:
            if line.startswith("@"):
                answer: dict[str, Any] = json.loads(line[1:])
                return answer
        return {"error": self._errors.read_text()[-300:]}

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


class Floor:
    """The program in C, for the same jobs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = compiled("floor", folder, "-march=native")
        self._process: subprocess.Popen[str] | None = None

    def _start(self, job: dict[str, Any]) -> subprocess.Popen[str]:
        import msgspec  # only our environment has it

        fields = {"model": "benchmark", "encoding_format": "base64", "dimensions": job["width"]}
        body = msgspec.json.encode({**fields, "input": texts(job["rows"])})
        head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        request = self._folder / "request"
        request.write_bytes(head.encode() + body)
        port = job["url"].split(":")[2].split("/")[0]
        return subprocess.Popen(
            [self._program, port, request, str(job["rows"]), str(job["width"])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def _order(self, text: str) -> list[str]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().split()

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run a job as `Worker.ask` does."""
        self._process = self._process or self._start(job)
        wall = float(self._order("run 1")[1])
        if job["check"]:
            found = self._folder / "matrix"
            self._order(f"write {found}")
            matrix = np.fromfile(found, np.float32).reshape(job["rows"], job["width"])
            wrong = differences(matrix, job["rows"], job["width"])
            return {"error": wrong} if wrong else {"wall": wall}
        before = cpu_of(job["server"])
        took = map(float, self._order(f"run {job['repeats']}"))
        figures = dict(zip(("cpu", "wall", "faults"), took, strict=True))
        figures["server"] = cpu_of(job["server"]) - before
        figures = {name: figure / job["repeats"] for name, figure in figures.items()}
        return {**figures, "peak": peak(self._process.pid)}

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.kill()
            self._process.wait()


@dataclass
class Turn:
    """One contender of a case: its job, its figures so far, and whether it is a slow one."""

    who: Worker | Floor
    job: dict[str, Any]
    record: dict[str, Any]
    slow: bool


def _add(record: dict[str, Any], took: dict[str, Any]) -> None:
    if "error" in took:
        raise RuntimeError(took["error"])
    for name, figure in took.items():
        record.setdefault(name, []).append(figure)


def _turn(case: Case, name: str, server: Server, folder: Path) -> Turn:
    """Check a contender's vectors and measure it with `KEEP`; then it is ready to take turns."""
    rows = dict(case.fewer).get(name, case.rows)
    job = {
        "url": f"{server.url}/latency/{case.latency}/v1",
        "server": server.pid,
        "rows": rows,
        "width": case.width,
        "batch": case.batch,
        "concurrency": case.concurrency,
        "repeats": case.repeats,
        "check": False,
    }
    record: dict[str, Any] = {"case": case.name, "contender": name, "rows": rows}
    if case.latency:
        record["limit"] = case.concurrency * case.batch / case.latency
    # The check has a process of its own: malloc would learn from it to keep more memory.
    first = Floor(folder) if name == "floor" else Worker(name, folder, keep=True)
    with closing(first):
        checked = first.ask({**job, "check": True})
        _add({}, checked)
        slow = checked["wall"] > cases.SLOW
        if slow:
            job["repeats"] = 1
        if name == "floor":
            return Turn(Floor(folder), job, record, slow)
        record["kept"] = {}
        for _ in range(cases.KEPT):
            _add(record["kept"], first.ask(job))
    return Turn(Worker(name, folder, keep=False), job, record, slow)


def measured(case: Case, server: Server, folder: Path) -> Results:
    """Every contender's figures for one case; prints the name and error of those that fail."""
    started = time.monotonic()
    turns: list[Turn] = []
    for name in case.contenders:
        try:
            turns.append(_turn(case, name, server, folder))
        except RuntimeError as error:
            print(f"  {name} is left out: {error}")
    for number in range(case.rounds):
        if number >= cases.FEWEST and time.monotonic() - started > cases.PATIENCE:
            break
        for turn in [*turns]:
            try:
                if not turn.slow or number < cases.FEWEST:
                    _add(turn.record, turn.who.ask(turn.job))
            except RuntimeError as error:
                print(f"  {turn.record['contender']} is left out: {error}")
                turns.remove(turn)
                turn.who.close()
    for turn in turns:
        turn.who.close()
        per = statistics.median(turn.record["cpu"]) / turn.record["rows"] * 1e6
        print(f"  {turn.record['contender']:22}{per:10.1f} µs CPU per vector", flush=True)
    return [turn.record for turn in turns]


def run(chosen: list[Case]) -> Results:
    """The figures of all these cases."""
    results: Results = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pem = certificate(folder)
        plain = stack.enter_context(served())
        for case in chosen:
            print(case.name, flush=True)
            try:
                secret = served(pem) if case.tls else nullcontext(plain)
                with secret as server:
                    results += measured(case, server, folder)
            except NotImplementedError as error:
                print(f"  left out: {error}")
    return results


def alone(what: str, *arguments: str) -> dict[str, Any]:
    """Run `benchmarks.alone` in its own process; return the figures that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.alone", what, *arguments],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def imports(names: tuple[str, ...], rounds: int = 7) -> dict[str, float]:
    """Seconds of CPU that importing each name adds to an empty process, each in a new one."""
    took: dict[str, list[float]] = {name: [] for name in ("", *names)}
    for _ in range(rounds):
        for name, figures in took.items():
            package = name.replace("_", "-")
            python = python_of(package if package in PACKAGES.values() else "ours")
            before = os.times()
            subprocess.run([python, "-c", f"import {name}" if name else ""], check=True)
            after = os.times()
            figures.append(sum(after[2:4]) - sum(before[2:4]))
    medians = {name: statistics.median(figures) for name, figures in took.items()}
    return {name: medians[name] - medians[""] for name in names}


def main() -> None:
    """Measure and write the report, or with --quick print a few cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    if parser.parse_args().quick:
        report.show(run(cases.QUICK))
        return
    started = time.time()
    found: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": report.MACHINE,
        "versions": {
            "httpx": version_of("httpx", "ours"),
            **{package: version_of(package) for package in dict.fromkeys(PACKAGES.values())},
        },
        "results": run([*cases.DECODE, *cases.OVER_HTTP, *cases.OVER_TLS, *cases.GROWTH]),
    }
    with served() as server:
        url = f"{server.url}/v1"
        for what in ("result", "stream"):
            print(f"memory of a million in a {what}", flush=True)
            found[what] = alone(what, url)
        print("waiting", flush=True)
        found["waiting"] = alone("waiting", url)
        print("profile", flush=True)
        found["profile"] = {rows: alone("profile", url, rows) for rows in ("1", "2048")}
        print("images", flush=True)
        found["images"] = {who: alone("images", url, who) for who in ("ours", "plain")}
    print("imports", flush=True)
    found["imports"] = imports(
        ("httpx", "openrouter_embeddings", "openai", "openrouter", "langchain_openai", "litellm")
    )
    found["minutes"] = round((time.time() - started) / 60, 1)
    report.write(found)


if __name__ == "__main__":
    main()
