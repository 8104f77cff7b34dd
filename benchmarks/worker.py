"""One contender in its own process, so that memory and imports are its own.

`python -m benchmarks.worker NAME` reads jobs as JSON lines (address, number of texts, batch size
and so on) and answers each with its figures.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from .contenders import CONTENDERS, Embed
from .vectors import differences, texts


def peak() -> int:
    """The peak memory of this process, in bytes."""
    status = Path("/proc/self/status")  # getrusage would include the parent's peak
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024


def cpu() -> float:
    """Seconds of CPU of all threads, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(embed: Embed, job: dict[str, Any]) -> dict[str, Any]:
    """Run a job, after a small warm-up that opens the connections."""
    inputs = texts(job["rows"])
    repeats = job.get("repeats", 1)
    embed(inputs[: job["batch"] * job["concurrency"]])
    # Touch the memory first: a virtual machine's host may have taken it back, which costs time.
    memory = np.empty(int(job["rows"] * job["width"] * 1.5), np.float32)
    memory[::512] = 1
    del memory
    started, used = time.perf_counter(), cpu()
    for _ in range(repeats):
        vectors = embed(inputs)
    wall, spent = time.perf_counter() - started, cpu() - used
    took = {"wall": wall / repeats, "cpu": spent / repeats, "peak": peak()}
    if job["verify"] and (wrong := differences(vectors, job["rows"], job["width"], job["batch"])):
        raise AssertionError(wrong)
    return took


def main(name: str) -> None:
    """Answer jobs until standard input ends."""
    made: dict[tuple[Any, ...], Embed] = {}
    for job in map(json.loads, sys.stdin):
        setting = (job["url"], job["concurrency"], job["batch"], job["width"])
        if setting not in made:
            made[setting] = CONTENDERS[name](*setting)
        try:
            answer = measure(made[setting], job)
        except Exception as error:  # the error is reported and the contender left out
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(f"@{json.dumps(answer)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
