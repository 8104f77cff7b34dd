"""The options of a call, checked, and the part of every request that they make up."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Literal, SupportsIndex, TypedDict

import orjson

from openrouter_embeddings.errors import InputError

from .plain_json import plain_json, shown
from .preferences import ProviderPreferences, ProviderPreferencesParam, checked_preferences
from .validate import LARGEST

EncodingFormat = Literal["base64", "float"]
OnError = Literal["raise", "skip"]
LONGEST = 1e6  # seconds; the system refuses time-outs of some 10⁹
CLIENT_OPTIONS = ("api_key", "base_url", "http_client", "allow_http")  # beside those of calls
# The fields of a request that options set.
_FIELDS = ("model", "dimensions", "encoding_format", "input_type", "provider", "user")


class EmbedOptions(TypedDict, total=False):
    """What every embed method takes by keyword, and a client as defaults for all its calls.

    Attributes:
        model: the model, e.g. `"openai/text-embedding-3-small"`.
        dimensions: length of the vectors, for models that can shorten them; default: the model's
            own.
        input_type: the role of the inputs, e.g. `"search_query"` or `"search_document"`.
        provider: who may serve the call: the API's provider preferences, as the generated
            `ProviderPreferences` or a mapping, a `ProviderPreferencesParam`. Unknown keys of a
            mapping are refused. Prices in `max_price` are US dollars: per million tokens for
            `prompt` and `completion`, per image, per audio unit, per request. They may be numbers
            (int, float, Decimal), which are sent as decimal text.
        user: an identifier of your end-user, for abuse detection.
        extra_body: fields to send that this package does not know yet: a mapping of JSON values,
            put into every request as it is. It cannot replace a field that an option sets.
        encoding_format: how vectors travel: `"base64"` (default; float32, small and fast) or
            `"float"`. The result is the same.
        batch_size: inputs per request at most; default 128. Large inputs make smaller batches.
        concurrency: requests in flight at most; default 8. A client's own bounds all its calls
            together, a call's that call, which may raise the client's while it lasts. It falls
            while the service is overloaded or counts requests, and climbs back.
        timeout: seconds that one attempt may take; default 180: the slowest recorded answers took
            127.
        deadline: seconds that the whole call may take, retries and waiting included; default: no
            limit.
        max_retries: retries (not attempts) of a request; default 4; 0 means one attempt.
        on_error: what becomes of an input that the service refuses (400, 413, 422, moderation), for
            which no usable vector comes, or which is a missing value (None, NaN, NA) in a list:
            `"raise"` (default) names its position; `"skip"` goes on without it, and the result has
            `mask` and `errors`. Other errors always raise, and so does any other input that is
            refused before anything is sent (an empty text, a broken file).
        budget: credits (US dollars) that the call may cost at most, as a Decimal; default: no
            limit. Nothing is sent that could pass it, by the dearest price per token seen in the
            call and a token for every byte: a call may so end below it. The first input goes alone,
            to learn the price, and is the only one that can pass it.

    None takes a default of the client back, where an option may be None.
    """

    model: str
    dimensions: int | None
    input_type: str | None
    provider: ProviderPreferences | ProviderPreferencesParam | None
    user: str | None
    extra_body: Mapping[str, Any] | None
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
    """`EmbedOptions` with every default filled in, checked. Raises InputError."""

    model: str = ""
    dimensions: int | None = None
    input_type: str | None = None
    provider: ProviderPreferences | Mapping[str, Any] | None = None
    user: str | None = None
    extra_body: Mapping[str, Any] | None = None
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
                raise InputError(f"{name} is {shown(getattr(self, name))}, a str is needed")
        if self.encoding_format not in ("base64", "float"):
            raise InputError(
                f'encoding_format is {shown(self.encoding_format)}; "base64" and "float" are known'
            )
        self._copy("provider", checked_preferences)
        self._copy("extra_body", _extra_fields)
        if self.on_error not in ("raise", "skip"):
            raise InputError(f'on_error is {shown(self.on_error)}; "raise" and "skip" are known')
        if self.budget is not None and not _is_money(self.budget):
            raise InputError(
                f"budget is {shown(self.budget)}, a Decimal of credits ≥ 0 is needed: "
                "Decimal('0.5')"
            )

    def _copy(self, name: str, check: Callable[[Any], dict[str, Any]]) -> None:
        """Check a mapping, and keep a copy that the caller does not change later."""
        if (given := getattr(self, name)) is not None:
            object.__setattr__(self, name, check(given))

    def _whole(self, name: str, least: int) -> None:
        """Check an integer, and make a plain one of numpy's."""
        given: Any = getattr(self, name)
        if type(given) is int and least <= given <= LARGEST:
            return
        whole = isinstance(given, SupportsIndex) and not isinstance(given, bool)
        plain = operator.index(given) if whole else least - 1
        if not least <= plain <= LARGEST:
            raise InputError(
                f"{name} is {shown(given)}, an integer from {least} to 2³¹-1 is needed"
            )
        object.__setattr__(self, name, plain)

    def request_fields(self) -> dict[str, Any]:
        """The JSON object of a request, with empty `input` and without what is unset."""
        made = self._fields
        if made is None:
            made = self._request_fields()
            object.__setattr__(self, "_fields", made)
        return dict(made)

    def _request_fields(self) -> dict[str, Any]:
        if not self.model:
            raise InputError(
                'no model; say model="openai/text-embedding-3-small", in the call or the client'
            )
        optional = {
            "dimensions": self.dimensions,
            "encoding_format": self.encoding_format,
            "input_type": self.input_type,
            "provider": self.provider,
            "user": self.user,
        }
        # never null: servers answer 400
        given = {name: value for name, value in optional.items() if value is not None}
        request = {"input": [], "model": self.model, **given, **(self.extra_body or {})}
        try:
            orjson.dumps(request)
        except TypeError as error:
            raise InputError(f"an option cannot be sent as JSON: {error}") from None
        return request


def merged(defaults: EmbedOptions, call: EmbedOptions) -> Options:
    """The client's defaults, overridden by the call's options.

    Raises InputError, and TypeError for an option that does not exist, as Python does for keywords.
    """
    check_names(call)
    both: Any = {**defaults, **call}
    return Options(**both)


def check_names(given: Any, *, client: bool = False, own: Iterable[str] | None = None) -> None:
    """Raise TypeError for an option that does not exist.

    Args:
        given: the keywords of a call. They are emptied before the error is raised, because a
            misspelt `api_key` would otherwise be shown with the frame that holds them.
        client: they are those of a constructor, which has `CLIENT_OPTIONS` too.
        own: what else the caller's function takes.
    """
    known = [*(own or ())]
    known += [option.name for option in fields(Options) if option.init]
    known += CLIENT_OPTIONS if client else ()
    for name in given:
        if name not in known:
            given.clear()
            if name in CLIENT_OPTIONS:
                hint = f"it belongs to the client itself: Client({name}=…)"
            elif near := get_close_matches(name, known, 1):
                hint = f"did you mean {near[0]!r}?"
            else:
                hint = f"known are {', '.join(known)}"
            raise TypeError(f"unknown option {name!r}; {hint}")


def _extra_fields(given: Any) -> dict[str, Any]:
    """`extra_body` as JSON has it. Raises InputError."""
    if not isinstance(given, Mapping):
        raise InputError(f"extra_body is a {type(given).__name__}; a mapping is needed")
    try:
        checked: dict[str, Any] = plain_json(given, "extra_body")
    except ValueError as error:
        raise InputError(str(error)) from None
    for name in checked:
        if name == "input" or name in _FIELDS:
            right = "give the inputs to the call" if name == "input" else f"use the option {name}"
            raise InputError(f"extra_body has {name!r}, which the client sends itself; {right}")
    return checked


def _is_money(value: Any) -> bool:
    if isinstance(value, bool | float) or not isinstance(value, Decimal | int):
        return False
    return Decimal(value).is_finite() and value >= 0


def _seconds(name: str, value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if isinstance(value, bool | str | bytes) or not 0 < seconds <= LONGEST:
        raise InputError(f"{name} is {shown(value)}, a number of seconds > 0 is needed, up to 10⁶")
    return seconds
