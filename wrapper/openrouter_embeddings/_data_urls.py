"""`data:` URLs, read as browsers do: https://fetch.spec.whatwg.org/#data-url-processor."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import pybase64

_WHITESPACE = " \t\n\f\r"
_IS_BASE64 = re.compile(r"; *base64[ \t\n\f\r]*\Z", re.IGNORECASE)


def is_data_url(text: str) -> bool:
    """Whether a text is one."""
    return text[:5].lower() == "data:"


def read_data_url(url: str, most: int) -> bytes:
    """What the URL holds: base64 with or without padding and white space, or percent-encoded.

    Raises ValueError where it cannot be read, or holds more than `most` bytes; that is told before
    anything is copied.
    """
    start = url.find(",") + 1
    if not start:
        raise ValueError("the data: URL has no comma; data:image/png;base64,… is right")
    is_base64 = _IS_BASE64.search(url[:start][:-1])
    least = len(url) - start - 2 * url.count("%", start)
    if is_base64:
        white = sum(url.count(character, start) for character in _WHITESPACE)
        least = (least - white) // 4 * 3 - 2
    check_size(least, most)
    try:
        data = unquote_to_bytes(url[start:])
        if is_base64:
            data = _forgiving(data)
    except ValueError:
        found = "not valid base64" if is_base64 else "not valid: it has a lone surrogate"
        raise ValueError(f"the data: URL is {found}") from None
    check_size(len(data), most)
    return data


def check_size(size: int, most: int) -> None:
    """Raise ValueError for more bytes than `most`."""
    if size > most:
        raise ValueError(f"more than {most >> 20} MB are not taken; make it smaller first")


def _forgiving(data: bytes) -> bytes:
    """https://infra.spec.whatwg.org/#forgiving-base64-decode; ValueError where that fails."""
    data = data.translate(None, _WHITESPACE.encode())
    if len(data) % 4 == 0:
        data = data[:-2] + data[-2:].rstrip(b"=")
    if b"=" in data or len(data) % 4 == 1:
        raise ValueError
    return pybase64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
