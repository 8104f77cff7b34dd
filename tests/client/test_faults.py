"""Every fault that the stand-in plays ends in the exact matrix or in the right typed error."""

from typing import Any, cast

import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.local.faults import Fault, Faults
from openrouter_embeddings.testing import Service

from stress.scenarios import BATCHES, EXPECTED, SCENARIOS, TEXTS, Scenario, embed, judge
from tests.support import KINDS, Kind


def service_of(faults: Faults) -> Service:
    """A service with a whole script."""
    service = Service()
    service.faults = faults
    return service


def run(kind: Kind, service: Service, **options: Any) -> ore.EmbeddingResult:
    """TEXTS through a client of the service."""
    make = service.client if kind == "sync" else service.async_client
    return embed(kind, make, cast("ore.EmbedOptions", options))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batches", BATCHES)
@pytest.mark.parametrize("how", ["once", "always"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_a_fault_ends_in_the_matrix_or_in_its_error(
    scenario: Scenario, how: str, batches: str, kind: Kind
) -> None:
    """Right rows, all that was billed reported, and nothing billed twice in silence."""
    faults = scenario.script(how)
    service = service_of(faults)
    outcome = judge(lambda: run(kind, service, **BATCHES[batches]), faults)
    assert outcome.problems == ()
    wanted = scenario.once if how == "once" else scenario.always
    assert outcome.error is wanted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batches", BATCHES)
def test_a_poisonous_input_is_named(kind: Kind, batches: str) -> None:
    """By its position, whatever the batch; the others that came are in `partial`."""
    service = Service(Fault("poison", text="number 13"))
    with pytest.raises(ore.BadRequestError) as caught:
        run(kind, service, **BATCHES[batches])
    assert caught.value.inputs == (13,)
    partial = caught.value.partial
    assert partial is not None
    assert not partial.mask[13]
    assert np.array_equal(partial.vectors, EXPECTED[partial.mask])
    assert service.faults.billed_twice() == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batches", BATCHES)
def test_poisonous_inputs_are_skipped(kind: Kind, batches: str) -> None:
    """The rest comes, with a mask and the errors by position."""
    service = Service(Fault("poison", text="number 3"), Fault("poison", text="number 17"))
    result = run(kind, service, **{**BATCHES[batches], "on_error": "skip"})
    assert [*np.flatnonzero(~result.mask)] == [3, 17]
    assert [*result.missing] == [3, 17]
    assert np.array_equal(result.vectors, EXPECTED[result.mask])
    assert {type(error) for error in result.errors.values()} == {ore.BadRequestError}
    assert sorted(result.errors) == [3, 17]
    assert service.faults.billed_twice() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_cap_is_learned_for_the_clients_life(kind: Kind) -> None:
    """The second call does not run into it again."""
    service = Service(Fault("batch-cap", at_most=7))

    if kind == "sync":
        client = service.client()
        client.embed(TEXTS)
        before = service.faults.refused[400]
        assert np.array_equal(client.embed(TEXTS).vectors, EXPECTED)
        assert service.faults.refused[400] == before == 1
    else:
        other = service.async_client()

        async def twice() -> Any:
            await other.embed(TEXTS)
            return (await other.embed(TEXTS)).vectors

        import asyncio

        assert np.array_equal(asyncio.run(twice()), EXPECTED)
        assert service.faults.refused[400] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_base64_that_is_refused_is_given_up_for_good(kind: Kind) -> None:
    """One refusal in the client's life, then floats."""
    service = Service(Fault("no-base64"))
    result = run(kind, service, batch_size=4, concurrency=1)
    assert np.array_equal(result.vectors, EXPECTED)
    assert service.faults.refused[400] == 1
