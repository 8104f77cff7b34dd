"""What a signal handler of the caller's raises in the middle of our work."""

from __future__ import annotations

import functools
import signal
import threading
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import CodeType


def raised_by_handler(error: BaseException) -> BaseException | None:
    """The error that a signal handler raised, where it is `error` or the cause of it.

    An alarm of the caller's that raises TimeoutError looks like a socket's time-out otherwise:
    the attempt would be taken for failed, and the request sent again.
    """
    if threading.current_thread() is not threading.main_thread():
        return None  # Python runs handlers nowhere else
    handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    cause: BaseException | None = error
    while cause is not None:
        if any(frame.f_code in handlers for frame, _ in traceback.walk_tb(cause.__traceback__)):
            return cause
        # httpcore's pool raises `from None`; any other context may be what the caller is handling
        cause = cause.__cause__ or (cause.__context__ if cause.__suppress_context__ else None)
    return None


def unmask(error: BaseException) -> None:
    """Raise what a signal handler raised, where `error` comes of it."""
    if (own := raised_by_handler(error)) is not None:
        raise own


def _code(handler: Any) -> CodeType | None:
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not callable(handler):  # the system's own, or none
        return None
    code: CodeType | None = getattr(handler, "__code__", None)
    return code or getattr(type(handler).__call__, "__code__", None)
