"""httpcore tells its log every header that comes, and a server may echo the key."""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openrouter_embeddings._secret import Secret

_keys: weakref.WeakSet[Secret] = weakref.WeakSet()


def hide(key: Secret) -> None:
    """Keep a key out of httpcore's log for as long as it is used."""
    _keys.add(key)


def _without_keys(record: logging.LogRecord) -> bool:
    said = record.getMessage().encode(errors="replace")
    for key in [*_keys]:
        said = key.redact(said)
    record.msg, record.args = said.decode(), None
    return True


for _name in ("httpcore.connection", "httpcore.http11", "httpcore.proxy"):
    logging.getLogger(_name).addFilter(_without_keys)
