"""One contender in its own process, so that memory and imports are its own.

`python -m benchmarks.worker NAME` reads jobs as JSON lines (address, number of texts, batch size
and so on) and answers each with its figures.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from .contenders import CONTENDERS, Embed, Found
from .vectors import differences, texts


def peak(process: int | str = "self") -> int:
    """The peak memory of a process, in bytes."""
    status = Path(f"/proc/{process}/status")  # getrusage would include the parent's peak
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024


def cpu() -> float:
    """Seconds of CPU of all threads, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cpu_of(process: int) -> float:
    """Seconds of CPU of another process that has one thread."""
    file = Path(f"/proc/{process}/schedstat")
    return int(file.read_text().split()[0]) / 1e9 if file.exists() else float("nan")


def faults() -> int:
    """How often this process touched memory that the system had to give it first."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def touch(size: int) -> None:
    """Touch fresh memory: a virtual machine's host takes free memory back; giving it takes time.

    Through numpy, which asks for huge pages as contenders' matrices do. malloc learns nothing from
    arrays of more than 32 MB.
    """
    np.empty(max(size, 1 << 26), np.uint8).fill(1)


def whole(found: Found) -> np.ndarray[Any, Any]:
    """The matrix that a contender returned, or the parts of its stream put together."""
    return found if isinstance(found, np.ndarray) else np.concatenate([*found])


def check(embed: Embed, job: dict[str, Any]) -> dict[str, Any]:
    """Raise AssertionError if the vectors are not those that the server sent; time the call."""
    inputs, started = texts(job["rows"]), time.perf_counter()
    found = whole(embed(inputs))
    wall = time.perf_counter() - started
    if wrong := differences(found, job["rows"], job["width"]):
        raise AssertionError(wrong)
    return {"wall": wall}


def measure(embed: Embed, job: dict[str, Any]) -> dict[str, Any]:
    """Run a job, after one text, too little for malloc to learn anything from it."""
    inputs, repeats = texts(job["rows"]), job["repeats"]
    deque(embed(inputs[:1]), 0)
    touch(int(job["rows"] * job["width"] * 6))
    before = (time.perf_counter(), cpu(), faults(), cpu_of(job["server"]))
    for _ in range(repeats):
        found = embed(inputs)
        if not isinstance(found, np.ndarray):
            deque(found, 0)  # takes the parts of a stream, and drops each
    after = (time.perf_counter(), cpu(), faults(), cpu_of(job["server"]))
    took = [(end - start) / repeats for end, start in zip(after, before, strict=True)]
    names = ("wall", "cpu", "faults", "server")
    return {**dict(zip(names, took, strict=True)), "peak": peak()}


def main(name: str) -> None:
    """Answer jobs until standard input ends."""
    made: dict[tuple[Any, ...], Embed] = {}
    for job in map(json.loads, sys.stdin):
        setting = (job["url"], job["concurrency"], job["batch"], job["width"])
        try:
            if setting not in made:
                made[setting] = CONTENDERS[name](*setting)
            act = check if job["check"] else measure
            answer = act(made[setting], job)
        except Exception as error:  # the error is reported and the contender left out
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(f"@{json.dumps(answer)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
