"""What `Client` and `AsyncClient` share: everything but the lines that wait."""

import os
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NoReturn, Self, TypeVar, Unpack

from openrouter_embeddings._live_set import LiveSet
from openrouter_embeddings._secret import Secret
from openrouter_embeddings.core.options import (
    EmbedOptions,
    Options,
    check_option_names,
    merge_options,
)
from openrouter_embeddings.core.splitting import ModelLimits
from openrouter_embeddings.errors import InputError
from openrouter_embeddings.transport import BASE_URL

from ._call import CallState, SharedBudget
from ._throttle import AsyncThrottle, Throttle

# Seconds that requests in flight, which will be billed, may take after another one has failed.
GRACE_PERIOD = 5.0
LOCAL_URL = "http://127.0.0.1/api/v1"  # never connected to: the in-process transport answers
LOCAL_KEY = "local"
LOCAL_MODEL = "local/minilm"
HttpClient = TypeVar("HttpClient")  # the caller's: HTTPXClient or AsyncHTTPXClient
AnyThrottle = TypeVar("AnyThrottle", Throttle, AsyncThrottle)


@dataclass(eq=False, repr=False)
class Shared(Generic[AnyThrottle]):
    """What changes for a client and for those made of it by `with_options` at the same time.

    Attributes:
        throttle: their queue of requests, in this process and event loop.
        calls: those that `close` has to end.
        is_closed: whether one of them was closed.
        process: the process whose locks and connections they have.
    """

    throttle: AnyThrottle
    calls: LiveSet[CallState] = field(default_factory=LiveSet)
    is_closed: bool = False
    process: int = field(default_factory=os.getpid)


class BaseClient(ABC, Generic[HttpClient, AnyThrottle]):
    """A client's configuration, its calls, and the process that uses it.

    A copy of a client, deep or not, is the client itself, so that both share connections and rate
    limits. A forked process makes its own connections and locks when it first uses the client, and
    leaves those of the parent alone.
    """

    _constructor: str = ""  # empty until it has succeeded
    _transport: Any
    _shared: Shared[AnyThrottle]

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        http_client: HttpClient | Literal["httpx"] | None = None,
        allow_http: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        **defaults: Unpack[EmbedOptions],
    ) -> None:
        key = Secret(api_key or "")
        del api_key  # an error below would show it among the locals of its traceback
        check_option_names(defaults, client=True)  # first: api_key may be misspelt, not missing
        key = key or Secret(os.environ.get("OPENROUTER_API_KEY", ""))
        key.check()
        if not isinstance(base_url, str | None):
            raise InputError(f"base_url must be a str, got {type(base_url).__name__}")
        base_url = base_url or os.environ.get("OPENROUTER_BASE_URL") or BASE_URL
        self._key = key
        self._default_options = self._checked(merge_options(defaults, {}))
        # the validated copies, which the caller cannot change later
        validated: Any = {name: getattr(self._default_options, name) for name in defaults}
        self._defaults: EmbedOptions = validated
        self._model_limits = ModelLimits()
        self._connect(base_url, key, http_client, allow_http=allow_http, ssl_context=ssl_context)
        self._constructor, self._arguments = type(self).__name__, [repr(base_url)]

    @abstractmethod
    def _connect(
        self,
        base_url: str,
        key: Secret,
        http_client: HttpClient | Literal["httpx"] | None,
        **security: Any,
    ) -> None:
        """Make the transport, and what the client shares with those of `with_options`.

        `security`: the arguments `allow_http` and `ssl_context`.
        """

    @classmethod
    def _local(cls, make: Callable[[], HttpClient], defaults: EmbedOptions) -> Self:
        """A client whose requests the stand-in answers in this process.

        `make` returns an httpx client for that; a forked process calls it again.
        """
        model = defaults.get("model") or LOCAL_MODEL
        defaults["model"] = model
        client = cls(LOCAL_KEY, base_url=LOCAL_URL, http_client=make(), **defaults)
        client._transport.make_connections = make
        client._constructor, client._arguments = f"{cls.__name__}.local", []
        return client

    def with_options(self, **defaults: Unpack[EmbedOptions]) -> Self:
        """A client with other defaults, which shares the connections and limits of this one.

            client.with_options(timeout=20, headers={"X-Team": "search"}).embed("a text")

        This client keeps its own defaults. Both have one queue of requests, and one memory of the
        limits of models and providers. Closing one of them closes both.

        Args:
            **defaults: see `EmbedOptions`; they override this client's defaults, as the options of
                a call do. So `concurrency` limits each call of the new client, and a larger value
                than that of the first client raises the limit of all calls together while the call
                runs.

        Raises:
            InputError: a default option is invalid.
        """
        options = self._options(defaults)
        client = object.__new__(type(self))
        vars(client).update(vars(self))
        client._default_options = options
        validated: Any = {name: getattr(options, name) for name in {**self._defaults, **defaults}}
        client._defaults = validated
        return client

    def __copy__(self) -> Self:
        """The client itself."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """The client itself."""
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled."""
        raise TypeError(
            "a client cannot be pickled, because it holds an API key; make one in each process"
        )

    def __repr__(self) -> str:
        """The base URL and the model; never the key."""
        if not self._constructor:
            return f"{type(self).__name__}(unfinished)"
        model = self._default_options.model
        arguments = [*self._arguments, f"model={model!r}"] if model else self._arguments
        return f"{self._constructor}({', '.join(arguments)})"

    @property
    def _throttle(self) -> AnyThrottle:
        return self._shared.throttle

    def _options(self, options: EmbedOptions) -> Options:
        """The client's defaults, overridden by the options of a call."""
        if not options:
            return self._default_options
        return self._checked(merge_options(self._defaults, options))

    def _checked(self, options: Options) -> Options:
        """The options. Raises InputError if their headers would expose the API key."""
        sent = b"\n".join(map(b": ".join, options.headers or ()))
        if sent and self._key.redact(sent) != sent:
            del sent
            raise InputError(
                "headers must not contain the API key; the client sends it by itself, and the "
                "option is api_key=…"
            )
        return options

    def _start_call(
        self, options: EmbedOptions, shared_budget: SharedBudget | None = None
    ) -> CallState:
        check_option_names(options)  # first: an error below must not show the caller's headers
        if self._shared.is_closed:
            raise InputError("the client is closed; make a new one")
        self._renew_after_fork()
        call = CallState(self._options(options), self._model_limits, shared_budget)
        self._register(call)
        return call

    def _register(self, call: CallState) -> None:
        """Remember a call, so that `close` can end it; end it here if `close` came before."""
        self._shared.calls.add(call)
        if self._shared.is_closed:
            self._end(call)

    @staticmethod
    def _end(call: CallState) -> None:
        call.end("the client was closed")

    @property
    def _is_inherited(self) -> bool:
        """Whether this process is a fork that has not used the client yet."""
        return os.getpid() != self._shared.process

    def _renew_after_fork(self) -> None:
        """Replace what belongs to the parent process. Raises APIConnectionError if impossible."""
        if self._is_inherited:
            process = os.getpid()
            with _locks.setdefault(process, threading.Lock()):
                if self._is_inherited:
                    self._renew()
                    self._shared.process = process

    def _renew(self) -> None:
        """Make new connections, locks and calls, and do not touch those of the parent process."""
        self._transport.renew()
        self._shared.throttle = self._throttle.renewed()
        self._shared.calls = LiveSet()


# One for each process: in a fork, the parent's lock may be held by a thread that does not exist.
_locks: dict[int, threading.Lock] = {}


def with_input_type(input_type: str, options: EmbedOptions) -> EmbedOptions:
    """`options` with `input_type`, unless the caller has set it."""
    check_option_names(options)  # here, where the caller's frame still has its own options
    return {"input_type": input_type, **options}
