"""llm, the command of Simon Willison: embedding models, registered as a plugin.

Each start of `llm` imports this module, so it imports the client only when a model is made.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from openrouter_embeddings._extras import need
from openrouter_embeddings._secret import Secret
from openrouter_embeddings.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Unpack

    from openrouter_embeddings.result import Usage

    from ._lazy import AdapterOptions, LazyClient

_llm: Any = need("llm", "llm")
_BUILT_IN = [{"model": "openai/text-embedding-3-small"}, {"model": "local/minilm", "local": True}]


class OpenRouterEmbeddingModel(_llm.EmbeddingModel):
    """An embedding model of llm; the plugin makes some, see `register_embedding_models`.

        OpenRouterEmbeddingModel(model="openai/text-embedding-3-small").embed("a cat")

    Its key is the first of: `key` of this object, `key` of a call, `api_key`, the one saved by
    `llm keys set openrouter`, the one in the environment. `bytes` are images. llm does not tell
    queries from documents, so only `input_type` is sent, if set. An input that cannot be embedded
    raises an error that names it; `on_error="skip"` is not possible. Pickling leaves out the key.

    Args:
        model_id: its name in llm; default: "openrouter/" and `model`.
        **options: `model`, `api_key`, `base_url`, `local`, `client` and others (see
            `AdapterOptions`), and the options of `embed`.

    Raises:
        InputError: an option is invalid. Without an API key, the first call raises it.
        TypeError: an option is unknown.
        EmbeddingsError: the methods raise the errors of `Client.embed`.
        ImportError: the extra `llm` is not installed.
    """

    supports_binary = True
    batch_size = 1024  # items per call of `embed_batch`: eight requests at a time

    def __init__(self, *, model_id: str | None = None, **options: Unpack[AdapterOptions]) -> None:
        from openrouter_embeddings.core.options import check_option_names  # noqa: PLC0415 - heavy

        from . import _lazy  # noqa: PLC0415 - heavy

        self.model_id: str = model_id or f"openrouter/{options.get('model', 'default')}"
        useless = {"async_client", "document_input_type", "query_input_type"}
        check_option_names(options, own=[n for n in _lazy.OWN_OPTIONS if n not in useless])
        self._has_key = bool(options.get("api_key"))
        # by the hash of the key of a call; this takes `api_key` out of the options
        self._clients: dict[bytes, LazyClient] = {b"": _lazy.LazyClient(options)}
        self._options = options
        self.key_env_var: str = options.get("api_key_env_var", _lazy.KEY_VARIABLE)
        self.needs_key = None if options.get("local") or options.get("client") else "openrouter"

    def embed_batch(self, items: Iterable[Any], *, key: Any = None) -> Iterator[list[float]]:
        """Embed texts and images; llm calls it with up to 1024 of them."""
        from openrouter_embeddings.inputs import Image  # noqa: PLC0415 - not at llm's start

        inputs = [Image(item) if isinstance(item, bytes) else item for item in items]
        secret = Secret(key) if isinstance(key, str) else key  # llm passes what `get_key` returns
        del key  # a traceback would show it
        digest = hashlib.sha256(secret.reveal().encode()).digest() if secret else b""
        if digest not in self._clients:
            options: Any = {**self._options, "api_key": secret}
            self._clients.setdefault(digest, type(self._clients[b""])(options))
        yield from self._clients[digest].embed(inputs).vectors.tolist()

    def get_key(self, explicit_key: str | None = None) -> Any:
        """The key of a call, as a secret that no traceback shows; None for `api_key`."""
        if self._has_key and not (explicit_key or self.key):
            return None
        try:
            key = super().get_key(explicit_key)
        except _llm.NeedsKeyException:
            ways = f"set {self.key_env_var} or pass api_key=…, or run `llm keys set openrouter`"
            raise InputError(f"no API key: {ways}") from None
        return Secret(key) if key else None

    @property
    def usage(self) -> Usage:
        """Tokens and cost of all calls in this process, those that failed included."""
        first, *others = (client.usage for client in [*self._clients.values()])
        return sum(others, start=first)

    def close(self) -> None:
        """Close the connections; the next call makes new ones."""
        for client in [*self._clients.values()]:
            client.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_clients": {b"": self._clients[b""]}, "_has_key": False, "key": None}

    def __copy__(self) -> OpenRouterEmbeddingModel:
        return self

    def __deepcopy__(self, memo: object) -> OpenRouterEmbeddingModel:
        return self


@_llm.hookimpl  # type: ignore[untyped-decorator]
def register_embedding_models(register: Any) -> None:
    """Register the models of `openrouter-embeddings.yaml` in llm's folder, and two of our own."""
    path = _llm.user_dir() / "openrouter-embeddings.yaml"
    listed: Any = need("yaml", "llm").safe_load(path.read_text("utf-8")) if path.exists() else []
    for options in [*_BUILT_IN, *(listed or [])]:
        try:
            if "api_key" in options:
                del options["api_key"]
                raise InputError("remove api_key, and run `llm keys set openrouter`")
            register(OpenRouterEmbeddingModel(**options))
        except (InputError, TypeError) as error:
            raise InputError(f"{path}: {error}") from None
