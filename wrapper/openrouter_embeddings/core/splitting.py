"""Decides how a batch is sent: whole, in smaller pieces, or piece by piece to find a bad input.

Providers limit the number of inputs and the size of a request, and report a bad input by rejecting
the whole request. `BatchSplitter` splits the batch until the rest is accepted. Accepted inputs are
never sent again: their vectors are kept and only the rejected half is split further.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from openrouter_embeddings.errors import BudgetExceededError, InputError, ResponseError
from openrouter_embeddings.result import EmbeddingResult
from openrouter_embeddings.usage import NO_USAGE, Usage

from .result_builder import check_width
from .retry_policy import can_split, exceeded_limit, rejects_base64, stated_limit
from .validate import SKIP_HINT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openrouter_embeddings.errors import EmbeddingsError

    from .batching import Batch
    from .budget import Budget
    from .decode import Decoded

# Inputs that are tried alone before the request as a whole is considered invalid.
_PROBES = 8
# Full requests accepted before a larger one is tried. Doubles after each rejected trial.
_FULL_REQUESTS_BEFORE_TRIAL = 32
_NONE: frozenset[int] = frozenset()  # one object for all batches that wait


@dataclass
class Limit:
    """The most that one request may hold, raised now and then by a trial.

    A limit was stated by one provider or found by halving, and the next provider may accept more.
    So after enough full requests, one request of twice the size is tried. A rejected trial costs
    only itself: its inputs are sent again in halves.
    """

    value: int
    _full: int = 0
    _patience: int = _FULL_REQUESTS_BEFORE_TRIAL

    @property
    def allowed(self) -> int:
        """The most that the next request may hold."""
        return 2 * self.value if self._full >= self._patience else self.value

    def starts(self, size: int) -> None:
        """Record that a request starts. One above the limit is the trial, and the only one."""
        if size > self.value:
            self._full, self._patience = 0, 2 * self._patience

    def accepted(self, size: int) -> None:
        """Record that a request was accepted."""
        if size > self.value:
            self.value, self._full, self._patience = size, 0, _FULL_REQUESTS_BEFORE_TRIAL
        elif 2 * size > self.value:
            self._full += 1


@dataclass
class ModelLimits:
    """What a client has learned about its models, kept for the client's lifetime.

    Attributes:
        counts: by model, how many inputs a request may hold.
        sizes: by model, how many bytes of inputs a request may hold. Token limits are kept here.
        float_only: models whose providers reject base64.
    """

    counts: dict[str, Limit] = field(default_factory=dict)
    sizes: dict[str, Limit] = field(default_factory=dict)
    float_only: set[str] = field(default_factory=set)

    def limits(self, model: str, batch: Batch) -> list[tuple[Limit, int]]:
        """The model's known limits, each with how much of it the batch uses."""
        count, size = self.counts.get(model), self.sizes.get(model)
        known = [] if count is None else [(count, len(batch.items))]
        return known if size is None else [*known, (size, batch.size)]

    def fits(self, model: str, batch: Batch) -> bool:
        """Whether the batch is within the known limits. A single input always is."""
        limits = self.limits(model, batch)
        return len(batch.items) == 1 or all(used <= limit.allowed for limit, used in limits)


class BatchSplitter:
    """Splits one batch into the pieces to send, and collects their vectors and errors.

    Args:
        batch: the inputs to embed.
        limits: of the client; used to split, and updated with what the responses show.
        model: the model whose limits apply.
        skip: leave out rejected inputs instead of raising.
        retry: request an input once more if its vector fails validation.
        budget: of the call or job; until it knows a price, one input goes alone to learn it.
    """

    def __init__(
        self,
        batch: Batch,
        limits: ModelLimits,
        model: str,
        *,
        skip: bool,
        retry: bool,
        budget: Budget | None = None,
    ) -> None:
        self.batch = batch
        self.accepted: list[tuple[Batch, Decoded]] = []
        self.errors: dict[int, EmbeddingsError] = {}
        self.usage: Usage = NO_USAGE
        self._limits = limits
        self._model = model
        self._skip = skip
        self._pending = [batch]
        self._retry = retry
        self._retried: frozenset[int] = _NONE
        self._exceeded: Literal["count", "size"] | None = None
        self._suspects: tuple[EmbeddingsError, ...] = ()
        self._budget = budget
        self._width: int | None = None

    def next(self) -> Batch | None:
        """The piece to send next; None if every input is done."""
        while self._pending:
            piece = self._pending.pop()
            if () in piece.items:
                piece = self._without_missing(piece)
                self._pending += [piece] if piece.items else []
            elif not self._limits.fits(self._model, piece):
                self._pending += self._split_to_fit(piece)
            elif len(piece.items) > 1 and self._budget is not None and self._budget.needs_price:
                self._pending += [piece.slice(1, len(piece.items)), piece.slice(0, 1)]
            else:
                for limit, used in self._limits.limits(self._model, piece):
                    limit.starts(used)
                return piece
        if self._exceeded and not self.errors:
            self._learn_limit(self._exceeded)
        return None

    def result(self) -> EmbeddingResult:
        """The vectors received, in the order of the inputs, with the usage of all responses."""
        positions = self.batch.positions
        done = [decoded for _, decoded in self.accepted if len(decoded.matrix)]
        received = [position for decoded in done for position in decoded.served.positions]
        if len(done) == 1:
            matrix = done[0].matrix
        elif done:
            matrix = np.concatenate([decoded.matrix for decoded in done])[np.argsort(received)]
        else:
            matrix = np.empty((0, 0), np.float32)
        return EmbeddingResult(
            matrix,
            self.usage,
            self._model,
            tuple(decoded.served for decoded in done),
            start=positions[0],
            missing=tuple(sorted({*positions} - {*received}))
            if len(received) < len(positions)
            else (),
            errors=self.errors,
        )

    def _without_missing(self, piece: Batch) -> Batch:
        """The inputs that have a value. Raises InputError for the first other unless skipping."""
        for position, item in zip(piece.positions, piece.items, strict=True):
            if item == ():
                what = "missing value" if self._skip else f"missing value; {SKIP_HINT}"
                self._reject(InputError(f"input {position}: {what}", inputs=[position]))
        return piece.select([row for row, item in enumerate(piece.items) if item != ()])

    def _split_to_fit(self, piece: Batch) -> list[Batch]:
        """Pieces as large as the limits allow, the last one first."""
        count = len(piece.items)
        limit = self._limits.counts.get(self._model)
        size = (count + 1) // 2 if limit is None or limit.allowed >= count else limit.allowed
        return [piece.slice(start, start + size) for start in range(0, count, size)][::-1]

    def _learn_limit(self, exceeded: Literal["count", "size"]) -> None:
        """Splitting alone has helped, so the largest accepted piece is the limit."""
        if exceeded == "size":
            size = max(piece.size for piece, _ in self.accepted)
            self._limits.sizes[self._model] = Limit(size)
        else:
            count = max(len(piece.items) for piece, _ in self.accepted)
            self._limits.counts[self._model] = Limit(count)

    def succeeded(self, piece: Batch, decoded: Decoded) -> None:
        """Record a response. Inputs without a usable vector are queued once more, on their own.

        Raises the error of an input that stays without a vector, unless such inputs are skipped.
        """
        if len(decoded.matrix):
            try:
                self._width = check_width(self._width, decoded.matrix, decoded.served.positions)
            except ResponseError as error:
                if self._fresh(piece.positions):
                    raise
                self._reject(error)
                return
        for limit, used in self._limits.limits(self._model, piece):
            limit.accepted(used)
        self.accepted.append((piece, decoded))
        for suspect in self._suspects:  # this piece was accepted, so those inputs were at fault
            self._reject(suspect)
        self._suspects = ()
        if decoded.error is None:
            return
        fresh = self._fresh(decoded.error.inputs)
        if len(fresh) < len(decoded.error.inputs):
            self._reject(decoded.error)
        self._retried |= {*fresh}
        rows = [row for row, position in enumerate(piece.positions) if position in fresh]
        if rows:
            self._pending.append(piece.select(rows))

    def _fresh(self, positions: Sequence[int]) -> list[int]:
        """The inputs that may be requested once more."""
        return [p for p in positions if self._retry and p not in self._retried]

    def failed(
        self, piece: Batch, error: EmbeddingsError, *, as_base64: bool, proven: bool
    ) -> None:
        """Record that a request failed. Raises `error` if sending the inputs otherwise cannot help.

        `proven`: the service has accepted other inputs with the same options.
        """
        no_files = all(isinstance(item, str | list) for item in piece.items)
        if as_base64 and no_files and rejects_base64(error):
            self._limits.float_only.add(self._model)
            self._pending.append(piece)
        elif isinstance(error, BudgetExceededError) and len(piece.items) > 1:
            self._halve(piece)  # nothing was sent, and the budget may cover a smaller request
        elif not can_split(error):
            raise error
        elif len(piece.items) > 1:
            self._split(piece, error)
        elif proven or self.accepted:
            self._reject(error)
        else:
            self._probe(error)

    def _split(self, piece: Batch, error: EmbeddingsError) -> None:
        stated, exceeded = stated_limit(error), exceeded_limit(error)
        count = len(piece.items)
        counts, sizes = self._limits.counts, self._limits.sizes
        if stated is not None and stated < count:
            if (known := counts.get(self._model)) is None or known.value != stated:
                counts[self._model] = Limit(stated)
            self._pending.append(piece)
            return
        known = (sizes if exceeded == "size" else counts).get(self._model)
        used = piece.size if exceeded == "size" else count
        if known is None or used <= known.value:  # not a trial
            self._exceeded = exceeded
        self._halve(piece)

    def _halve(self, piece: Batch) -> None:
        count = len(piece.items)
        self._pending += [piece.slice(count // 2, count), piece.slice(0, count // 2)]

    def _probe(self, error: EmbeddingsError) -> None:
        """A single input was rejected and none accepted: is the input at fault, or the request?

        Inputs from other places are tried alone until one is accepted or enough are rejected.
        """
        self._suspects += (error,)
        if not self._pending:
            for suspect in self._suspects:
                self._reject(suspect)
        elif len(self._suspects) > _PROBES:
            error.inputs = tuple(self.batch.positions)
            raise error
        else:
            self._pending.sort(key=lambda piece: len(piece.items))
            largest = self._pending.pop()
            middle, count = len(largest.items) // 2, len(largest.items)
            around = [largest.slice(middle + 1, count), largest.slice(0, middle)]
            self._pending += [piece for piece in around if piece.items]
            self._pending.append(largest.slice(middle, middle + 1))

    def _reject(self, error: EmbeddingsError) -> None:
        """Raise the error of an input, or keep it if such inputs are skipped."""
        if not self._skip:
            raise error
        # the traceback of a kept error would keep the request and the response alive
        error.__traceback__ = error.__context__ = error.__cause__ = None
        self.errors |= dict.fromkeys(error.inputs, error)
