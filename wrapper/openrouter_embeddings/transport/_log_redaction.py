"""httpcore's log has every header that comes, httpx's the reason, and a server may echo the key."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openrouter_embeddings._secret import Secret

_keys: weakref.WeakSet[Secret] = weakref.WeakSet()
_lock = threading.RLock()


def _renew() -> None:
    """After a fork another thread, which is not there, may hold it."""
    global _lock  # noqa: PLW0603 - the process has one
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def hide(key: Secret) -> None:
    """Keep a key out of httpcore's log for as long as it is used."""
    with _lock:
        _keys.add(key)


def _without_keys(record: logging.LogRecord) -> bool:
    said = clean = record.getMessage().encode(errors="replace")
    with _lock:
        keys = [*_keys]
    for key in keys:
        clean = key.redact(clean)
    if clean is not said:
        record.msg, record.args = clean.decode(), None
    return True


_NAMES = ("connection", "http11", "http2", "proxy", "socks")
for _name in (*(f"httpcore.{name}" for name in _NAMES), "httpx", "hpack.hpack", "hpack.table"):
    logging.getLogger(_name).addFilter(_without_keys)
