"""The only package that knows httpx: request bytes out, a whole `Reply` in, or a typed error."""

from ._send import BASE_URL, AsyncTransport, Transport

__all__ = ["BASE_URL", "AsyncTransport", "Transport"]
