"""Keeps the API key out of the logs of httpx and httpcore.

They log the headers and the reason phrase of a response, and a server may echo the key there.
"""

import logging

from openrouter_embeddings._live_set import LiveSet
from openrouter_embeddings._secret import Secret

_keys: LiveSet[Secret] = LiveSet()


def redact_logs(key: Secret) -> None:
    """Redact a key in log records for as long as it exists."""
    _keys.add(key)


def _redact(record: logging.LogRecord) -> bool:
    message = redacted = record.getMessage().encode(errors="replace")
    for key in _keys:
        redacted = key.redact(redacted)
    if redacted is not message:
        record.msg, record.args = redacted.decode(), None
    return True


_NAMES = ("connection", "http11", "http2", "proxy", "socks")
for _name in (*(f"httpcore.{name}" for name in _NAMES), "httpx", "hpack.hpack", "hpack.table"):
    logging.getLogger(_name).addFilter(_redact)
