"""What an error is, and whether asking again can help."""

from __future__ import annotations

import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal

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

if TYPE_CHECKING:
    from .wire import Reply

RETRYABLE = frozenset({408, 429, 500, 502, 503, 504, *range(520, 525), 529})
_GATEWAY_GAVE_UP = frozenset({408, 504, 520, 524})
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


# How services say that a request holds too much, and how many inputs are allowed.
_COUNT = re.compile(
    r"too many (?!requests)|batch|\b(?:inputs|texts|items)\b|array (?:is )?too long",
    re.IGNORECASE,
)
_SIZE = re.compile(
    r"too large|payload|body size|request size|\btokens?\b|\bbytes\b|\bcharacters\b",
    re.IGNORECASE,
)
_UNIT = r"(?:token|byte|character|dimension)"
_CAP = re.compile(
    r"(?:at most|(?:more|larger|greater) than|up to|between 1 and"
    rf"|(?:max(?:imum)?|limit)\b(?:(?!{_UNIT})[^.\d]){{0,40}})"
    r"\s*(\d{1,3}(?:,\d{3})+|\d{1,6})\b(?!,\d)\s*(\w*)",
    re.IGNORECASE,
)
_MUCH = re.compile(
    r"\btoo\b|exceed|\bmax|limit|at most|up to|between|(?:more|larger|greater|fewer|less) than"
    r"|\bonly\b|\ballow",
    re.IGNORECASE,
)
_INPUTS = re.compile(
    r"(?:inputs?|texts?|items?|requests?|documents?|strings?|elements?|sentences?|and|but|per|in)?$"
    r"|received",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"'[^']{12,}'|\"[^\"]*\"|`[^`]*`")  # texts of the caller, echoed
_FLAGGED = re.compile(r"flagged_input|moderation", re.IGNORECASE)
_ENCODING = re.compile(r"encoding[_ ]format|base64", re.IGNORECASE)


def can_divide(error: EmbeddingsError) -> bool:
    """Whether some of the request's inputs may be accepted without the others."""
    if isinstance(error, PermissionDeniedError):
        return _FLAGGED.search(_said(error)) is not None
    return isinstance(error, BadRequestError | PayloadTooLargeError)


def too_much(error: EmbeddingsError) -> Literal["count", "size"] | None:
    """What a request holds too much of, where the error says so: inputs, or bytes and tokens.

    A message that speaks of tokens means those, though it also says "batch".
    """
    if isinstance(error, PayloadTooLargeError):
        return "size"
    said = _QUOTED.sub("", error.message)
    if not _MUCH.search(said):  # "failed to process batch" tells of no cap
        return None
    counts = _COUNT.search(said) is not None
    if _SIZE.search(said) and not (counts and _caps(said)):
        return "size"
    return "count" if counts else None


def named_cap(error: EmbeddingsError) -> int | None:
    """How many inputs a request may hold, where the error names a number."""
    if too_much(error) != "count":
        return None
    return min(_caps(_QUOTED.sub("", error.message)), default=None)


def _caps(said: str) -> list[int]:
    """Numbers of inputs, with or without thousands separators."""
    found = [(cap[1], cap[2]) for cap in _CAP.finditer(said)]
    caps = [int(number.replace(",", "")) for number, unit in found if _INPUTS.match(unit)]
    return [cap for cap in caps if cap > 0]


def refuses_base64(error: EmbeddingsError) -> bool:
    """Whether a request without files is refused for its `encoding_format`."""
    return isinstance(error, BadRequestError) and _ENCODING.search(_said(error)) is not None


def is_overload(error: EmbeddingsError) -> bool:
    """Whether the service wants fewer requests at once."""
    return error.status in (503, 529) or (
        isinstance(error, ServerError) and error.retry_after is not None
    )


def pause(error: EmbeddingsError) -> float | None:
    """Seconds for which the model's other requests wait, too.

    None where the service asks for more than `LONGEST_WAIT`: the request that was told so gives
    up, so the others must not wait in its place.
    """
    wait = error.retry_after
    return None if wait is None or wait > LONGEST_WAIT else wait


def maybe_billed(error: BaseException | None) -> bool:
    """Whether an attempt that ended with `error` may have been billed without saying so.

    A gateway that waited in vain (408, 504, 524) or lost the answer (520) says nothing of the
    provider behind it, which may have computed the vectors.
    """
    if isinstance(error, APIStatusError):
        return error.status in _GATEWAY_GAVE_UP and error.usage is None
    return isinstance(error, APIConnectionError) and error.maybe_billed


def _said(error: EmbeddingsError) -> str:
    return f"{error.message} {error.body}"


def retry_after(reply: Reply) -> float | None:
    """Seconds that `Retry-After` asks for, given as a number or as an HTTP date (RFC 9110).

    Of several numbers, as when a proxy adds its own, the largest. A date is held against the
    answer's own, because the service's clock may not be this machine's.
    """
    value = reply.headers.get("retry-after", "")
    try:
        seconds = max(map(float, value.split(",")))
    except ValueError:
        pass
    else:
        return max(0.0, seconds) if math.isfinite(seconds) else None
    if (at := _moment(value)) is None:
        return None
    now = _moment(reply.headers.get("date", ""))
    return max(0.0, at - (reply.received_at if now is None else now))


def _moment(date: str) -> float | None:
    try:
        at = parsedate_to_datetime(date.strip())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
