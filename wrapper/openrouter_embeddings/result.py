"""What a call gives back: the vectors, what they cost, and who made them."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Context, Decimal
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

    from .errors import EmbeddingsError

    Matrix: TypeAlias = NDArray[np.float32]


T = TypeVar("T")
EXACT = Context(prec=60)  # whatever precision the caller works with


@dataclass(frozen=True, slots=True)
class Usage:
    """What the service reported as used, summed over the requests whose answer arrived.

    An answer that was refused here (a zero vector, say) and asked for again counts too: it was
    billed.

    Attributes:
        prompt_tokens: tokens in the inputs.
        total_tokens: tokens altogether.
        cost: credits (US dollars), exact; None where no answer named a cost.
        prompt_tokens_details: tokens by modality under the API's names (`text_tokens`,
            `image_tokens`, …); empty where the service gave no breakdown.
        is_byok: whether a provider key of your own was used: True where any answer says so, so
            that the provider bills a part of it, False where the answers that say it all deny it,
            None where none says it.
        cost_details: credits by the API's names (`upstream_inference_prompt_cost`, …), exact;
            empty where the service gave none.
        requests: answers counted.
        unanswered: attempts that were sent and got no whole answer, or that a gateway gave up
            (408, 504, 520, 524). The service may have billed them; it reported nothing.
        refused: vectors that came and could not be used, and were asked for again or raised. They
            were billed.
        retries: attempts that were made because the one before had failed.
    """

    prompt_tokens: int = 0
    total_tokens: int = 0
    cost: Decimal | None = None
    prompt_tokens_details: Mapping[str, int] = field(default_factory=dict)
    is_byok: bool | None = None
    cost_details: Mapping[str, Decimal] = field(default_factory=dict)
    requests: int = 0
    unanswered: int = 0
    refused: int = 0
    retries: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Both together."""
        costs = [c for c in (self.cost, other.cost) if c is not None]
        byok = [said for said in (self.is_byok, other.is_byok) if said is not None]
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
            cost=reduce(EXACT.add, costs) if costs else None,
            prompt_tokens_details=_added(
                self.prompt_tokens_details, other.prompt_tokens_details, add
            ),
            is_byok=any(byok) if byok else None,
            cost_details=_added(self.cost_details, other.cost_details, EXACT.add),
            requests=self.requests + other.requests,
            unanswered=self.unanswered + other.unanswered,
            refused=self.refused + other.refused,
            retries=self.retries + other.retries,
        )


def _added(one: Mapping[str, T], other: Mapping[str, T], add: Callable[[T, T], T]) -> dict[str, T]:
    """By name; what only one has is its own."""
    both = {name: add(one[name], other[name]) for name in one if name in other}
    return {**one, **other, **both}


@dataclass(frozen=True, slots=True)
class Served:
    """One answer of the service that is in a result: which inputs, from whom, and all it said.

    Attributes:
        positions: the inputs whose vectors came with this answer.
        model: the model as the service named it; it may differ from the one asked for.
        provider: who served it, where said.
        id: the service's identifier of the answer, where given.
        usage: of this answer alone.
        body: the whole answer but for `data`: also what the specification does not list.
    """

    positions: Sequence[int]
    model: str | None
    provider: str | None
    id: str | None
    usage: Usage
    body: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingResult:
    """The vectors of a call, one row an input, in the order of the inputs.

    With `on_error="skip"`, and in an error's `partial`, inputs may have no row: nothing is padded,
    and `np.flatnonzero(result.mask)` are the inputs that the rows belong to.

    `len(result)`, `result[i]`, iteration and `np.asarray(result)` go to `vectors`.

    Attributes:
        vectors: float32, shape (inputs, dimensions), C-contiguous.
        usage: tokens and cost over every answer of the call.
        requested_model: the model that was asked for.
        served: the answers behind the rows, in order.
        start: position of the first input; 0 except in parts of a stream.
        missing: positions of inputs without a row, in order; empty as a rule.
        errors: why, by position, where it was the input's fault.
    """

    vectors: Matrix
    usage: Usage
    requested_model: str
    served: Sequence[Served]
    start: int = 0
    missing: Sequence[int] = ()
    errors: Mapping[int, EmbeddingsError] = field(default_factory=dict)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Which inputs have a row: bool, shape (inputs,)."""
        mask = np.ones(len(self.vectors) + len(self.missing), np.bool_)
        mask[np.asarray(self.missing, np.intp) - self.start] = False
        return mask

    @property
    def model(self) -> str:
        """The model as the (first) answer named it; `served` has every answer's."""
        return next((s.model for s in self.served if s.model), self.requested_model)

    @property
    def providers(self) -> tuple[str, ...]:
        """Who served the call, each once, in order of appearance; empty where unsaid."""
        return tuple(dict.fromkeys(s.provider for s in self.served if s.provider))

    @property
    def ids(self) -> tuple[str, ...]:
        """The service's identifiers of the answers, in order."""
        return tuple(s.id for s in self.served if s.id)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.vectors)

    def __getitem__(self, key: Any) -> Any:
        """`vectors[key]`."""
        return self.vectors[key]

    def __iter__(self) -> Iterator[Matrix]:
        """The rows, each of shape (dimensions,)."""
        return iter(self.vectors)

    def __array__(
        self,
        dtype: DTypeLike | None = None,
        copy: bool | None = None,  # noqa: FBT001 - the protocol of numpy 2
    ) -> NDArray[Any]:
        """What `np.asarray(result)` gives: `vectors` itself unless another dtype is asked for."""
        if copy is False and dtype is not None and np.dtype(dtype) != np.float32:
            raise ValueError("the vectors are float32; another dtype needs a copy")
        return (
            np.array(self.vectors, dtype=dtype, copy=True)
            if copy
            else np.asarray(self.vectors, dtype=dtype)
        )

    def __repr__(self) -> str:
        """Shape, model and cost, in a line."""
        rows, width = self.vectors.shape
        cost = "unknown" if self.usage.cost is None else f"{self.usage.cost:f}"
        missing = f"missing={len(self.missing)}, " if self.missing else ""
        return (
            f"EmbeddingResult(shape=({rows}, {width}), {missing}model={self.model!r}, "
            f"prompt_tokens={self.usage.prompt_tokens}, cost={cost})"
        )
