"""For tests of your own code: the stand-in in this process, with faults, and without waiting.

In `conftest.py`:

    from openrouter_embeddings.testing import embeddings_service  # noqa: F401

In a test:

    from openrouter_embeddings.testing import Fault

    def test_my_search_survives_a_rate_limit(embeddings_service):
        service = embeddings_service(Fault("status", status=429, requests=[0]))
        assert my_search(service.client(), "a cat") == ...
        assert service.faults.requests == 2
"""

from __future__ import annotations

from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import httpx

from openrouter_embeddings.local.servers.in_process import LocalTransport

from .client import AsyncClient, Client, _throttle
from .core.options import check_option_names
from .local.contract import Contract
from .local.faults import Fault, Faults
from .local.models import with_aliases

if TYPE_CHECKING:
    import asyncio
    import threading
    from collections.abc import Callable, Iterator, Mapping
    from typing import Unpack

    from .core.options import EmbedOptions

__all__ = [
    "Fault",
    "Faults",
    "JumpingClock",
    "Service",
    "no_waiting",
]  # and `embeddings_service`, where pytest is

_KEY = "local"
_URL = "http://127.0.0.1/api/v1"  # never dialled


class Service:
    """The stand-in with faults; its clients never leave this process.

    Args:
        faults: what goes wrong; the first that befalls a request wins.
        seed: of what is left to probability.
        contract: an OpenAPI document with `POST /embeddings`, which the stand-in follows: it
            refuses what that refuses, and its answers have the fields that it requires, as far as
            they follow from types, bounds, enums, examples, `allOf`, `anyOf` and `oneOf`: nothing
            is made up for a `pattern` without an example, nor for `if`, `not` or `uniqueItems`.
            Default: the one that this package was made from. Raises ValueError for a document
            without that operation.
        aliases: further names of models, so that your code need not change its own:
            `{"openai/text-embedding-3-small": "local/hash:1536"}`. The number is that of the
            dimensions. Raises ValueError for a model that the stand-in lacks.

    Attributes:
        faults: the script, what came, and what was billed.
    """

    def __init__(
        self,
        *faults: Fault,
        seed: int = 0,
        contract: dict[str, Any] | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        followed = None if contract is None else Contract(contract)
        self.faults: Faults = Faults(faults, seed, followed, with_aliases(aliases or {}))

    def transport(self) -> LocalTransport:
        """For an `httpx.Client` or `httpx.AsyncClient` of yours."""
        return LocalTransport(self.faults, _now)

    def client(self, **defaults: Unpack[EmbedOptions]) -> Client:
        """A blocking client of this service; its model is `local/hash` unless you say another."""
        check_option_names(defaults)
        defaults.setdefault("model", "local/hash")
        http = httpx.Client(transport=self.transport())
        return Client(_KEY, base_url=_URL, http_client=http, **defaults)

    def async_client(self, **defaults: Unpack[EmbedOptions]) -> AsyncClient:
        """The same for asyncio."""
        check_option_names(defaults)
        defaults.setdefault("model", "local/hash")
        http = httpx.AsyncClient(transport=self.transport())
        return AsyncClient(_KEY, base_url=_URL, http_client=http, **defaults)


def _now() -> float:
    return _throttle.clock.now()  # whichever clock is there by then


class JumpingClock(_throttle.Clock):
    """Time that passes only by waiting for it, and then at once.

    Attributes:
        waited: seconds that clients waited for their turn.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self.waited: list[float] = []

    def now(self) -> float:
        """Seconds since the clock was made, as far as anybody waited."""
        return self._now

    def wait(self, called: threading.Event, seconds: float) -> None:  # noqa: ARG002 - as Clock
        """Jump."""
        self._jump(seconds)

    async def wait_async(self, called: asyncio.Event, seconds: float) -> None:  # noqa: ARG002 - as Clock
        """The same for asyncio."""
        self._jump(seconds)

    def _jump(self, seconds: float) -> None:
        self.waited.append(seconds)
        self._now += seconds


@contextmanager
def no_waiting() -> Iterator[JumpingClock]:
    """Retries and turns come at once, in this whole process; their number stays the same."""
    before, _throttle.clock = _throttle.clock, JumpingClock()
    try:
        yield _throttle.clock
    finally:
        _throttle.clock = before


if find_spec("pytest"):
    import pytest

    @pytest.fixture
    def embeddings_service() -> Iterator[Callable[..., Service]]:
        """Makes a `Service` of the faults it is given; nobody waits while the test runs."""
        with no_waiting():
            yield Service
