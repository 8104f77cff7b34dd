"""Pydantic AI: the contract of all adapters, and its `Embedder`."""

from decimal import Decimal
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.adapters.pydantic_ai import OpenRouterEmbeddingModel
from openrouter_embeddings.local.faults import Faults
from pydantic_ai import Embedder  # pyright: ignore[reportMissingImports]
from pydantic_ai.embeddings import InstrumentedEmbeddingModel  # pyright: ignore[reportMissingImports]
from pydantic_ai.models import (  # pyright: ignore[reportMissingImports]
    override_allow_model_requests,
)

from stress.servers import served
from tests.adapters.contract import BATCHES, MODEL, TEXTS, AdapterContract, Recording, assert_same
from tests.adapters.page import run_section
from tests.compat.loopback import KEY


class TestPydanticAI(AdapterContract):
    """The contract."""

    kinds = ("async",)

    def make(self, **options: Any) -> OpenRouterEmbeddingModel:
        """An embedding model."""
        return OpenRouterEmbeddingModel(**options)

    async def adocuments(self, adapter: Any, texts: list[str]) -> Any:
        """`Embedder.embed_documents`."""
        return (await Embedder(adapter).embed_documents(texts)).embeddings

    async def aquery(self, adapter: Any, text: str) -> Any:
        """`Embedder.embed_query`."""
        (vector,) = (await Embedder(adapter).embed_query(text)).embeddings
        return vector

    def search(self, adapter: Any, passages: list[str], question: str) -> str:
        """Pydantic AI has no index of its own, so NumPy compares the vectors."""
        documents = self.called("async", adapter, passages)
        query = Embedder(adapter).embed_query_sync(question).embeddings[0]
        return passages[int(np.argmax(np.array(documents) @ np.array(query)))]


@pytest.fixture
def model() -> OpenRouterEmbeddingModel:
    """A small and fast one."""
    return OpenRouterEmbeddingModel(local=True, **MODEL)


@pytest.mark.anyio
async def test_a_result_has_what_the_service_reported() -> None:
    """Tokens, the exact cost, providers, model and identifier."""
    faults = Faults()
    with served(faults) as url:
        model = OpenRouterEmbeddingModel(api_key=KEY, base_url=url, **BATCHES)
        one = await Embedder(model).embed_query(TEXTS[1])
        many = await Embedder(model).embed_documents(TEXTS)
        await model.aclose()
    assert one[TEXTS[1]] == many.embeddings[1] == many[TEXTS[1]]
    assert (one.input_type, many.input_type) == ("query", "document")
    assert [*many.inputs] == TEXTS
    assert one.model_name == model.model_name == "local/hash"
    assert one.provider_name == model.system == "openrouter"
    assert one.provider_response_id
    assert many.provider_response_id is None  # four responses
    assert isinstance(one.usage.cost, Decimal)
    assert one.usage.cost + many.usage.cost == model.usage.cost
    assert one.usage.input_tokens + many.usage.input_tokens == model.usage.prompt_tokens
    assert one.provider_details == {"cost": float(one.usage.cost), "providers": ["Local"]}


def test_the_sync_methods_can_be_called_again_and_again(model: OpenRouterEmbeddingModel) -> None:
    """Pydantic AI runs the async ones in an event loop, which it reuses."""
    embedder = Embedder(model)
    results = [embedder.embed_documents_sync(TEXTS) for _ in range(3)]
    for result in results:
        assert_same(result.embeddings, results[0].embeddings)
    assert model.usage.requests == 3


def test_settings_override_options(model: OpenRouterEmbeddingModel) -> None:
    """Those of a call come before those of an embedder; settings of other providers are ignored."""
    embedder = Embedder(model, settings={"dimensions": 3})
    settings: Any = {"dimensions": 2, "cohere_truncate": "END", "truncate": False}
    results = [
        embedder.embed_query_sync("a"),
        embedder.embed_query_sync("a", settings=settings),
        Embedder(model).embed_query_sync("a"),
    ]
    assert [len(result.embeddings[0]) for result in results] == [3, 2, 8]


@pytest.mark.anyio
async def test_more_fields_can_be_sent() -> None:
    """`extra_body` of a call instead of the option."""
    with Recording() as service:
        model = OpenRouterEmbeddingModel(
            api_key=KEY, base_url=service.url, model="m", extra_body={"a": 1}
        )
        await Embedder(model).embed_query("a")
        await Embedder(model).embed_query("a", settings={"extra_body": {"b": 2}})
        await model.aclose()
    assert [(body.get("a"), body.get("b")) for body in service.asked] == [(1, None), (None, 2)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"truncate": True}, "truncate=True is not possible"),
        ({"dimensions": 0}, "dimensions: expected an integer"),
        ({"extra_headers": {"Authorization": "Bearer swordfish"}}, "Authorization"),
        ({"extra_headers": {"X-A": "a\nb"}}, "X-A"),
        ({"extra_body": {"model": "other"}}, "model"),
    ],
)
def test_a_setting_that_cannot_be_sent_is_an_error(
    settings: Any, message: str, model: OpenRouterEmbeddingModel
) -> None:
    """Before anything is sent."""
    with pytest.raises(ore.InputError, match=message) as caught:
        Embedder(model).embed_query_sync("a", settings=settings)
    assert "swordfish" not in str(caught.value)
    assert model.usage.requests == 0


def test_requests_can_be_forbidden(model: OpenRouterEmbeddingModel) -> None:
    """As tests of programs with Pydantic AI do; the stand-in is no request."""
    remote = OpenRouterEmbeddingModel(api_key=KEY, model="m")
    with override_allow_model_requests(False):
        with pytest.raises(RuntimeError, match="Model requests are not allowed"):
            Embedder(remote).embed_query_sync("a")
        assert Embedder(model).embed_query_sync("a").embeddings


@pytest.mark.anyio
async def test_instrumentation_changes_nothing(model: OpenRouterEmbeddingModel) -> None:
    """Pydantic AI wraps the model."""
    plain = await Embedder(model).embed_documents(TEXTS)
    wrapped = await Embedder(InstrumentedEmbeddingModel(model)).embed_documents(TEXTS)
    assert_same(wrapped.embeddings, plain.embeddings)
    assert wrapped.usage == plain.usage


def test_an_unknown_price_raises_as_elsewhere(model: OpenRouterEmbeddingModel) -> None:
    """`cost()` estimates from a table; `usage.cost` is what was billed."""
    result = Embedder(model).embed_query_sync("a")
    with pytest.raises(LookupError):
        result.cost()
    assert result.usage.cost == model.usage.cost


def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what the page shows."""
    run_section("Pydantic AI", capsys)
