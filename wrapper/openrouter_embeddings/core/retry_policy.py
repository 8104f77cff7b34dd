"""Classifies errors: which exception a status is, and whether to retry, split or wait.

Statuses follow the API's specification, `Retry-After` follows RFC 9110. How providers word their
limits on inputs, bytes and tokens is not specified: the patterns are from real error messages.
"""

import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal

from openrouter_embeddings.errors import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    BadGatewayError,
    BadRequestError,
    DeadlineExceededError,
    EdgeNetworkTimeoutError,
    EmbeddingsError,
    InternalServerError,
    NotFoundError,
    OverloadedError,
    PayloadTooLargeError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ResponseError,
    ServerError,
    ServiceUnavailableError,
)

from .wire import Reply

RETRYABLE = frozenset({408, 429, 500, 502, 503, 504, *range(520, 525), 529})
_GATEWAY_GAVE_UP = frozenset({408, 504, 520, 524})
# An invalid 200 response was billed: one retry may reach another provider, more would only cost.
RESPONSE_RETRIES = 1
# Seconds; the jitter is the most that is added to a backoff.
BACKOFF_INITIAL, BACKOFF_MAX, BACKOFF_JITTER = 0.5, 30.0, 1.0
# A longer `Retry-After` raises an error instead of blocking the caller.
MAX_WAIT = 300.0

_ERRORS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: RequestTimeoutError,
    413: PayloadTooLargeError,
    422: BadRequestError,
    429: RateLimitError,
    500: InternalServerError,
    502: BadGatewayError,
    503: ServiceUnavailableError,
    524: EdgeNetworkTimeoutError,
    529: OverloadedError,
}


def error_class(status: int) -> type[APIStatusError]:
    """The exception type for a status, or for the code of an error inside a 200 response."""
    known = _ERRORS.get(status)
    return known or (ServerError if 500 <= status <= 599 else APIStatusError)


def can_retry(error: EmbeddingsError, invalid_so_far: int) -> bool:
    """Whether another attempt of the same request may succeed.

    `invalid_so_far` counts the 200 responses to this request that failed validation.
    """
    if isinstance(error, DeadlineExceededError):
        return False
    if isinstance(error, APIStatusError):
        waits_too_long = (error.retry_after or 0) > MAX_WAIT
        return error.status in RETRYABLE and not waits_too_long
    if isinstance(error, ResponseError):
        return invalid_so_far < RESPONSE_RETRIES
    return isinstance(error, APIConnectionError)


# How services say that a request exceeds a limit, and how many inputs they allow.
_COUNT = re.compile(
    r"too many (?!requests)|batch|\b(?:inputs|texts|items)\b|array (?:is )?too long",
    re.IGNORECASE,
)
_SIZE = re.compile(
    r"too large|payload|body size|request size|\btokens?\b|\bbytes\b|\bcharacters\b",
    re.IGNORECASE,
)
_UNIT = r"(?:token|byte|character|dimension)"
_NUMBER = re.compile(
    r"(?:at most|(?:more|larger|greater) than|up to|between 1 and"
    rf"|(?:max(?:imum)?|limit)\b(?:(?!{_UNIT})[^.\d]){{0,40}})"
    r"\s*(\d{1,3}(?:,\d{3})+|\d{1,6})\b(?!,\d)\s*(\w*)",
    re.IGNORECASE,
)
_LIMIT = re.compile(
    r"\btoo\b|exceed|\bmax|limit|at most|up to|between|(?:more|larger|greater|fewer|less) than"
    r"|\bonly\b|\ballow",
    re.IGNORECASE,
)
_INPUTS = re.compile(
    r"(?:inputs?|texts?|items?|requests?|documents?|strings?|elements?|sentences?|and|but|per|in)?$"
    r"|received",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"'[^']{12,}'|\"[^\"]*\"|`[^`]*`")  # texts of the caller
_FLAGGED = re.compile(r"flagged_input|moderation", re.IGNORECASE)
_ENCODING = re.compile(r"encoding[_ ]format|base64", re.IGNORECASE)


def can_split(error: EmbeddingsError) -> bool:
    """Whether the service may accept some of the request's inputs without the others."""
    if isinstance(error, PermissionDeniedError):
        return _FLAGGED.search(_full_text(error)) is not None
    return isinstance(error, BadRequestError | PayloadTooLargeError)


def exceeded_limit(error: EmbeddingsError) -> Literal["count", "size"] | None:
    """The limit that the request exceeded: inputs ("count"), or bytes and tokens ("size").

    None if the error does not say. A message about tokens means "size", even if it says "batch".
    """
    if isinstance(error, PayloadTooLargeError):
        return "size"
    message = _QUOTED.sub("", error.message)
    if not _LIMIT.search(message):  # "failed to process batch" states no limit
        return None
    is_count = _COUNT.search(message) is not None
    if _SIZE.search(message) and not (is_count and _numbers_of_inputs(message)):
        return "size"
    return "count" if is_count else None


def stated_limit(error: EmbeddingsError) -> int | None:
    """How many inputs a request may hold, if the error states a number."""
    if exceeded_limit(error) != "count":
        return None
    return min(_numbers_of_inputs(_QUOTED.sub("", error.message)), default=None)


def _numbers_of_inputs(message: str) -> list[int]:
    """The positive numbers of inputs in a message, with or without thousands separators."""
    found = [(match[1], match[2]) for match in _NUMBER.finditer(message)]
    numbers = [int(number.replace(",", "")) for number, unit in found if _INPUTS.match(unit)]
    return [number for number in numbers if number > 0]


def rejects_base64(error: EmbeddingsError) -> bool:
    """Whether the service rejects the `encoding_format` of a request without files."""
    return isinstance(error, BadRequestError) and _ENCODING.search(_full_text(error)) is not None


def is_overload(error: EmbeddingsError) -> bool:
    """Whether the service asks for fewer concurrent requests."""
    return error.status in (503, 529) or (
        isinstance(error, ServerError) and error.retry_after is not None
    )


def pause(error: EmbeddingsError) -> float | None:
    """Seconds for which the model's other requests must wait as well.

    None if the service asks for more than `MAX_WAIT`: the request that got this error gives up, and
    the others must not wait in its place.
    """
    wait = error.retry_after
    return None if wait is None or wait > MAX_WAIT else wait


def maybe_billed(error: BaseException | None) -> bool:
    """Whether an attempt that ended with `error` may have been billed without reporting usage.

    If a gateway times out (408, 504, 524) or loses the response (520), the provider behind it may
    still have computed the vectors.
    """
    if isinstance(error, APIStatusError):
        return error.status in _GATEWAY_GAVE_UP and error.usage is None
    return isinstance(error, APIConnectionError) and error.maybe_billed


def _full_text(error: EmbeddingsError) -> str:
    return f"{error.message} {error.body}"


def retry_after(reply: Reply) -> float | None:
    """The seconds in `Retry-After`, which may be a number or an HTTP date (RFC 9110).

    Of several numbers, as when a proxy adds its own, the largest. A date is compared with the
    response's own `Date`, because the service's clock may differ from this machine's.
    """
    value = reply.headers.get("retry-after", "")
    try:
        seconds = max(map(float, value.split(",")))
    except ValueError:
        pass
    else:
        return max(0.0, seconds) if math.isfinite(seconds) else None
    if (at := _timestamp(value)) is None:
        return None
    now = _timestamp(reply.headers.get("date", ""))
    return max(0.0, at - (reply.received_at if now is None else now))


def _timestamp(date: str) -> float | None:
    try:
        at = parsedate_to_datetime(date.strip())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
