"""What becomes of a batch: sent whole, cut where it is too large, searched where an input is bad.

Nothing that was answered is sent again: a search keeps the answers of the halves that succeed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from openrouter_embeddings.errors import BudgetExceededError, InputError, ResponseError
from openrouter_embeddings.result import Usage

from .result_builder import same_width
from .retry_policy import can_divide, named_cap, refuses_base64, too_much
from .validate import SKIPPING

if TYPE_CHECKING:
    from collections.abc import Callable

    from openrouter_embeddings.errors import EmbeddingsError

    from .batching import Batch
    from .decode import Decoded

# Inputs that are tried alone before a request is held to be wrong as a whole.
_PROBES = 8


# Full requests that are accepted before a larger one is tried; twice as many after each refusal.
_PATIENCE = 32


@dataclass
class Cap:
    """The most that a request may hold, and when a larger one is tried.

    A cap is that of the provider which served the request, or was found by halving, and the next
    provider may take more. A refused trial costs nothing but itself: what it held is halved.
    """

    most: int
    _full: int = 0
    _patience: int = _PATIENCE

    @property
    def allowed(self) -> int:
        """The most that the next request may hold."""
        return 2 * self.most if self._full >= self._patience else self.most

    def sent(self, size: int) -> None:
        """A request begins. A larger one than is known to pass is a trial, and the only one."""
        if size > self.most:
            self._full, self._patience = 0, 2 * self._patience

    def accepted(self, size: int) -> None:
        """A request has passed."""
        if size > self.most:
            self.most, self._full, self._patience = size, 0, _PATIENCE
        elif 2 * size > self.most:
            self._full += 1


@dataclass
class ModelLimits:
    """What a client has learned of its models, for as long as it lives.

    Attributes:
        counts: inputs that a request may hold.
        weights: bytes of inputs that a request may hold, also where the provider counts tokens.
        floats: models whose providers refuse base64.
    """

    counts: dict[str, Cap] = field(default_factory=dict)
    weights: dict[str, Cap] = field(default_factory=dict)
    floats: set[str] = field(default_factory=set)

    def caps(self, model: str, batch: Batch) -> list[tuple[Cap, int]]:
        """The caps that are known, each with what the batch holds of it."""
        count, weight = self.counts.get(model), self.weights.get(model)
        known = [] if count is None else [(count, len(batch.items))]
        return known if weight is None else [*known, (weight, batch.weight)]

    def fits(self, model: str, batch: Batch) -> bool:
        """Whether a request may hold the batch, as far as is known. One input always fits."""
        caps = self.caps(model, batch)
        return len(batch.items) == 1 or all(size <= cap.allowed for cap, size in caps)


class BatchSplitter:
    """One batch: which pieces to send, what came of them, and when to give up.

    Args:
        batch: what shall be embedded.
        learned: of the client; read before a piece is sent, and added to.
        model: whose limits count.
        skip: go on without inputs that are refused.
        ask_again: ask once more for inputs without a usable vector.
        cautious: says whether the first input shall go alone, to learn its price.
    """

    def __init__(
        self,
        batch: Batch,
        learned: ModelLimits,
        model: str,
        *,
        skip: bool,
        ask_again: bool,
        cautious: Callable[[], bool] = lambda: False,
    ) -> None:
        self.batch = batch
        self.done: list[Decoded] = []
        self.errors: dict[int, EmbeddingsError] = {}
        self.usage: Usage = Usage()
        self._learned = learned
        self._model = model
        self._skip = skip
        self._to_send = [batch]
        self._accepted: list[Batch] = []
        self._asked_again = set() if ask_again else {*batch.positions}
        self._too_much: Literal["count", "size"] | None = None
        self._suspects: list[EmbeddingsError] = []
        self._cautious = cautious
        self._width: int | None = None

    def next(self) -> Batch | None:
        """The piece to send now; None when all has been dealt with."""
        while self._to_send:
            piece = self._to_send.pop()
            if () in piece.items:
                piece = self._without_missing(piece)
                self._to_send += [piece] if piece.items else []
            elif not self._learned.fits(self._model, piece):
                self._to_send += self._pieces(piece)
            elif len(piece.items) > 1 and self._cautious():
                self._to_send += [piece.cut(1, len(piece.items)), piece.cut(0, 1)]
            else:
                for cap, size in self._learned.caps(self._model, piece):
                    cap.sent(size)
                return piece
        if self._too_much and not self.errors:
            self._learn(self._too_much)
        return None

    def _without_missing(self, piece: Batch) -> Batch:
        """Only the inputs that have a value. Raises InputError unless others are skipped."""
        for position, item in zip(piece.positions, piece.items, strict=True):
            if item == ():
                what = "missing value" if self._skip else f"missing value; {SKIPPING}"
                self._blame(InputError(f"input {position}: {what}", inputs=[position]))
        return piece.pick([row for row, item in enumerate(piece.items) if item != ()])

    def _pieces(self, piece: Batch) -> list[Batch]:
        """As large as may be, the last one first."""
        count = len(piece.items)
        cap = self._learned.counts.get(self._model)
        size = (count + 1) // 2 if cap is None or cap.allowed >= count else cap.allowed
        return [piece.cut(start, start + size) for start in range(0, count, size)][::-1]

    def _learn(self, what: Literal["count", "size"]) -> None:
        """Where cutting alone has helped, the largest piece that was accepted is the limit."""
        if what == "size":
            most = max(piece.weight for piece in self._accepted)
            self._learned.weights[self._model] = Cap(most)
        else:
            self._learned.counts[self._model] = Cap(max(len(p.items) for p in self._accepted))

    def succeeded(self, piece: Batch, decoded: Decoded) -> None:
        """An answer came. Inputs without a usable vector are asked for once more, alone.

        Raises the error of an input where nothing helps, unless it is skipped.
        """
        if len(decoded.matrix):
            try:
                self._width = same_width(self._width, decoded.matrix, decoded.served.positions)
            except ResponseError as error:
                if not self._asked_again.issuperset(piece.positions):
                    raise
                self._blame(error)
                return
        self._accepted.append(piece)
        for known, size in self._learned.caps(self._model, piece):
            known.accepted(size)
        self.done.append(decoded)
        for suspect in self._suspects:  # others are accepted, so it was those inputs
            self._blame(suspect)
        self._suspects = []
        if decoded.refused is None:
            return
        fresh = [p for p in decoded.refused.inputs if p not in self._asked_again]
        if len(fresh) < len(decoded.refused.inputs):
            self._blame(decoded.refused)
        self._asked_again.update(fresh)
        rows = [row for row, position in enumerate(piece.positions) if position in fresh]
        if rows:
            self._to_send.append(piece.pick(rows))

    def failed(
        self, piece: Batch, error: EmbeddingsError, *, as_base64: bool, proven: bool
    ) -> None:
        """No answer came. Raises where no other way of sending the inputs can help.

        `proven` says that the service has accepted other inputs with the same options.
        """
        no_files = all(isinstance(item, str | list) for item in piece.items)
        if as_base64 and no_files and refuses_base64(error):
            self._learned.floats.add(self._model)
            self._to_send.append(piece)
        elif isinstance(error, BudgetExceededError) and len(piece.items) > 1:
            self._halve(piece)  # nothing was sent, and less may fit
        elif not can_divide(error):
            raise error
        elif len(piece.items) > 1:
            self._divide(piece, error)
        elif proven or self._accepted:
            self._blame(error)
        else:
            self._doubt(error)

    def _divide(self, piece: Batch, error: EmbeddingsError) -> None:
        cap, what = named_cap(error), too_much(error)
        count = len(piece.items)
        counts, weights = self._learned.counts, self._learned.weights
        if cap is not None and cap < count:
            if (known := counts.get(self._model)) is None or known.most != cap:
                counts[self._model] = Cap(cap)
            self._to_send.append(piece)
            return
        known = (weights if what == "size" else counts).get(self._model)
        is_trial = known is not None and (piece.weight if what == "size" else count) > known.most
        if not is_trial:
            self._too_much = what
        self._halve(piece)

    def _halve(self, piece: Batch) -> None:
        count = len(piece.items)
        self._to_send += [piece.cut(count // 2, count), piece.cut(0, count // 2)]

    def _doubt(self, error: EmbeddingsError) -> None:
        """One input is refused alone, and none has been accepted: is it the input, or all of it?

        Others are tried alone, here and there, until one is accepted or enough were refused.
        """
        self._suspects.append(error)
        if not self._to_send:
            for suspect in self._suspects:
                self._blame(suspect)
        elif len(self._suspects) > _PROBES:
            error.inputs = tuple(self.batch.positions)
            raise error
        else:
            self._to_send.sort(key=lambda piece: len(piece.items))
            largest = self._to_send.pop()
            middle, count = len(largest.items) // 2, len(largest.items)
            around = [largest.cut(middle + 1, count), largest.cut(0, middle)]
            self._to_send += [piece for piece in around if piece.items]
            self._to_send.append(largest.cut(middle, middle + 1))

    def _blame(self, error: EmbeddingsError) -> None:
        if not self._skip:
            raise error
        # a kept error would keep, by its traceback, the request and the answer alive
        error.__traceback__ = error.__context__ = error.__cause__ = None
        self.errors |= dict.fromkeys(error.inputs, error)
