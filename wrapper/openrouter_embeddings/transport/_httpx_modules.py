"""httpx and its successor httpx2: their classes, and whether a tool has replaced their methods.

httpx2 counts only if the program has imported it.
"""

import sys
from types import FunctionType, ModuleType
from typing import Any

import httpcore
import httpx

# Tools that mock, record or trace requests replace one of these: pytest-httpx, vcrpy, OpenTelemetry
# and logfire the transport's method, respx the choice of the transport, Sentry and Datadog `send`.
_REPLACEABLE = {
    "Client": (
        ("HTTPTransport", "handle_request"),
        ("Client", "_transport_for_url"),
        ("Client", "send"),
    ),
    "AsyncClient": (
        ("AsyncHTTPTransport", "handle_async_request"),
        ("AsyncClient", "_transport_for_url"),
        ("AsyncClient", "send"),
    ),
}


def _imported(module: ModuleType, successor: str) -> tuple[ModuleType, ...]:
    """The module, and its successor if the program has imported that."""
    other = sys.modules.get(successor)
    return (module,) if other is None else (module, other)


def classes(*names: str) -> tuple[type[Any], ...]:
    """The classes of these names in httpx, httpcore and their successors; for `isinstance`."""
    modules = (*_imported(httpx, "httpx2"), *_imported(httpcore, "httpcore2"))
    found = [getattr(module, name, None) for module in modules for name in names]
    return tuple(dict.fromkeys(one for one in found if isinstance(one, type)))


def replaced(client_class: str) -> ModuleType | None:
    """The module of which a tool has replaced a method that `client_class` uses, if any.

    A method counts as replaced unless it is a plain function from that module's own code. So it
    does not matter whether the tool began before or after this module was imported.
    `functools.wraps` copies the name of a function and its module's name, but not its globals.
    """
    for module in _imported(httpx, "httpx2"):
        for owner, name in _REPLACEABLE[client_class]:
            found = getattr(module, owner, None)
            if not isinstance(found, type):  # a mock, or the module is still being imported
                continue
            method = getattr(found, name, None)
            if method is not None and (
                type(method) is not FunctionType
                or method.__globals__["__name__"].partition(".")[0] != module.__name__
            ):
                return module
    return None
