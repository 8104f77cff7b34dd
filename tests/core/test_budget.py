"""The budget of a call, decided before each request."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.core.budget import Budget
from openrouter_embeddings.result import Usage


def usage(tokens: int, cost: str | None) -> Usage:
    """What an answer reports."""
    money = None if cost is None else Decimal(cost)
    return Usage(prompt_tokens=tokens, total_tokens=tokens, cost=money, requests=1)


@given(
    st.lists(st.tuples(st.integers(1, 100), st.integers(0, 100)), max_size=40),
    st.integers(1, 400),
)
def test_it_is_never_passed(requests: list[tuple[int, int]], total: int) -> None:
    """Whatever the requests weigh, as long as the price holds and no token is missed."""
    budget = Budget(Decimal(total))
    spent = 0
    for most, really in requests:
        if spent and budget.verdict(most) != "go":
            continue
        tokens = min(most, really)
        budget.begin(most)
        budget.spend(usage(tokens, str(tokens)))
        budget.end(most, maybe_billed=False)
        first = not spent
        spent += tokens
        assert first or spent <= total


def test_the_first_request_goes_alone() -> None:
    """There is no price yet."""
    budget = Budget(Decimal(1))
    assert budget.verdict(10) == "go"
    budget.begin(10)
    assert budget.verdict(10) == "wait"
    budget.spend(usage(10, "0.1"))
    budget.end(10, maybe_billed=False)
    assert budget.verdict(90) == "go"
    assert budget.verdict(91) == "stop"


def test_what_is_in_flight_counts() -> None:
    """It may still cost as much as it can; when it is done there may be room."""
    budget = Budget(Decimal(1))
    budget.begin(10)
    budget.spend(usage(10, "0.1"))
    budget.end(10, maybe_billed=False)
    budget.begin(60)
    assert budget.verdict(40) == "wait"
    budget.spend(usage(5, "0.05"))
    budget.end(60, maybe_billed=False)
    assert budget.verdict(40) == "go"


def test_a_request_without_an_answer_may_have_been_billed() -> None:
    """It counts as much as it can have cost."""
    budget = Budget(Decimal(1))
    budget.begin(10)
    budget.spend(usage(10, "0.1"))
    budget.end(10, maybe_billed=False)
    budget.begin(50)
    budget.end(50, maybe_billed=True)
    assert budget.spent == Decimal("0.6")


def test_an_answer_without_a_cost_ends_it() -> None:
    """A budget that cannot be kept is not pretended."""
    budget = Budget(Decimal(1))
    budget.begin(10)
    budget.spend(usage(10, None))
    budget.end(10, maybe_billed=False)
    assert budget.verdict(1) == "stop"
    assert "no cost" in budget.reason


def test_nothing_may_be_spent() -> None:
    """Not even a first request."""
    assert Budget(Decimal(0)).verdict(1) == "stop"


def test_attempts_without_an_answer_are_charged_when_there_is_a_price() -> None:
    """They may have been billed before anybody knew how dearly."""
    budget = Budget(Decimal(1))
    for _ in range(3):
        budget.begin(20)
        budget.end(20, maybe_billed=True)
    budget.begin(20)
    budget.spend(usage(20, "0.2"))
    budget.end(20, maybe_billed=False)
    assert budget.spent == Decimal("0.8")
