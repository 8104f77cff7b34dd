"""A Ray job for test_ray.py, in a process of its own: `ray_job.py SOURCE TARGET FLAG`."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import ray
from openrouter_embeddings.adapters.ray import Embed

BATCH, WORKERS = 50, 2


class Mortal(Embed):
    """Of all actors, the first to embed its third batch is killed with the answer in its hands."""

    def __init__(self, flag: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._flag = flag
        self._batches = 0

    def __call__(self, table: Any) -> Any:
        """A batch, unless this is the one."""
        found = super().__call__(table)
        self._batches += 1
        if self._batches == 3 and not Path(self._flag).exists():
            Path(self._flag).write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return found


if __name__ == "__main__":
    source, target, flag = sys.argv[1:]
    ray.init(num_cpus=WORKERS, include_dashboard=False, _node_ip_address="127.0.0.1")
    ray.data.read_parquet(source, override_num_blocks=8).map_batches(
        Mortal,
        fn_constructor_kwargs={
            "flag": flag,
            "workers": WORKERS,
            "model": "local/hash",
            "dimensions": 8,
            "batch_size": 10,
        },
        batch_format="pyarrow",
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=WORKERS),
        num_cpus=0.5,
    ).write_parquet(target)
