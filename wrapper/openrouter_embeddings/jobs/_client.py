"""Whose client a job uses."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from openrouter_embeddings.client import Client

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def given_or_own(client: Client | None) -> AbstractContextManager[Client]:
    """The caller's, which stays open, or one from the environment, closed in the end."""
    return Client() if client is None else nullcontext(client)
