"""The Ray jobs of test_ray.py in one process, on one cluster: `ray_jobs.py FOLDER`."""

import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

import ray
from openrouter_embeddings.adapters.ray import Embed

from tools import ROOT

BATCH, WORKERS = 50, 2


class Mortal(Embed):
    """Kills its actor, once among all actors, after the third batch and before it returns it."""

    def __init__(self, flag: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._flag = Path(flag)
        self._batches = 0

    def __call__(self, table: Any) -> Any:
        """The batch with its vectors, unless it is the fatal one."""
        embedded = super().__call__(table)
        self._batches += 1
        if self._batches == 3 and not self._flag.exists():
            self._flag.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return embedded


def embed_with_a_killed_worker() -> None:
    """From killed.parquet to the directory `killed`."""
    ray.data.read_parquet("killed.parquet", override_num_blocks=8).map_batches(
        Mortal,
        fn_constructor_kwargs={
            "flag": str(Path("flag").resolve()),
            "workers": WORKERS,
            "model": "local/hash",
            "dimensions": 8,
            "batch_size": 10,
        },
        batch_format="pyarrow",
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=WORKERS),
        num_cpus=0.5,
    ).write_parquet("killed")


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    sys.argv = ["ray_parquet.py", "titles.parquet", "example", "--local", "--column", "title"]
    runpy.run_path(str(ROOT / "examples" / "ray_parquet.py"), run_name="__main__")  # starts Ray
    runpy.run_path("page.py")
    embed_with_a_killed_worker()
