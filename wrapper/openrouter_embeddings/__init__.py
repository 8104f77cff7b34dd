"""OpenRouter embeddings as float32 matrices.

    import openrouter_embeddings as ore

    client = ore.Client()  # or ore.Client.local(): no key, no network
    result = client.embed(["a cat", "a dog"], model="openai/text-embedding-3-small")
    result.vectors.shape  # (2, 1536)

Importing this package loads nothing else: each name is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .client import AsyncClient, Client
    from .core.options import EmbedOptions
    from .core.preferences import ProviderPreferences, ProviderPreferencesParam
    from .core.vectors import decode_base64, encode_base64
    from .errors import (
        APIConnectionError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadGatewayError,
        BadRequestError,
        BudgetExceededError,
        DeadlineExceededError,
        EdgeNetworkTimeoutError,
        EmbeddingsError,
        InputError,
        InternalServerError,
        NotFoundError,
        OverloadedError,
        PayloadTooLargeError,
        PaymentRequiredError,
        PermissionDeniedError,
        RateLimitError,
        RequestTimeoutError,
        ResponseError,
        ServerError,
        ServiceUnavailableError,
    )
    from .inputs import Audio, Content, EmbedInput, EmbedInputs, File, Image, Video
    from .result import EmbeddingResult, NearestNeighbors, Served, Usage

# The module of every public name except the exceptions, which are in `errors`.
_MODULES = {
    "client": ("AsyncClient", "Client"),
    "core.options": ("EmbedOptions",),
    "core.preferences": ("ProviderPreferences", "ProviderPreferencesParam"),
    "core.vectors": ("decode_base64", "encode_base64"),
    "inputs": ("Audio", "Content", "EmbedInput", "EmbedInputs", "File", "Image", "Video"),
    "result": ("EmbeddingResult", "NearestNeighbors", "Served", "Usage"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncClient",
    "Audio",
    "AuthenticationError",
    "BadGatewayError",
    "BadRequestError",
    "BudgetExceededError",
    "Client",
    "Content",
    "DeadlineExceededError",
    "EdgeNetworkTimeoutError",
    "EmbedInput",
    "EmbedInputs",
    "EmbedOptions",
    "EmbeddingResult",
    "EmbeddingsError",
    "File",
    "Image",
    "InputError",
    "InternalServerError",
    "NearestNeighbors",
    "NotFoundError",
    "OverloadedError",
    "PayloadTooLargeError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "ProviderPreferences",
    "ProviderPreferencesParam",
    "RateLimitError",
    "RequestTimeoutError",
    "ResponseError",
    "Served",
    "ServerError",
    "ServiceUnavailableError",
    "Usage",
    "Video",
    "__version__",
    "decode_base64",
    "encode_base64",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF.get(name, 'errors')}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted(__all__)
