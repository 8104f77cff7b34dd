"""The API key, wrapped so that it shows in no repr, log, traceback or pickle."""

from __future__ import annotations

import re
from typing import NoReturn

from .errors import InputError

_SHORTEST = 12
_MARK = b"[API key]"
_BLOCK = 1 << 16  # bytes that are looked through for a key in disguise where there is a sign of one
_LONGEST_LETTER = 24  # bytes: an escape of six letters, in UTF-32
_WIDE = b"\\x00{0,3}+"  # between letters, in UTF-16 or 32; possessive: no number is tried twice


def _ways(letter: str) -> bytes:
    """How a letter may stand in JSON: itself or escaped, in UTF-8, 16 or 32."""
    plain, short, long = (
        _WIDE.join(re.escape(one).encode() for one in way)
        for way in (letter, f"\\{letter}", f"\\u{ord(letter):04x}")
    )
    return b"(?:%b|(?i:%b)%b)" % (plain, long, b"|" + short if letter in '"\\/' else b"")


class Secret:
    """Holds a key; only `reveal` gives it out."""

    __slots__ = ("__weakref__", "_pattern", "_signs", "_value")

    def __init__(self, value: object) -> None:
        # Nothing is refused here: a traceback would show `value` among this frame's locals, and
        # the caller's argument among theirs.
        self._value = value.strip() if isinstance(value, str) else "no text"
        self._pattern = re.compile(_WIDE.join(map(_ways, self._value)))
        has_short = any(letter in '"\\/' for letter in self._value)
        self._signs = (b"\\" if has_short else b"\\u00", b"\0")

    def check(self) -> None:
        """Raise InputError where this can be no key."""
        if not self._value:
            raise InputError(
                "no API key: set OPENROUTER_API_KEY, or pass api_key=…; Client.local() needs none"
            )
        if not self._value.isascii() or not self._value.isprintable() or " " in self._value:
            raise InputError("the API key has characters that no key has; it is not shown here")

    def __bool__(self) -> bool:
        """Whether there is a key."""
        return bool(self._value)

    def __repr__(self) -> str:
        """Nothing of the key."""
        return "Secret(…)"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled."""
        raise TypeError("a client holds an API key and is not pickled; make one in each process")

    def reveal(self) -> str:
        """The key itself."""
        return self._value

    def redact(self, text: bytes) -> bytes:
        """`text` without the key, should a server echo it.

        A word as short as the stand-in's `local` is no secret, and would be found in model names.
        """
        if len(self._value) < _SHORTEST:
            return text
        if (plain := self._value.encode()) in text:
            text = text.replace(plain, _MARK)
        reach = _LONGEST_LETTER * len(plain)
        pieces: list[bytes] = []
        done = 0
        for at in range(0, len(text), _BLOCK):
            end = at + _BLOCK + reach
            if all(text.find(sign, at, end) < 0 for sign in self._signs):
                continue  # the search below takes a second for 42 MB
            for found in self._pattern.finditer(text, max(done, at - reach), end):
                pieces += [text[done : found.start()], _MARK]
                done = found.end()
        return b"".join([*pieces, text[done:]]) if pieces else text
