"""Spark on this machine: `make compat ONLY=spark`, which has an environment of its own."""

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.adapters import spark
from openrouter_embeddings.local.faults import Faults
from openrouter_embeddings.local.models import MODELS
from openrouter_embeddings.local.models.hash import HashModel

from stress.servers import served
from tools import ROOT

SparkSession: Any = import_module("pyspark.sql").SparkSession  # only that has it
OPTIONS: Any = {"workers": 2, "model": "local/hash", "dimensions": 8, "client": ore.Client.local}
TEXTS = [f"text {n % 90}" for n in range(100)]


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    """Spark with two workers on the loopback; the service is the stand-in on a socket."""
    with pytest.MonkeyPatch.context() as patch, served(Faults([])) as url:
        patch.setitem(MODELS, "openai/text-embedding-3-small", HashModel())
        patch.setenv("OPENROUTER_BASE_URL", url)
        patch.setenv("OPENROUTER_API_KEY", "local")
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
        with builder.getOrCreate() as session:
            yield session


def test_every_row_has_its_vector(session: Any, tmp_path: Path) -> None:
    """From Parquet to Parquet, two tasks at a time; the original frame does not change."""
    rows = session.createDataFrame([*enumerate(TEXTS)], ["id", "text"])
    rows.repartition(4).write.parquet(str(tmp_path / "source"))
    source = session.read.parquet(str(tmp_path / "source"))
    spark.embed(source, **OPTIONS).write.parquet(str(tmp_path / "target"))
    found = session.read.parquet(str(tmp_path / "target")).orderBy("id").collect()
    assert source.columns == ["id", "text"]
    assert [(row.id, row.text) for row in found] == [*enumerate(TEXTS)]
    with ore.Client.local(model="local/hash", dimensions=8) as client:
        wanted = client.embed(TEXTS).vectors
    np.testing.assert_array_equal(np.array([row.embedding for row in found], np.float32), wanted)


def test_the_code_of_the_page_runs(session: Any) -> None:
    """The code in docs/scale.md adds a vector, with the stand-in in place of the service."""
    page = (ROOT / "docs" / "scale.md").read_text()
    (code,) = re.findall(
        r"^```python\n(from [^\n]* import spark\n.*?)^```$", page, re.DOTALL | re.MULTILINE
    )
    scope: dict[str, Any] = {"frame": session.createDataFrame([("a",)], ["title"])}
    exec(compile(code, "scale.md", "exec"), scope)
    (row,) = scope["vectors"].collect()
    assert len(row.embedding) == 256


def test_a_row_without_a_vector_has_the_reason(session: Any) -> None:
    """With on_error="skip", an empty text gets null and the reason."""
    rows = session.createDataFrame([(0, "a"), (1, "")], ["id", "text"])
    found = spark.embed(rows, on_error="skip", **OPTIONS).orderBy("id").collect()
    assert [row.embedding is None for row in found] == [False, True]
    assert [row.embedding_error for row in found] == [None, "the text is empty"]
