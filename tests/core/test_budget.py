"""The budget of a call, checked before each request."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.core.budget import Budget
from openrouter_embeddings.result import Usage


def usage(tokens: int, cost: str | None) -> Usage:
    """What a response reports."""
    money = None if cost is None else Decimal(cost)
    return Usage(prompt_tokens=tokens, total_tokens=tokens, cost=money, requests=1)


@given(
    st.lists(st.tuples(st.integers(1, 100), st.integers(0, 100)), max_size=40), st.integers(1, 400)
)
def test_the_budget_is_never_exceeded(requests: list[tuple[int, int]], total: int) -> None:
    """It holds for any requests if the price is constant and token counts are upper bounds."""
    budget = Budget(Decimal(total))
    spent = 0
    for reserved, used in requests:
        if spent and budget.verdict(reserved) != "go":
            continue
        tokens = min(reserved, used)
        budget.begin(reserved)
        budget.spend(usage(tokens, str(tokens)))
        budget.end(reserved, maybe_billed=False)
        first = not spent
        spent += tokens
        assert first or spent <= total


def test_the_first_request_goes_alone() -> None:
    """No second request starts while the price is unknown."""
    budget = Budget(Decimal(1))
    assert budget.verdict(10) == "go"
    budget.begin(10)
    assert budget.verdict(10) == "wait"
    budget.spend(usage(10, "0.1"))
    budget.end(10, maybe_billed=False)
    assert budget.verdict(90) == "go"
    assert budget.verdict(91) == "stop"


def test_requests_in_flight_count_with_their_maximum_cost() -> None:
    """A request may have to wait until another ends and costs less than reserved."""
    budget = Budget(Decimal(1))
    budget.begin(10)
    budget.spend(usage(10, "0.1"))
    budget.end(10, maybe_billed=False)
    budget.begin(60)
    assert budget.verdict(40) == "wait"
    budget.spend(usage(5, "0.05"))
    budget.end(60, maybe_billed=False)
    assert budget.verdict(40) == "go"


def test_a_request_without_a_response_counts_with_its_maximum_cost() -> None:
    """It may have been billed."""
    budget = Budget(Decimal(1))
    budget.begin(10)
    budget.spend(usage(10, "0.1"))
    budget.end(10, maybe_billed=False)
    budget.begin(50)
    budget.end(50, maybe_billed=True)
    assert budget.spent == Decimal("0.6")


def test_a_response_without_a_cost_stops_the_call() -> None:
    """A budget that cannot be enforced allows no further request."""
    budget = Budget(Decimal(1))
    budget.begin(10)
    budget.spend(usage(10, None))
    budget.end(10, maybe_billed=False)
    assert budget.verdict(1) == "stop"
    assert "no cost" in budget.reason


def test_a_response_from_the_services_cache_shows_no_price() -> None:
    """It reports no tokens and no cost; what came before it is charged when a price is known."""
    budget = Budget(Decimal(1))
    budget.begin(20)
    budget.end(20, maybe_billed=True)
    budget.begin(10)
    budget.spend(usage(0, "0"))
    budget.end(10, maybe_billed=False)
    assert budget.needs_price
    budget.begin(10)
    assert budget.verdict(1) == "wait"
    budget.spend(usage(10, "0.1"))
    budget.spend(usage(0, "0"))
    assert (budget.price, budget.spent) == (Decimal("0.01"), Decimal("0.3"))


def test_free_responses_allow_full_batches_one_at_a_time() -> None:
    """A paid provider may answer the next request, so no other may be in flight with it."""
    budget = Budget(Decimal(1))
    budget.begin(10)
    budget.spend(usage(10, "0"))
    budget.end(10, maybe_billed=False)
    assert not budget.needs_price
    assert budget.verdict(10**9) == "go"
    budget.begin(10**9)
    assert budget.verdict(1) == "wait"


@given(
    st.lists(
        st.tuples(
            st.integers(1, 100),  # the upper bound for the tokens of a request
            st.integers(0, 100),  # its tokens
            st.sampled_from(["free", "cached", "paid"]),
            st.integers(1, 8),  # how many may be in flight
            st.booleans(),  # whether the oldest one ends first
        ),
        max_size=60,
    ),
    st.integers(1, 400),
)
def test_only_the_first_billed_request_can_exceed_the_budget(
    requests: list[tuple[int, int, str, int, bool]], total: int
) -> None:
    """It holds for any order of free, cached and paid responses, and with any number in flight."""
    budget = Budget(Decimal(total))
    in_flight: list[tuple[int, int, str]] = []
    costs: list[int] = []

    def finish(at: int) -> None:
        reserved, tokens, kind = in_flight.pop(at)
        cost = tokens if kind == "paid" else 0
        budget.spend(usage(0 if kind == "cached" else tokens, str(cost)))
        budget.end(reserved, maybe_billed=False)
        costs.extend([cost] if cost else [])

    for reserved, used, kind, most, oldest in requests:
        while in_flight and (len(in_flight) >= most or budget.verdict(reserved) == "wait"):
            finish(0 if oldest else -1)
        if budget.verdict(reserved) == "go":
            budget.begin(reserved)
            in_flight.append((reserved, min(reserved, used), kind))
    while in_flight:
        finish(0)
    assert sum(costs) <= total or len(costs) == 1


def test_lost_requests_are_charged_after_free_responses() -> None:
    """A price of zero charges nothing for them; the first other price does."""
    budget = Budget(Decimal(1), price=Decimal(0))
    budget.begin(20)
    budget.end(20, maybe_billed=True)
    budget.spend(usage(10, "0"))
    budget.spend(usage(10, "0.1"))
    assert budget.spent == Decimal("0.3")


def test_a_budget_of_zero_allows_no_request() -> None:
    """Not even the first request starts."""
    assert Budget(Decimal(0)).verdict(1) == "stop"


def test_unpriced_attempts_are_charged_once_a_price_is_known() -> None:
    """Attempts without a response count as soon as a response shows the price."""
    budget = Budget(Decimal(1))
    for _ in range(3):
        budget.begin(20)
        budget.end(20, maybe_billed=True)
    budget.begin(20)
    budget.spend(usage(20, "0.2"))
    budget.end(20, maybe_billed=False)
    assert budget.spent == Decimal("0.8")
