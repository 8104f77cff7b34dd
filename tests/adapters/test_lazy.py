"""The clients behind the adapters, without any framework."""

import asyncio
import json
import re
import threading
from contextlib import closing
from decimal import Decimal
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.adapters import _lazy
from openrouter_embeddings.adapters._lazy import LazyClient, for_each_input
from openrouter_embeddings.local.faults import Faults
from openrouter_embeddings.testing import Service

from stress.servers import served
from tests.adapters.contract import MODEL, TEXTS, AdapterContract
from tests.support import KEY


class TestLazyClient(AdapterContract):
    """The contract of the adapters, for what they share."""

    can_skip = True

    def make(self, **options: Any) -> Any:
        """A lazy client."""
        return LazyClient(options, can_skip=True)  # type: ignore[arg-type]

    def documents(self, adapter: Any, texts: list[str]) -> Any:
        """Lists, and None for what was skipped."""
        result = adapter.embed(texts, "document")
        return for_each_input(result.vectors.tolist(), result)

    async def adocuments(self, adapter: Any, texts: list[str]) -> Any:
        """The same for asyncio."""
        result = await adapter.aembed(texts, "document")
        return for_each_input(result.vectors.tolist(), result)

    def query(self, adapter: Any, text: str) -> Any:
        """A row."""
        return adapter.embed([text], "query").vectors[0]

    async def aquery(self, adapter: Any, text: str) -> Any:
        """The same for asyncio."""
        return (await adapter.aembed([text], "query")).vectors[0]

    def save(self, adapter: Any) -> str:
        """JSON."""
        return json.dumps(adapter.config())

    def load(self, saved: str) -> Any:
        """From JSON."""
        return LazyClient(json.loads(saved), can_skip=True)

    def search(self, adapter: Any, passages: list[str], question: str) -> str:
        """With numpy."""
        vectors = adapter.embed(passages, "document").vectors
        return passages[int(np.argmax(vectors @ adapter.embed([question], "query").vectors[0]))]

    def lazy(self, adapter: Any) -> LazyClient:
        """Itself."""
        assert isinstance(adapter, LazyClient)
        return adapter


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"client": ore.AsyncClient.local}, "client: expected an instance of Client, got method"),
        ({"async_client": 5}, "async_client: expected an instance of AsyncClient, got int"),
        ({"local": True, "api_key": KEY}, "local=True needs neither api_key nor base_url"),
        ({"query_input_type": 5}, "input_type: expected a str, got 5"),
        ({"budget": "much"}, "budget: expected a Decimal"),
        ({"api_key": "two words"}, "the API key must be a str of printable ASCII"),
        ({"api_key": 5}, "the API key must be a str"),
        ({"on_error": "skip"}, "this framework expects one for each text"),
        ({"local": "false"}, "local: expected a bool, got str"),
        ({"api_key_env_var": 5}, "api_key_env_var: expected a str, got int"),
    ],
)
def test_a_wrong_option_raises_when_the_adapter_is_made(options: Any, message: str) -> None:
    """The message names the option."""
    with pytest.raises(ore.InputError, match=re.escape(message)):
        LazyClient(options)


def test_an_argument_of_clients_is_passed_with_a_client() -> None:
    """Adapters have fewer arguments than clients; the error says where the others go."""
    with pytest.raises(TypeError, match="'http_client'; pass it to the client: Client"):
        LazyClient({"http_client": 5})  # type: ignore[typeddict-unknown-key]


def test_a_secret_of_pydantic_is_a_key() -> None:
    """The adapters of LangChain and others take it."""

    class SecretStr:
        def get_secret_value(self) -> str:
            return KEY

    with served(Faults()) as url, closing(lazy(api_key=SecretStr(), base_url=url)) as client:
        assert client.embed(["a"]).shape == (1, 8)


def test_a_text_in_place_of_a_list_is_an_error() -> None:
    """Its letters would be embedded otherwise."""
    with pytest.raises(ore.InputError, match="expected a list of texts, got a str"):
        lazy(local=True).embed("a text")


@pytest.mark.parametrize("numbers", [[2021, 2022], np.array([1, 2]), ["a", 1]])
async def test_numbers_in_place_of_texts_are_an_error(numbers: Any) -> None:
    """A column of years would be one vector otherwise, that of a text as tokens."""
    faults = Faults()
    with served(faults) as url, closing(lazy(api_key=KEY, base_url=url)) as client:
        with pytest.raises(ore.InputError, match="expected a text, got a number") as caught:
            client.embed(numbers)
        assert caught.value.inputs == (len(numbers) - 1 if "a" in numbers else 0,)
        with pytest.raises(ore.InputError, match="expected a text, got a number"):
            await client.aembed(numbers)
    assert faults.requests == 0


def test_async_methods_use_an_async_client_of_the_caller() -> None:
    """Sync methods then need a client as well."""
    service = Service()

    async def use() -> None:
        async with service.async_client(**MODEL) as given:
            client = LazyClient({"async_client": given})
            assert (await client.aembed(["a"])).shape == (1, 8)
            await client.aclose()
            await given.embed("b")
            with pytest.raises(ore.InputError, match=r"needs client=…, and only async_client=…"):
                client.embed(["a"])

    asyncio.run(use())
    assert service.faults.requests == 2


def test_async_methods_outside_asyncio_raise_input_error() -> None:
    """In trio, for example."""
    with pytest.raises(ore.InputError, match="async methods need asyncio"):
        lazy(local=True).aembed(["a"]).send(None)


def test_the_options_override_the_defaults_of_a_client() -> None:
    """The client keeps its own."""
    with Service().client(**MODEL) as given:
        assert LazyClient({"client": given, "dimensions": 5}).embed(["a"]).shape == (1, 5)
        assert given.embed(["a"]).shape == (1, 8)


def test_the_configuration_is_plain_json_and_makes_the_same_options() -> None:
    """A budget, too, which is a Decimal."""
    provider: Any = {"order": ["a"], "max_price": {"prompt": 0.5}}
    client = lazy(budget=Decimal("0.10"), provider=provider, query_input_type=None, local=True)
    config = client.config()
    assert json.loads(json.dumps(config)) == config
    assert config["budget"] == "0.10"
    again = LazyClient(json.loads(json.dumps(config)))
    assert repr(again) == repr(client)


def test_threads_share_a_client_and_its_usage() -> None:
    """However many start at the same time."""
    start = threading.Barrier(8, timeout=30)
    clients = []

    def work() -> None:
        start.wait()
        clients.append(client._process)
        for text in TEXTS:
            client.embed([text])

    with served(Faults()) as url, closing(lazy(api_key=KEY, base_url=url)) as client:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.usage.requests == 8 * len(TEXTS)
        assert len({id(one.client) for one in clients}) == 1


def test_an_empty_list_gives_a_matrix_of_the_right_width() -> None:
    """If the options say it."""
    assert lazy(local=True).embed([]).shape == (0, 8)
    assert lazy(local=True).embed([], dimensions=3).shape == (0, 3)


def test_a_closed_one_opens_again() -> None:
    """As frameworks do that stop and start their components; usage goes on."""
    with served(Faults()) as url, closing(lazy(api_key=KEY, base_url=url)) as client:
        client.embed(["a"])
        client.close()
        client.embed(["a"])
        assert client.usage.requests == 2


def lazy(**options: Any) -> LazyClient:
    """One with a small model."""
    given: Any = {**MODEL, **options}
    return LazyClient(given)


def test_clients_with_the_same_configuration_and_key_can_be_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a framework makes an adapter for each call; not if the service or the key differs."""
    monkeypatch.setattr(_lazy, "_SHARED", {})
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    first = LazyClient({"model": "m"}).shared()
    assert LazyClient({"model": "m"}).shared() is first
    assert LazyClient({"api_key": KEY, "model": "m"}).shared() is not first
    assert LazyClient({"model": "n"}).shared() is not first
    assert LazyClient({"api_key": f"{KEY}2", "model": "m"}).shared() is not first
    monkeypatch.setenv("OPENROUTER_API_KEY", f"{KEY}2")
    assert LazyClient({"model": "m"}).shared() is not first
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    monkeypatch.setenv("OPENROUTER_BASE_URL", "http://127.0.0.1:1")
    assert LazyClient({"model": "m"}).shared() is not first
    assert KEY not in repr(_lazy._SHARED)


def test_a_shared_client_keeps_the_key_and_the_service_of_its_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also if it is first used, or used again, after the environment has changed."""
    monkeypatch.setattr(_lazy, "_SHARED", {})
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    with served(Faults()) as url:
        monkeypatch.setenv("OPENROUTER_BASE_URL", url)
        shared = lazy().shared()
        monkeypatch.setenv("OPENROUTER_API_KEY", "sk-another")
        monkeypatch.setenv("OPENROUTER_BASE_URL", "http://127.0.0.1:1")
        for _ in range(2):
            shared.embed(["a"])
            assert shared._process.client is not None
            assert shared._process.client._transport._key.reveal() == KEY
            shared.close()


def test_one_without_a_key_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key that it gets later may be another one; the stand-in needs none."""
    monkeypatch.setattr(_lazy, "_SHARED", {})
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    client = LazyClient({"model": "m"})
    assert client.shared() is client
    assert LazyClient({"model": "m"}).shared() is not client
    assert lazy(local=True).shared() is lazy(local=True).shared()


def test_what_cannot_be_saved_is_not_shared() -> None:
    """No framework can make it anew."""
    for _ in range(2):
        headers = LazyClient({"model": "m", "headers": {"X-A": "b"}})
        assert headers.shared() is headers
