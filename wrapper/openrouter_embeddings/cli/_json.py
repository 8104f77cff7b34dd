"""Lines of JSON for machines, and text for outputs that have not got every character."""

from __future__ import annotations

import codecs
import json
import sys
from decimal import Decimal
from typing import Any

ESCAPED = "orembed-json-escapes"  # an error handler of encodings


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """What an encoding has no characters for, as JSON writes it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(ESCAPED, _escaped)


def print_json(value: Any) -> None:
    """A line on standard output; amounts of credits are decimals without an exponent, as text."""
    # json, not orjson: the name of a file may be no UTF-8
    print(json.dumps(value, default=as_text), flush=True)


def as_text(value: Any) -> str:
    """What JSON has no type for."""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def for_output(line: str) -> str:
    """JSON with its characters where standard output is UTF-8, as JSON has to be; else escaped."""
    encoding = codecs.lookup(sys.stdout.encoding or "utf-8").name
    return line if encoding == "utf-8" else line.encode("ascii", ESCAPED).decode()
