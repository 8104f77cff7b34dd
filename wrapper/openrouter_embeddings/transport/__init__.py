"""HTTP: sends request bytes, and returns a complete `Reply` or raises a typed error."""

from ._httpx_client import AsyncHTTPXClient, HTTPXClient
from ._send import AsyncTransport, Transport
from ._url import BASE_URL

__all__ = ["BASE_URL", "AsyncHTTPXClient", "AsyncTransport", "HTTPXClient", "Transport"]
