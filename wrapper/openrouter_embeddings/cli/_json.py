"""JSON lines for programs, and text in encodings that lack some characters."""

import codecs
import json
import sys
from decimal import Decimal
from typing import Any

JSON_ESCAPES = "orembed-json-escapes"  # an error handler: writes a missing character as \uXXXX


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(JSON_ESCAPES, _escape)


def print_json(value: Any) -> None:
    """Print a line of JSON; amounts of credits are decimal text without an exponent."""
    # not `dumps`: a file name need not be valid UTF-8
    print(json.dumps(value, default=json_default), flush=True)


def json_default(value: Any) -> str:
    """Text in place of a value that JSON has no type for."""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def for_stdout(line: str) -> str:
    """The JSON line as it is where standard output is UTF-8, and otherwise in ASCII escapes."""
    encoding = codecs.lookup(sys.stdout.encoding or "utf-8").name
    return line if encoding == "utf-8" else line.encode("ascii", JSON_ESCAPES).decode()
