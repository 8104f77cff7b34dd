"""What users of embeddings clients have run into, one test a line of the list, in its order."""

import asyncio
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
    """TEXTS through a service with faults."""
    service = Service(*faults)
    with service.client() as client:
        return client.embed(TEXTS, **options), service


def always(kind: str, **more: Any) -> Fault:
    """A fault of every request."""
    return Fault(kind, probability=1.0, **more)


def test_01_no_embedding_data_received() -> None:
    """An error, or nothing, inside a 200 is a typed error with code, provider, id and snippet."""
    failed = {"error": {"code": 400, "message": "no", "metadata": {"provider_name": "Acme"}}}
    with pytest.raises(ore.BadRequestError) as caught:
        Scripted(lambda *_: {**failed, "id": "gen-9"}).embed("sync", "a")
    assert (caught.value.code, caught.value.provider) == (400, "Acme")
    assert caught.value.request_id == "gen-9"
    assert "Acme" in (caught.value.body or "")
    with pytest.raises(ore.ResponseError, match="0 embeddings for 1 inputs"):
        Scripted(lambda *_: answer([])).embed("sync", "a")


def test_02_texts_are_sent_as_texts() -> None:
    """Tokens of some tokenizer are sent only when the caller gives tokens."""
    service = Scripted()
    service.embed("sync", ["a b c", "d"])
    assert service.bodies[0]["input"] == ["a b c", "d"]


def test_03_base64_that_is_ignored_or_refused() -> None:
    """Floats are read in its place, and asked for from then on where it is refused."""
    ignored, _ = embedded(always("floats"))
    refused, service = embedded(Fault("no-base64"), batch_size=3, concurrency=1)
    assert np.array_equal(ignored.vectors, RIGHT)
    assert np.array_equal(refused.vectors, RIGHT)
    assert service.faults.refused == {400: 1}


def test_04_an_unset_field_is_never_sent() -> None:
    """Servers refuse `encoding_format: null`."""
    service = Scripted()
    service.embed("sync", "a", dimensions=None, user=None, provider=None)
    assert service.bodies[0].keys() == {"input", "model", "encoding_format"}


def test_05_vectors_in_another_order() -> None:
    """`index` places them; a mixture or a duplicate is an error."""
    assert np.array_equal(embedded(always("shuffled"))[0].vectors, RIGHT)
    assert np.array_equal(embedded(always("no-index"))[0].vectors, RIGHT)
    for kind in ("some-indices", "duplicate-index", "index-out-of-range"):
        with pytest.raises(ore.ResponseError, match="indices other than"):
            embedded(always(kind))


def test_06_fewer_vectors_than_inputs() -> None:
    """Never padded, never zipped short."""
    with pytest.raises(ore.ResponseError, match="11 embeddings for 12 inputs"):
        embedded(always("missing-item"))


def test_07_a_providers_error_hidden_in_a_200() -> None:
    """Its code counts as the status, so a passing one is retried."""
    result, service = embedded(Fault("error-in-200", status=503, requests=[0]))
    assert np.array_equal(result.vectors, RIGHT)
    assert service.faults.requests == 2


def test_08_tail_latency_of_minutes() -> None:
    """An attempt has a time-out, and the call has a deadline."""
    with pytest.raises(ore.APITimeoutError):
        embedded(always("stall", seconds=3600), max_retries=0)
    with pytest.raises(ore.DeadlineExceededError):
        embedded(always("status", status=429, retry_after=60), deadline=30)


def test_09_time_outs_that_multiply_with_retries() -> None:
    """One layer retries: so many attempts as were allowed, and no more."""
    with pytest.raises(ore.APITimeoutError) as caught:
        embedded(always("slow-headers", seconds=3600), max_retries=2)
    assert caught.value.usage is not None
    assert caught.value.usage.unanswered == 3


def test_10_storms_of_429() -> None:
    """The client learns how fast the service lets it be, and finishes."""
    result, service = embedded(Fault("rate-limit", per_second=5, burst=2), batch_size=1)
    assert np.array_equal(result.vectors, RIGHT)
    assert service.faults.refused[429] < 12


def test_11_caps_that_differ_by_provider() -> None:
    """Learned from the refusal."""
    for fault in (Fault("batch-cap", at_most=5), Fault("payload-cap", at_most=200)):
        assert np.array_equal(embedded(fault)[0].vectors, RIGHT)


def test_12_one_bad_input_kills_its_batch() -> None:
    """It is found, and the rest comes."""
    with pytest.raises(ore.BadRequestError) as caught:
        embedded(Fault("poison", text="text 7"))
    assert caught.value.inputs == (7,)
    result, _ = embedded(Fault("poison", text="text 7"), on_error="skip")
    assert [*np.flatnonzero(~result.mask)] == [7]


def test_13_event_loop_is_closed() -> None:
    """The blocking client needs no loop, in one or out of one."""

    async def inside() -> ore.EmbeddingResult:
        return ore.Client.local(model="local/hash").embed("a")

    assert len(asyncio.run(inside())) == 1


def test_14_cost_lost_on_the_way() -> None:
    """Exact, and summed over everything that was billed."""
    result, service = embedded(Fault("empty-data", requests=[1]), batch_size=5, concurrency=1)
    billed = sum(Decimal(str(bill.cost)) for bill in service.faults.billed)
    assert result.usage.cost == billed > 0
    assert result.usage.requests == len(service.faults.billed) == 4


def test_15_dimensions_ignored() -> None:
    """Another width than asked for is an error."""
    with pytest.raises(ore.ResponseError, match="requested 3 dimensions, got 4"):
        Scripted().embed("sync", ["a"], dimensions=3)


def test_16_vectors_that_poison_an_index() -> None:
    """Zero, or of another width: asked for again, and never handed on."""
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
    """Who served which rows is kept, and a provider can be pinned."""
    service = Scripted(lambda body, n: answer(body["input"], provider=f"P{n}"))
    pinned = {"only": ["acme"], "allow_fallbacks": False}
    result = service.embed("sync", ["a", "b"], batch_size=1, concurrency=1, provider=pinned)
    assert [(s.provider, [*s.positions]) for s in result.served] == [("P0", [0]), ("P1", [1])]
    assert service.bodies[0]["provider"] == pinned


def test_19_images_labelled_with_a_wrong_type() -> None:
    """The type is told by the bytes; tests/test_images.py has EXIF, shrinking and bounds."""
    service = Scripted()
    service.embed("sync", ore.Image(PNG))
    url = service.bodies[0]["input"][0]["content"][0]["image_url"]["url"]
    assert url.startswith("data:image/png;base64,")


def test_20_the_wrong_multimodal_shape() -> None:
    """The error shows the right one."""
    with pytest.raises(ore.InputError, match=r'\{"content": \['):
        ore.Client.local().embed({"type": "text", "text": "a"})


def test_21_query_and_document_roles() -> None:
    """Each has its method."""
    service = Scripted()
    service.run("sync", lambda client: client.embed_query("a"))
    service.run("sync", lambda client: client.embed_documents(["a"]))
    roles = [body["input_type"] for body in service.bodies]
    assert roles == ["search_query", "search_document"]


def test_22_lone_surrogates() -> None:
    """Refused before anything is sent, with the position."""
    service = Scripted()
    with pytest.raises(ore.InputError, match="input 1: UTF-8 cannot encode the lone") as caught:
        service.embed("sync", ["a", "b\ud800"])
    assert caught.value.inputs == (1,)
    assert service.requests == []


def test_23_which_preference_excluded_everything() -> None:
    """The service's own words reach the caller, with the preferences that the call had."""
    said = "No endpoints found matching your data policy (Free model publication)"
    body = {"error": {"code": 404, "message": said}}
    service = Scripted(lambda *_: lambda: httpx.Response(404, json=body))
    with pytest.raises(ore.NotFoundError, match=r"data policy .*of the call: only, zdr\)"):
        service.embed("sync", "a", provider={"zdr": True, "only": ["acme"]})


def test_the_right_service_gives_the_expected() -> None:
    """What the tests above compare with."""
    assert np.array_equal(Scripted().embed("sync", TEXTS).vectors, expected(TEXTS))
