"""What a call may still cost, decided before each request."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from openrouter_embeddings.result import EXACT

if TYPE_CHECKING:
    from openrouter_embeddings.result import Usage


@dataclass
class Budget:
    """Credits of a call or a job: spent, possibly spent, and promised to requests in flight.

    The price of a token is learned from answers: the dearest so far counts. Until there is one,
    only one request is in flight, of one input.

    Attributes:
        total: what it may cost at most.
        spent: what answers have cost, and at most what attempts cost whose answer never came.
        price: of a token; None until an answer tells it.
        unpriced: tokens of attempts without an answer, while no price was known.
        silent: an answer named no cost.
    """

    total: Decimal
    spent: Decimal = Decimal(0)
    price: Decimal | None = None
    unpriced: int = 0
    silent: bool = False
    _tokens: int = 0  # of requests in flight, at most
    _in_flight: int = 0

    @property
    def needs_price(self) -> bool:
        """Whether no answer has told the price of a token yet."""
        return self.price is None

    def verdict(self, tokens: int) -> Literal["go", "wait", "stop"]:
        """Whether a request of at most so many tokens may begin, now or when others have ended."""
        if self.silent or self.total <= self.spent:
            return "stop"
        if self.needs_price:
            return "wait" if self._in_flight else "go"
        if self._cost(tokens) > self.total:
            return "stop"
        return "go" if self._cost(self._tokens + tokens) <= self.total else "wait"

    def _cost(self, tokens: int) -> Decimal:
        return EXACT.add(self.spent, EXACT.multiply(self.price or Decimal(0), Decimal(tokens)))

    def begin(self, tokens: int) -> None:
        """A request begins, to which `verdict` has said go."""
        self._tokens += tokens
        self._in_flight += 1

    def end(self, tokens: int, *, maybe_billed: bool) -> None:
        """It has ended. What it cost was told to `spend`, unless no answer came."""
        if maybe_billed and self.price is None:
            self.unpriced += tokens
        elif maybe_billed:
            self.spent = self._cost(tokens)
        self._tokens -= tokens
        self._in_flight -= 1

    def spend(self, usage: Usage) -> None:
        """An answer came, even one that was refused here."""
        if usage.cost is None:
            self.silent = self.silent or usage.requests > 0
            return
        self.spent = EXACT.add(self.spent, usage.cost)
        price = EXACT.divide(usage.cost, Decimal(max(usage.total_tokens, 1)))
        self.price = max(price, self.price or price)
        self.spent, self.unpriced = self._cost(self.unpriced), 0

    @property
    def reason(self) -> str:
        """Why no more is sent, for an error."""
        if self.silent:
            return "an answer named no cost, so the budget cannot be kept"
        return (
            f"another request could pass the budget of {self.total:f} credits: {self.spent:f} are "
            "spent"
        )
