"""What both clients are made of: key, address, defaults."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from openrouter_embeddings._secret import Secret
from openrouter_embeddings.core.divide import Learned
from openrouter_embeddings.core.options import EmbedOptions, check_names, merged
from openrouter_embeddings.errors import InputError
from openrouter_embeddings.transport import BASE_URL

if TYPE_CHECKING:
    from openrouter_embeddings.core.options import Options

LOCAL_URL = "http://127.0.0.1/api/v1"  # never dialled: the in-process transport takes its place
LOCAL_KEY = "local"
LOCAL_MODEL = "local/minilm"


class Settings:
    """A client's key, base URL and default options. Raises InputError."""

    def __init__(self, key: Secret, base_url: str | None, defaults: EmbedOptions) -> None:
        check_names(defaults, client=True)  # first: a misspelt api_key is not missing
        self.key = key or Secret(os.environ.get("OPENROUTER_API_KEY", ""))
        self.key.check()
        if not isinstance(base_url, str | None):
            raise InputError(f"base_url is a {type(base_url).__name__}, a str is needed")
        self.base_url = base_url or os.environ.get("OPENROUTER_BASE_URL") or BASE_URL
        # complains now about what would be wrong in every call
        self._plain = merged(defaults, {})
        # the checked copies: what becomes of the caller's mappings later does not matter
        checked: Any = {name: getattr(self._plain, name) for name in defaults}
        self._defaults: EmbedOptions = checked
        self.concurrency = self._plain.concurrency
        self.learned = Learned()
        self.closed = False
        self._process = os.getpid()

    @property
    def is_forked(self) -> bool:
        """Whether the client was made in another process, which has its connections and locks."""
        return os.getpid() != self._process

    def check_usable(self) -> None:
        """Raise InputError for a client that was closed, or made before a fork."""
        if self.closed:
            raise InputError("the client is closed; make a new one")
        self.check_process()

    def check_process(self) -> None:
        """Raise InputError in another process than the client was made in."""
        if self.is_forked:
            raise InputError(
                "the client was made in another process, whose connections and locks this one "
                "cannot share after a fork; make one in each process"
            )

    def options(self, call: EmbedOptions) -> Options:
        """The defaults, overridden by a call's own options."""
        return merged(self._defaults, call) if call else self._plain

    def describe(self, name: str) -> str:
        """For a repr: what is safe to show."""
        model = self._defaults.get("model")
        return f"{name}({self.base_url!r}{f', model={model!r}' if model else ''})"


def with_role(role: str, options: EmbedOptions) -> EmbedOptions:
    """`options` with `input_type`, unless the caller set another."""
    check_names(options)  # here: the caller's frame keeps its own
    return {"input_type": role, **options}
