"""The two clients: signatures, docstrings and fan-out; every decision is in `core`."""

from ._async import AsyncClient
from ._sync import Client

__all__ = ["AsyncClient", "Client"]
