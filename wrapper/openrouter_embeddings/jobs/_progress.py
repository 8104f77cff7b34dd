"""How far a job is, and what it came to."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from openrouter_embeddings.result import Usage

    from ._embed import Embedding

OFTEN = 0.5  # seconds between two tellings


@dataclass(frozen=True, slots=True)
class Progress:
    """A job at one moment.

    Attributes:
        stage: "embedding", while the service is asked; "writing", while the target is written;
            "stopping", while a job that ends too early waits for what is in flight.
        rows: rows of the source that this stage is done with.
        total: rows of the source.
        earlier: rows that were done before this run asked for anything.
        embedded: inputs that the service has embedded for this job, earlier runs included.
        reused: inputs that came from the cache.
        refused: inputs that cannot be embedded.
        in_flight: requests under way.
        concurrency: requests that may be; fewer than asked for while the service is overloaded.
        usage: what this run has used.
        seconds: since this run began.
    """

    stage: str
    rows: int
    total: int
    earlier: int
    embedded: int
    reused: int
    refused: int
    in_flight: int
    concurrency: int
    usage: Usage
    seconds: float


@dataclass(frozen=True, slots=True)
class JobReport:
    """What a job came to.

    Attributes:
        target: the file that was written.
        rows: rows of the target.
        dimensions: of the vectors.
        embedded: inputs that the service has embedded, earlier runs of this job included.
        reused: inputs that came from the cache.
        duplicates: rows that share the vector of an earlier row with an equal input.
        errors: rows without a vector; `errors_file` has each with its reason.
        errors_file: None where there are none.
        damaged: vectors that `TARGET.job` or the cache had, and that a flipped bit, say, has
            damaged. Those that the target needs were embedded again, and paid for again.
        unchecked: vectors of the target that an earlier edition of this package has kept, without
            a checksum: damage to them is not found.
        usage: what this run has used: tokens, cost, requests.
        seconds: that this run took.
        models: the models as the service named them.
        providers: who served.
    """

    target: Path
    rows: int
    dimensions: int
    embedded: int
    reused: int
    duplicates: int
    errors: int
    errors_file: Path | None
    damaged: int
    unchecked: int
    usage: Usage
    seconds: float
    models: tuple[str, ...]
    providers: tuple[str, ...]


class ProgressReporter:
    """Tells how far a job is, not too often."""

    def __init__(self, listener: Callable[[Progress], object] | None, total: int) -> None:
        self._listener = listener
        self._total = total
        self._began = time.monotonic()
        self._told = -math.inf
        self._stage = "embedding"

    @property
    def seconds(self) -> float:
        """Since the job began."""
        return time.monotonic() - self._began

    def turn_to(self, stage: str, embedding: Embedding) -> None:
        """Another stage, which is told at once."""
        self._stage = stage
        self._told = -math.inf
        self.tell(embedding, embedding.settled if stage == "stopping" else 0)

    def tell(self, embedding: Embedding, rows: int) -> None:
        """Where it is now."""
        is_said = self._stage == "stopping" and math.isfinite(self._told)  # once
        if self._listener is None or is_said or self.seconds - self._told < OFTEN:
            return
        self._told = self.seconds
        self._listener(
            Progress(
                self._stage, rows, self._total, embedding.earlier, embedding.embedded,
                embedding.reused, embedding.refused, embedding.in_flight, embedding.concurrency,
                embedding.usage, self.seconds,
            )
        )  # fmt: skip
