"""`make bench`: all cases, into docs/performance.*; `make bench SUITE=quick`: a few, printed only.

The vectors of every contender are checked first. Then the contenders of a case take turns, and the
report shows medians over the rounds. Compare ratios: the machine's own speed varies more than the
contenders do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import cases, report
from .contenders import PACKAGES, python_of, version_of
from .vectors import differences, texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .cases import Case, Results

SERVER = "benchmarks.server"
HERE = Path(__file__).parent
# Have malloc reuse memory instead of returning it, for all contenders. On a virtual machine, whose
# host takes free memory back, most of the time measured would otherwise go to page faults.
KEEP = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
}


class Worker:
    """A contender that runs in its own process."""

    def __init__(self, name: str, folder: Path) -> None:
        self._errors = folder / f"{name}.txt"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [python_of(PACKAGES.get(name, "ours")), "-m", "benchmarks.worker", name],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                env={**os.environ, **KEEP, "SSL_CERT_FILE": str(folder / "ca.pem")},
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
        self._program = folder / "floor"
        options = ["-O3", "-march=native", "-D_GNU_SOURCE"]
        subprocess.run(["cc", *options, "-o", self._program, HERE / "floor.c"], check=True)

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run a job as `Worker.ask` does."""
        import msgspec  # only our environment has it

        rows, width = job["rows"], job["width"]
        payload = {"model": "benchmark", "input": texts(rows), "encoding_format": "base64"}
        body = msgspec.json.encode({**payload, "dimensions": width})
        port = job["url"].split(":")[2].split("/")[0]
        head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        request, found = self._folder / "request", self._folder / "matrix"
        request.write_bytes(head.encode() + body)
        repeats = job.get("repeats", 1)
        orders = f"run 1\nrun {repeats}\nwrite {found}\n"
        done = subprocess.run(
            [self._program, port, request, str(rows), str(width)],
            input=orders, capture_output=True, text=True, check=True,
        )  # fmt: skip
        cpu, wall, peak = done.stdout.splitlines()[1].split()
        matrix = np.fromfile(found, np.float32).reshape(rows, width)
        if job["verify"] and (wrong := differences(matrix, rows, width, job["batch"])):
            return {"error": wrong}
        times = {"cpu": float(cpu) / repeats, "wall": float(wall) / repeats}
        return {**times, "peak": int(peak) * 1024}

    def close(self) -> None:
        """Do nothing: no process runs between jobs."""


@contextmanager
def served(*module: str) -> Iterator[int]:
    """Run a module that serves, such as `SERVER`, in another process; yield its port."""
    with subprocess.Popen(
        [sys.executable, "-m", *module],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@dataclass
class Turn:
    """One contender of a case: its job, its figures so far, and whether it is a slow one."""

    who: Worker | Floor
    job: dict[str, Any]
    record: dict[str, Any]
    slow: bool


def _turns(case: Case, url: str, folder: Path) -> Iterator[Turn]:
    """The contenders whose vectors are right; prints the name and error of the others."""
    for name in case.contenders:
        if name == "floor" and not shutil.which("cc"):
            print("  no C compiler here: the floor is left out")
            continue
        who = Floor(folder) if name == "floor" else Worker(name, folder)
        job = {
            "url": f"{url}/latency/{case.latency}/v1",
            "rows": dict(case.fewer).get(name, case.rows),
            "width": case.width,
            "batch": case.batch,
            "concurrency": case.concurrency,
            "repeats": case.repeats,
        }
        first = who.ask({**job, "verify": True})
        if "error" in first:
            print(f"  {name} is left out: {first['error']}")
            who.close()
            continue
        record = {"case": case.name, "contender": name, "rows": job["rows"], "cpu": [], "wall": []}
        if case.latency:
            record["limit"] = case.concurrency * case.batch / case.latency
        slow = first["wall"] * case.repeats > cases.SLOW
        yield Turn(who, {**job, "verify": False}, record, slow)


def measured(case: Case, url: str, folder: Path) -> Results:
    """Every contender's figures for one case."""
    turns = [*_turns(case, url, folder)]
    for number in range(case.rounds):
        for turn in turns:
            if turn.slow and number >= cases.FEWEST:
                continue
            took = turn.who.ask(turn.job)
            turn.record["cpu"].append(took["cpu"])
            turn.record["wall"].append(took["wall"])
            turn.record["peak"] = took["peak"]
    for turn in turns:
        turn.who.close()
        per = statistics.median(turn.record["cpu"]) / turn.record["rows"] * 1e6
        print(f"  {turn.record['contender']:18}{per:10.1f} µs CPU per vector", flush=True)
    return [turn.record for turn in turns]


def certificate(folder: Path) -> None:
    """Write a certificate for https on this machine, and the authority that signed it."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
        folder / "server.pem"
    )


def run(chosen: list[Case]) -> Results:
    """The figures of all these cases."""
    results: Results = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        certificate(folder)
        plain = stack.enter_context(served(SERVER))
        secret = stack.enter_context(served(SERVER, "--tls", str(folder)))
        urls = {False: f"http://127.0.0.1:{plain}", True: f"https://localhost:{secret}"}
        for case in chosen:
            print(case.name, flush=True)
            results += measured(case, urls[case.tls], folder)
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
        "machine": report.MACHINE,
        "versions": {
            "httpx": version_of("httpx", "ours"),
            **{package: version_of(package) for package in dict.fromkeys(PACKAGES.values())},
        },
        "results": run([*cases.DECODE, *cases.OVER_HTTP, *cases.OVER_TLS, *cases.GROWTH]),
    }
    with served(SERVER) as port:
        url = f"http://127.0.0.1:{port}"
        for what in ("result", "stream"):
            print(f"memory of a million in a {what}", flush=True)
            found[what] = alone(what, f"{url}/v1")
        print("profile", flush=True)
        found["profile"] = {rows: alone("profile", f"{url}/v1", rows) for rows in ("1", "2048")}
        print("images", flush=True)
        found["images"] = {who: alone("images", f"{url}/v1", who) for who in ("ours", "plain")}
    print("imports", flush=True)
    found["imports"] = imports(
        ("httpx", "openrouter_embeddings", "openai", "openrouter", "langchain_openai", "litellm")
    )
    found["minutes"] = round((time.time() - started) / 60, 1)
    report.write(found)


if __name__ == "__main__":
    main()
