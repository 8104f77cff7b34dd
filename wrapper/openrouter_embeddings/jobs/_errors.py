"""What keeps a job from beginning or going on."""

from __future__ import annotations

from openrouter_embeddings.errors import EmbeddingsError


class JobError(EmbeddingsError):
    """A job that cannot begin or go on; the message says what can be done."""
