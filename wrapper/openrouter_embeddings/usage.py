"""What the service reported as used, `Usage`."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Context, Decimal
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
        if self is NO_USAGE:
            return other
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


NO_USAGE = Usage()  # where sums begin: one object for all calls that wait


def _added(one: Mapping[str, T], other: Mapping[str, T], add: Callable[[T, T], T]) -> dict[str, T]:
    """The sums by name. A name that only one side has keeps its value."""
    both = {name: add(one[name], other[name]) for name in one if name in other}
    return {**one, **other, **both}
