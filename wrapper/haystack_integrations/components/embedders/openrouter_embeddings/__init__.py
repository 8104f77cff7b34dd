"""Where Haystack looks for the components of a saved pipeline.

Haystack loads classes only from packages that it trusts: its own, and `haystack_integrations`,
which all integrations share. The folders above have no __init__.py, so that they can share it.
"""

from openrouter_embeddings.adapters.haystack import (
    OpenRouterDocumentEmbedder,
    OpenRouterTextEmbedder,
)

__all__ = ["OpenRouterDocumentEmbedder", "OpenRouterTextEmbedder"]
