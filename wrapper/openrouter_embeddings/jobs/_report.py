"""How far a job is, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from openrouter_embeddings.result import Usage


@dataclass(frozen=True, slots=True)
class Progress:
    """A job at one moment.

    Attributes:
        stage: "embedding", while the service is asked; "writing", while the target is.
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
        duplicates: rows whose input was another row's, too.
        errors: rows without a vector; `errors_file` has each with its reason.
        errors_file: None where there are none.
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
    usage: Usage
    seconds: float
    models: tuple[str, ...]
    providers: tuple[str, ...]
