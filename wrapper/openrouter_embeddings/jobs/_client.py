"""Whose client a job uses."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from openrouter_embeddings.client import Client
from openrouter_embeddings.errors import InputError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def given_or_own(client: Client | None) -> AbstractContextManager[Client]:
    """The caller's, which stays open, or one from the environment, closed in the end.

    Raises InputError for an AsyncClient: a job has threads of its own.
    """
    if not isinstance(client, Client | None):
        raise InputError(f"client is {client!r}; a Client is needed, which has threads of its own")
    return Client() if client is None else nullcontext(client)
