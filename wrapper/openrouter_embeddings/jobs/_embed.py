"""Asks the service for what is not there yet, and keeps each answer before more is asked for."""

from __future__ import annotations

import math
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from openrouter_embeddings.client.job_session import JobSession, resolve_options
from openrouter_embeddings.client.workers import WorkerFuture
from openrouter_embeddings.core.batching import MAX_TEXT_BYTES
from openrouter_embeddings.core.budget import Budget
from openrouter_embeddings.errors import EmbeddingsError
from openrouter_embeddings.result import Usage

from ._errors import JobError
from ._progress import OFTEN
from ._rows import NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from openrouter_embeddings.client import Client
    from openrouter_embeddings.core.options import EmbedOptions
    from openrouter_embeddings.result import EmbeddingResult

    from ._progress import ProgressReporter
    from ._rows import Row
    from ._store import Store

_SERVED = ("models", "providers")
_IMAGES = 4 << 20  # bytes of images in a request, of which several are in memory in several forms


class Embedding:
    """The first half of a job.

    Args:
        client: asked with up to `concurrency` requests at a time.
        options: of every call; a budget is kept here, over all of them.
        store: where answers are kept.
        cache: a store of other jobs' vectors too, if any.
        watch: told after every step which rows are settled.
        max_errors: rows that may stay without a vector.
    """

    def __init__(
        self,
        client: Client,
        options: EmbedOptions,
        store: Store,
        *,
        cache: Store | None,
        watch: ProgressReporter,
        max_errors: int | None,
    ) -> None:
        plain = resolve_options(client, options)
        budget = None if plain.budget is None else _budget(plain.budget, store)
        self._session = JobSession(client, {**options, "on_error": "skip", "budget": None}, budget)
        self._batch_size, self._concurrency = plain.batch_size, plain.concurrency
        self._store, self._cache = store, cache
        self._watch = watch
        self._max_errors = max_errors
        self._pending: dict[Future[EmbeddingResult], list[Row]] = {}
        self._expected: dict[bytes, int] = {}  # rows of inputs neither kept nor refused yet
        self._fresh: dict[bytes, bytes] = {}  # not in the cache yet
        self._rows = self._errors = 0
        self._has_asked = False
        self.earlier = 0  # rows that were done before anything was asked for
        self.usage = Usage()
        self.reused: int = store.fact("reused") or 0
        self._unusable: set[bytes] = set()  # without asking; another run may find them whole
        self._refused = store.count("refused")
        self.embedded = store.kept - self.reused

    @property
    def refused(self) -> int:
        """Inputs that cannot be embedded."""
        return self._refused + len(self._unusable)

    @property
    def damaged(self) -> int:
        """Vectors that were kept and no longer whole, in all runs."""
        return self._store.fact("damaged") or 0

    @property
    def unchecked(self) -> int:
        """Vectors without a checksum, the cache's included."""
        return self._store.unchecked + (self._store.fact("unchecked_reused") or 0)

    @property
    def had_nothing(self) -> bool:
        """Whether every row was empty: the source may be one piece of a larger one."""
        return self._unusable <= NOTHING and not self._refused

    @property
    def settled(self) -> int:
        """Rows read whose input is kept or refused."""
        return self._rows - len(self._expected)

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return self._session.limiter.in_flight

    @property
    def concurrency(self) -> int:
        """Requests that may be."""
        return max(1, math.floor(min(self._session.limiter.window, self._concurrency)))

    def run(self, batches: Iterator[list[Row]]) -> None:
        """Until every input is kept or refused."""
        self._check_errors()
        try:
            for rows in self._new(batches):
                self._submit(rows)
            while self._pending:
                self._collect()
        except BaseException:
            with suppress(Exception):  # of a listener; a second Ctrl-C here stops at once
                if self._pending:
                    self._watch.turn_to("stopping", self)
            self._drain()
            raise
        finally:
            self._session.stop()

    def _new(self, batches: Iterator[list[Row]]) -> Iterator[list[Row]]:
        """Inputs that nobody has embedded yet, in lists of a request's size."""
        waiting: list[Row] = []
        for rows in batches:
            waiting += self._unknown(rows)
            self._rows += len(rows)
            if not self._has_asked:
                self.earlier = self.settled
            self._watch.tell(self, self.settled)
            while (count := self._fitting(waiting)) < len(waiting):
                yield waiting[:count]
                del waiting[:count]
        if waiting:
            yield waiting

    def _fitting(self, waiting: list[Row]) -> int:
        """How many make a request: what the client would divide is kept only as a whole."""
        size = 0
        for count, row in enumerate(waiting[: self._batch_size]):
            size += row.size
            if count and size > (MAX_TEXT_BYTES if isinstance(row.value, str) else _IMAGES):
                return count
        return self._batch_size

    def _unknown(self, rows: list[Row]) -> list[Row]:
        times = Counter(row.digest for row in rows)
        for digest in self._expected.keys() & times:
            self._expected[digest] += times.pop(digest)
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
        self._expected |= {digest: times[digest] for digest in new}
        return [*new.values()]

    def _reuse(self, cache: Store, new: dict[bytes, Row]) -> None:
        """Take out what the cache has."""
        found = cache.vectors([*new])
        self._keep_vectors(found, cached=True)
        for name in _SERVED if found else ():
            _join(self._store, name, cache.fact(name) or [])
        for name, count in (("damaged", cache.damaged), ("unchecked_reused", cache.unchecked)):
            if count:
                self._store.note(name, count + (self._store.fact(name) or 0))
        cache.damaged = cache.unchecked = 0
        for digest in found:
            del new[digest]

    def _submit(self, rows: list[Row]) -> None:
        self._has_asked = True
        while len(self._pending) >= self._at_once:
            self._collect()
        future: WorkerFuture[EmbeddingResult] = WorkerFuture()
        try:  # Ctrl-C may come at any time, and what has begun is waited for
            self._pending[future] = rows
            self._session.submit(future, [row.value for row in rows])
        except BaseException:
            if future.cancel():
                self._pending.pop(future, None)
            raise

    @property
    def _at_once(self) -> int:
        """Calls: one, until an answer has told the price that a budget has to know."""
        shared = self._session.shared_budget
        is_blind = shared is not None and shared.budget.needs_price
        return 1 if is_blind else self._concurrency

    def _collect(self) -> None:
        """Keep what has come; raise what went wrong with any of it."""
        failures = self._settle()
        self._watch.tell(self, self.settled)
        if failures:
            raise failures[0]
        self._check_errors()

    def _check_errors(self) -> None:
        errors = max(self._errors, self._refused)  # of this pass, and at least of earlier runs
        if self._max_errors is not None and errors > self._max_errors:
            raise JobError(
                f"{errors:,} row{'s' * (errors != 1)} cannot be embedded, and max_errors is "
                f"{self._max_errors}; the reasons are kept, and with a higher max_errors "
                "(--max-errors) the job goes on"
            )

    def _settle(self) -> list[BaseException]:
        """Keep what has come, together; gives what went wrong with any of it."""
        done: Iterable[Future[EmbeddingResult]] = ()
        while not done:  # somebody may watch while nothing comes
            done, _ = wait(self._pending, timeout=OFTEN, return_when=FIRST_COMPLETED)
            if not done:
                self._watch.tell(self, self.settled)
        failures = [failure for future in done if (failure := self._taken(future)) is not None]
        self._store.commit()
        if self._cache and self._fresh:  # of which other jobs have to wait for the end
            self._cache.add(self._fresh.items())
            for name in _SERVED:
                _join(self._cache, name, self._store.fact(name) or [])
            self._cache.commit()
            self._fresh = {}
        return failures

    def _taken(self, future: Future[EmbeddingResult]) -> BaseException | None:
        rows = self._pending[future]  # until it is kept: Ctrl-C may come before
        failure = future.exception()
        known = failure if isinstance(failure, EmbeddingsError) else None
        if known:
            known.inputs = ()  # positions in a request, which tell nobody a row
        result = known.partial if known else None if failure else future.result()
        usage = known.usage if known else result.usage if result else None
        try:
            if result is not None:
                self._keep(rows, result)
        except JobError as error:  # of this answer; the others are kept
            failure = error
        self._pending.pop(future)
        self._spend(usage or Usage())  # for it was paid, whatever became of it
        return failure

    def _spend(self, usage: Usage) -> None:
        """What was paid for counts for the budget of the next run, too."""
        self.usage += usage
        if self._session.shared_budget is None:
            self._store.note("spent", str(self._store.spent + (usage.cost or 0)))
            return
        budget, lock = self._session.shared_budget
        with lock:
            self._store.note("spent", str(budget.spent))
            self._store.note("unpriced", budget.unpriced)
            self._store.note("silent", budget.cost_missing)
            if budget.price is not None:
                self._store.note("price", str(budget.price))

    def _keep(self, rows: list[Row], result: EmbeddingResult) -> None:
        digests = [rows[position].digest for position in np.flatnonzero(result.mask)]
        vectors = dict(zip(digests, map(bytes, result.vectors), strict=True))
        self._keep_vectors(vectors)
        if self._cache:
            self._fresh |= vectors
        self._refuse({rows[p].digest: error.message for p, error in result.errors.items()})
        _join(self._store, "models", [one.model for one in result.served if one.model])
        _join(self._store, "providers", result.providers)

    def _keep_vectors(self, vectors: dict[bytes, bytes], *, cached: bool = False) -> None:
        if not vectors:
            return
        width, *others = {len(vector) // 4 for vector in vectors.values()}
        if others:
            raise JobError(f"the cache has vectors of {width} and of {others[0]} dimensions")
        known = self._store.fact("dimensions")
        if known is None:
            self._store.note("dimensions", width)
        elif known != width:
            raise JobError(
                f"vectors of {width} dimensions came, and of {known} before: that is another "
                "vector space, and a target holds one"
            )
        self._store.add(vectors.items())
        for digest in vectors:
            self._expected.pop(digest, None)
        if cached:
            self.reused += len(vectors)
            self._store.note("reused", self.reused)
        else:
            self.embedded += len(vectors)

    def _refuse(self, reasons: dict[bytes, str]) -> None:
        self._store.refuse(reasons.items())
        self._errors += sum(self._expected.pop(digest, 0) for digest in reasons)
        self._refused += len(reasons)

    def _drain(self) -> None:
        """What is in flight is being paid for: wait, and keep it."""
        while self._pending:
            with suppress(JobError):  # what ended the job is said; this is the next of the same
                self._settle()
        with suppress(JobError):  # also what was taken when Ctrl-C came
            self._store.commit()


def _join(store: Store, name: str, said: Iterable[str]) -> None:
    """Add what is new to the names that a store knows."""
    before = store.fact(name) or []
    if new := {*said} - {*before}:
        store.note(name, sorted([*before, *new]))


def _budget(total: Decimal, store: Store) -> Budget:
    """As earlier runs have left it."""
    price = store.fact("price")
    return Budget(
        total,
        spent=store.spent,
        price=None if price is None else Decimal(price),
        unpriced=store.fact("unpriced") or 0,
        cost_missing=bool(store.fact("silent")),
    )
