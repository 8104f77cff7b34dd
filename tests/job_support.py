"""Jobs against the stand-in, for tests of several kinds."""

from collections import Counter
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.parquet as pq
from openrouter_embeddings import jobs
from openrouter_embeddings.local.faults import Fault
from openrouter_embeddings.testing import Service

TEXTS = [f"text {n % 80}" for n in range(100)]  # twenty of them twice
TABLE = pa.table({"id": range(100), "text": TEXTS, "more": [f"more {n}" for n in range(100)]})
OPTIONS: Any = {"model": "local/hash", "dimensions": 8, "batch_size": 16, "concurrency": 1}


def run(source: Any, target: Path, *faults: Fault, **options: Any) -> tuple[Any, Service]:
    """A job against the stand-in with these faults; its report, and the service's books."""
    service = Service(*faults)
    made: Any = {**OPTIONS, "max_retries": 0}
    with service.client(**made) as client:
        return jobs.embed_file(source, target, client=client, **options), service


def vectors(texts: list[Any]) -> Any:
    """What the stand-in gives."""
    return ore.Client.local(**OPTIONS).embed(texts).vectors


def matrix(path: Path) -> Any:
    """The vectors of a Parquet target."""
    column = pq.read_table(path)["embedding"].combine_chunks()
    return np.asarray(column.flatten()).reshape(len(column), -1)


def billed(*services: Service) -> Counter[str]:
    """How often each input was billed."""
    return Counter(i for service in services for bill in service.faults.billed for i in bill.inputs)


def first_of(pending: Any, **_: Any) -> Any:
    """In place of `wait`: the others are still under way, whenever they came."""
    wait(pending)
    return [*pending][:1], [*pending][1:]
