"""Ray Data: jobs on a cluster of this machine, one of which loses a worker."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openrouter_embeddings.local.faults import Faults
from openrouter_embeddings.local.models import MODELS
from openrouter_embeddings.local.models.hash import HashModel

from stress.servers import served
from tests.adapters.ray_jobs import BATCH
from tests.job_support import vectors
from tools import ROOT

ROWS = 2000
TEXTS = [f"text {n}" for n in range(ROWS)]
TITLES: dict[str, list[Any]] = {
    "id": [0, 1, 2],
    "title": [f"a text about {word}" for word in ("cats", "dogs", "ships")],
    "more": ["x", "y", "z"],
}
BOOKS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counter[str]]:
    """The folder where all jobs have run, and how often the service billed each text.

    One cluster runs the jobs, because it takes longer to start than they do. Ray sends no usage
    statistics and listens on the loopback.
    """
    folder = tmp_path_factory.mktemp("ray")
    pq.write_table(pa.table({"id": range(ROWS), "text": TEXTS}), folder / "killed.parquet")
    pq.write_table(pa.table(TITLES), folder / "titles.parquet")
    pq.write_table(pa.table({"id": range(3), "title": BOOKS}), folder / "books.parquet")
    page = (ROOT / "docs" / "scale.md").read_text()
    (code,) = re.findall(r"^```python\n(import ray\n.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (folder / "page.py").write_text(code)
    faults = Faults([])
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    with pytest.MonkeyPatch.context() as patch, served(faults) as url:
        patch.setitem(MODELS, "openai/text-embedding-3-small", HashModel())
        place = {"OPENROUTER_BASE_URL": url, "OPENROUTER_API_KEY": "local"}
        done = subprocess.run(
            [sys.executable, "tests/adapters/ray_jobs.py", folder],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **quiet, **place},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=720,
        )
    assert done.returncode == 0, done.stdout[-5000:]
    return folder, Counter(json.loads(item) for bill in faults.billed for item in bill.inputs)


def read(target: Path) -> tuple[pa.Table, Any]:
    """The rows in order, and their vectors."""
    table = pq.read_table(target).sort_by("id")
    column = table["embedding"].combine_chunks()
    assert column.null_count == 0
    return table, np.asarray(column.flatten()).reshape(len(column), -1)


def test_a_killed_worker_costs_no_row(jobs: tuple[Path, Counter[str]]) -> None:
    """Every row is there once and right; only the rows that the worker had are billed twice."""
    folder, billed = jobs
    assert int((folder / "flag").read_text()) > 0
    table, found = read(folder / "killed")
    assert table["id"].to_pylist() == [*range(ROWS)]
    assert table["text"].to_pylist() == TEXTS
    np.testing.assert_array_equal(found, vectors(TEXTS))
    assert {*billed} == {*TEXTS, *BOOKS}
    again = billed.total() - len(billed)
    assert BATCH <= again <= ROWS // 8  # its batch, and the earlier batches of the same block


def test_the_example_goes_from_parquet_to_parquet(jobs: tuple[Path, Counter[str]]) -> None:
    """The target has the source's columns and the vectors; --local sends nothing to the service."""
    folder, billed = jobs
    table, found = read(folder / "example")
    assert table.drop_columns(["embedding"]).to_pydict() == TITLES
    wanted = vectors(TITLES["title"], model="local/minilm", dimensions=None)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert billed.keys().isdisjoint(TITLES["title"])


def test_the_code_of_the_page_runs(jobs: tuple[Path, Counter[str]]) -> None:
    """The code in docs/scale.md embeds the titles, with the stand-in in place of the service."""
    folder, billed = jobs
    _, found = read(folder / "vectors")
    np.testing.assert_array_equal(found, vectors(BOOKS, dimensions=None))
    assert all(billed[text] == 1 for text in BOOKS)
