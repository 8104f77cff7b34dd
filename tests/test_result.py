"""Results: adding up usage."""

from decimal import Decimal, localcontext
from functools import reduce
from operator import add

import openrouter_embeddings as ore
import pytest
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.sampled_from(["a", "b", "c"])
COSTS = st.decimals(0, 10, places=12)
USAGES = st.lists(
    st.builds(
        ore.Usage,
        prompt_tokens=st.integers(0, 99),
        total_tokens=st.integers(0, 99),
        cost=st.none() | COSTS,
        prompt_tokens_details=st.dictionaries(NAMES, st.integers(0, 99)),
        is_byok=st.none() | st.booleans(),
        cost_details=st.dictionaries(NAMES, COSTS),
        requests=st.integers(0, 9),
    ),
    max_size=6,
)


@given(USAGES)
def test_usage_is_summed_by_name(usages: list[ore.Usage]) -> None:
    """A name that only some responses have is summed over those; others are absent."""
    whole = reduce(add, usages, ore.Usage())
    assert whole.total_tokens == sum(usage.total_tokens for usage in usages)
    costs = [usage.cost for usage in usages if usage.cost is not None]
    assert whole.cost == (sum(costs) if costs else None)
    for name in "abc":
        tokens = [u.prompt_tokens_details[name] for u in usages if name in u.prompt_tokens_details]
        assert whole.prompt_tokens_details.get(name) == (sum(tokens) if tokens else None)
        parts = [u.cost_details[name] for u in usages if name in u.cost_details]
        assert whole.cost_details.get(name) == (sum(parts) if parts else None)


@pytest.mark.parametrize(
    ("said", "whole"),
    [
        ([], None),
        ([None, None], None),
        ([None, False], False),
        ([False, False], False),
        ([False, True, None], True),
    ],
)
def test_is_byok_is_true_if_any_response_says_so(
    said: list[bool | None], whole: bool | None
) -> None:
    """It is None if no response says."""
    usages = [ore.Usage(is_byok=each) for each in said]
    assert reduce(add, usages, ore.Usage()).is_byok is whole


def test_costs_add_up_exactly_in_any_decimal_context() -> None:
    """A decimal context of three digits does not round them."""
    cost = Decimal("1.23456789e-7")
    one = ore.Usage(cost=cost, cost_details={"upstream_inference_cost": cost})
    with localcontext(prec=3):
        both = one + one
    assert both.cost == both.cost_details["upstream_inference_cost"] == Decimal("2.46913578e-7")
