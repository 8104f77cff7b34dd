"""`make bench SUITE=processes`: the same requests from one process and from several, into the page.

Each process streams its part of the texts, and has its part of the requests at a time.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import openrouter_embeddings as ore

from benchmarks.cases import LATENCY
from benchmarks.contenders import KEY, MODEL, WIDTH
from benchmarks.pages import fill
from benchmarks.programs import certificate, served
from benchmarks.vectors import BATCH, texts
from tools import ROOT

PAGE = ROOT / "docs" / "performance.md"
_BEGIN, _END = "<!-- made by make bench SUITE=processes -->", "<!-- end of processes -->"
ROWS, AT_ONCE, ROUNDS = 102_400, 32, 5
COUNTS = (1, 2, 4)
LIMIT = AT_ONCE * BATCH / LATENCY  # vectors per second


def embed(url: str, concurrency: int, rows: int) -> None:
    """Embed in this process, when standard input says so."""
    client = ore.Client(
        KEY, base_url=url, model=MODEL, concurrency=concurrency, batch_size=BATCH, dimensions=WIDTH
    )
    inputs = texts(rows)
    client.embed(inputs[: BATCH * concurrency])
    print("ready", flush=True)
    sys.stdin.readline()
    assert sum(map(len, client.embed_stream(inputs))) == rows
    print("done", flush=True)


def share(url: str, count: int) -> float:
    """The share of the limit that `count` processes reach together."""
    part = [url, str(AT_ONCE // count), str(ROWS // count)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.processes", *part],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(count)
    ]  # fmt: skip
    pipes = [(process.stdin, process.stdout) for process in processes]
    for _, output in pipes:
        assert output is not None
        output.readline()
    started = time.perf_counter()
    for given, _ in pipes:
        assert given is not None
        given.write("\n")
        given.flush()
    done = [output.readline() for _, output in pipes if output is not None]
    took = time.perf_counter() - started
    for process in processes:
        process.communicate()
    if done != ["done\n"] * count:
        raise SystemExit("a process failed")
    return ROWS / took / LIMIT


def main() -> None:
    """Measure, taking turns, and write the table into the page."""
    lines = ["|  | 1 process | 2 processes | 4 processes |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        pem = certificate(Path(name))
        os.environ["SSL_CERT_FILE"] = str(Path(name) / "ca.pem")
        for scheme, secret in (("http", None), ("https", pem)):
            with served(secret) as server:
                url = f"{server.url}/latency/{LATENCY}/v1"
                rounds = [[share(url, count) for count in COUNTS] for _ in range(ROUNDS)]
            found = [statistics.median(shares) for shares in zip(*rounds, strict=True)]
            lines.append(f"| {scheme} | {' | '.join(f'{part:.2f}' for part in found)} |")
            print(lines[-1], flush=True)
    fill(PAGE, _BEGIN, _END, "".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    if sys.argv[1:]:
        embed(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
