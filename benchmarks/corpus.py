"""`make bench SUITE=corpus`: a Parquet file of texts to one with vectors, done in three ways.

All three use the same server in another process. Before anything is measured, it caches the
answers of the stand-in's `local/hash`. After every turn, each vector is compared with the one that
`local/hash` computes in this process.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import report
from .alone import MILLION
from .cases import LATENCY, Case, Results
from .contenders import KEY, python_of, version_of
from .report import by_case, cells, table
from .run import served
from .vectors import BATCH, texts
from .worker import peak

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .vectors import Matrix

BEGIN, END = "<!-- made by make bench SUITE=corpus -->", "<!-- end of bench-corpus -->"
MODEL, WIDTH, AT_ONCE = "local/hash", 256, 8
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


@cache
def stand_in_response(body: bytes) -> bytes:
    """The stand-in's answer, as a complete HTTP response."""
    from openrouter_embeddings.local.respond import respond

    reply = respond(body, {"authorization": f"Bearer {KEY}"})
    head = f"HTTP/1.1 {reply.status} -\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(reply.body)}\r\n\r\n".encode() + reply.body


def timed(name: str, url: str, folder: Path) -> dict[str, float]:
    """Time one run, after a warm-up with a small file that loads all imports."""
    embed = CONTENDERS[name]
    embed(url, folder / "warm-up.parquet", folder / "ignored.parquet")
    started, used = time.perf_counter(), sum(os.times()[:4])
    embed(url, folder / "source.parquet", folder / "target.parquet")
    wall, now = time.perf_counter() - started, sum(os.times()[:4])
    return {"wall": wall, "cpu": now - used, "peaks": peak()}


def check(folder: Path, expected: Matrix) -> None:
    """Raise AssertionError unless every row has its text and its float32 vector."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "target.parquet").sort_by("id")
    assert table["id"].to_pylist() == [*range(len(expected))], "other rows"
    assert table["text"].to_pylist() == texts(len(expected)), "other texts"
    found = np.concatenate([piece.flatten().to_numpy() for piece in table["embedding"].chunks])
    assert found.dtype == np.float32, f"vectors of {found.dtype}"
    assert np.array_equal(found.reshape(expected.shape), expected), "other vectors"


def run_contender(name: str, url: str, expected: Matrix) -> dict[str, float]:
    """Run a contender in its own process, check its target, and return its figures."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # not in /tmp, which may be in memory, where writing costs nothing
    with tempfile.TemporaryDirectory(dir=sys.prefix) as folder:
        for file, rows in (("source", len(expected)), ("warm-up", WARM_UP)):
            table = pa.table({"id": range(rows), "text": texts(rows)})
            pq.write_table(table, Path(folder) / f"{file}.parquet")
        done = subprocess.run(
            [
                python_of(ENVIRONMENTS[name]), "-W", "ignore",
                "-m", "benchmarks.corpus", name, url, folder,
            ],
            stdout=subprocess.PIPE, text=True, check=True,
            env={**os.environ, "DAFT_ANALYTICS_ENABLED": "0"},
        )  # fmt: skip
        check(Path(folder), expected)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measured(case: Case, url: str, expected: Matrix) -> Results:
    """Every contender's figures for one case; the contenders take turns."""
    print(case.name, flush=True)
    same = {"case": case.name, "rows": case.rows}
    records: Results = [
        {**same, "contender": name, "cpu": [], "wall": [], "peaks": []} for name in case.contenders
    ]
    for _ in range(case.rounds):
        for record in records:
            address = f"{url}/latency/{case.latency}/v1"
            figures = run_contender(record["contender"], address, expected[: case.rows])
            for what, figure in figures.items():
                record[what].append(figure)
            per, rate = record["cpu"][-1] / case.rows * 1e6, case.rows / record["wall"][-1]
            speed = f"{rate:10,.0f} rows per second{per:8.1f} µs CPU per row"
            print(f"  {record['contender']:16}{speed}", flush=True)
    return [{**record, "peak": statistics.median(record["peaks"])} for record in records]


def run(url: str) -> Results:
    """The figures of all cases."""
    import openrouter_embeddings as ore

    local = ore.Client.local(model=MODEL, dimensions=WIDTH)
    expected = local.embed(texts(max(case.rows for case in CASES))).vectors
    # fills the server's cache for all three: openai sends the same bytes as ours
    run_contender("ours", f"{url}/v1", expected)
    run_contender("Daft", f"{url}/v1", expected[: CASES[-1].rows])
    return [record for case in CASES for record in measured(case, url, expected)]


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
                for what in ("cpu", "wall", "peaks")
            ]
            rows.append([name, per, rate, most, *(f"{share:.2f}" for share in shares)])
        yield from table(head, rows)


def main() -> None:
    """Measure all cases; write docs/performance-corpus.json and the tables."""
    started = time.time()
    with served("benchmarks.corpus", "serve") as port:
        results = run(f"http://127.0.0.1:{port}")
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
    elif sys.argv[1:] == ["serve"]:
        from . import server

        server.respond = stand_in_response
        server.serve(None)
    else:
        main()
