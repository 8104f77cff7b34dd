"""Tells exceptions that the caller's signal handlers raise from errors of a connection."""

import functools
import signal
import threading
import traceback
from types import CodeType
from typing import Any


def raised_by_handler(error: BaseException) -> BaseException | None:
    """The exception that a signal handler raised, if that is `error` or its cause.

    A handler that raises TimeoutError would otherwise look like a socket's timeout, and the request
    would be sent again.
    """
    if threading.current_thread() is not threading.main_thread():
        return None  # Python runs signal handlers only in the main thread
    handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    cause: BaseException | None = error
    while cause is not None:
        if any(frame.f_code in handlers for frame, _ in traceback.walk_tb(cause.__traceback__)):
            return cause
        # httpcore's pool raises `from None`; any other context may be what the caller is handling
        cause = cause.__cause__ or (cause.__context__ if cause.__suppress_context__ else None)
    return None


def unmask(error: BaseException) -> None:
    """Raise the signal handler's exception if it caused `error`."""
    if (own := raised_by_handler(error)) is not None:
        raise own


def _code(handler: Any) -> CodeType | None:
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not callable(handler):  # SIG_DFL, SIG_IGN or None
        return None
    code: CodeType | None = getattr(handler, "__code__", None)
    return code or getattr(type(handler).__call__, "__code__", None)
