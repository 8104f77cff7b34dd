"""`make bench SUITE=corpus`: a Parquet file of texts to one with vectors, done in three ways.

All three use the same server in another process. After every turn, each vector is compared with
the one that the server sent.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import report
from .alone import MILLION
from .cases import LATENCY, Case, Results
from .contenders import KEY, MODEL, python_of, version_of
from .programs import served
from .report import by_case, cells, table
from .vectors import BATCH, differences, texts
from .worker import peak

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BEGIN, END = "<!-- made by make bench SUITE=corpus -->", "<!-- end of bench-corpus -->"
WIDTH, AT_ONCE = 256, 8  # the server's default, because Daft cannot ask for another
WARM_UP = 8 * BATCH
_ALL = ("ours", "pandas + openai", "Daft")
# Daft would take seven minutes for a million rows
CASES = [
    Case("1,000,000 rows, no latency", MILLION, WIDTH, _ALL[:2], AT_ONCE, BATCH, rounds=2),
    Case("25,600 rows, no latency", 25_600, WIDTH, _ALL, AT_ONCE, BATCH, rounds=3),
    Case("25,600 rows, 50 ms latency", 25_600, WIDTH, _ALL, AT_ONCE, BATCH, LATENCY, rounds=3),
]


def ours(url: str, source: Path, target: Path) -> None:
    """openrouter-embeddings, embed_file; only this one stores answers on disk as they arrive."""
    import openrouter_embeddings as ore
    from openrouter_embeddings import jobs

    client = ore.Client(KEY, base_url=url, model=MODEL, concurrency=AT_ONCE, batch_size=BATCH)
    jobs.embed_file(source, target, client=client, column="text", dimensions=WIDTH)


def pandas_openai(url: str, source: Path, target: Path) -> None:
    """pandas, and openai in a loop, as documented."""
    import openai
    import pandas as pd

    client = openai.OpenAI(api_key=KEY, base_url=url)
    frame = pd.read_parquet(source)
    found: list[Any] = []
    for start in range(0, len(frame), BATCH):
        batch = frame["text"][start : start + BATCH].tolist()
        reply = client.embeddings.create(model=MODEL, input=batch, dimensions=WIDTH)
        found += [np.asarray(item.embedding, np.float32) for item in reply.data]
    frame["embedding"] = found
    frame.to_parquet(target, index=False)


def daft(url: str, source: Path, target: Path) -> None:
    """Daft's embed_text, which cannot send `dimensions` for a model that it does not know."""
    import daft as module
    from daft.ai.openai.provider import OpenAIProvider
    from daft.functions import embed_text

    provider = OpenAIProvider(base_url=url, api_key=KEY)
    options: dict[str, Any] = {"batch_size": BATCH, "concurrency": AT_ONCE}
    vectors = embed_text(module.col("text"), provider=provider, model=MODEL, **options)
    frame = module.read_parquet(str(source)).with_column("embedding", vectors)
    frame.write_parquet(str(target))


CONTENDERS: dict[str, Callable[[str, Path, Path], None]] = dict(
    zip(_ALL, (ours, pandas_openai, daft), strict=True)
)
ENVIRONMENTS = dict(zip(_ALL, ("ours", "pandas", "daft"), strict=True))


def timed(name: str, url: str, folder: Path) -> dict[str, float]:
    """Time one run, after a warm-up with a small file that loads all imports."""
    embed = CONTENDERS[name]
    embed(url, folder / "warm-up.parquet", folder / "ignored.parquet")
    started, used = time.perf_counter(), sum(os.times()[:4])
    embed(url, folder / "source.parquet", folder / "target.parquet")
    wall, now = time.perf_counter() - started, sum(os.times()[:4])
    return {"wall": wall, "cpu": now - used, "peak": peak()}


def check(folder: Path, rows: int) -> None:
    """Raise AssertionError unless every row has its text and its float32 vector."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "target.parquet").sort_by("id")
    assert table["id"].to_pylist() == [*range(rows)], "other rows"
    assert table["text"].to_pylist() == texts(rows), "other texts"
    found = np.concatenate([piece.flatten().to_numpy() for piece in table["embedding"].chunks])
    wrong = differences(found.reshape(rows, -1), rows, WIDTH)
    assert not wrong, wrong


def run_contender(name: str, url: str, rows: int) -> dict[str, float]:
    """Run a contender in its own process, check its target, and return its figures."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # not in /tmp, which may be in memory, where writing costs nothing
    with tempfile.TemporaryDirectory(dir=sys.prefix) as folder:
        for file, count in (("source", rows), ("warm-up", WARM_UP)):
            table = pa.table({"id": range(count), "text": texts(count)})
            pq.write_table(table, Path(folder) / f"{file}.parquet")
        done = subprocess.run(
            [
                python_of(ENVIRONMENTS[name]), "-W", "ignore",
                "-m", "benchmarks.corpus", name, url, folder,
            ],
            stdout=subprocess.PIPE, text=True, check=True,
            env={**os.environ, "DAFT_ANALYTICS_ENABLED": "0"},
        )  # fmt: skip
        check(Path(folder), rows)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measured(case: Case, url: str) -> Results:
    """Every contender's figures for one case; the contenders take turns."""
    print(case.name, flush=True)
    same = {"case": case.name, "rows": case.rows}
    records: Results = [
        {**same, "contender": name, "cpu": [], "wall": [], "peak": []} for name in case.contenders
    ]
    for _ in range(case.rounds):
        for record in records:
            address = f"{url}/latency/{case.latency}/v1"
            figures = run_contender(record["contender"], address, case.rows)
            for what, figure in figures.items():
                record[what].append(figure)
            per, rate = record["cpu"][-1] / case.rows * 1e6, case.rows / record["wall"][-1]
            speed = f"{rate:10,.0f} rows per second{per:8.1f} µs CPU per row"
            print(f"  {record['contender']:16}{speed}", flush=True)
    return records


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The tables of docs/performance.md."""
    yield report.measured(found)
    head = ["", "CPU, µs per row", "rows per second", "peak MB"]
    head += [f"{what}, times ours" for what in ("CPU", "time", "memory")]
    for case, records in by_case(found["results"]).items():
        yield f"\n### Parquet to Parquet: {case}\n"
        rows = []
        for record in records:
            name, per, rate, _, most = cells(record)
            shares = [
                statistics.median(record[what]) / statistics.median(records[0][what])
                for what in ("cpu", "wall", "peak")
            ]
            rows.append([name, per, rate, most, *(f"{share:.2f}" for share in shares)])
        yield from table(head, rows)


def main() -> None:
    """Measure all cases; write docs/performance-corpus.json and the tables."""
    started = time.time()
    with served() as server:
        results = [record for case in CASES for record in measured(case, server.url)]
    found: dict[str, Any] = {
        "machine": report.MACHINE,
        "versions": {
            "pandas": version_of("pandas"),
            "openai": version_of("openai", "pandas"),
            "Daft": version_of("daft"),
            "openai below Daft": version_of("openai", "daft"),
            "pyarrow": version_of("pyarrow", "ours"),
        },
        "minutes": round((time.time() - started) / 60, 1),
        "results": results,
    }
    report.publish(found, "performance-corpus.json", BEGIN, END, lines(found))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(timed(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
    else:
        main()
