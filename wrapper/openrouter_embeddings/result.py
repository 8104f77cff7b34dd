"""What a call returns, `EmbeddingResult`, and the base of what it raises, `EmbeddingsError`.

Both are here because each can hold the other: a result lists the errors of skipped inputs, an error
carries the partial result. The module needs no numpy at import, so that `errors` loads quickly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Context, Decimal
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import DTypeLike, NDArray

    Matrix: TypeAlias = NDArray[np.float32]


T = TypeVar("T")
EXACT = Context(prec=60)  # sums of costs ignore the precision that the caller has set


@dataclass(frozen=True, slots=True)
class Usage:
    """What the service reported as used, summed over all responses that arrived.

    A response that fails validation (a zero vector, say) and is requested again counts as well,
    because it was billed.

    Attributes:
        prompt_tokens: tokens in the inputs.
        total_tokens: all tokens.
        cost: credits (US dollars), exact; None if no response stated a cost.
        prompt_tokens_details: tokens by modality under the API's names (`text_tokens`,
            `image_tokens`, …); empty if the service gave no breakdown.
        is_byok: whether your own provider key was used, so that the provider bills part of it: True
            if any response says so, False if responses only deny it, None if none says.
        cost_details: credits under the API's names (`upstream_inference_prompt_cost`, …), exact;
            empty if the service gave none.
        requests: number of responses.
        unanswered: attempts without a complete response, or that a gateway timed out (408, 504,
            520, 524). The service reported no usage for them but may have billed them.
        refused: vectors that arrived but failed validation, and were requested again or raised.
            They were billed.
        retries: attempts made because the previous one failed.
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
        """The sum, field by field."""
        costs = [c for c in (self.cost, other.cost) if c is not None]
        byok = [used for used in (self.is_byok, other.is_byok) if used is not None]
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
    """The sums by name. A name that only one side has keeps its value."""
    both = {name: add(one[name], other[name]) for name in one if name in other}
    return {**one, **other, **both}


@dataclass(frozen=True, slots=True)
class Served:
    """One response behind a result.

    Attributes:
        positions: the inputs whose vectors came with this response.
        model: the model as the service named it; it may differ from the requested one.
        provider: who served the request, if the response says.
        id: the service's identifier of the response, if given.
        usage: of this response alone.
        body: the whole response except `data`, including fields outside the specification.
        headers: a few HTTP headers of the response, with lower-case names: identifiers for support
            (`x-generation-id`, `x-request-id`, `request-id`, `cf-ray`), the service's cache
            (`x-openrouter-cache-status`: "HIT" or "MISS", …), rate limits (`x-ratelimit-remaining`,
            …, `retry-after`).
    """

    positions: Sequence[int]
    model: str | None
    provider: str | None
    id: str | None
    usage: Usage
    body: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingResult:
    """The vectors of a call: one row per input, in the order of the inputs.

    With `on_error="skip"`, and in an error's `partial`, some inputs have no row. Nothing is padded:
    `np.flatnonzero(result.mask)` gives the input of each row.

    `len(result)`, `result[i]`, iteration and `np.asarray(result)` use `vectors`.

    Attributes:
        vectors: float32, shape (inputs, dimensions), C-contiguous.
        usage: tokens and cost, summed over every response of the call.
        requested_model: the model that the call named.
        served: the responses behind the rows, in order.
        start: position of the first input; 0 except in parts of a stream.
        missing: positions of inputs without a row, in order; usually empty.
        errors: the error of each input that was skipped, by position.
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
        import numpy as np  # noqa: PLC0415 - see the module's docstring

        mask = np.ones(len(self.vectors) + len(self.missing), np.bool_)
        mask[np.asarray(self.missing, np.intp) - self.start] = False
        return mask

    @property
    def model(self) -> str:
        """The model as the first response named it; `served` has that of every response."""
        return next((s.model for s in self.served if s.model), self.requested_model)

    @property
    def providers(self) -> tuple[str, ...]:
        """Who served the call: each provider once, in order of appearance; empty if unknown."""
        return tuple(dict.fromkeys(s.provider for s in self.served if s.provider))

    @property
    def ids(self) -> tuple[str, ...]:
        """The service's identifiers of the responses, in order."""
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
        """What `np.asarray(result)` returns: `vectors` itself unless another dtype is requested."""
        wanted = self.vectors.dtype if dtype is None else dtype
        if copy is False and self.vectors.dtype != wanted:
            raise ValueError("the vectors are float32; another dtype needs a copy")
        return self.vectors.astype(wanted, copy=bool(copy))

    def __repr__(self) -> str:
        """Shape, model and cost in one line."""
        rows, width = self.vectors.shape
        cost = "unknown" if self.usage.cost is None else f"{self.usage.cost:f}"
        missing = f"missing={len(self.missing)}, " if self.missing else ""
        return (
            f"EmbeddingResult(shape=({rows}, {width}), {missing}model={self.model!r}, "
            f"prompt_tokens={self.usage.prompt_tokens}, cost={cost})"
        )


class EmbeddingsError(Exception):
    """Base of every exception this package raises on purpose.

    Attributes (None or empty if unknown):
        message: what happened, in one sentence.
        status: HTTP status, or the code of an error inside a 200 response.
        code: the API's own `error.code`.
        provider: who served the request, if the service said.
        request_id: the identifier to give to support.
        retry_after: seconds the service asked to wait.
        body: the beginning of the response, without secrets.
        inputs: positions of the inputs concerned, counted in what the caller passed.
        usage: what the call had used by then, as the service reported it.
        partial: the vectors that the call had received, and so paid for, by then; its `mask` says
            of which inputs. None if there are none. For a stream: those not yet yielded.
    """

    partial: EmbeddingResult | None = None

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: int | str | None = None,
        provider: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        body: str | None = None,
        inputs: Iterable[int] = (),
        usage: Usage | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.provider = provider
        self.request_id = request_id
        self.retry_after = retry_after
        self.body = body
        self.inputs: tuple[int, ...] = tuple(inputs)
        self.usage = usage

    def __str__(self) -> str:
        """The message, followed by the known details in brackets."""
        details = {
            "status": self.status,
            "code": None if self.code == self.status else self.code,
            "provider": self.provider,
            "request id": self.request_id,
            "retry after": f"{self.retry_after:g} s" if self.retry_after is not None else None,
            "input" if len(self.inputs) == 1 else "inputs": (
                format_positions(self.inputs) if self.inputs else None
            ),
        }
        known = ", ".join(f"{name} {value}" for name, value in details.items() if value is not None)
        return f"{self.message} [{known}]" if known else self.message


def format_positions(positions: Iterable[int], *, max_ranges: int = 8) -> str:
    """Sorted positions as ranges, `0, 3-7, 12`, truncated after `max_ranges` of them."""
    ranges: list[list[int]] = []
    for position in sorted(positions):
        if ranges and position == ranges[-1][1] + 1:
            ranges[-1][1] = position
        else:
            ranges.append([position, position])
    shown = [str(a) if a == b else f"{a}-{b}" for a, b in ranges[:max_ranges]]
    return ", ".join(shown) + (", …" if len(ranges) > max_ranges else "")
