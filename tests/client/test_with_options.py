"""`with_options`: clients with other defaults that share connections, queue and limits."""

import asyncio
import copy
import gc
import threading
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings import testing
from openrouter_embeddings.local.faults import Fault, Faults
from openrouter_embeddings.testing import JumpingClock

from stress.servers import served
from tests.http_service import HTTPService
from tests.support import KEY, Kind, both, client_of, client_over, every, expected, in_a_fork

makers = pytest.mark.parametrize("make", [ore.Client, ore.AsyncClient])


def embeds(client: Any, text: str = "a") -> bool:
    """Whether a call of the client returns the right vector."""
    return np.array_equal(client.embed(text).vectors, expected([text]))


@both
def test_the_new_client_has_other_defaults(kind: Kind, counting: HTTPService) -> None:
    """They override those of the first client, which keeps its own; None drops a default."""
    options: Any = {"dimensions": 4, "user": "first", "headers": {"X-A": "1", "X-B": "2"}}
    with client_over(kind, counting.url, **options) as client:
        other = client.with_options(user="other", dimensions=None, headers={"X-B": "3"})
        third = other.with_options(model="n", headers={"x-a": None})
        for one in (client, other, third, client):
            one.embed("a")
        third.embed("a", user="call")
    seen = [(body["model"], body["user"], body.get("dimensions")) for body in counting.bodies]
    first = ("m", "first", 4)
    assert seen == [first, ("m", "other", None), ("n", "other", None), first, ("n", "call", None)]
    headers = [[head["X-A"], head["X-B"]] for head in counting.heads]
    assert headers == [["1", "2"], ["1", "3"], [None, "3"], ["1", "2"], [None, "3"]]


@makers
def test_with_options_rejects_what_a_call_rejects(make: Any) -> None:
    """A misspelt option, the client's own arguments, and values that would fail every call."""
    client = make(KEY)
    with pytest.raises(TypeError, match="did you mean 'timeout'"):
        client.with_options(timeot=5)
    with pytest.raises(TypeError, match=r"pass it to the client: Client\(api_key=…\)"):
        client.with_options(api_key=KEY)
    with pytest.raises(ore.InputError, match="batch_size: expected"):
        client.with_options(batch_size=0)
    with pytest.raises(ore.InputError, match="must not contain the API key"):
        client.with_options(headers={"X-A": KEY})


@makers
def test_the_new_client_is_of_the_same_class(make: Any) -> None:
    """It shows its own model, and a copy of it is the client itself; it shows no key either."""

    class Mine(make):  # type: ignore[misc]
        team = "none"

    client = Mine(KEY, model="m")
    client.team = "search"
    other = client.with_options(model="n")
    assert (type(other), other.team) == (Mine, "search")
    assert repr(other) == "Mine('https://openrouter.ai/api/v1', model='n')"
    assert repr(client) == "Mine('https://openrouter.ai/api/v1', model='m')"
    assert repr(make.local().with_options(model="n")) == f"{make.__name__}.local(model='n')"
    assert KEY not in repr(other) + repr(vars(other))
    assert copy.copy(other) is copy.deepcopy(other) is other


@every
def test_both_clients_share_connections(kind: str, counting: HTTPService) -> None:
    """The second client reuses the connection of the first, and the first that of the second."""
    with client_over(kind, counting.url) as client:
        other = client.with_options(user="other")
        assert embeds(client)
        assert embeds(other)
        assert embeds(client)
    assert counting.opened == 1


@both
def test_both_clients_share_the_queue_and_the_limits(kind: Kind, clock: JumpingClock) -> None:
    """A Retry-After holds for both, and a limit that one has learned splits the other's batches."""
    limit = Fault("status", status=429, retry_after=30, requests=[0])
    service = testing.Service(limit, Fault("batch-cap", at_most=2))
    with client_of(service, kind) as client:
        other = client.with_options(max_retries=0)
        with pytest.raises(ore.RateLimitError):
            other.embed("a")
        assert sum(clock.waited) == 0
        client.embed([*"abcd"])
        assert sum(clock.waited) >= 30
        assert service.faults.refused[400] == 1
        other.embed([*"efgh"])
    assert service.faults.refused[400] == 1


def test_a_larger_concurrency_holds_while_a_call_runs(counting: HTTPService) -> None:
    """The service answers when four requests have arrived, and the first client allows one."""
    with ore.Client(KEY, base_url=counting.url, model="together", concurrency=1) as client:
        other = client.with_options(concurrency=4, batch_size=1)
        assert np.array_equal(other.embed([*"abcd"]).vectors, expected([*"abcd"]))


@both
@pytest.mark.parametrize("closed", [0, 1])
def test_closing_one_client_closes_both(kind: Kind, closed: int, counting: HTTPService) -> None:
    """They have the same connections."""
    with client_over(kind, counting.url) as client:
        clients = [client, client.with_options(user="other")]
        assert embeds(client)
        clients[closed].close()
        assert counting.gone.acquire(timeout=20)
        for one in clients:
            with pytest.raises(ore.InputError, match="the client is closed"):
                one.embed("a")


def test_closing_one_client_ends_the_calls_of_the_other(counting: HTTPService) -> None:
    """It aborts a request in flight."""
    client = ore.Client(KEY, base_url=counting.url, model="together", max_retries=0)
    failures: list[ore.EmbeddingsError] = []

    def ask() -> None:
        with pytest.raises(ore.EmbeddingsError) as caught:
            client.embed("a")
        failures.append(caught.value)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    while not counting.together.n_waiting:
        thread.join(0.001)
    client.with_options(user="other").close()
    thread.join(20)
    counting.together.abort()
    assert len(failures) == 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_renews_both_clients_once(
    counting: HTTPService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child opens one connection for both, and the parent keeps its own."""
    with ore.Client(KEY, base_url=counting.url, model="m") as client:
        other = client.with_options(user="other")
        assert embeds(client)
        renew, renewed = client._transport.renew, list[int]()

        def counted() -> None:
            renewed.append(1)
            renew()

        def child() -> bool:
            right = embeds(other) and embeds(client) and embeds(other)
            return right and renewed == [1] and other._throttle is client._throttle

        monkeypatch.setattr(client._transport, "renew", counted)
        assert in_a_fork(child) == 0
        assert counting.opened == 2
        assert embeds(other)
        assert counting.opened == 2


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # for closed event loops
@pytest.mark.parametrize("first_there", [0, 1])
def test_both_clients_move_to_a_second_loop(first_there: int, clock: JumpingClock) -> None:
    """The one that is used first takes the other along, with its Retry-After and its retries."""
    limit = Fault("status", status=429, retry_after=30, requests=[0])

    def run(url: str) -> list[int]:
        client = ore.AsyncClient(KEY, base_url=url, model="local/hash", dimensions=4)
        clients = [client, client.with_options(user="other")]
        with pytest.raises(ore.RateLimitError):
            asyncio.run(client.embed("a", max_retries=0))
        assert sum(clock.waited) == 0

        async def use_both() -> list[int]:
            first, second = clients[first_there], clients[1 - first_there]
            before = client._throttle
            results = [await first.embed("b"), await second.embed("c")]
            assert before is not client._throttle is clients[1]._throttle
            await second.close()
            return [result.usage.retries for result in results]

        return asyncio.run(use_both())

    with served(Faults([limit, Fault("status", status=500, requests=[2])])) as url:
        assert run(url) == [0, 1]
    assert sum(clock.waited) >= 30
    gc.collect()  # here, where the warnings of asyncio about closed loops are ignored


@both
def test_a_client_of_the_stand_in_has_it_too(kind: Kind) -> None:
    """Both use the same stand-in."""
    with client_of(testing.Service(), kind, dimensions=4) as client:
        assert client.with_options(dimensions=5).embed("a").vectors.shape == (1, 5)
        assert client.embed("a").vectors.shape == (1, 4)
