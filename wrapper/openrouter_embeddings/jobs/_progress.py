"""The progress and the report of a job."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from openrouter_embeddings.result import Usage

INTERVAL = 0.5  # seconds between two progress reports


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes:
        stage: "embedding" while the job sends requests; "writing" while it writes the target;
            "stopping" while a job that fails or is interrupted waits for requests in flight.
        rows: rows of the source that this stage has finished.
        total: rows of the source.
        earlier: rows that were finished before this run sent its first request.
        embedded: inputs that the service has embedded for this job, including earlier runs.
        reused: inputs whose vectors came from the cache.
        refused: inputs that cannot be embedded.
        in_flight: requests in flight.
        concurrency: requests allowed in flight; lowered while the service is overloaded.
        usage: tokens, cost and requests of this run.
        seconds: seconds since this run began.
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
    """The result of a finished job.

    Attributes:
        target: the file that the job wrote.
        rows: rows of the target.
        dimensions: length of the vectors.
        embedded: inputs that the service has embedded, including earlier runs of this job; 0 if
            the target was finished before this run.
        reused: inputs whose vectors came from the cache.
        duplicates: rows that share the vector of an earlier row with an equal input.
        errors: rows without a vector; `errors_file` lists each with its reason.
        errors_file: None if every row has a vector.
        damaged: vectors in `TARGET.job` or the cache that failed their checksum. The job embedded
            the inputs that the target needs again, and paid for them again.
        unchecked: vectors of the target that an earlier version of this package saved without a
            checksum, so that damage to them cannot be detected.
        usage: tokens, cost and requests of this run.
        seconds: how long this run took.
        models: the models as the service named them.
        providers: the providers that served the requests.
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
    """Calls a listener when a stage begins, and then at most once per `INTERVAL`.

    It reports the stage "stopping" only once.
    """

    def __init__(self, listener: Callable[[Progress], object] | None) -> None:
        self._listener = listener
        self._began = time.monotonic()
        self._reported = 0.0
        self._stage = ""

    @property
    def seconds(self) -> float:
        """Seconds since the job began."""
        return time.monotonic() - self._began

    def report(self, progress: Progress) -> None:
        """Call the listener, unless it has just been called."""
        if progress.stage == self._stage and (
            progress.stage == "stopping" or progress.seconds - self._reported < INTERVAL
        ):
            return
        self._stage, self._reported = progress.stage, progress.seconds
        if self._listener is not None:
            self._listener(progress)
