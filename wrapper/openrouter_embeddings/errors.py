"""What can go wrong, as types.

EmbeddingsError
├── InputError (also ValueError)            before anything is sent
├── APIStatusError                          the service said no, by status or inside a 200
│   ├── BadRequestError            400, 422
│   ├── AuthenticationError        401
│   ├── PaymentRequiredError       402
│   ├── PermissionDeniedError      403
│   ├── NotFoundError              404
│   ├── PayloadTooLargeError       413
│   ├── RateLimitError             429
│   └── ServerError                408, 504 and every other 5xx
│       ├── RequestTimeoutError    408
│       ├── InternalServerError    500
│       ├── BadGatewayError        502
│       ├── ServiceUnavailableError 503
│       ├── EdgeNetworkTimeoutError 524
│       └── OverloadedError        529
├── APIConnectionError                      no whole answer came
│   ├── APITimeoutError            one attempt took longer than `timeout`
│   └── DeadlineExceededError      the whole call took longer than `deadline`
├── ResponseError                           a success that is none: not JSON, wrong count, NaN, …
└── BudgetExceededError                     another request could cost more than `budget`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .result import EmbeddingResult, Usage


class EmbeddingsError(Exception):
    """Base of every error this package raises on purpose.

    Attributes (each None, or empty, where there is nothing to say):
        message: what happened, in a sentence.
        status: HTTP status, or the code of an error that came inside a 200.
        code: the API's own `error.code`.
        provider: who was serving the request, where the service said so.
        request_id: what support asks for.
        retry_after: seconds the service asked to wait.
        body: the beginning of the answer, without secrets.
        inputs: positions, in what the caller gave, of the inputs concerned.
        usage: what the service reported as used by the call until then.
        partial: the vectors of the call that had come by then, and so were paid for; its `mask`
            says of which inputs. None where there are none. In a stream: those not handed over.
    """

    partial: EmbeddingResult | None = None

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: int | str | None = None,
        provider: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        body: str | None = None,
        inputs: Iterable[int] = (),
        usage: Usage | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.provider = provider
        self.request_id = request_id
        self.retry_after = retry_after
        self.body = body
        self.inputs: tuple[int, ...] = tuple(inputs)
        self.usage = usage

    def __str__(self) -> str:
        """The message, and in brackets what helps to act on it."""
        details = {
            "status": self.status,
            "code": None if self.code == self.status else self.code,
            "provider": self.provider,
            "request id": self.request_id,
            "retry after": f"{self.retry_after:g} s" if self.retry_after is not None else None,
            "input" if len(self.inputs) == 1 else "inputs": (
                spell_positions(self.inputs) if self.inputs else None
            ),
        }
        said = ", ".join(f"{name} {value}" for name, value in details.items() if value is not None)
        return f"{self.message} [{said}]" if said else self.message


class InputError(EmbeddingsError, ValueError):
    """Refused before anything was sent; the message says where and what would be right."""

    def __str__(self) -> str:
        """The message alone: it names the position itself."""
        return self.message


class APIStatusError(EmbeddingsError):
    """The service said no, by its status or with an error inside a 200."""


class BadRequestError(APIStatusError):
    """400 or 422: the request is not what the service or the provider takes."""


class AuthenticationError(APIStatusError):
    """401: the API key is missing or wrong."""


class PaymentRequiredError(APIStatusError):
    """402: the credits, or the limit of the key, are used up."""


class PermissionDeniedError(APIStatusError):
    """403: a guardrail, moderation, or a key that may not do this."""


class NotFoundError(APIStatusError):
    """404: no such model, or no provider that fits the input and the preferences."""


class PayloadTooLargeError(APIStatusError):
    """413: the request is too large."""


class RateLimitError(APIStatusError):
    """429: too many requests; `retry_after` says how long to wait where the service did."""


class ServerError(APIStatusError):
    """408, 500, 502, 503, 504, 52x, 529: the service or the provider failed."""


class RequestTimeoutError(ServerError):
    """408: the service gave the request up; it took too long there."""


class InternalServerError(ServerError):
    """500."""


class BadGatewayError(ServerError):
    """502: the provider failed."""


class ServiceUnavailableError(ServerError):
    """503: nobody can serve this now."""


class EdgeNetworkTimeoutError(ServerError):
    """524: the provider took too long for the proxy in front of the service."""


class OverloadedError(ServerError):
    """529: the provider is overloaded."""


class APIConnectionError(EmbeddingsError):
    """No whole answer came: no connection, it broke, or it is another process's after a fork.

    Attributes:
        maybe_billed: the request may have reached the service, and so have been billed.
    """

    maybe_billed: bool = False


class APITimeoutError(APIConnectionError):
    """One attempt took longer than `timeout`."""


class DeadlineExceededError(APIConnectionError):
    """The whole call took longer than `deadline`, or would have."""


class ResponseError(EmbeddingsError):
    """A success that is none: not JSON, wrong count, indices or width, NaN, a zero vector."""


class BudgetExceededError(EmbeddingsError):
    """Another request could cost more than `budget`; it was not sent. `partial` has the rest."""


def spell_positions(positions: Iterable[int], *, most: int = 8) -> str:
    """`0, 3-7, 12`: sorted positions as a person would write them, cut after `most` ranges."""
    ranges: list[list[int]] = []
    for position in sorted(positions):
        if ranges and position == ranges[-1][1] + 1:
            ranges[-1][1] = position
        else:
            ranges.append([position, position])
    said = [str(a) if a == b else f"{a}-{b}" for a, b in ranges[:most]]
    return ", ".join(said) + (", …" if len(ranges) > most else "")
