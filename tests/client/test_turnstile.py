"""Whoever waits for a turn gets one, whatever becomes of those before."""

import asyncio
from typing import Any, cast

import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.client._call import Call, Exchange
from openrouter_embeddings.client._turnstile import AsyncTurnstile
from openrouter_embeddings.core.divide import Learned
from openrouter_embeddings.core.options import Options
from openrouter_embeddings.core.plan import Batch


def exchange() -> Exchange:
    """One request of a call of its own."""
    call, batch = Call(Options(model="m", concurrency=1), Learned()), Batch([0], ["a"])
    return Exchange(call, call.divide(batch), batch)


async def pass_through(turnstile: AsyncTurnstile, one: Exchange, until: asyncio.Event) -> str:
    """Take a turn, and hold it until an event."""
    async with turnstile.turn(one):
        await until.wait()
    return "passed"


@pytest.mark.parametrize("how", ["its call is over", "its task is cancelled"])
def test_a_turn_that_is_not_taken_is_passed_on(how: str) -> None:
    """Two wait; the two that are woken first go away instead, and the third is not forgotten."""

    async def run() -> Any:
        turnstile, done = AsyncTurnstile(1), asyncio.Event()
        ones = [exchange() for _ in range(4)]
        tasks = [asyncio.create_task(pass_through(turnstile, one, done)) for one in ones]
        while len(turnstile._waiting) < 3:  # noqa: ASYNC110 - nothing tells when a task waits
            await asyncio.sleep(0)
        for one, task in zip(ones[1:3], tasks[1:3], strict=True):
            if how == "its call is over":
                one.call.over.set()
            else:
                task.cancel()
        done.set()
        async with asyncio.timeout(10):
            return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third, last = cast("list[Any]", asyncio.run(run()))
    assert (first, last) == ("passed", "passed")
    gone = ore.EmbeddingsError if how == "its call is over" else asyncio.CancelledError
    assert isinstance(second, gone)
    assert isinstance(third, gone)
