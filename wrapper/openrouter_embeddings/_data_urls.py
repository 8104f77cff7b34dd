"""Reads `data:` URLs as browsers do: https://fetch.spec.whatwg.org/#data-url-processor."""

import re
from urllib.parse import unquote_to_bytes

import pybase64

_WHITESPACE = " \t\n\f\r"
_IS_BASE64 = re.compile(r"; *base64[ \t\n\f\r]*\Z", re.IGNORECASE)


def is_data_url(text: str) -> bool:
    """Whether a text is a `data:` URL."""
    return text[:5].lower() == "data:"


def read_data_url(url: str, max_size: int) -> bytes:
    """The bytes in the URL: base64 with or without padding and white space, or percent-encoded.

    Raises ValueError if it is invalid or larger than `max_size` bytes; a URL that is too large is
    not copied.
    """
    start = url.find(",") + 1
    if not start:
        raise ValueError("the data: URL has no comma; it should look like data:image/png;base64,…")
    is_base64 = _IS_BASE64.search(url[:start][:-1])
    min_size = len(url) - start - 2 * url.count("%", start)
    if is_base64:
        spaces = sum(url.count(character, start) for character in _WHITESPACE)
        min_size = (min_size - spaces) // 4 * 3 - 2
    check_size(min_size, max_size)
    try:
        data = unquote_to_bytes(url[start:])
        if is_base64:
            data = _decode_base64(data)
    except ValueError:
        problem = "is not valid base64" if is_base64 else "contains a lone surrogate"
        raise ValueError(f"the data: URL {problem}; encode the file again") from None
    check_size(len(data), max_size)
    return data


def check_size(size: int, max_size: int) -> None:
    """Raise ValueError for more than `max_size` bytes."""
    if size > max_size:
        raise ValueError(f"more than {max_size >> 20} MB is not supported; make the file smaller")


def _decode_base64(data: bytes) -> bytes:
    """As https://infra.spec.whatwg.org/#forgiving-base64-decode. Raises ValueError."""
    data = data.translate(None, _WHITESPACE.encode())
    if len(data) % 4 == 0:
        data = data[:-2] + data[-2:].rstrip(b"=")
    if b"=" in data or len(data) % 4 == 1:
        raise ValueError
    return pybase64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
