"""One contender in a process of its own: `python -m benchmarks.worker NAME`.

It reads jobs as JSON lines: the address, how many texts, in batches of what size, and so on; the
answer says what it took. A process each keeps memory and imports apart.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .contenders import CONTENDERS, Embed
from .vectors import differences, texts

if TYPE_CHECKING:
    from collections.abc import Iterator


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    status = Path("/proc/self/status")  # getrusage's would count what the parent had, too
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024


def cpu() -> float:
    """Seconds of all threads, in the system too."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(embed: Embed, job: dict[str, Any]) -> dict[str, Any]:
    """Do a job, after a small one like it that opens the connections."""
    inputs = texts(job["rows"])
    repeats = job.get("repeats", 1)
    embed(inputs[: job["batch"] * job["concurrency"]])
    # So that no contender pays for memory which the host of a virtual machine has taken back.
    memory = np.empty(int(job["rows"] * job["width"] * 1.5), np.float32)
    memory[::512] = 1
    del memory
    began, used = time.perf_counter(), cpu()
    for _ in range(repeats):
        vectors = embed(inputs)
    took = {
        "wall": (time.perf_counter() - began) / repeats,
        "cpu": (cpu() - used) / repeats,
        "peak": peak(),
    }
    if job["verify"] and (wrong := differences(vectors, job["rows"], job["width"], job["batch"])):
        raise AssertionError(wrong)
    return took


def jobs() -> Iterator[dict[str, Any]]:
    """From standard input."""
    for line in sys.stdin:
        yield json.loads(line)


def main(name: str) -> None:
    """Answer jobs until there are no more."""
    made: dict[tuple[Any, ...], Embed] = {}
    for job in jobs():
        setting = (job["url"], job["concurrency"], job["batch"], job["width"])
        if setting not in made:
            made[setting] = CONTENDERS[name](*setting)
        try:
            answer = measure(made[setting], job)
        except Exception as error:  # it is reported, and the contender is left out
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(f"@{json.dumps(answer)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
