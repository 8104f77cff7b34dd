"""Keeps the API key out of the logs of httpx, httpcore and their successors.

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
_PARTS = [f"{core}.{name}" for core in ("httpcore", "httpcore2") for name in _NAMES]
for _name in (*_PARTS, "httpx", "httpx2", "hpack.hpack", "hpack.table"):
    logging.getLogger(_name).addFilter(_redact)
