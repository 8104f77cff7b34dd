"""Embeds the inputs that a job lacks, and saves each response before sending more requests."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from decimal import Decimal

import numpy as np

from openrouter_embeddings.client import Client
from openrouter_embeddings.client.job_session import JobSession, resolve_options
from openrouter_embeddings.client.workers import WorkerFuture
from openrouter_embeddings.core.batching import MAX_JOB_IMAGE_BYTES, MAX_TEXT_BYTES
from openrouter_embeddings.core.budget import Budget
from openrouter_embeddings.core.options import EmbedOptions
from openrouter_embeddings.errors import EmbeddingsError
from openrouter_embeddings.result import EmbeddingResult, Usage

from ._progress import INTERVAL, Progress, ProgressReporter
from ._rows import EMPTY_INPUTS, Row
from ._spec import JobError
from ._store import Store

_SERVED_BY = ("models", "providers")


class Embedding:
    """Embeds the inputs of a source, except those that the store already has.

    Args:
        client: sends up to `concurrency` requests at a time.
        options: of every call; the budget holds for all calls together.
        store: keeps vectors, refusals and what the job has spent.
        cache: a store that other jobs share, or None.
        total: rows of the source.
        reporter: gets the progress after every step.
        max_errors: how many rows may stay without a vector; None for any number.

    Its counters are those of `Progress` and `JobReport`. `_submit` sends a call. `_collect` waits
    for calls (`_settle`) and saves each (`_take`) with its vectors and refusals (`_keep`). When the
    job stops, `_drain` saves the calls in flight.
    """

    def __init__(
        self,
        client: Client,
        options: EmbedOptions,
        store: Store,
        *,
        cache: Store | None,
        total: int,
        reporter: ProgressReporter,
        max_errors: int | None,
    ) -> None:
        resolved = resolve_options(client, options)
        budget = None if resolved.budget is None else _budget(resolved.budget, store)
        self._session = JobSession(client, {**options, "on_error": "skip", "budget": None}, budget)
        self._batch_size, self._concurrency = resolved.batch_size, resolved.concurrency
        self._store, self._cache = store, cache
        self._total = total
        self._reporter = reporter
        self._stage = "embedding"
        self._max_errors = max_errors
        self._pending: dict[Future[EmbeddingResult], list[Row]] = {}
        # how many rows wait for each input that has neither a vector nor a refusal
        self._unsettled: dict[bytes, int] = {}
        self._uncached: dict[bytes, bytes] = {}  # new vectors that the cache does not have yet
        self._rows = self._errors = 0
        self._has_submitted = False
        self.earlier = 0
        self.usage = Usage()
        self.reused: int = store.fact("reused") or 0
        self._unusable: set[bytes] = set()  # never sent; the next run may be able to read them
        self._refused = store.count("refused")
        self.embedded = store.kept - self.reused

    @property
    def refused(self) -> int:
        """Inputs that cannot be embedded."""
        return self._refused + len(self._unusable)

    @property
    def damaged(self) -> int:
        """Saved vectors that failed their checksum, in all runs of the job."""
        return self._store.fact("damaged") or 0

    @property
    def unchecked(self) -> int:
        """Vectors without a checksum, including those from the cache."""
        return self._store.unchecked + (self._store.fact("unchecked_reused") or 0)

    @property
    def had_only_empty_rows(self) -> bool:
        """Whether every row was empty, as in one piece of a larger source."""
        return self._unusable <= EMPTY_INPUTS and not self._refused

    @property
    def _settled(self) -> int:
        """Rows read so far whose input has a vector or was refused."""
        return self._rows - len(self._unsettled)

    def progress(self, stage: str, rows: int) -> Progress:
        """How far the job is."""
        limiter = self._session.limiter
        allowed = max(1, math.floor(min(limiter.window, self._concurrency)))
        return Progress(
            stage, rows, self._total, self.earlier, self.embedded, self.reused, self.refused,
            limiter.in_flight, allowed, self.usage, self._reporter.seconds,
        )  # fmt: skip

    def counts(self) -> dict[str, int]:
        """What the job's span records."""
        counts = {
            "rows": self._total,
            "embedded": self.embedded,
            "reused": self.reused,
            "refused": self.refused,
        }
        return {f"openrouter.job.{name}": count for name, count in counts.items()}

    def _report(self) -> None:
        self._reporter.report(self.progress(self._stage, self._settled))

    def run(self, batches: Iterator[list[Row]]) -> None:
        """Embed until every input of these rows has a vector or is refused.

        Raises JobError if too many rows cannot be embedded, or a vector has another length.
        """
        self._check_errors()
        with self._session:
            try:
                for rows in self._new_inputs(batches):
                    self._submit(rows)
                while self._pending:
                    self._collect()
            except BaseException:
                with suppress(Exception):  # from the listener; a second Ctrl-C here stops at once
                    if self._pending:
                        self._stage = "stopping"
                        self._report()
                self._drain()
                raise

    def _new_inputs(self, batches: Iterator[list[Row]]) -> Iterator[list[Row]]:
        """Inputs without a vector, in lists that fit into one request."""
        waiting: list[Row] = []
        for rows in batches:
            waiting += self._unknown(rows)
            self._rows += len(rows)
            if not self._has_submitted:
                self.earlier = self._settled
            self._report()
            while (count := self._request_size(waiting)) < len(waiting):
                yield waiting[:count]
                del waiting[:count]
        if waiting:
            yield waiting

    def _request_size(self, waiting: list[Row]) -> int:
        """How many inputs make a request that the client does not split: it is saved as a whole."""
        size = 0
        for count, row in enumerate(waiting[: self._batch_size]):
            size += row.size
            limit = MAX_TEXT_BYTES if isinstance(row.value, str) else MAX_JOB_IMAGE_BYTES
            if count and size > limit:
                return count
        return self._batch_size

    def _unknown(self, rows: list[Row]) -> list[Row]:
        """One row for each input that has neither a vector nor a refusal, and is not in flight."""
        times = Counter(row.digest for row in rows)
        for digest in self._unsettled.keys() & times:
            self._unsettled[digest] += times.pop(digest)
        new = {row.digest: row for row in rows if row.digest in times}
        for digest in self._store.embedded([*new]):
            del new[digest]
        unusable = {digest for digest, row in new.items() if row.value is None}
        self._unusable |= unusable
        without = unusable | self._store.reasons([*new]).keys()
        self._errors += sum(times[digest] for digest in without)
        self._check_errors()
        for digest in without:
            del new[digest]
        if self._cache and new:
            self._reuse(self._cache, new)
        self._unsettled |= {digest: times[digest] for digest in new}
        return [*new.values()]

    def _reuse(self, cache: Store, new: dict[bytes, Row]) -> None:
        """Copy vectors from the cache to the store, and take their inputs out of `new`."""
        found = cache.vectors([*new])
        self._keep_vectors(found, cached=True)
        for name in _SERVED_BY if found else ():
            _add_names(self._store, name, cache.fact(name) or [])
        for name, count in (("damaged", cache.damaged), ("unchecked_reused", cache.unchecked)):
            if count:
                self._store.set_fact(name, count + (self._store.fact(name) or 0))
        cache.damaged = cache.unchecked = 0
        for digest in found:
            del new[digest]

    def _submit(self, rows: list[Row]) -> None:
        self._has_submitted = True
        while len(self._pending) >= self._max_pending:
            self._collect()
        future: WorkerFuture[EmbeddingResult] = WorkerFuture()
        try:  # Ctrl-C may come at any time; a request that has begun stays in `_pending`
            self._pending[future] = rows
            self._session.submit(future, [row.value for row in rows])
        except BaseException:
            if future.cancel():
                self._pending.pop(future, None)
            raise

    @property
    def _max_pending(self) -> int:
        """How many calls may be in flight: one, while the budget does not know the price."""
        shared = self._session.shared_budget
        needs_price = shared is not None and shared.budget.needs_price
        return 1 if needs_price else self._concurrency

    def _collect(self) -> None:
        """Save the responses that have arrived; raise the first failure among them."""
        failures = self._settle()
        self._report()
        if failures:
            raise failures[0]
        self._check_errors()

    def _check_errors(self) -> None:
        errors = max(self._errors, self._refused)  # of the rows read, or of earlier runs
        if self._max_errors is not None and errors > self._max_errors:
            raise JobError(
                f"{errors:,} row{'s' * (errors != 1)} cannot be embedded, and max_errors is "
                f"{self._max_errors}; the errors file lists them. To resume the job, run it again "
                "with a higher max_errors (--max-errors)"
            )

    def _settle(self) -> list[BaseException]:
        """Wait for responses and save them in one transaction; return the failures among them."""
        done: Iterable[Future[EmbeddingResult]] = ()
        while not done:  # a listener sees that time passes while the service is slow
            done, _ = wait(self._pending, timeout=INTERVAL, return_when=FIRST_COMPLETED)
            if not done:
                self._report()
        failures = [failure for future in done if (failure := self._take(future)) is not None]
        self._store.commit()
        if self._cache and self._uncached:  # a short transaction, for other jobs wait for it
            self._cache.add(self._uncached.items())
            for name in _SERVED_BY:
                _add_names(self._cache, name, self._store.fact(name) or [])
            self._cache.commit()
            self._uncached = {}
        return failures

    def _take(self, future: Future[EmbeddingResult]) -> BaseException | None:
        """Save the vectors and the cost of one call; return its failure."""
        rows = self._pending[future]  # still there if Ctrl-C comes before the vectors are saved
        failure = future.exception()
        known = failure if isinstance(failure, EmbeddingsError) else None
        if known:
            known.inputs = ()  # positions in the request, which are not row numbers
        result = known.partial if known else None if failure else future.result()
        usage = known.usage if known else result.usage if result else None
        try:
            if result is not None:
                self._keep(rows, result)
        except JobError as error:  # about this response; the others are still saved
            failure = error
        self._pending.pop(future)
        self._spend(usage or Usage())  # a response that cannot be saved was paid for, too
        return failure

    def _spend(self, usage: Usage) -> None:
        """Save what was paid, for the budget of the next run."""
        self.usage += usage
        if self._session.shared_budget is None:
            self._store.set_fact("spent", str(self._store.spent + (usage.cost or 0)))
            return
        budget, lock = self._session.shared_budget
        with lock:
            self._store.set_fact("spent", str(budget.spent))
            self._store.set_fact("unpriced", budget.unpriced)
            self._store.set_fact("silent", budget.cost_missing)
            if budget.price is not None:
                self._store.set_fact("price", str(budget.price))

    def _keep(self, rows: list[Row], result: EmbeddingResult) -> None:
        digests = [rows[position].digest for position in np.flatnonzero(result.mask)]
        vectors = dict(zip(digests, map(bytes, result.vectors), strict=True))
        self._keep_vectors(vectors)
        if self._cache:
            self._uncached |= vectors
        self._refuse({rows[p].digest: error.message for p, error in result.errors.items()})
        _add_names(self._store, "models", [one.model for one in result.served if one.model])
        _add_names(self._store, "providers", result.providers)

    def _keep_vectors(self, vectors: dict[bytes, bytes], *, cached: bool = False) -> None:
        if not vectors:
            return
        width, *others = {len(vector) // 4 for vector in vectors.values()}
        if others:
            raise JobError(
                f"the cache holds vectors of {width} and of {others[0]} dimensions for the same "
                "options; use another cache directory"
            )
        known = self._store.fact("dimensions")
        if known is None:
            self._store.set_fact("dimensions", width)
        elif known != width:
            raise JobError(
                f"got vectors of {width} dimensions after vectors of {known}, which is another "
                "vector space; set dimensions, or choose a single provider, so that all vectors "
                "of the target are comparable"
            )
        self._store.add(vectors.items())
        for digest in vectors:
            self._unsettled.pop(digest, None)
        if cached:
            self.reused += len(vectors)
            self._store.set_fact("reused", self.reused)
        else:
            self.embedded += len(vectors)

    def _refuse(self, reasons: dict[bytes, str]) -> None:
        self._store.refuse(reasons.items())
        self._errors += sum(self._unsettled.pop(digest, 0) for digest in reasons)
        self._refused += len(reasons)

    def _drain(self) -> None:
        """Wait for the requests in flight, which will be billed, and save their vectors."""
        while self._pending:
            with suppress(JobError):  # the error that ended the job is raised instead
                self._settle()
        with suppress(JobError):  # what was added to the store when Ctrl-C came
            self._store.commit()


def _add_names(store: Store, fact: str, names: Iterable[str]) -> None:
    """Add new names to a fact of the store that is a list of names."""
    before = store.fact(fact) or []
    if new := {*names} - {*before}:
        store.set_fact(fact, sorted([*before, *new]))


def _budget(total: Decimal, store: Store) -> Budget:
    """The budget, less what earlier runs have spent."""
    price = store.fact("price")
    return Budget(
        total,
        spent=store.spent,
        price=None if price is None else Decimal(price),
        unpriced=store.fact("unpriced") or 0,
        cost_missing=bool(store.fact("silent")),
    )
