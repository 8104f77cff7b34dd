"""What both clients are made of: key, address, defaults, and the process that they are in."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from openrouter_embeddings._secret import Secret
from openrouter_embeddings.core.options import EmbedOptions, check_option_names, merge_options
from openrouter_embeddings.core.splitting import ModelLimits
from openrouter_embeddings.errors import InputError
from openrouter_embeddings.transport import BASE_URL

if TYPE_CHECKING:
    from typing import Self

    from openrouter_embeddings.core.options import Options

LOCAL_URL = "http://127.0.0.1/api/v1"  # never dialled: the in-process transport takes its place
LOCAL_KEY = "local"
LOCAL_MODEL = "local/minilm"


class Settings:
    """A client's key, base URL and default options. Raises InputError."""

    def __init__(self, key: Secret, base_url: str | None, defaults: EmbedOptions) -> None:
        check_option_names(defaults, client=True)  # first: a misspelt api_key is not missing
        self.key = key or Secret(os.environ.get("OPENROUTER_API_KEY", ""))
        self.key.check()
        if not isinstance(base_url, str | None):
            raise InputError(f"base_url is a {type(base_url).__name__}, a str is needed")
        self.base_url = base_url or os.environ.get("OPENROUTER_BASE_URL") or BASE_URL
        # complains now about what would be wrong in every call
        self._plain = merge_options(defaults, {})
        # the checked copies: what becomes of the caller's mappings later does not matter
        checked: Any = {name: getattr(self._plain, name) for name in defaults}
        self._defaults: EmbedOptions = checked
        self.concurrency = self._plain.concurrency
        self.learned = ModelLimits()
        self.closed = False
        self.process = os.getpid()

    def check_open(self) -> None:
        """Raise InputError for a client that was closed."""
        if self.closed:
            raise InputError("the client is closed; make a new one")

    def options(self, call: EmbedOptions) -> Options:
        """The defaults, overridden by a call's own options."""
        return merge_options(self._defaults, call) if call else self._plain

    def describe(self, name: str) -> str:
        """For a repr: what is safe to show."""
        model = self._defaults.get("model")
        return f"{name}({self.base_url!r}{f', model={model!r}' if model else ''})"


class BaseClient(ABC):
    """What both clients share beside their methods.

    A client is its own copy, deep or not: whoever copies what holds one goes on with its
    connections and limits. In a forked process it begins anew at its first use: connections,
    locks and calls under way stay the parent's.
    """

    _said: str
    _settings: Settings

    def __copy__(self) -> Self:
        """The client itself."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """The client itself."""
        return self

    def __repr__(self) -> str:
        """Address and model; never the key."""
        return self._said

    def _ready(self) -> None:
        """Have what belongs to this process. Raises APIConnectionError where that cannot be."""
        process = os.getpid()
        if process != self._settings.process:
            with _locks.setdefault(process, threading.Lock()):
                if process != self._settings.process:
                    self._renew()
                    self._settings.process = process

    @property
    def _is_inherited(self) -> bool:
        """Whether all that is here is another process's still."""
        return os.getpid() != self._settings.process

    @abstractmethod
    def _renew(self) -> None:
        """Make anew what belongs to a process, and touch nothing of the parent's."""


# By process: another thread may have held the parent's at the fork, and is not there to release it.
_locks: dict[int, threading.Lock] = {}


def with_role(role: str, options: EmbedOptions) -> EmbedOptions:
    """`options` with `input_type`, unless the caller set another."""
    check_option_names(options)  # here: the caller's frame keeps its own
    return {"input_type": role, **options}
