"""`make fuzz`: a million mutated answers, each of which means the same to the plain reference."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.core.reference import differing

BODIES, SHARE = 1_000_000, 20_000


def main() -> int:
    """0 when the decoders never differed. The seed is the date's, and is said."""
    first = int(time.time())
    print(f"{BODIES:,} bodies from seed {first}", flush=True)
    with ProcessPoolExecutor() as processes:
        seeds = range(first, first + BODIES // SHARE)
        for seed, case in zip(
            seeds, processes.map(partial(differing, bodies=SHARE), seeds), strict=True
        ):
            if case is not None:
                print(f"seed {seed}: the decoders differ on {case}")
                return 1
    print("no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
