"""The only package that knows httpx: request bytes out, a whole `Reply` in, or a typed error."""

from ._addresses import BASE_URL
from ._send import AsyncTransport, Transport

__all__ = ["BASE_URL", "AsyncTransport", "Transport"]
