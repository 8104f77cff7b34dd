"""The two clients: signatures, docstrings and concurrent requests. `core` makes every decision."""

from ._async import AsyncClient
from ._sync import Client

__all__ = ["AsyncClient", "Client"]
