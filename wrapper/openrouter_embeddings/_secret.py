"""The API key, wrapped so that it appears in no repr, log, traceback or pickle."""

import re
from typing import NoReturn

from .errors import InputError

_SHORTEST = 12
_REDACTED = b"[API key]"
_BLOCK = 1 << 16  # bytes that are searched for an escaped key if they have any sign of escaping
_LONGEST_LETTER = 24  # bytes: a `\u` escape, six letters, in UTF-32
_WIDE = b"\\x00{0,3}+"  # between the letters of UTF-16 or 32; possessive, so it never backtracks


def _spellings(letter: str) -> bytes:
    """A pattern for a letter in JSON: plain or escaped, in UTF-8, 16 or 32."""
    plain, short, long = (
        _WIDE.join(re.escape(character).encode() for character in spelling)
        for spelling in (letter, f"\\{letter}", f"\\u{ord(letter):04x}")
    )
    return b"(?:%b|(?i:%b)%b)" % (plain, long, b"|" + short if letter in '"\\/' else b"")


class Secret:
    """Holds an API key. Only `reveal` returns it."""

    __slots__ = ("__weakref__", "_pattern", "_signs", "_value")

    def __init__(self, value: object) -> None:
        # This raises nothing: a traceback would show `value` among the locals of this frame, and
        # the key among those of the caller. `check` validates the key.
        self._value = value.strip() if isinstance(value, str) else "not a str"
        self._pattern = re.compile(_WIDE.join(map(_spellings, self._value)))
        has_short = any(letter in '"\\/' for letter in self._value)
        self._signs = (b"\\" if has_short else b"\\u00", b"\0")

    def check(self) -> None:
        """Raise InputError if this cannot be an API key."""
        if not self._value:
            raise InputError(
                "no API key: set OPENROUTER_API_KEY or pass api_key=…; Client.local() needs none"
            )
        if not self._value.isascii() or not self._value.isprintable() or " " in self._value:
            raise InputError(
                "the API key must be a str of printable ASCII characters without spaces; check the "
                "value you set, which is not shown here"
            )

    def __bool__(self) -> bool:
        """Whether the key is not empty."""
        return bool(self._value)

    def __repr__(self) -> str:
        """A placeholder without the key."""
        return "Secret(…)"

    def __deepcopy__(self, memo: object) -> "Secret":
        """The secret itself."""
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled."""
        raise TypeError("an API key cannot be pickled")

    def reveal(self) -> str:
        """The key itself."""
        return self._value

    def redact(self, text: bytes) -> bytes:
        """`text` without the key, in case a server echoed it.

        Keys as short as the stand-in's `local` stay: they are not secret, and model names contain
        them.
        """
        if len(self._value) < _SHORTEST:
            return text
        if (plain := self._value.encode()) in text:
            text = text.replace(plain, _REDACTED)
        reach = _LONGEST_LETTER * len(plain)
        pieces: list[bytes] = []
        done = 0
        for at in range(0, len(text), _BLOCK):
            end = at + _BLOCK + reach
            if all(text.find(sign, at, end) < 0 for sign in self._signs):
                continue  # the search below takes a second per 42 MB
            for found in self._pattern.finditer(text, max(done, at - reach), end):
                pieces += [text[done : found.start()], _REDACTED]
                done = found.end()
        return b"".join([*pieces, text[done:]]) if pieces else text
