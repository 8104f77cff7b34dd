"""Problems that users of embeddings clients have reported, in the order of the list."""

from decimal import Decimal
from typing import Any

import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.local.faults import Fault
from openrouter_embeddings.testing import Service

from tests.support import PNG, answer, expected
from tests.support import Service as Scripted

TEXTS = [f"text {number}" for number in range(12)]
RIGHT = ore.Client.local(model="local/hash").embed(TEXTS).vectors


def embedded(*faults: Fault, **options: Any) -> tuple[ore.EmbeddingResult, Service]:
    """Embed TEXTS through a service with faults."""
    service = Service(*faults)
    with service.client() as client:
        return client.embed(TEXTS, **options), service


def always(kind: str, **more: Any) -> Fault:
    """A fault in every request."""
    return Fault(kind, probability=1.0, **more)


def test_01_no_embedding_data_received() -> None:
    """An error or no data in a 200 raises an error with code, provider, ID and excerpt."""
    failed = {"error": {"code": 400, "message": "no", "metadata": {"provider_name": "Acme"}}}
    with pytest.raises(ore.BadRequestError) as caught:
        Scripted(lambda *_: {**failed, "id": "gen-9"}).embed("sync", "a")
    assert (caught.value.code, caught.value.provider) == (400, "Acme")
    assert caught.value.request_id == "gen-9"
    assert "Acme" in (caught.value.body or "")
    with pytest.raises(ore.ResponseError, match="0 embeddings for 1 inputs"):
        Scripted(lambda *_: answer([])).embed("sync", "a")


def test_02_texts_are_sent_as_texts() -> None:
    """Tokens are sent only if the caller passes tokens."""
    service = Scripted()
    service.embed("sync", ["a b c", "d"])
    assert service.bodies[0]["input"] == ["a b c", "d"]


def test_03_base64_that_is_ignored_or_rejected() -> None:
    """The client reads floats instead, and asks for floats once base64 was rejected."""
    ignored, _ = embedded(always("floats"))
    refused, service = embedded(Fault("no-base64"), batch_size=3, concurrency=1)
    assert np.array_equal(ignored.vectors, RIGHT)
    assert np.array_equal(refused.vectors, RIGHT)
    assert service.faults.refused == {400: 1}


def test_04_an_unset_field_is_never_sent() -> None:
    """Some servers reject `encoding_format: null`."""
    service = Scripted()
    service.embed("sync", "a", dimensions=None, user=None, provider=None)
    assert service.bodies[0].keys() == {"input", "model", "encoding_format"}


def test_05_vectors_in_another_order() -> None:
    """`index` gives the order; a duplicate, or indices on some items only, raise."""
    assert np.array_equal(embedded(always("shuffled"))[0].vectors, RIGHT)
    assert np.array_equal(embedded(always("no-index"))[0].vectors, RIGHT)
    for kind in ("some-indices", "duplicate-index", "index-out-of-range"):
        with pytest.raises(ore.ResponseError, match="indices other than"):
            embedded(always(kind))


def test_06_fewer_vectors_than_inputs() -> None:
    """A short response raises; rows are neither padded nor dropped."""
    with pytest.raises(ore.ResponseError, match="11 embeddings for 12 inputs"):
        embedded(always("missing-item"))


def test_07_an_error_of_the_provider_inside_a_200() -> None:
    """The code inside counts as the status, so a transient error is retried."""
    result, service = embedded(Fault("error-in-200", status=503, requests=[0]))
    assert np.array_equal(result.vectors, RIGHT)
    assert service.faults.requests == 2


def test_08_tail_latency_of_minutes() -> None:
    """An attempt has a timeout, and the call has a deadline."""
    with pytest.raises(ore.APITimeoutError):
        embedded(always("stall", seconds=3600), max_retries=0)
    with pytest.raises(ore.DeadlineExceededError):
        embedded(always("status", status=429, retry_after=60), deadline=30)


def test_09_timeouts_that_multiply_with_retries() -> None:
    """Only one layer retries, so there are exactly as many attempts as allowed."""
    with pytest.raises(ore.APITimeoutError) as caught:
        embedded(always("slow-headers", seconds=3600), max_retries=2)
    assert caught.value.usage is not None
    assert caught.value.usage.unanswered == 3


def test_10_storms_of_429() -> None:
    """The client learns how fast the service allows it to send, and finishes."""
    result, service = embedded(Fault("rate-limit", per_second=5, burst=2), batch_size=1)
    assert np.array_equal(result.vectors, RIGHT)
    assert service.faults.refused[429] < 12


def test_11_batch_limits_that_differ_by_provider() -> None:
    """The client learns each limit from the error."""
    for fault in (Fault("batch-cap", at_most=5), Fault("payload-cap", at_most=200)):
        assert np.array_equal(embedded(fault)[0].vectors, RIGHT)


def test_12_one_bad_input_fails_its_batch() -> None:
    """The client finds the bad input, and returns the others."""
    with pytest.raises(ore.BadRequestError) as caught:
        embedded(Fault("poison", text="text 7"))
    assert caught.value.inputs == (7,)
    result, _ = embedded(Fault("poison", text="text 7"), on_error="skip")
    assert [*np.flatnonzero(~result.mask)] == [7]


async def test_13_event_loop_is_closed() -> None:
    """The blocking client needs no event loop, and works inside a running one."""
    assert len(ore.Client.local(model="local/hash").embed("a")) == 1


def test_14_cost_that_is_not_reported() -> None:
    """The cost is exact and includes everything that was billed."""
    result, service = embedded(Fault("empty-data", requests=[1]), batch_size=5, concurrency=1)
    billed = sum(Decimal(str(bill.cost)) for bill in service.faults.billed)
    assert result.usage.cost == billed > 0
    assert result.usage.requests == len(service.faults.billed) == 4


def test_15_dimensions_ignored() -> None:
    """A width other than the requested one raises."""
    with pytest.raises(ore.ResponseError, match="requested 3 dimensions, got 4"):
        Scripted().embed("sync", ["a"], dimensions=3)


def test_16_vectors_that_corrupt_an_index() -> None:
    """Zero vectors and vectors of another width are requested again, and never returned."""
    for kind in ("zero-vector", "wrong-width"):
        result, _ = embedded(Fault(kind, requests=[0]))
        assert np.array_equal(result.vectors, RIGHT)
        with pytest.raises(ore.ResponseError):
            embedded(always(kind))


def test_17_nan_or_null_in_vectors() -> None:
    """The error names the inputs."""
    for kind in ("nan-vector", "null-vector"):
        with pytest.raises(ore.ResponseError) as caught:
            embedded(always(kind))
        assert len(caught.value.inputs) == 1


def test_18_the_same_model_differs_between_providers() -> None:
    """The result says which provider served which rows, and a call can pin a provider."""
    service = Scripted(lambda body, n: answer(body["input"], provider=f"P{n}"))
    pinned = {"only": ["acme"], "allow_fallbacks": False}
    result = service.embed("sync", ["a", "b"], batch_size=1, concurrency=1, provider=pinned)
    assert [(s.provider, [*s.positions]) for s in result.served] == [("P0", [0]), ("P1", [1])]
    assert service.bodies[0]["provider"] == pinned


def test_19_images_labelled_with_a_wrong_type() -> None:
    """The bytes decide the media type; tests/test_images.py has EXIF, shrinking and bounds."""
    service = Scripted()
    service.embed("sync", ore.Image(PNG))
    url = service.bodies[0]["input"][0]["content"][0]["image_url"]["url"]
    assert url.startswith("data:image/png;base64,")


def test_20_the_wrong_multimodal_shape() -> None:
    """The error shows the right shape."""
    with pytest.raises(ore.InputError, match=r'\{"content": \['):
        ore.Client.local().embed({"type": "text", "text": "a"})


def test_21_query_and_document_roles() -> None:
    """Each role has its own method."""
    service = Scripted()
    service.run("sync", lambda client: client.embed_query("a"))
    service.run("sync", lambda client: client.embed_documents(["a"]))
    assert [body["input_type"] for body in service.bodies] == ["search_query", "search_document"]


def test_22_lone_surrogates() -> None:
    """A lone surrogate raises before anything is sent, with its position."""
    service = Scripted()
    with pytest.raises(ore.InputError, match="input 1: UTF-8 cannot encode the lone") as caught:
        service.embed("sync", ["a", "b\ud800"])
    assert caught.value.inputs == (1,)
    assert service.requests == []


def test_23_which_preference_excluded_everything() -> None:
    """The error has the service's message and the provider preferences of the call."""
    message = "No endpoints found matching your data policy (Free model publication)"
    body = {"error": {"code": 404, "message": message}}
    service = Scripted(lambda *_: lambda: httpx.Response(404, json=body))
    with pytest.raises(ore.NotFoundError, match=r"data policy .*of the call: only, zdr\)"):
        service.embed("sync", "a", provider={"zdr": True, "only": ["acme"]})


def test_a_service_without_faults_gives_the_expected_matrix() -> None:
    """This is the matrix that the tests above compare with."""
    assert np.array_equal(Scripted().embed("sync", TEXTS).vectors, expected(TEXTS))
