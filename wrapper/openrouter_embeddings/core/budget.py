"""Decides before each request whether the budget of a call or a job still covers it.

The price of a token depends on the provider that serves the request, so it is learned from the
`usage.cost` of responses.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from openrouter_embeddings.result import EXACT, Usage


@dataclass
class Budget:
    """Credits of a call or a job: spent, possibly spent, and reserved for requests in flight.

    The highest price per token seen so far counts. Until a response has a cost, only one request is
    in flight, so that only one can exceed the budget: a paid provider may follow free ones. The
    first requests have one input each. A response from the service's cache shows no price: it has
    no tokens and no cost.

    Attributes:
        total: the most that the call may cost.
        spent: the cost of all responses, plus an upper bound for attempts without a response.
        price: of a token; None until a response shows it, 0 while all were free.
        unpriced: tokens of attempts without a response before a response had a cost.
        cost_missing: whether a response stated no cost.
    """

    total: Decimal
    spent: Decimal = Decimal(0)
    price: Decimal | None = None
    unpriced: int = 0
    cost_missing: bool = False
    _tokens: int = 0  # upper bound for the requests in flight
    _in_flight: int = 0

    @property
    def needs_price(self) -> bool:
        """Whether no response has shown the price of a token yet."""
        return self.price is None

    def verdict(self, tokens: int) -> Literal["go", "wait", "stop"]:
        """Whether a request of up to `tokens` tokens may start now, may start later, or never."""
        if self.cost_missing or self.total <= self.spent:
            return "stop"
        if not self.price:
            return "wait" if self._in_flight else "go"
        if self._cost(tokens) > self.total:
            return "stop"
        return "go" if self._cost(self._tokens + tokens) <= self.total else "wait"

    def _cost(self, tokens: int) -> Decimal:
        return EXACT.add(self.spent, EXACT.multiply(self.price or Decimal(0), Decimal(tokens)))

    def begin(self, tokens: int) -> None:
        """Reserve the cost of a request that starts, after `verdict` returned "go"."""
        self._tokens += tokens
        self._in_flight += 1

    def end(self, tokens: int, *, maybe_billed: bool) -> None:
        """Release the reservation. `maybe_billed`: no response came, so assume the full cost."""
        if maybe_billed and not self.price:
            self.unpriced += tokens
        elif maybe_billed:
            self.spent = self._cost(tokens)
        self._tokens -= tokens
        self._in_flight -= 1

    def spend(self, usage: Usage) -> None:
        """Count the cost of a response, including one that fails validation."""
        if usage.cost is None:
            self.cost_missing = self.cost_missing or usage.requests > 0
            return
        if not (usage.cost or usage.total_tokens):
            return
        self.spent = EXACT.add(self.spent, usage.cost)
        price = EXACT.divide(usage.cost, Decimal(max(usage.total_tokens, 1)))
        self.price = max(price, self.price or price)
        if self.price:
            self.spent, self.unpriced = self._cost(self.unpriced), 0

    @property
    def reason(self) -> str:
        """Why no more requests may start, for an error message."""
        if self.cost_missing:
            return "a response stated no cost, so the budget cannot be enforced; embed without one"
        return (
            f"the next request might exceed the budget of {self.total:f} credits, of which "
            f"{self.spent:f} are spent; raise the budget to continue"
        )
