"""Parquet to Parquet over a Ray cluster: `python examples/ray_parquet.py books.parquet vectors`.

Without an address in RAY_ADDRESS the cluster is this machine, with two workers. `--local` asks the
stand-in in each worker, and needs no key; otherwise set OPENROUTER_API_KEY and name a `--model`.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import openrouter_embeddings as ore
import ray
from openrouter_embeddings.adapters.ray import Embed

WORKERS = 2

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("source", help="Parquet: a file, a directory or a pattern")
parser.add_argument("target", help="a directory, for Parquet")
parser.add_argument("--column", help="with the text, where there are several")
parser.add_argument("--model", default="local/minilm")
parser.add_argument("--local", action="store_true", help="ask the stand-in")
given = parser.parse_args()
if not given.local and not os.environ.get("OPENROUTER_API_KEY"):
    parser.error("set OPENROUTER_API_KEY and name a --model, or say --local")

# The workers have the environment that Ray was started in. A key does not belong into a
# runtime_env, which Ray writes down.
here: dict[str, Any] = {"num_cpus": WORKERS, "_node_ip_address": "127.0.0.1"}
ray.init(**({} if "RAY_ADDRESS" in os.environ else here))
options: Any = {"client": ore.Client.local} if given.local else {}
rows = ray.data.read_parquet(given.source)
rows.map_batches(
    Embed,
    fn_constructor_kwargs={
        "workers": WORKERS,
        "column": given.column,
        "model": given.model,
        **options,
    },
    batch_format="pyarrow",
    batch_size=512,
    compute=ray.data.ActorPoolStrategy(size=WORKERS),
    num_cpus=0.5,  # they mostly wait; and the tasks that read and write need a place, too
).write_parquet(given.target, mode=ray.data.SaveMode.ERROR)  # Ray's default adds to what is there
