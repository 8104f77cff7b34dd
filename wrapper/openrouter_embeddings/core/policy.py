"""What an error is, and whether asking again can help."""

from __future__ import annotations

import math
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from openrouter_embeddings.errors import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    BadGatewayError,
    BadRequestError,
    DeadlineExceededError,
    EmbeddingsError,
    InternalServerError,
    NotFoundError,
    OverloadedError,
    PayloadTooLargeError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ResponseError,
    ServerError,
    ServiceUnavailableError,
)

if TYPE_CHECKING:
    from .wire import Reply

RETRYABLE = frozenset({408, 429, 500, 502, 503, 504, *range(520, 525), 529})
# A bad success was billed; one more try reaches another provider, more would only cost.
RESPONSE_RETRIES = 1
# Who asks to wait longer than this gets an error with `retry_after` instead of a silent hour.
LONGEST_WAIT = 300.0

_ERRORS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: ServerError,
    413: PayloadTooLargeError,
    422: BadRequestError,
    429: RateLimitError,
    500: InternalServerError,
    502: BadGatewayError,
    503: ServiceUnavailableError,
    529: OverloadedError,
}


def error_class(status: int) -> type[APIStatusError]:
    """The exception type for a status, or for the code of an error inside a 200."""
    known = _ERRORS.get(status)
    return known or (ServerError if 500 <= status <= 599 else APIStatusError)


def can_retry(error: EmbeddingsError, refused_so_far: int) -> bool:
    """Whether another attempt of the same request can end otherwise.

    `refused_so_far` counts the successes of this request that were none.
    """
    if isinstance(error, DeadlineExceededError):
        return False
    if isinstance(error, APIStatusError):
        waits_too_long = (error.retry_after or 0) > LONGEST_WAIT
        return error.status in RETRYABLE and not waits_too_long
    if isinstance(error, ResponseError):
        return refused_so_far < RESPONSE_RETRIES
    return isinstance(error, APIConnectionError)


def retry_after(reply: Reply) -> float | None:
    """Seconds that `Retry-After` asks for, given as a number or as an HTTP date (RFC 9110)."""
    value = reply.headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        pass
    else:
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, at.timestamp() - reply.received_at)
