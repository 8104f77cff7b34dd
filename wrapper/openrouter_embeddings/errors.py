"""Every exception this package raises. `EmbeddingsError` and `InputError` are in `result`.

EmbeddingsError
├── InputError (also ValueError)            an input or option is invalid; nothing was sent
├── APIStatusError                          an error status, or an error inside a 200 response
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
├── APIConnectionError                      no complete response arrived
│   ├── APITimeoutError            one attempt took longer than `timeout`
│   └── DeadlineExceededError      the whole call took longer than `deadline`
├── ResponseError                           a 200 response that fails validation
└── BudgetExceededError                     the next request might exceed `budget`
"""

from .result import EmbeddingsError as EmbeddingsError  # noqa: PLC0414 - re-exported
from .result import InputError as InputError  # noqa: PLC0414 - re-exported

EmbeddingsError.__module__ = InputError.__module__ = __name__  # what tracebacks and pickles name


class APIStatusError(EmbeddingsError):
    """The service returned an error status, or an error inside a 200 response."""


class BadRequestError(APIStatusError):
    """400 or 422: the service or the provider rejected the request as invalid."""


class AuthenticationError(APIStatusError):
    """401: the API key is missing or wrong."""


class PaymentRequiredError(APIStatusError):
    """402: the account has no credits left, or the key has reached its limit."""


class PermissionDeniedError(APIStatusError):
    """403: blocked by a guardrail or moderation, or the key lacks permission."""


class NotFoundError(APIStatusError):
    """404: the model does not exist, or no provider fits the input and the preferences."""


class PayloadTooLargeError(APIStatusError):
    """413: the request is too large."""


class RateLimitError(APIStatusError):
    """429: too many requests. `retry_after` is the wait in seconds, if the service gave one."""


class ServerError(APIStatusError):
    """408, 500, 502, 503, 504, 52x, 529: the service or the provider failed."""


class RequestTimeoutError(ServerError):
    """408: the service timed out the request."""


class InternalServerError(ServerError):
    """500: the service failed."""


class BadGatewayError(ServerError):
    """502: the provider failed."""


class ServiceUnavailableError(ServerError):
    """503: no provider can serve the request at the moment."""


class EdgeNetworkTimeoutError(ServerError):
    """524: the provider took longer than the proxy in front of the service allows."""


class OverloadedError(ServerError):
    """529: the provider is overloaded."""


class APIConnectionError(EmbeddingsError):
    """No complete response arrived: connecting failed, the connection broke, or a fork owns it.

    Attributes:
        maybe_billed: whether the request may have reached the service and been billed.
    """

    maybe_billed: bool = False


class APITimeoutError(APIConnectionError):
    """One attempt took longer than `timeout`."""


class DeadlineExceededError(APIConnectionError):
    """The whole call took longer than `deadline`, or the next attempt would exceed it."""


class ResponseError(EmbeddingsError):
    """A 200 response that fails validation: not JSON; wrong count, index or width; NaN; zeros."""


class BudgetExceededError(EmbeddingsError):
    """The next request might exceed `budget` and was not sent. `partial` has what came before."""
