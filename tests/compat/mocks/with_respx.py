"""respx, which replaces methods of httpcore by default, and of httpx if asked."""

from typing import Any

import httpx
import pytest
import respx  # pyright: ignore[reportMissingImports]
from openrouter_embeddings.testing import no_waiting

from tests.compat.mocks.service import REFUSED, answer, check_own_connections, embed
from tests.compat.rows import Row

ROW = Row("respx", how='nothing to set up, with its default and with `using="httpx"`')
CASES = [
    pytest.param(kind, using, marks=mark)
    for kind, mark in (("sync", ROW.sync), ("async", ROW.asynchronous))
    for using in ("httpcore", "httpx")
]


@pytest.mark.parametrize(("kind", "using"), CASES)
def test_the_mock_answers_and_ends(kind: str, using: str) -> None:
    """429, then 200; afterwards requests are sent again."""
    responses: Any = [
        httpx.Response(429, json={"error": {"code": 429, "message": "slow down"}}),
        httpx.Response(200, json=answer(["a", "bb"])),
    ]
    with no_waiting(), respx.mock(using=using) as router:
        route = router.post(f"{REFUSED}/embeddings").mock(side_effect=responses)
        (result,) = embed(kind, REFUSED, ["a", "bb"])
    assert route.call_count == 2
    assert result.usage.retries == 1
    check_own_connections(kind)
