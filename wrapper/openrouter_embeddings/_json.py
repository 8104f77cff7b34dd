"""JSON for the whole package, by msgspec.

msgspec is as fast as orjson in what takes time here, and has wheels for free-threaded Pythons.
"""

from collections.abc import Callable
from typing import Any

import msgspec

_TOO_DEEP = "it is nested too deeply"


def dumps(
    value: Any, *, default: Callable[[Any], Any] | None = None, sort_keys: bool = False
) -> bytes:
    """The JSON text of a value, in UTF-8, without spaces. NaN and infinities become null.

    Args:
        value: what JSON has types for, `fragment`, and what msgspec writes as text: dates, times,
            decimals, UUIDs, and bytes as base64.
        default: makes such a value from any other.
        sort_keys: by default, keys keep their order.

    Raises:
        TypeError: JSON has no such type.
        ValueError: a text contains a lone surrogate, or the value is nested too deeply for Python's
            stack.
    """

    def other(value: Any) -> Any:
        for kind, plain in _PLAIN.items():
            if isinstance(value, kind):
                return plain(value)
        if default:
            return default(value)
        raise TypeError(f"JSON has no type for {type(value).__name__}")

    order: Any = "deterministic" if sort_keys else None
    try:
        return msgspec.json.encode(value, enc_hook=other, order=order)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


# msgspec takes str, int and float, but not their subclasses, of which numpy.str_ is one.
_PLAIN: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
}


def loads(text: bytes | str) -> Any:
    """The value of a JSON text, which is UTF-8 without NaN, infinities and lone surrogates.

    Integers are exact, up to 4,300 digits. Of equal keys, the last counts.

    Raises:
        ValueError: the text is not such JSON, or nested too deeply for Python's stack.
    """
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def fragment(text: bytes) -> Any:
    """A JSON text as a value for `dumps`, which copies it."""
    return msgspec.Raw(text)
