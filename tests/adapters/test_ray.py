"""Ray Data: workers on a local cluster, one of which is killed."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openrouter_embeddings.local.faults import Faults
from openrouter_embeddings.local.models import MODELS
from openrouter_embeddings.local.models.hash import HashModel

from stress.servers import served
from tests.adapters.ray_job import BATCH
from tools import ROOT

ROWS = 2000
TEXTS = [f"text {n}" for n in range(ROWS)]


def run(script: str | Path, *arguments: Any, cwd: Path = ROOT, **more: str) -> None:
    """A script that uses Ray, which asks nobody for anything and listens on the loopback."""
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **quiet, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-5000:]


def of_model(texts: list[str], **options: Any) -> Any:
    """What the stand-in gives."""
    with ore.Client.local(**options) as client:
        return client.embed(texts).vectors


def read(target: Path) -> tuple[pa.Table, Any]:
    """The rows in order, and their vectors."""
    table = pq.read_table(target).sort_by("id")
    column = table["embedding"].combine_chunks()
    assert column.null_count == 0
    return table, np.asarray(column.flatten()).reshape(len(column), -1)


def test_a_worker_that_is_killed_costs_no_row(tmp_path: Path) -> None:
    """Every row is there once and right; no more is billed again than the worker had in hand."""
    source, target, flag = tmp_path / "source.parquet", tmp_path / "vectors", tmp_path / "killed"
    pq.write_table(pa.table({"id": range(ROWS), "text": TEXTS}), source)
    faults = Faults([])
    with served(faults) as url:
        address: Any = {"OPENROUTER_BASE_URL": url, "OPENROUTER_API_KEY": "local"}
        run("tests/adapters/ray_job.py", source, target, flag, **address)
    assert int(flag.read_text()) > 0
    table, vectors = read(target)
    assert table["id"].to_pylist() == [*range(ROWS)]
    assert table["text"].to_pylist() == TEXTS
    np.testing.assert_array_equal(vectors, of_model(TEXTS, model="local/hash", dimensions=8))
    billed = Counter(json.loads(item) for bill in faults.billed for item in bill.inputs)
    assert {*billed} == {*TEXTS}
    again = sum(times - 1 for times in billed.values())
    assert BATCH <= again <= ROWS // 8  # its batch, and what of its block had been done before


def test_the_example_goes_from_parquet_to_parquet(tmp_path: Path) -> None:
    """With the columns of the source, and the vectors of the texts in them."""
    source, target = tmp_path / "source.parquet", tmp_path / "vectors"
    texts = [f"a text about {word}" for word in ("cats", "dogs", "ships")]
    pq.write_table(pa.table({"id": range(3), "title": texts, "more": ["x", "y", "z"]}), source)
    run("examples/ray_parquet.py", source, target, "--local", "--column", "title")
    table, vectors = read(target)
    assert table.select(["title", "more"]).to_pydict() == {"title": texts, "more": ["x", "y", "z"]}
    np.testing.assert_allclose(vectors, of_model(texts), atol=1e-5)


def test_the_pages_code_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/scale.md, with the stand-in in place of the service."""
    page = (ROOT / "docs" / "scale.md").read_text()
    (code,) = re.findall(r"^```python\n(import ray\n.*?)^```$", page, re.DOTALL | re.MULTILINE)
    started = 'import ray\nray.init(num_cpus=2, _node_ip_address="127.0.0.1")\n'
    (tmp_path / "job.py").write_text(started + code)
    texts = ["a", "b", "c"]
    pq.write_table(pa.table({"id": range(3), "title": texts}), tmp_path / "books.parquet")
    monkeypatch.setitem(MODELS, "openai/text-embedding-3-small", HashModel())
    with served(Faults([])) as url:
        address: Any = {"OPENROUTER_BASE_URL": url, "OPENROUTER_API_KEY": "local"}
        run(tmp_path / "job.py", cwd=tmp_path, **address)
    _, vectors = read(tmp_path / "vectors")
    np.testing.assert_array_equal(vectors, of_model(texts, model="local/hash"))
