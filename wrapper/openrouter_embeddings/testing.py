"""For tests of your own code: the stand-in in this process, with faults and without waiting.

In `conftest.py`:

    from openrouter_embeddings.testing import embeddings_service  # noqa: F401

In a test:

    from openrouter_embeddings.testing import Fault

    def test_my_search_survives_a_rate_limit(embeddings_service):
        service = embeddings_service(Fault("status", status=429, requests=[0]))
        assert my_search(service.client(), "a cat") == ...
        assert service.faults.requests == 2
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Unpack

import httpx

from openrouter_embeddings.local.servers.in_process import LocalTransport

from .client import AsyncClient, Client, _clock
from .client._base import LOCAL_KEY, LOCAL_URL
from .core.options import EmbedOptions, check_option_names
from .local.contract import Contract
from .local.faults import Fault, Faults
from .local.models import with_aliases

__all__ = [
    "Fault",
    "Faults",
    "JumpingClock",
    "Service",
    "no_waiting",
]  # and `embeddings_service`, where pytest is


class Service:
    """The stand-in with faults, in this process; its clients send nothing over a network.

    Args:
        faults: what goes wrong; docs/reliability.md lists the kinds. If several faults strike a
            request, the first one wins.
        seed: of the random numbers behind `probability` and corruptions.
        contract: an OpenAPI document with `POST /embeddings` to follow (default: the one that this
            package was made from). The stand-in refuses what the document refuses. Its answers have
            the fields that the document requires, as far as types, bounds, enums, examples,
            `allOf`, `anyOf` and `oneOf` determine them; a `pattern` without an example, `if`,
            `not` and `uniqueItems` are ignored. Raises ValueError for a document without the
            operation.
        aliases: more names for the models, so that your code can keep its own:
            `{"openai/text-embedding-3-small": "local/hash:1536"}`. The number is the number of
            dimensions. Raises ValueError for a model that the stand-in does not have.

    Raises:
        TypeError: an argument has another type, for example a list of faults.

    Attributes:
        faults: the script, and the record of requests, errors and bills.
    """

    def __init__(
        self,
        *faults: Fault,
        seed: int = 0,
        contract: dict[str, Any] | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        for fault in faults:
            if not isinstance(fault, Fault):
                raise TypeError(
                    f"expected a Fault, got {type(fault).__name__}; "
                    "give each Fault as an argument of its own: Service(*faults)"
                )
        if not isinstance(contract, dict | None):
            raise TypeError(f"contract: expected a dict, got {type(contract).__name__}")
        parsed = None if contract is None else Contract(contract)
        self.faults: Faults = Faults(faults, seed, parsed, with_aliases(aliases or {}))

    def transport(self) -> LocalTransport:
        """A transport for an `httpx.Client` or `httpx.AsyncClient` of your own."""
        return LocalTransport(self.faults, _now)

    def client(self, **defaults: Unpack[EmbedOptions]) -> Client:
        """A blocking client of this service; its default model is `local/hash`."""
        check_option_names(defaults)
        defaults.setdefault("model", "local/hash")
        http = httpx.Client(transport=self.transport())
        return Client(LOCAL_KEY, base_url=LOCAL_URL, http_client=http, **defaults)

    def async_client(self, **defaults: Unpack[EmbedOptions]) -> AsyncClient:
        """An asyncio client of this service; its default model is `local/hash`."""
        check_option_names(defaults)
        defaults.setdefault("model", "local/hash")
        http = httpx.AsyncClient(transport=self.transport())
        return AsyncClient(LOCAL_KEY, base_url=LOCAL_URL, http_client=http, **defaults)


def _now() -> float:
    return _clock.clock.now()  # look it up now: `no_waiting` replaces the clock


class JumpingClock(_clock.Clock):
    """A clock that jumps ahead whenever somebody waits, so that nobody does.

    Attributes:
        waited: the seconds of each wait.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._lock = threading.Lock()
        self.waited: list[float] = []

    def now(self) -> float:
        """The sum of all waits, in seconds."""
        return self._now

    def wait(self, event: threading.Event, seconds: float) -> None:  # noqa: ARG002 - as Clock
        """Jump."""
        self._jump(seconds)

    async def wait_async(self, event: _clock.Event, seconds: float) -> None:  # noqa: ARG002 - as Clock
        """The same for asyncio."""
        self._jump(seconds)

    def _jump(self, seconds: float) -> None:
        with self._lock:
            self.waited.append(seconds)
            self._now += seconds


@contextmanager
def no_waiting() -> Iterator[JumpingClock]:
    """Skip the waits before retries and requests, in the whole process; nothing else changes."""
    before, _clock.clock = _clock.clock, JumpingClock()
    try:
        yield _clock.clock
    finally:
        _clock.clock = before


if find_spec("pytest"):
    import pytest

    @pytest.fixture
    def embeddings_service() -> Iterator[Callable[..., Service]]:
        """Returns `Service`, to call with faults; nothing waits while the test runs."""
        with no_waiting():
            yield Service
