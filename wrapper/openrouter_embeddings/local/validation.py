"""Whether a request keeps the contract, and if not, which field breaks it."""

from typing import Any

from .reply import Refusal

_MAX_MESSAGE = 300
_MAX_VALUES = 1 << 15  # 2048 inputs of a text and an image have 20,000


def check_request(request: Any, validator: Any) -> None:
    """Raise `Refusal` (400, naming a field) for a request that the validator refuses."""
    if _count_values(request) > _MAX_VALUES:  # each may be an error, which takes 10 KB to describe
        message = f"the request: more than {_MAX_VALUES} values besides numbers; send fewer inputs"
        raise Refusal(400, message)
    try:
        error = next(validator.iter_errors(request), None)
    except (ValueError, RecursionError):
        raise Refusal(400, "the request: nested too deeply") from None
    if error is not None:
        raise Refusal(400, _describe(error)[:_MAX_MESSAGE])


def _count_values(request: Any) -> int:
    """How many values other than numbers a request has; stops a little above the maximum."""
    count, waiting = 0, [request]
    while waiting and count <= _MAX_VALUES:
        value = waiting.pop()
        if isinstance(value, dict):
            value = [*value.values()]
        inner = value if isinstance(value, list) else ()
        count += 1
        waiting += [one for one in inner if type(one) not in (int, float)]
    return count


def _describe(error: Any) -> str:
    """`provider.sort: …`. For a union: the deepest field at which every alternative fails."""
    path = ".".join(map(str, error.instance_path)) or "the request"
    alternatives = getattr(error.kind, "context", None)
    if not alternatives:
        return f"{path}: {error.message}"
    deepest = [max(errors, key=lambda e: len(e.instance_path)) for errors in alternatives if errors]
    deeper = max(deepest, key=lambda e: len(e.instance_path))
    if len(deeper.instance_path) > len(error.instance_path):
        deepest = [e for e in deepest if e.instance_path == deeper.instance_path]
        if len(deepest) == 1:
            return _describe(deeper)
        path = ".".join(map(str, deeper.instance_path))
    reasons = " or ".join(dict.fromkeys(_describe(e).partition(": ")[2] for e in deepest))
    return f"{path}: {reasons}"
