"""What the adapters for frameworks share: clients that are made when they are first used."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import contextmanager, suppress
from decimal import Decimal, InvalidOperation
from numbers import Integral
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Protocol,
    TypeAlias,
    TypeVar,
    cast,
    runtime_checkable,
)

import numpy as np

from openrouter_embeddings._json import dumps, loads
from openrouter_embeddings._secret import Secret
from openrouter_embeddings.client import AsyncClient, Client
from openrouter_embeddings.core.options import EmbedOptions, check_option_names, merge_options
from openrouter_embeddings.errors import EmbeddingsError, InputError
from openrouter_embeddings.result import EmbeddingResult, Usage
from openrouter_embeddings.transport._url import BASE_URL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Unpack

    from openrouter_embeddings.inputs import EmbedInput

Role: TypeAlias = Literal["query", "document"]
AnyClient = TypeVar("AnyClient", Client, AsyncClient)
T = TypeVar("T")
_SHARED: dict[tuple[bytes, int], LazyClient] = {}
KEY_VARIABLE = "OPENROUTER_API_KEY"
# How each role is sent unless the options say otherwise, as `Client.embed_query` and
# `Client.embed_documents` do.
_INPUT_TYPES: dict[Role, str] = {"query": "search_query", "document": "search_document"}


@runtime_checkable
class SecretValue(Protocol):
    """A secret of pydantic, `SecretStr`."""

    def get_secret_value(self) -> str:
        """The secret itself."""
        ...


class AdapterOptions(EmbedOptions, total=False):
    """Keyword arguments of every adapter: those below, and the options of `embed`.

    Attributes:
        api_key: the key, as a str or pydantic's `SecretStr`; default: `api_key_env_var`.
        api_key_env_var: the environment variable with the key; default: OPENROUTER_API_KEY.
        base_url: default: the environment variable OPENROUTER_BASE_URL, or else OpenRouter's URL.
        local: whether the stand-in in this process answers: no key, no network. It needs the extra
            `local`, and its default model is `local/minilm`.
        client: a client of yours, in place of the four arguments above; the other options override
            its defaults. You close it. Async methods without `async_client` use it in a thread.
        async_client: the same for async methods. Sync methods need `client`.
        query_input_type: the `input_type` of queries; default: `input_type` if you set it, or else
            "search_query". None sends none.
        document_input_type: the same for documents; default "search_document".
    """

    api_key: str | SecretValue | None
    api_key_env_var: str
    base_url: str | None
    local: bool
    client: Client | None
    async_client: AsyncClient | None
    query_input_type: str | None
    document_input_type: str | None


OWN_OPTIONS = tuple(
    n for n in AdapterOptions.__annotations__ if n not in EmbedOptions.__annotations__
)


class LazyClient:
    """Makes a `Client` and `AsyncClient`s when they are first used, in each process anew.

    Threads can share it. Each event loop has an `AsyncClient` of its own. Like a client, a copy of
    it is the object itself. Pickling keeps `config()`, so the key has to be in the environment of
    the process that unpickles it.

    Args:
        options: the keyword arguments of the adapter. This constructor takes the key out of them,
            and any other value that an error's traceback must not show.
        can_skip: whether the framework can carry a missing vector; if not, `on_error="skip"`
            raises.

    Raises:
        InputError: an option is invalid.
        TypeError: an option is unknown.
    """

    def __init__(self, options: AdapterOptions, *, can_skip: bool = False) -> None:
        self._own: dict[str, Any] = {}  # for the repr, should an error below show it
        self._options: EmbedOptions = {}
        self._key = as_secret(options.pop("api_key", None))
        check_option_names(options, own=OWN_OPTIONS)
        if self._key:
            self._key.check()
        given: dict[str, Any] = {**options}
        self._can_skip = can_skip
        self._client = _taken(given, "client", Client)
        self._async_client = _taken(given, "async_client", AsyncClient)
        with suppress(InvalidOperation):  # `config()` has it as text; merge_options checks it
            if isinstance(budget := given.get("budget"), str):
                given["budget"] = Decimal(budget)
        self._own = {name: given.pop(name) for name in OWN_OPTIONS if name in given}
        for name, kind in (("api_key_env_var", str), ("local", bool)):
            if not isinstance(value := self._own.get(name), kind | None):
                raise InputError(f"{name}: expected a {kind.__name__}, got {type(value).__name__}")
        if self._client or self._async_client:
            if useless := [*(["api_key"] if self._key else []), *_connecting(self._own)]:
                raise InputError(
                    f"remove {' and '.join(useless)}: your client has its own connection and key"
                )
        elif self._own.get("local") and (self._key or self._own.get("base_url")):
            raise InputError("local=True needs neither api_key nor base_url: remove them")
        checked = merge_options(cast(EmbedOptions, given), {})
        if checked.on_error == "skip" and not can_skip:
            raise InputError(
                'on_error="skip" would leave out vectors, and this framework expects one for each '
                "text; remove the option, and the error names the texts that cannot be embedded"
            )
        # the validated copies, which the caller cannot change later
        validated: Any = {name: getattr(checked, name) for name in given}
        self._options = validated
        self._input_types = {role: self._input_type(role) for role in _INPUT_TYPES}
        self._processes: dict[int, _Process] = {}
        self._environment: tuple[Secret, str | None] | None = None  # when it was shared

    def embed(
        self,
        inputs: Iterable[EmbedInput],
        role: Role | None = None,
        **options: Unpack[EmbedOptions],
    ) -> EmbeddingResult:
        """Embed a list of inputs; an empty list gives an empty result, without a request.

        Args:
            inputs: as for `Client.embed`, but always a list.
            role: what the inputs are, which decides their `input_type`.
            **options: for this call.

        Raises:
            The errors of `Client.embed`.
        """
        if not (listed := _listed(inputs)):
            return self._nothing(options)
        if self._async_client and not self._client:
            raise InputError("this method needs client=…, and only async_client=… was given")
        process = self._process
        with process.lock:
            client = process.client = process.client or self._made(Client, self._client)
        with process.counting_errors():
            result = client.embed(listed, **self._with_role(role, options))
        return process.counted(result)

    async def aembed(
        self,
        inputs: Iterable[EmbedInput],
        role: Role | None = None,
        **options: Unpack[EmbedOptions],
    ) -> EmbeddingResult:
        """The same for asyncio."""
        if not (listed := _listed(inputs)):
            return self._nothing(options)
        if self._client and not self._async_client:
            return await asyncio.to_thread(self.embed, listed, role, **options)
        process, loop = self._process, _running_loop()
        with process.lock:
            if loop not in process.async_clients:
                # one whose loop is closed moves to this loop, and closes its old connections
                free = next((one for one in process.async_clients if one.is_closed()), None)
                process.async_clients[loop] = (
                    process.async_clients.pop(free)
                    if free
                    else self._made(AsyncClient, self._async_client)
                )
            client = process.async_clients[loop]
        with process.counting_errors():
            result = await client.embed(listed, **self._with_role(role, options))
        return process.counted(result)

    @property
    def usage(self) -> Usage:
        """Tokens and cost of all calls in this process, those that failed included."""
        return self._process.usage

    @property
    def has_key(self) -> bool:
        """Whether a key was given, so that the one in the environment does not count."""
        return bool(self._key)

    def config(self) -> dict[str, Any]:
        """The options as plain JSON values, for the constructor in another process; never the key.

        Raises:
            InputError: there are options that cannot be saved.
        """
        given = {"client": self._client, "async_client": self._async_client}
        unsaved = [name for name, client in given.items() if client]
        unsaved += ["headers"] if self._options.get("headers") is not None else []
        if unsaved:
            raise InputError(
                f"{' and '.join(unsaved)} cannot be saved or pickled, because of the secrets in "
                "it; make the adapter again in the program that needs it"
            )
        plain: dict[str, Any] = loads(dumps({**self._own, **self._options}))
        return plain

    def shared(self) -> LazyClient:
        """The first one in this process with the same configuration and key, itself included.

        It is for frameworks that make an adapter anew for each call: connections and usage stay.
        What cannot be saved is not shared.
        """
        try:
            config = self.config()
        except InputError:
            return self
        key, url = self._key_now(), os.environ.get("OPENROUTER_BASE_URL")
        if not (key or self._own.get("local")):
            return self
        # the hash, so that no key is in the memory of a dict
        same = dumps([config, url, self.has_key]), hash(key.reveal())
        self._environment = key, url  # it stays with them if the environment changes
        return _SHARED.setdefault(same, self)

    def described(self, name: str) -> str:
        """The repr of an adapter whose class has this name; never the key."""
        shown = {**self._own, **self._options}
        return f"{name}({', '.join(f'{option}={value!r}' for option, value in shown.items())})"

    def close(self) -> None:
        """Close the connections of the sync methods; the next call makes new ones."""
        process = self._process
        with process.lock:
            client, process.client = process.client, None
        if client and not self._client:
            client.close()

    async def aclose(self) -> None:
        """Close the connections of the async methods in this event loop."""
        process = self._process
        with process.lock:
            client = process.async_clients.pop(_running_loop(), None)
        if client and not self._async_client:
            await client.close()

    def __repr__(self) -> str:
        return self.described(type(self).__name__)

    def __copy__(self) -> LazyClient:
        return self

    def __deepcopy__(self, memo: object) -> LazyClient:
        return self

    def __reduce__(self) -> Any:
        """Pickle the configuration. Raises InputError as `config` does."""
        return _restored, (self.config(), self._can_skip)

    @property
    def _process(self) -> _Process:
        return self._processes.setdefault(os.getpid(), _Process())

    def _made(self, kind: type[AnyClient], given: AnyClient | None) -> AnyClient:
        if given is not None:
            return given.with_options(**self._options)
        if self._own.get("local"):
            return kind.local(**self._options)
        if not (key := self._key_now()):  # the client would look for a key elsewhere
            raise InputError(
                f"no API key: set {self._key_variable()} or pass api_key=…; local=True needs none"
            )
        url = self._own.get("base_url")
        if url is None and self._environment:
            url = self._environment[1] or BASE_URL
        return kind(key.reveal(), base_url=url, **self._options)

    def _key_variable(self) -> str:
        return self._own.get("api_key_env_var") or KEY_VARIABLE

    def _key_now(self) -> Secret:
        if self._environment:
            return self._environment[0]
        return self._key or Secret(os.environ.get(self._key_variable(), ""))

    def _input_type(self, role: Role) -> str | None:
        default = self._options.get("input_type", _INPUT_TYPES[role])
        input_type = self._own.get(f"{role}_input_type", default)
        return merge_options({}, {"input_type": input_type}).input_type

    def _with_role(self, role: Role | None, options: EmbedOptions) -> EmbedOptions:
        if role is None:
            return options
        return {"input_type": self._input_types[role], **options}

    def _nothing(self, options: EmbedOptions) -> EmbeddingResult:
        chosen = merge_options(self._options, options)
        vectors = np.empty((0, chosen.dimensions or 0), np.float32)
        return EmbeddingResult(vectors, Usage(), chosen.model, ())


class Adapter:
    """The methods that adapters have in common, for those whose framework has no base class."""

    _client: LazyClient

    @property
    def usage(self) -> Usage:
        """Tokens and cost of all calls in this process, those that failed included."""
        return self._client.usage

    def close(self) -> None:
        """Close the connections of the sync methods; the next call makes new ones."""
        self._client.close()

    async def aclose(self) -> None:
        """Close the connections of the async methods in this event loop."""
        await self._client.aclose()

    def __repr__(self) -> str:
        name = type(self).__name__
        client: LazyClient | None = getattr(self, "_client", None)
        return client.described(name) if client else f"{name}(unfinished)"


class _Process:
    """What a `LazyClient` has in one process: clients, and what they have used."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.client: Client | None = None
        self.async_clients: dict[asyncio.AbstractEventLoop, AsyncClient] = {}
        self.usage = Usage()

    def counted(self, result: EmbeddingResult) -> EmbeddingResult:
        """The result, after its usage has been added."""
        self._add(result.usage)
        return result

    @contextmanager
    def counting_errors(self) -> Iterator[None]:
        """Add what a failed call has used."""
        try:
            yield
        except EmbeddingsError as error:
            self._add(error.usage)
            raise

    def _add(self, usage: Usage | None) -> None:
        if usage is not None:
            with self.lock:
                self.usage += usage


def for_each_input(rows: Sequence[T], result: EmbeddingResult) -> list[T | None]:
    """The rows of a result, in any form, and None for each input that was skipped."""
    following = iter(rows)
    return [next(following) if present else None for present in result.mask]


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise InputError("async methods need asyncio; in other places, use the sync ones") from None


def _restored(options: AdapterOptions, can_skip: bool) -> LazyClient:  # noqa: FBT001 - pickle calls it
    return LazyClient(options, can_skip=can_skip)


def as_secret(key: str | SecretValue | None) -> Secret:
    """The API key, or an empty secret."""
    if isinstance(key, Secret):
        return key
    return Secret(key.get_secret_value() if isinstance(key, SecretValue) else key or "")


def _taken(given: dict[str, Any], name: str, kind: type[AnyClient]) -> AnyClient | None:
    """The client that the caller has passed, taken out of the options."""
    client = given.pop(name, None)
    if not isinstance(client, kind | None):
        raise InputError(
            f"{name}: expected an instance of {kind.__name__}, got {type(client).__name__}"
        )
    return client


def _connecting(own: dict[str, Any]) -> list[str]:
    return [name for name in ("api_key_env_var", "base_url", "local") if own.get(name)]


def _listed(inputs: Iterable[EmbedInput]) -> list[EmbedInput]:
    if isinstance(inputs, str):
        raise InputError("expected a list of texts, got a str; put it into a list")
    listed = list(inputs)
    for position, item in enumerate(listed):
        if isinstance(item, Integral):  # a list of them would be one input, a text as tokens
            raise InputError(
                f"input {position}: expected a text, got a number; convert numbers with str()",
                inputs=(position,),
            )
    return listed
