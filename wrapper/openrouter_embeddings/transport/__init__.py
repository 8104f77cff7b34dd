"""The only package that knows httpx: request bytes out, a whole `Reply` in, or a typed error."""

from ._send import AsyncTransport, Transport
from ._url import BASE_URL

__all__ = ["BASE_URL", "AsyncTransport", "Transport"]
