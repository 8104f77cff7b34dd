"""`python -m stress.fuzz`: a million mutated responses, decoded by the client and by a reference.

The reference decoder is tests/core/reference.py: slow and plain.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.core.reference import differing

BODIES, SHARE = 1_000_000, 20_000


def main() -> int:
    """0 if the decoders always agree. Seeds come from the clock; the first one is printed."""
    first = int(time.time())
    print(f"{BODIES:,} bodies from seed {first}", flush=True)
    with ProcessPoolExecutor() as processes:
        seeds = range(first, first + BODIES // SHARE)
        cases = processes.map(partial(differing, bodies=SHARE), seeds)
        for seed, case in zip(seeds, cases, strict=True):
            if case is not None:
                print(f"seed {seed}: the decoders differ on {case}")
                return 1
    print("no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
