"""Checks the headers that a caller adds to requests, and keeps their values out of tracebacks.

A value may be the password of a gateway. So no repr shows one, and an error is raised where no
frame of a traceback has one among its locals.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

# A token and a field value of RFC 9110; h11 sends no others.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?")
_LONGEST_SHOWN = 40  # a longer name may be the API key, in the wrong place
_DROPPED = b"\0"  # stands for None; no header has this value
_OWN = {
    "authorization": "pass the key as api_key=…",
    "proxy-authorization": "put the proxy's user name and password into its URL in HTTPS_PROXY",
    **dict.fromkeys(
        (
            "accept", "accept-encoding", "connection", "content-encoding", "content-length",
            "content-type", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer",
            "transfer-encoding", "upgrade",
        ),
        "the client sets it itself",
    ),
}  # fmt: skip


class Headers(tuple[tuple[bytes, bytes], ...]):
    """Names and values as they are sent."""

    __slots__ = ()

    def __repr__(self) -> str:
        """A placeholder without names and values."""
        return "Headers(…)"


NO_HEADERS = Headers()


def read_headers(given: Any) -> Headers | str:
    """The headers in a mapping of names to values, or why they cannot be sent.

    It returns the reason instead of raising it, because its frame has the values.
    """
    if isinstance(given, Headers):
        return given
    if not isinstance(given, Mapping):
        return f"headers: expected a mapping of names to values, got {type(given).__name__}"
    kind = type(given).__name__
    try:
        given = dict(given)
    except Exception as error:  # noqa: BLE001 - the caller's class may raise anything
        return f"headers: {type(error).__name__} while reading a {kind}"
    found: dict[str, tuple[bytes, bytes]] = {}
    for name, value in given.items():
        if problem := _problem(name, value):
            return problem
        if name.lower() in found:
            return f"headers has {_shown(name)} twice, in different cases; pass it once"
        found[name.lower()] = name.encode(), _DROPPED if value is None else value.encode()
    return Headers(found.values())


def _problem(name: Any, value: Any) -> str:
    if not isinstance(name, str):
        return f"headers: expected names of type str, got {type(name).__name__}"
    if not _NAME.fullmatch(name):  # not shown: it may be a whole line with its value
        return "headers: a name is not valid; use letters, digits and hyphens, as in X-My-Header"
    if hint := _OWN.get(name.lower()):
        return f"headers must not have {name!r}; {hint}"
    if not isinstance(value, str | None):
        got = type(value).__name__
        return f"headers: expected a str as the value of {_shown(name)}, got {got}"
    if value is not None and not _VALUE.fullmatch(value):
        return (
            f"headers: the value of {_shown(name)} must be printable ASCII, without spaces or line "
            "breaks at its ends"
        )
    return ""


def _shown(name: str) -> str:
    return repr(name) if len(name) <= _LONGEST_SHOWN else "a long name"


def merge_headers(defaults: Iterable[tuple[bytes, bytes]], call: Headers) -> Headers:
    """A client's headers, overridden by those of a call; a None of the call drops one."""
    both = {header[0].lower(): header for header in (*defaults, *call)}
    return Headers(header for header in both.values() if header[1] != _DROPPED)
