"""Each fault of the stand-in ends in the exact matrix or in the right error."""

from typing import Any, cast

import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.local.faults import Fault
from openrouter_embeddings.testing import Service

from stress.scenarios import BATCHES, EXPECTED, SCENARIOS, TEXTS, Scenario, embed, judge
from tests.support import Kind, both, client_of


def run(kind: Kind, service: Service, **options: Any) -> ore.EmbeddingResult:
    """Embed TEXTS with a client of the service."""
    make = service.client if kind == "sync" else service.async_client
    return embed(kind, make, cast("ore.EmbedOptions", options))


@both
@pytest.mark.parametrize("batches", BATCHES)
@pytest.mark.parametrize("how", ["once", "always"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_a_fault_ends_in_the_matrix_or_in_the_expected_error(
    scenario: Scenario, how: str, batches: str, kind: Kind
) -> None:
    """Rows are right, everything billed is reported, and nothing is billed twice silently."""
    service = Service()
    service.faults = scenario.script(how)
    outcome = judge(lambda: run(kind, service, **BATCHES[batches]), service.faults)
    assert outcome.problems == ()
    wanted = scenario.once if how == "once" else scenario.always
    assert outcome.error is wanted


@both
@pytest.mark.parametrize("batches", BATCHES)
def test_an_input_that_the_service_rejects_is_named(kind: Kind, batches: str) -> None:
    """The error has its position, whatever its batch, and `partial` has the other vectors."""
    service = Service(Fault("poison", text="number 13"))
    with pytest.raises(ore.BadRequestError) as caught:
        run(kind, service, **BATCHES[batches])
    assert caught.value.inputs == (13,)
    partial = caught.value.partial
    assert partial is not None
    assert not partial.mask[13]
    assert np.array_equal(partial.vectors, EXPECTED[partial.mask])
    assert service.faults.billed_twice() == 0


@both
@pytest.mark.parametrize("batches", BATCHES)
def test_rejected_inputs_are_skipped(kind: Kind, batches: str) -> None:
    """With `on_error="skip"` the other rows arrive, with a mask and the errors by position."""
    service = Service(Fault("poison", text="number 3"), Fault("poison", text="number 17"))
    result = run(kind, service, **{**BATCHES[batches], "on_error": "skip"})
    assert [*np.flatnonzero(~result.mask)] == [3, 17]
    assert [*result.missing] == [3, 17]
    assert np.array_equal(result.vectors, EXPECTED[result.mask])
    assert {type(error) for error in result.errors.values()} == {ore.BadRequestError}
    assert sorted(result.errors) == [3, 17]
    assert service.faults.billed_twice() == 0


@both
def test_a_client_remembers_the_batch_limit_of_the_service(kind: Kind) -> None:
    """The second call sends no batch that is too large."""
    service = Service(Fault("batch-cap", at_most=7))
    with client_of(service, kind) as client:
        client.embed(TEXTS)
        assert service.faults.refused[400] == 1
        assert np.array_equal(client.embed(TEXTS).vectors, EXPECTED)
    assert service.faults.refused[400] == 1


@both
def test_a_client_remembers_that_base64_is_rejected(kind: Kind) -> None:
    """After one rejected request the client asks for floats."""
    service = Service(Fault("no-base64"))
    result = run(kind, service, batch_size=4, concurrency=1)
    assert np.array_equal(result.vectors, EXPECTED)
    assert service.faults.refused[400] == 1
