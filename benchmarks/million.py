"""`make bench SUITE=million`: `orembed run` over a million short texts, into docs/performance.md.

The server in C answers at once, from a process of its own that the figures do not include.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.contenders import KEY, MODEL
from benchmarks.pages import fill
from benchmarks.programs import served
from tools import ROOT

PAGE = ROOT / "docs" / "performance.md"
_BEGIN, _END = "<!-- made by make bench SUITE=million -->", "<!-- end of million -->"
WIDTH, AT_ONCE = 256, 50_000


def source(path: Path, rows: int) -> None:
    """Write a Parquet file of short texts, all different."""
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, AT_ONCE):
            numbers = range(first, min(rows, first + AT_ONCE))
            texts = [f"a short text, number {number}" for number in numbers]
            writer.write_table(pa.table({"id": numbers, "text": texts}, schema))


def memory(process: subprocess.Popen[bytes]) -> int:
    """The resident memory of a process in MB; 0 once it has ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0
    return int(status.split("VmRSS:")[1].split()[0]) // 1024 if "VmRSS:" in status else 0


def main() -> None:
    """Run the job, sample its memory, and write the figures into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows: int = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        files = [str(Path(name) / "source.parquet"), "-o", str(Path(name) / "target.parquet")]
        source(Path(files[0]), rows)
        model = ["--model", MODEL, "--dimensions", str(WIDTH)]
        command = [sys.executable, "-m", "openrouter_embeddings.cli", "run", *files, *model]
        seen: list[int] = []
        with served() as server:
            service = {"OPENROUTER_API_KEY": KEY, "OPENROUTER_BASE_URL": f"{server.url}/v1"}
            before, started = os.times(), time.monotonic()
            with subprocess.Popen(command, env={**os.environ, **service}) as process:
                while process.poll() is None:
                    seen.append(memory(process))
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(0.5)
            took, after = time.monotonic() - started, os.times()
        if process.returncode:
            raise SystemExit(process.returncode)
        size = Path(files[2]).stat().st_size
    cpu = sum(after[2:4]) - sum(before[2:4])  # of processes that have been waited for
    tenth = max(seen[: max(1, len(seen) // 10)])
    text = (
        f"{rows:,} rows × {WIDTH} take {took:.0f} s: {rows / took:,.0f} rows per second,\n"
        f"{cpu / rows * 1e6:.0f} µs of CPU per row without the server. Peak memory is\n"
        f"{max(seen)} MB, {tenth} MB in the first tenth of the time; the target has "
        f"{size / 1e6:,.0f} MB.\n"
    )
    print(text)
    fill(PAGE, _BEGIN, _END, text)


if __name__ == "__main__":
    main()
