"""What tests of jobs share: a source, a job against the stand-in, and its results."""

from collections import Counter
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings._json import loads
from openrouter_embeddings.jobs._sources import open_source
from openrouter_embeddings.jobs._spec import InputSpec, job_file
from openrouter_embeddings.local.faults import Fault
from openrouter_embeddings.testing import Service

TEXTS = [f"text {n % 80}" for n in range(100)]  # twenty of them twice
TABLE = pa.table({"id": range(100), "text": TEXTS, "more": [f"more {n}" for n in range(100)]})
OPTIONS: Any = {"model": "local/hash", "dimensions": 8, "batch_size": 16, "concurrency": 1}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A Parquet file with several row groups."""
    pq.write_table(TABLE, tmp_path / "source.parquet", row_group_size=30)
    return tmp_path / "source.parquet"


def run(
    source: Any, target: Path, *faults: Fault, service: Service | None = None, **options: Any
) -> tuple[Any, Service]:
    """Run a job against the stand-in with these faults; return its report and the service."""
    service = service or Service(*faults)
    made: Any = {**OPTIONS, "max_retries": 0}
    with service.client(**made) as client:
        return jobs.embed_file(source, target, client=client, **options), service


def stopped(source: Any, target: Path, *, at: int, **options: Any) -> Path:
    """Run a job that has no credits left for request `at`; return its job file."""
    with pytest.raises(ore.PaymentRequiredError):
        run(source, target, Fault("status", status=402, requests=[at]), **options)
    return job_file(target)


def json_lines(path: Path) -> list[Any]:
    """The values in a file of JSON lines."""
    return [loads(line) for line in path.read_bytes().splitlines()]


def vectors(texts: list[Any], **options: Any) -> Any:
    """The vectors that the stand-in returns."""
    return ore.Client.local(**{**OPTIONS, **options}).embed(texts).vectors


def matrix(path: Path) -> Any:
    """The vectors of a Parquet target."""
    column = pq.read_table(path)["embedding"].combine_chunks()
    return np.asarray(column.flatten()).reshape(len(column), -1)


def billed(*services: Service) -> Counter[str]:
    """How often the services billed each input."""
    return Counter(i for service in services for bill in service.faults.billed for i in bill.inputs)


def first_of(pending: Any, **_: Any) -> Any:
    """Replaces `wait`: reports only the first request as done."""
    wait(pending)
    return [*pending][:1], [*pending][1:]


def texts(source: Any, column: str | None = None, template: str | None = None) -> list[Any]:
    """The texts that a job would embed."""
    opened = open_source(source)
    reader = opened.reader(InputSpec(column, template))
    return [row.value for batch in opened.batches(1000) for row in reader.read(batch)]


def same_name_twice() -> pa.Table:
    """A table with two columns of the same name."""
    return pa.table([pa.array(["a"]), pa.array(["b"])], ["text", "text"])
