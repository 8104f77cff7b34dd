"""What every adapter for a framework has to do: `AdapterContract`, which each one's tests inherit.

As a program, it embeds with an adapter that another process has saved:
`python -m tests.adapters.contract FILE CLASS pickle|config < saved`.
"""

import asyncio
import copy
import inspect
import json
import os
import pickle
import runpy
import subprocess
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar

import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.adapters._lazy import LazyClient
from openrouter_embeddings.local.faults import Fault, Faults
from openrouter_embeddings.testing import Service, no_waiting

from stress.servers import served
from tests.adapters.passages import ANSWERS, PASSAGES
from tests.compat.loopback import KEY, PATIENCE
from tests.compat.loopback import Service as Loopback
from tests.leaks import shown

TEXTS = [f"text number {number}" for number in range(12)]
MODEL: Any = {"model": "local/hash", "dimensions": 8}
# four requests, of which the faults below strike the first or the second
BATCHES: Any = {**MODEL, "batch_size": 3}
# each with the error that it leads to, or None if the client can repair it
FAULTS = [
    (Fault("shuffled"), None),
    (Fault("status", status=429, retry_after=30, requests=[0]), None),
    (Fault("error-in-200", status=429, requests=[0]), None),
    (Fault("reset-mid-body", requests=[1]), None),
    (Fault("missing-item", requests=[1]), None),
    (Fault("missing-item"), ore.ResponseError),
    (Fault("duplicate-index"), ore.ResponseError),
    (Fault("index-out-of-range"), ore.ResponseError),
    (Fault("error-in-200", status=402), ore.PaymentRequiredError),
    (Fault("status", status=401), ore.AuthenticationError),
    (Fault("poison", text="number 7"), ore.BadRequestError),
]


class Recording(Loopback):
    """Keeps what it was asked.

    Attributes:
        asked: the body of each request.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict[str, Any]] = []

    def answer(self, asked: dict[str, Any]) -> bytes:
        """The body of a correct response."""
        self.asked.append(asked)
        return super().answer(asked)


class AdapterContract:
    """The tests of one adapter; a subclass says how its framework calls it.

    Attributes:
        kinds: how the framework calls it: "sync", "async" or both.
        has_roles: whether the framework tells queries from documents.
        can_skip: whether the framework can carry a missing vector, so that `documents` returns None
            in its place.
    """

    kinds: ClassVar[tuple[str, ...]] = ("sync", "async")
    has_roles: ClassVar[bool] = True
    can_skip: ClassVar[bool] = False

    def make(self, **options: Any) -> Any:
        """An adapter with these options."""
        raise NotImplementedError

    def documents(self, adapter: Any, texts: list[str]) -> Sequence[Any]:
        """The vectors of documents."""
        raise NotImplementedError

    async def adocuments(self, adapter: Any, texts: list[str]) -> Sequence[Any]:
        """The same for asyncio."""
        raise NotImplementedError

    def query(self, adapter: Any, text: str) -> Any:
        """The vector of a query."""
        raise NotImplementedError

    async def aquery(self, adapter: Any, text: str) -> Any:
        """The same for asyncio."""
        raise NotImplementedError

    def search(self, adapter: Any, passages: list[str], question: str) -> str:
        """The passage that the framework's own store or index finds first."""
        raise NotImplementedError

    def save(self, adapter: Any) -> str | None:
        """The configuration that the framework saves, as text; None if it saves none."""
        return None

    def load(self, saved: str) -> Any:
        """The adapter of a saved configuration, as the framework makes it in a new process."""
        raise NotImplementedError

    def lazy(self, adapter: Any) -> LazyClient:
        """The clients behind an adapter."""
        client: LazyClient = adapter._client
        return client

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run tests with `kind` for each of `kinds`."""
        if "kind" in metafunc.fixturenames:
            metafunc.parametrize("kind", self.kinds)

    @pytest.fixture(autouse=True)
    def _environment(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
        monkeypatch.delenv("OPENROUTER_BASE_URL", raising=False)
        self._made: list[Any] = []
        with no_waiting():
            yield
        for adapter in self._made:
            self.lazy(adapter).close()

    def made(self, **options: Any) -> Any:
        """An adapter whose connections are closed after the test."""
        self._made.append(self.make(**options))
        return self._made[-1]

    def called(self, kind: str, adapter: Any, texts: list[str]) -> Sequence[Any]:
        """The vectors of documents."""
        if kind == "sync":
            return self.documents(adapter, texts)
        return asyncio.run(self.closing(adapter, self.adocuments(adapter, texts)))

    async def closing(self, adapter: Any, vectors: Awaitable[Any]) -> Any:
        """Await it, and close the connections of this event loop."""
        try:
            return await vectors
        finally:
            await self.lazy(adapter).aclose()

    def test_the_vectors_are_those_of_a_client(self, kind: str) -> None:
        """The same float32 values in the order of the texts, over several requests."""
        faults = Faults()
        with served(faults) as url:
            adapter = self.made(api_key=KEY, base_url=url, **BATCHES)
            assert_same(self.called(kind, adapter, TEXTS), expected(url))
        assert faults.requests == 8

    @pytest.mark.parametrize(
        ("fault", "error"), FAULTS, ids=lambda value: getattr(value, "kind", "")
    )
    def test_a_fault_gives_the_right_vectors_or_a_typed_error(
        self, kind: str, fault: Fault, error: type[ore.EmbeddingsError] | None
    ) -> None:
        """Never fewer vectors, never in another order; an error shows no key."""
        with served(Faults()) as url:
            right = expected(url)
        with served(Faults([fault])) as url:
            adapter = self.made(api_key=KEY, base_url=url, **BATCHES)
            if error is None:
                assert_same(self.called(kind, adapter, TEXTS), right)
                return
            with pytest.raises(error) as caught:
                self.called(kind, adapter, TEXTS)
            assert KEY not in shown(caught.value)
            if fault.kind == "poison":
                assert caught.value.inputs == (7,)

    def test_a_refused_text_is_skipped_where_the_framework_can_say_so(self, kind: str) -> None:
        """None takes its place; otherwise the option is an error, before anything is sent."""
        faults = Faults([Fault("poison", text="number 7")])
        with served(faults) as url:
            make = self.made if self.can_skip else self.make
            skipping = partial(make, api_key=KEY, base_url=url, on_error="skip", **BATCHES)
            if self.can_skip:
                vectors = [*self.called(kind, skipping(), TEXTS)]
                assert vectors.pop(7) is None
            else:
                with pytest.raises(ore.InputError, match='on_error="skip" would leave out'):
                    self.called(kind, skipping(), TEXTS)
                assert faults.requests == 0
                return
        with served(Faults()) as url:
            assert_same(vectors, np.delete(expected(url), 7, axis=0))

    def test_an_empty_list_needs_no_request(self, kind: str) -> None:
        """The result is empty."""
        faults = Faults()
        with served(faults) as url:
            adapter = self.made(api_key=KEY, base_url=url, **MODEL)
            assert len(self.called(kind, adapter, [])) == 0
        assert faults.requests == 0

    def test_a_query_is_a_single_vector(self, kind: str) -> None:
        """The same as that of a client."""
        if not self.has_roles:
            pytest.skip("the framework has no queries")
        with served(Faults()) as url:
            adapter = self.made(api_key=KEY, base_url=url, **MODEL)
            if kind == "sync":
                vector = self.query(adapter, TEXTS[1])
            else:
                vector = asyncio.run(self.closing(adapter, self.aquery(adapter, TEXTS[1])))
            assert_same([vector], expected(url)[1:2])

    @pytest.mark.parametrize(
        ("options", "document", "query"),
        [
            ({}, "search_document", "search_query"),
            ({"query_input_type": "query", "document_input_type": None}, None, "query"),
            ({"input_type": "clustering"}, "clustering", "clustering"),
        ],
    )
    def test_the_roles_are_sent_as_configured(
        self, kind: str, options: Any, document: str | None, query: str | None
    ) -> None:
        """`input_type` of a document and of a query; what has neither sends only `input_type`."""
        if not self.has_roles:
            if "query_input_type" in options:
                pytest.skip("the framework has no queries")
            document = options.get("input_type")
        with Recording() as service:
            adapter = self.made(api_key=KEY, base_url=service.url, model="m", **options)
            self.called(kind, adapter, ["a"])
            assert service.asked[0].get("input_type") == document
            if self.has_roles:
                if kind == "sync":
                    self.query(adapter, "b")
                else:
                    asyncio.run(self.closing(adapter, self.aquery(adapter, "b")))
                assert service.asked[1].get("input_type") == query

    def test_the_options_of_embed_reach_the_service(self, kind: str) -> None:
        """`provider`, `user` and the others are sent."""
        provider = {"order": ["deepinfra"], "max_price": {"prompt": Decimal("0.5")}}
        with Recording() as service:
            adapter = self.made(
                api_key=KEY, base_url=service.url, model="m", provider=provider, user="u"
            )
            self.called(kind, adapter, ["a"])
        assert service.asked[0]["user"] == "u"
        assert service.asked[0]["provider"]["max_price"] == {"prompt": "0.5"}

    def test_an_unknown_option_is_named_without_its_value(self) -> None:
        """The value may be a key."""
        with pytest.raises(TypeError, match="unknown option 'apikey'; did you mean") as caught:
            self.make(apikey=KEY, **MODEL)
        assert KEY not in shown(caught.value)

    def test_an_invalid_option_raises_before_anything_is_sent(self) -> None:
        """When the adapter is made, or where the framework checks parameters."""
        with pytest.raises(ore.InputError, match="batch_size: expected an integer"):
            self.called(self.kinds[0], self.make(local=True, **MODEL, batch_size=0), ["a"])

    def test_usage_and_cost_are_those_of_the_service(self, kind: str) -> None:
        """Summed over all calls, those that failed included."""
        faults = Faults([Fault("error-in-200", status=402, requests=[5])])
        with served(faults) as url:
            adapter = self.made(api_key=KEY, base_url=url, concurrency=1, **BATCHES)
            self.called(kind, adapter, TEXTS)
            with pytest.raises(ore.PaymentRequiredError):
                self.called(kind, adapter, TEXTS)
        usage = adapter.usage
        assert len(faults.billed) == 5
        assert float(usage.cost) == pytest.approx(sum(bill.cost for bill in faults.billed))
        assert usage.prompt_tokens > 0

    def test_nothing_shows_or_saves_the_key(self, kind: str) -> None:
        """Neither repr, attributes, pickles nor the configuration that the framework saves."""
        with served(Faults()) as url:
            adapter = self.made(api_key=KEY, base_url=url, **MODEL)
            self.called(kind, adapter, ["a"])
            texts = [repr(adapter), str(adapter), repr(vars(adapter)), f"{self.save(adapter)}"]
            texts += [repr(vars(self.lazy(adapter))), repr(self.lazy(adapter).config())]
            texts += [repr(getattr(adapter, "_repr_html_", str)())]
            texts.append(pickle.dumps(adapter).decode("latin-1"))
        assert not [text for text in texts if KEY in text]

    @pytest.mark.parametrize("way", ["pickle", "config"])
    def test_another_process_can_use_a_saved_adapter(self, way: str) -> None:
        """It has the same options, and its key comes from the environment there."""
        adapter = self.made(api_key=KEY, **BATCHES)
        config = self.save(adapter) if way == "config" else ""
        if config is None:
            pytest.skip("the framework saves no configuration")
        saved = config.encode() if way == "config" else pickle.dumps(adapter)
        with served(Faults()) as url:
            assert_same(self.in_another_process(way, saved, url), expected(url))

    def in_another_process(self, way: str, saved: bytes, url: str) -> Any:
        """The vectors of `TEXTS` from a saved adapter."""
        path = inspect.getfile(type(self))
        command = [sys.executable, "-m", "tests.adapters.contract", path, type(self).__name__, way]
        environment = {**os.environ, "OPENROUTER_API_KEY": KEY, "OPENROUTER_BASE_URL": url}
        done = subprocess.run(
            command, input=saved, env=environment, check=True, capture_output=True
        )
        return json.loads(done.stdout.splitlines()[-1])

    def test_a_pickle_without_a_key_in_the_environment_says_so(self) -> None:
        """A key in the code does not survive pickling."""
        adapter = self.made(api_key=KEY, **MODEL)
        again = pickle.loads(pickle.dumps(adapter))
        with pytest.raises(ore.InputError, match="no API key: set OPENROUTER_API_KEY or pass"):
            self.called(self.kinds[0], again, ["a"])

    def test_the_key_can_be_in_another_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Then OPENROUTER_API_KEY does not count."""
        monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
        with served(Faults()) as url:
            adapter = self.made(api_key_env_var="TEAM_KEY", base_url=url, **BATCHES)
            with pytest.raises(ore.InputError, match="no API key: set TEAM_KEY"):
                self.called(self.kinds[0], adapter, TEXTS)
            monkeypatch.setenv("TEAM_KEY", KEY)
            assert_same(self.called(self.kinds[0], adapter, TEXTS), expected(url))

    def test_a_copy_works_as_the_original(self, kind: str) -> None:
        """It has the key as well."""
        with served(Faults()) as url:
            adapter = self.made(api_key=KEY, base_url=url, **BATCHES)
            for again in (copy.deepcopy(adapter), copy.copy(adapter)):
                assert_same(self.called(kind, again, TEXTS), expected(url))
                self.lazy(again).close()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
    def test_a_forked_process_has_clients_of_its_own(self) -> None:
        """It gets the right vectors, and counts only what it has used itself."""
        kind = self.kinds[0]
        with served(Faults()) as url:
            adapter = self.made(api_key=KEY, base_url=url, **BATCHES)
            right = expected(url)
            self.called(kind, adapter, TEXTS)
            assert in_a_fork(lambda: self.use_in_a_fork(kind, adapter, right)) == 0
            assert adapter.usage.requests == 4
            assert_same(self.called(kind, adapter, TEXTS), right)

    def use_in_a_fork(self, kind: str, adapter: Any, right: Any) -> bool:
        """Whether the vectors are right, and the usage that of this process."""
        assert_same(self.called(kind, adapter, TEXTS), right)
        return bool(adapter.usage.requests == 4)

    def test_the_batches_of_a_call_overlap(self, kind: str) -> None:
        """The service answers when four requests are in flight."""
        with Loopback() as service:
            service.crowd = 4
            adapter = self.made(
                api_key=KEY, base_url=service.url, model="together", batch_size=1, timeout=PATIENCE
            )
            assert len(self.called(kind, adapter, TEXTS[:4])) == 4

    def test_async_calls_overlap(self) -> None:
        """The service answers when four calls, of one text each, are in flight."""
        if "async" not in self.kinds:
            pytest.skip("the framework has no async methods")

        async def call(adapter: Any) -> list[Any]:
            calls = [self.adocuments(adapter, [text]) for text in TEXTS[:4]]
            vectors: list[Any] = await self.closing(adapter, asyncio.gather(*calls))
            return vectors

        with Loopback() as service:
            service.crowd = 4
            adapter = self.made(api_key=KEY, base_url=service.url, model="together", max_retries=0)
            assert len(asyncio.run(call(adapter))) == 4

    def test_event_loops_can_run_at_the_same_time_and_one_after_another(self) -> None:
        """Frameworks run async methods from sync code in loops of their own."""
        if "async" not in self.kinds:
            pytest.skip("the framework has no async methods")
        together = threading.Barrier(2, timeout=PATIENCE)

        async def call(adapter: Any, *, wait: bool) -> Any:
            first = await self.adocuments(adapter, TEXTS)
            if wait:
                together.wait()  # both loops are running, and both have connections
            assert_same(await self.closing(adapter, self.adocuments(adapter, TEXTS)), first)
            return first

        with served(Faults()) as url, ThreadPoolExecutor(2) as threads:
            adapter = self.made(api_key=KEY, base_url=url, **BATCHES)
            right = expected(url)
            loops = [threads.submit(asyncio.run, call(adapter, wait=True)) for _ in range(2)]
            for loop in loops:
                assert_same(loop.result(), right)
            assert_same(asyncio.run(call(adapter, wait=False)), right)

    def test_a_client_can_be_handed_over(self, kind: str) -> None:
        """The adapter uses it, and does not close it; it cannot be pickled or saved."""
        service = Service()
        with service.client(**MODEL) as client:
            adapter = self.make(client=client)
            self.called(kind, adapter, ["a"])
            self.lazy(adapter).close()
            assert service.faults.requests == 1
            client.embed("b")
            self.called(kind, copy.deepcopy(adapter), ["c"])
            assert service.faults.requests == 3
            saves: list[Callable[[Any], Any]] = [pickle.dumps]
            if self.save(self.make(local=True)) is not None:
                saves.append(self.save)
            for save in saves:
                with pytest.raises(ore.InputError, match="client cannot be saved or pickled"):
                    save(adapter)

    def test_headers_are_not_shown_or_saved(self, kind: str) -> None:
        """They may hold passwords."""
        with Recording() as service:
            adapter = self.made(
                api_key=KEY, base_url=service.url, model="m", headers={"X-Gateway": "swordfish"}
            )
            again = copy.deepcopy(adapter)
            self.called(kind, again, ["a"])
            self.lazy(again).close()
            assert len(service.asked) == 1
        assert "swordfish" not in repr(adapter) + repr(vars(adapter))
        with pytest.raises(ore.InputError, match="headers cannot be saved or pickled"):
            pickle.dumps(adapter)

    def test_a_client_and_a_connection_exclude_each_other(self) -> None:
        """The error names what to remove."""
        with Service().client() as client:
            with pytest.raises(ore.InputError, match="remove api_key and local") as caught:
                self.called(self.kinds[0], self.make(client=client, api_key=KEY, local=True), ["a"])
            assert KEY not in shown(caught.value)

    def test_a_search_finds_the_right_passage(self) -> None:
        """The framework's own store or index holds 200 passages, embedded by `local/minilm`."""
        adapter = self.made(local=True)
        for question, passage in ANSWERS.items():
            assert self.search(adapter, PASSAGES, question) == passage


def expected(url: str) -> Any:
    """The matrix of `TEXTS` that a client gets."""
    with ore.Client(KEY, base_url=url, **BATCHES) as client:
        return client.embed(TEXTS).vectors


def assert_same(vectors: Any, right: Any) -> None:
    """Fail unless they are the same float32 values, none of them rounded."""
    np.testing.assert_array_equal(np.asarray([*vectors], np.float64), np.asarray(right, np.float64))


def in_a_fork(work: Callable[[], bool]) -> int:
    """The exit status of a forked child that calls `work`: 0 if it returns True."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks when threads are running
        child = os.fork()
    if not child:
        try:
            os._exit(0 if work() else 4)
        except BaseException as error:  # noqa: BLE001 - the parent only gets a status
            os.write(2, f"{error!r}\n".encode())
        finally:
            os._exit(5)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(path: str, name: str, way: str) -> None:
    """Print the vectors of `TEXTS` from the adapter on standard input."""
    contract: Any = runpy.run_path(path)[name]()
    saved = sys.stdin.buffer.read()
    adapter = pickle.loads(saved) if way == "pickle" else contract.load(saved.decode())
    vectors = contract.called(contract.kinds[0], adapter, TEXTS)
    sys.stdout.write(f"\n{json.dumps([[float(value) for value in one] for one in vectors])}\n")
    contract.lazy(adapter).close()


if __name__ == "__main__":
    main(*sys.argv[1:])
