"""Checks the options of clients and calls, and turns them into the fields of a request.

A call's options override its client's defaults; both reject unknown names. Fields that the caller
has not set are left out of the request, because servers reject them as null.
"""

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Literal, SupportsIndex, TypedDict

from openrouter_embeddings._json import dumps
from openrouter_embeddings.errors import InputError

from .headers import Headers, merge_headers, read_headers
from .plain_json import plain_json, short_repr
from .preferences import ProviderPreferences, ProviderPreferencesParam, checked_preferences
from .validate import MAX_INT32

EncodingFormat = Literal["base64", "float"]
OnError = Literal["raise", "skip"]
MAX_SECONDS = 1e6  # the operating system rejects timeouts of about 10⁹
# Arguments of a client besides the options of a call.
CLIENT_OPTIONS = ("api_key", "base_url", "http_client", "allow_http", "ssl_context")
# Arguments of other clients, and what to use instead.
_ELSEWHERE = {
    "verify": "for certificates of your own, pass ssl_context=… to the client",
    "proxy": "set HTTPS_PROXY, or pass http_client=… to the client",
}
# The request fields that options set.
_FIELDS = ("model", "dimensions", "encoding_format", "input_type", "provider", "user")


class EmbedOptions(TypedDict, total=False):
    """Keyword options of every embed method; a client accepts them as defaults for its calls.

    Attributes:
        model: the model, e.g. `"openai/text-embedding-3-small"`.
        dimensions: length of the vectors, for models that can shorten them; default: the model's
            own length.
        input_type: the role of the inputs, e.g. `"search_query"` or `"search_document"`.
        provider: which providers may serve the call: the API's provider preferences, as the
            generated `ProviderPreferences` or as a mapping (`ProviderPreferencesParam`). A mapping
            must not have unknown keys. Prices in `max_price` are US dollars: per million tokens for
            `prompt` and `completion`, per image, per audio unit, per request. They may be int,
            float or Decimal and are sent as decimal text.
        user: an identifier of your end user, for abuse detection.
        extra_body: request fields that this package does not know yet, as a mapping of JSON values.
            They are sent unchanged and cannot replace a field that an option sets.
        headers: HTTP headers to add to each request, as a mapping of names to values, for example
            `{"X-OpenRouter-Title": "my app"}`. Those of a call are merged over those of its client,
            without regard to case; a value of None drops the client's header. `User-Agent` replaces
            that of this package. The mapping must not have the API key, nor headers that the client
            sets itself. No repr, log, traceback or job file shows the values.
        trace_propagation: whether requests carry the trace context of OpenTelemetry, as
            `traceparent` and what else the program's propagators add; default: False. Spans and
            metrics do not depend on it.
        encoding_format: how the service sends vectors: `"base64"` (default; float32, small and
            fast) or `"float"`. The result is the same.
        batch_size: maximum number of inputs per request; default 128. Large inputs make smaller
            batches.
        concurrency: maximum number of requests in flight; default 8. A client's value limits all
            its calls together; a call's value limits that call, and raises the client's limit while
            the call runs. Fewer are sent while the service is overloaded or limits the rate.
        timeout: seconds that one attempt may take; default 180 (the slowest recorded responses took
            127).
        deadline: seconds that the whole call may take, including retries and waiting; default: no
            limit.
        max_retries: retries of a request after its first attempt; default 4.
        on_error: what to do with an input that the service rejects (400, 413, 422, moderation),
            that gets no usable vector, or that is a missing value (None, NaN, NA) in a list:
            `"raise"` (default) raises an error that names its position; `"skip"` leaves it out, and
            the result has `mask` and `errors`. All other errors always raise, including inputs
            rejected locally (an empty text, a broken file).
        budget: the most the call may cost, in credits (US dollars), as a Decimal; default: no
            limit. Before each request the client estimates its cost (one token per byte, at the
            highest price per token seen in the call) and sends it only if the budget covers it, so
            a call may end below its budget. Only the first billed request can exceed it: until a
            response has a cost, requests go one at a time, at first with one input each.

    Pass None to drop a default of the client, for options that accept None.
    """

    model: str
    dimensions: int | None
    input_type: str | None
    provider: ProviderPreferences | ProviderPreferencesParam | None
    user: str | None
    extra_body: Mapping[str, Any] | None
    headers: Mapping[str, str | None] | None
    trace_propagation: bool
    encoding_format: EncodingFormat
    batch_size: int
    concurrency: int
    timeout: float
    deadline: float | None
    max_retries: int
    on_error: OnError
    budget: Decimal | None


@dataclass(frozen=True, slots=True)
class Options:
    """Checked `EmbedOptions` with every default filled in. Raises InputError."""

    model: str = ""
    dimensions: int | None = None
    input_type: str | None = None
    provider: ProviderPreferences | Mapping[str, Any] | None = None
    user: str | None = None
    extra_body: Mapping[str, Any] | None = None
    headers: Headers | None = None
    trace_propagation: bool = False
    encoding_format: EncodingFormat = "base64"
    batch_size: int = 128
    concurrency: int = 8
    timeout: float = 180.0
    deadline: float | None = None
    max_retries: int = 4
    on_error: OnError = "raise"
    budget: Decimal | None = None
    _fields: dict[str, Any] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._whole("batch_size", 1)
        self._whole("concurrency", 1)
        self._whole("max_retries", 0)
        if self.dimensions is not None:
            self._whole("dimensions", 1)
        object.__setattr__(self, "timeout", _seconds("timeout", self.timeout))
        if self.deadline is not None:
            object.__setattr__(self, "deadline", _seconds("deadline", self.deadline))
        for name in ("model", "input_type", "user"):
            if not isinstance(getattr(self, name), str | None):
                raise _invalid(name, getattr(self, name), "a str")
        if self.encoding_format not in ("base64", "float"):
            raise _invalid("encoding_format", self.encoding_format, '"base64" or "float"')
        self._copy("provider", checked_preferences)
        self._copy("extra_body", _extra_fields)
        if not isinstance(self.trace_propagation, bool):
            raise _invalid("trace_propagation", self.trace_propagation, "True or False")
        if self.on_error not in ("raise", "skip"):
            raise _invalid("on_error", self.on_error, '"raise" or "skip"')
        if self.budget is not None and not _is_money(self.budget):
            raise _invalid("budget", self.budget, "a Decimal of credits ≥ 0, as in Decimal('0.5')")

    def _copy(self, name: str, check: Callable[[Any], dict[str, Any]]) -> None:
        """Check a mapping and keep a copy, which the caller cannot change later."""
        if (value := getattr(self, name)) is not None:
            object.__setattr__(self, name, check(value))

    def _whole(self, name: str, least: int) -> None:
        """Check an integer and convert one of numpy's to int."""
        value: Any = getattr(self, name)
        if type(value) is int and least <= value <= MAX_INT32:
            return
        whole = isinstance(value, SupportsIndex) and not isinstance(value, bool)
        plain = operator.index(value) if whole else least - 1
        if not least <= plain <= MAX_INT32:
            raise _invalid(name, value, f"an integer from {least} to 2³¹-1")
        object.__setattr__(self, name, plain)

    def request_fields(self) -> Mapping[str, Any]:
        """The JSON object of a request, with an empty `input` and without unset fields."""
        if (found := self._fields) is None:
            found = self._request_fields()
            object.__setattr__(self, "_fields", found)
        return found

    def _request_fields(self) -> dict[str, Any]:
        if not self.model:
            raise InputError(
                "no model given; pass one to the call or the client, as in "
                'model="openai/text-embedding-3-small"'
            )
        optional = {
            "dimensions": self.dimensions,
            "encoding_format": self.encoding_format,
            "input_type": self.input_type,
            "provider": self.provider,
            "user": self.user,
        }
        # never null: servers reject that with 400
        present = {name: value for name, value in optional.items() if value is not None}
        request = {"input": [], "model": self.model, **present, **(self.extra_body or {})}
        try:
            dumps(request)
        except (TypeError, ValueError) as error:
            raise InputError(f"an option cannot be sent as JSON: {error}") from None
        return request


_NAMES = tuple(option.name for option in fields(Options) if option.init)


def merge_options(defaults: EmbedOptions, call: EmbedOptions) -> Options:
    """The client's defaults, overridden by the call's options.

    Raises InputError, or TypeError for an unknown option, as Python does for keywords.
    """
    check_option_names(call)
    both: Any = {**defaults, **call}
    if both.get("headers") is not None:
        clients: Any = defaults.get("headers") or ()
        both["headers"] = merge_headers(clients, both["headers"])
    return Options(**both)


def check_option_names(
    options: Any, *, client: bool = False, local: bool = False, own: Iterable[str] | None = None
) -> None:
    """Raise TypeError for an unknown option, and InputError for `headers` that cannot be sent.

    Args:
        options: the keywords of a call. Before it raises, this function clears them: a traceback
            would show the value of a misspelt `api_key`. It replaces `headers` by `Headers`, whose
            values no traceback shows.
        client: whether they belong to a client's constructor, which also takes `CLIENT_OPTIONS`.
        local: whether they belong to `Client.local`.
        own: further keywords of the caller's function.
    """
    known = (*(own or ()), *_NAMES, *(CLIENT_OPTIONS if client else ()))
    for name in options:
        if name not in known:
            options.clear()
            if local and (name in CLIENT_OPTIONS or name in _ELSEWHERE):
                hint = "Client.local() needs none: remove it"
            elif name in CLIENT_OPTIONS:
                hint = f"pass it to the client: Client({name}=…)"
            elif name in _ELSEWHERE:
                hint = _ELSEWHERE[name]
            elif near := get_close_matches(name, known, 1):
                hint = f"did you mean {near[0]!r}?"
            else:
                hint = f"expected one of {', '.join(known)}"
            raise TypeError(f"unknown option {name!r}; {hint}")
    if options.get("headers") is not None:
        headers = options["headers"] = read_headers(options.pop("headers"))
        if isinstance(headers, str):
            raise InputError(headers)


def _extra_fields(fields: Any) -> dict[str, Any]:
    """`extra_body` as plain JSON. Raises InputError."""
    if not isinstance(fields, Mapping):
        raise InputError(f"extra_body: expected a mapping, got {type(fields).__name__}")
    try:
        checked: dict[str, Any] = plain_json(fields, "extra_body")
    except ValueError as error:
        raise InputError(str(error)) from None
    for name in checked:
        if name == "input" or name in _FIELDS:
            hint = "pass the inputs to the call" if name == "input" else f"use the option {name}"
            raise InputError(f"extra_body must not have {name!r}; {hint}")
    return checked


def _invalid(name: str, value: Any, expected: str) -> InputError:
    return InputError(f"{name}: expected {expected}, got {short_repr(value)}")


def _is_money(value: Any) -> bool:
    if isinstance(value, bool | float) or not isinstance(value, Decimal | int):
        return False
    return Decimal(value).is_finite() and value >= 0


def _seconds(name: str, value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if isinstance(value, bool | str | bytes) or not 0 < seconds <= MAX_SECONDS:
        raise _invalid(name, value, "a number of seconds > 0 and up to 10⁶")
    return seconds
