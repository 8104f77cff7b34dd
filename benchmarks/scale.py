"""`make bench SUITE=scale`: what one row costs a worker, and so a billion rows; into docs/scale.md.

A worker does here what an actor of Ray or a task of Spark does, without either: it reads Parquet,
embeds batches and writes Parquet. The server is another process with prepared answers. Its CPU is
not counted, and neither is the overhead of Ray or Spark.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from openrouter_embeddings.adapters.ray import Embed
from openrouter_embeddings.client import Client

from benchmarks import vectors
from benchmarks.pages import fill
from benchmarks.programs import served
from benchmarks.report import MACHINE, table
from tools import ROOT

PAGE = ROOT / "docs" / "scale.md"
BEGIN, END = "<!-- made by make bench SUITE=scale -->", "<!-- end of scale -->"
WIDTHS, ROUNDS = (256, 1024, 1536), 3
ROWS, AT_ONCE, TEXT_BYTES = 65_536, 1024, 1000
BILLION = 10**9


class Row(NamedTuple):
    """What one row costs: seconds of CPU, then bytes sent, received and written."""

    cpu: float
    sent: float
    received: float
    written: float


def texts(rows: int) -> list[str]:
    """Texts as long as paragraphs, all different."""
    return [vectors.text(number).ljust(TEXT_BYTES, ".") for number in range(rows)]


def source(path: Path) -> None:
    """Write a Parquet file of such texts."""
    pq.write_table(pa.table({"text": texts(ROWS)}), path, row_group_size=8192, compression="none")


def measured(url: str, path: Path, target: Path, width: int) -> Row:
    """Let one worker embed the file; return the cost of a row."""
    make = partial(Client, "sk-or-scale", base_url=url)
    started = time.process_time()
    work = Embed(workers=1, column="text", client=make, model="benchmark", dimensions=width)
    with ExitStack() as stack:
        stack.callback(work.close)
        batches = pq.ParquetFile(path).iter_batches(AT_ONCE)
        done = (work(pa.Table.from_batches([one])) for one in batches)
        first = next(done)
        writer = stack.enter_context(pq.ParquetWriter(target, first.schema, use_dictionary=False))
        for batch in chain([first], done):
            writer.write_table(batch)
    cpu = time.process_time() - started
    size = vectors.BATCH
    request = {"input": texts(size), "dimensions": width, "encoding_format": "base64"}
    body = msgspec.json.encode(request)
    with urlopen(f"{url}/embeddings", body) as reply:  # noqa: S310 - of our own server
        received = len(reply.read()) / size
    return Row(cpu / ROWS, len(body) / size, received, target.stat().st_size / ROWS)


def lines(found: dict[int, list[Row]]) -> list[str]:
    """The line about the measurement, and the table."""
    head = [
        "dimensions", "CPU per row", "rows per second and core", "core-hours for a billion rows",
        "sent", "received", "vectors written",
    ]  # fmt: skip
    rows = []
    for width, turns in found.items():
        cpu = statistics.median(turn.cpu for turn in turns)
        terabytes = [f"{size * BILLION / 1e12:.1f} TB" for size in turns[0][1:]]
        rates = (f"{cpu * 1e6:.0f} µs", f"{1 / cpu:,.0f}", f"{cpu * BILLION / 3600:.1f}")
        rows.append([str(width), *rates, *terabytes])
    caption = f"{ROWS:,} texts of {TEXT_BYTES:,} bytes; medians of {ROUNDS} runs on {MACHINE}."
    return [caption, "", *table(head, rows)]


def main() -> None:
    """Measure and write the table into the page."""
    found: dict[int, list[Row]] = {width: [] for width in WIDTHS}
    with tempfile.TemporaryDirectory() as name, served() as server:
        url = f"{server.url}/v1"
        path, target = Path(name) / "source.parquet", Path(name) / "target.parquet"
        source(path)
        for _ in range(ROUNDS):
            for width, rows in found.items():
                rows.append(measured(url, path, target, width))
                print(f"{width} dimensions: {rows[-1].cpu * 1e6:.1f} µs of CPU per row", flush=True)
    text = "\n".join(lines(found))
    print(text)
    fill(PAGE, BEGIN, END, f"{text}\n")


if __name__ == "__main__":
    main()
