"""Embed Parquet files on a Ray cluster: `python examples/ray_parquet.py books.parquet vectors`.

RAY_ADDRESS names the cluster; without it, Ray starts one on this machine. With --local, each worker
uses the stand-in and needs no key. Otherwise set OPENROUTER_API_KEY and name a --model.
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
parser.add_argument("target", help="a new directory for Parquet files")
parser.add_argument("--column", help='text column; default: the only one, or "text"')
parser.add_argument("--model", default="local/minilm")
parser.add_argument("--local", action="store_true", help="use the stand-in")
args = parser.parse_args()
if not args.local and not os.environ.get("OPENROUTER_API_KEY"):
    parser.error("set OPENROUTER_API_KEY and name a --model, or use --local")

# The workers read OPENROUTER_API_KEY from the environment in which Ray started. Do not put the key
# into a runtime_env, because Ray stores that.
new_cluster: dict[str, Any] = {"num_cpus": WORKERS, "_node_ip_address": "127.0.0.1"}
ray.init(**({} if "RAY_ADDRESS" in os.environ else new_cluster))
options: dict[str, Any] = {"workers": WORKERS, "column": args.column, "model": args.model}
if args.local:
    options["client"] = ore.Client.local
ray.data.read_parquet(args.source).map_batches(
    Embed,
    fn_constructor_kwargs=options,
    batch_format="pyarrow",
    batch_size=512,
    compute=ray.data.ActorPoolStrategy(size=WORKERS),
    num_cpus=0.5,  # the actors mostly wait; leave room for the tasks that read and write
).write_parquet(args.target, mode=ray.data.SaveMode.ERROR)  # the default would append
