"""What an error shows: where a secret might leak."""

import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any


def family(error: BaseException) -> Iterator[BaseException]:
    """An exception with all its causes and contexts."""
    waiting: list[BaseException | None] = [error]
    while waiting:
        if (one := waiting.pop()) is not None:
            yield one
            waiting += [one.__cause__, one.__context__]


def frames(trace: TracebackType | None) -> Iterator[dict[str, Any]]:
    """The locals of every frame of a traceback, except those of the tests."""
    for frame, _ in traceback.walk_tb(trace):
        if "/tests/" not in frame.f_code.co_filename:
            yield frame.f_locals


def shown(error: BaseException) -> str:
    """Everything about an error that a log, a crash reporter or a rich traceback could show."""
    texts = []
    for one in family(error):
        texts += [repr(one), str(one), repr(vars(one)), "".join(traceback.format_exception(one))]
        texts += [repr(local) for scope in frames(one.__traceback__) for local in scope.values()]
        texts += [repr(vars(x)) for s in frames(one.__traceback__) for x in s.values() if _plain(x)]
    return "\n".join(texts)


def _plain(value: Any) -> bool:
    module = type(value).__module__.partition(".")[0]
    return hasattr(value, "__dict__") and module.startswith(("openrouter", "httpx", "httpcore"))
