"""Pydantic AI: an `EmbeddingModel` for its `Embedder`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import InputError

from ._lazy import Adapter, LazyClient

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from ._lazy import AdapterOptions, Role

_embeddings: Any = need("pydantic_ai.embeddings", "pydantic_ai")
_models: Any = need("pydantic_ai.models", "pydantic_ai")
_usage: Any = need("pydantic_ai.usage", "pydantic_ai")
# pydantic-ai's names of settings, and ours
_SETTINGS = {"dimensions": "dimensions", "extra_body": "extra_body", "extra_headers": "headers"}


class OpenRouterEmbeddingModel(Adapter, _embeddings.EmbeddingModel):
    """Embeds queries and documents for Pydantic AI.

        embedder = Embedder(OpenRouterEmbeddingModel(model="openai/text-embedding-3-small"))

    Of the settings of an embedder or of a call, `dimensions`, `extra_headers` and `extra_body`
    override the options; `truncate=True` is an error, because OpenRouter has no such field. `usage`
    of a result has the exact cost, and `provider_details` says who served it. A text that cannot be
    embedded raises an error that names it, so `on_error="skip"` is not possible. It can be copied
    and pickled; a copy has the connections and the usage of the original, and pickling leaves out
    the key.

    Args:
        **options: `model`, `api_key`, `base_url`, `local`, `client` and others (see
            `AdapterOptions`), and the options of `embed`.

    Raises:
        InputError: an option is invalid. Without an API key, the first call raises it.
        TypeError: an option is unknown.
        EmbeddingsError: `embed` raises the errors of `Client.embed`.
        RuntimeError: `embed`: `ALLOW_MODEL_REQUESTS` of `pydantic_ai.models` is False.
        ImportError: the extra `pydantic_ai` is not installed.
    """

    def __init__(self, **options: Unpack[AdapterOptions]) -> None:
        self._client = LazyClient(options)
        self._local = bool(options.get("local"))
        self._model_name = options.get("model", "local/minilm" if self._local else "default")
        super().__init__()

    @property
    def model_name(self) -> str:
        """The model; "default" if only a client of yours knows it."""
        return self._model_name

    @property
    def system(self) -> str:
        """The provider, for telemetry and prices: "openrouter"."""
        return "openrouter"

    async def embed(
        self, inputs: str | Sequence[str], *, input_type: Role, settings: Any = None
    ) -> Any:
        """Embed texts of one role. Returns an `EmbeddingResult` of Pydantic AI, with lists."""
        if not self._local:
            _models.check_allow_model_requests()
        texts, settings = self.prepare_embed(inputs, settings)
        if settings.get("truncate"):
            raise InputError("truncate=True is not possible with OpenRouter: shorten the texts")
        options: Any = {
            ours: settings[name] for name, ours in _SETTINGS.items() if name in settings
        }
        result = await self._client.aembed(texts, input_type, **options)
        cost = result.usage.cost
        details: dict[str, Any] = {"cost": None if cost is None else float(cost)}
        details["providers"] = sorted({one.provider for one in result.served if one.provider})
        return _embeddings.EmbeddingResult(
            result.vectors.tolist(),
            inputs=texts,
            input_type=input_type,
            model_name=next((one.model for one in result.served if one.model), self.model_name),
            provider_name=self.system,
            usage=_usage.RequestUsage(input_tokens=result.usage.prompt_tokens, cost=cost),
            provider_details=details,
            provider_response_id=result.served[0].id if len(result.served) == 1 else None,
        )
