"""Keeps the API key out of the logs of httpx, httpcore and their successors.

They log the headers and the reason phrase of a response, and a server may echo the key there.
"""

import logging
import os
import threading
import weakref

from openrouter_embeddings._secret import Secret

_keys: weakref.WeakSet[Secret] = weakref.WeakSet()
_lock = threading.RLock()


def _reset_after_fork() -> None:
    """Replace the lock, which another thread of the parent may hold."""
    global _lock  # noqa: PLW0603 - the process has one
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


def redact_logs(key: Secret) -> None:
    """Redact a key in log records for as long as it exists."""
    with _lock:
        _keys.add(key)


def _redact(record: logging.LogRecord) -> bool:
    message = redacted = record.getMessage().encode(errors="replace")
    with _lock:
        keys = [*_keys]
    for key in keys:
        redacted = key.redact(redacted)
    if redacted is not message:
        record.msg, record.args = redacted.decode(), None
    return True


_NAMES = ("connection", "http11", "http2", "proxy", "socks")
_PARTS = [f"{core}.{name}" for core in ("httpcore", "httpcore2") for name in _NAMES]
for _name in (*_PARTS, "httpx", "httpx2", "hpack.hpack", "hpack.table"):
    logging.getLogger(_name).addFilter(_redact)
