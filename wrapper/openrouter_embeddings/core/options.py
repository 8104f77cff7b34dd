"""The options of a call, checked, and the part of every request that they make up."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    SupportsIndex,
    TypedDict,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import attrs
import orjson
from openrouter_embeddings_api import models
from openrouter_embeddings_api.models import EmbeddingRequest, ProviderPreferences
from openrouter_embeddings_api.types import UNSET, Unset

from openrouter_embeddings.errors import InputError

from .accept import LARGEST

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EmbedOptions", "Options", "ProviderPreferences", "merged"]

EncodingFormat = Literal["base64", "float"]
OnError = Literal["raise", "skip"]
LONGEST = 1e6  # seconds; the system refuses time-outs of some 10⁹
T = TypeVar("T")


class EmbedOptions(TypedDict, total=False):
    """What every embed method takes by keyword, and a client as defaults for all its calls.

    Attributes:
        model: the model, e.g. `"openai/text-embedding-3-small"`.
        dimensions: length of the vectors, for models that can shorten them; default: the model's
            own.
        input_type: the role of the inputs, e.g. `"search_query"` or `"search_document"`.
        provider: who may serve the call: the API's provider preferences, as the generated
            `ProviderPreferences` or a mapping. Unknown keys of a mapping are refused.
        user: an identifier of your end-user, for abuse detection.
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
        on_error: what becomes of an input that the service refuses (400, 413, 422, moderation), or
            for which no usable vector comes: `"raise"` (default) names its position; `"skip"` goes
            on without it, and the result has `mask` and `errors`. Other errors always raise, and
            what is refused before anything is sent (an empty text, a broken image) does too.
        budget: credits (US dollars) that the call may cost at most, as a Decimal; default: no
            limit. Nothing is sent that could pass it, by the dearest price per token seen in the
            call and a token for every byte: a call may so end below it. The first input goes alone,
            to learn the price, and is the only one that can pass it.

    None takes a default of the client back, where an option may be None.
    """

    model: str
    dimensions: int | None
    input_type: str | None
    provider: ProviderPreferences | Mapping[str, Any] | None
    user: str | None
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
                raise InputError(f"{name} is {getattr(self, name)!r}, a str is needed")
        if self.encoding_format not in ("base64", "float"):
            raise InputError(
                f'encoding_format is {self.encoding_format!r}; "base64" and "float" are known'
            )

        if self.on_error not in ("raise", "skip"):
            raise InputError(f'on_error is {self.on_error!r}; "raise" and "skip" are known')
        if self.budget is not None and not _is_money(self.budget):
            raise InputError(
                f"budget is {self.budget!r:.40}, a Decimal of credits ≥ 0 is needed: Decimal('0.5')"
            )

    def _whole(self, name: str, least: int) -> None:
        """Check an integer, and make a plain one of numpy's."""
        given: Any = getattr(self, name)
        if type(given) is int and least <= given <= LARGEST:
            return
        whole = isinstance(given, SupportsIndex) and not isinstance(given, bool)
        plain = operator.index(given) if whole else least - 1
        if not least <= plain <= LARGEST:
            raise InputError(f"{name} is {given!r:.40}, an integer from {least} to 2³¹-1 is needed")
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
        request = EmbeddingRequest(
            input_=[],
            model=self.model,
            dimensions=_or_unset(self.dimensions),
            encoding_format=self.encoding_format,
            input_type=_or_unset(self.input_type),
            provider=_preferences(self.provider),
            user=_or_unset(self.user),
        ).to_dict()
        try:
            orjson.dumps(request)
        except TypeError as error:
            raise InputError(f"an option cannot be sent as JSON: {error}") from None
        return request


def merged(defaults: EmbedOptions, call: EmbedOptions) -> Options:
    """The client's defaults, overridden by the call's options.

    Raises InputError, and TypeError for a name that is none, as Python does for keywords.
    """
    both: Any = {**defaults, **call}
    known = [option.name for option in fields(Options) if option.init]
    for name in both:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise TypeError(f"{name} is no option; {hint}")
    return Options(**both)


def _preferences(given: Any) -> ProviderPreferences | Unset:
    """The generated model, without nulls: to the service they say what leaving them out says.

    From a mapping only known keys are taken: the service ignores others, and a misspelt `zdr`
    would send data where it must not go. New fields fit in `ProviderPreferences[...] = value`.
    """
    if given is None:
        return UNSET
    typed = isinstance(given, ProviderPreferences)
    try:
        plain = _without_nulls(given.to_dict() if typed else given)
    except (AttributeError, TypeError):  # a field of the model holds what it cannot
        raise InputError("provider: a field of the wrong type; a mapping says which") from None
    if not isinstance(plain, dict):
        raise InputError(f"provider is a {type(given).__name__}; a mapping is needed")
    if wrong := list(_complaints(ProviderPreferences, plain, "", extras=typed)):
        raise InputError(f"provider: {'; '.join(wrong)}")
    return ProviderPreferences.from_dict(plain)


def _complaints(model: Any, given: dict[str, Any], path: str, *, extras: bool) -> Iterator[str]:
    """What is not as the generated model's annotations say; `from_dict` lets much of it pass."""
    wanted = _annotations(model)
    known = [field.name for field in attrs.fields(model) if field.init]
    for name, value in given.items():
        if name not in known:
            if not extras:
                yield f"{path}{name} is not known; known are {', '.join(known)}"
            continue
        nested = [a for a in (wanted[name], *get_args(wanted[name])) if attrs.has(a)]
        if isinstance(value, dict) and nested:
            yield from _complaints(nested[0], value, f"{path}{name}.", extras=extras)
        elif not _fits(value, wanted[name]):
            yield f"{path}{name} is {value!r:.60}, {_spell(wanted[name])} is needed"


@cache
def _annotations(model: Any) -> dict[str, Any]:
    return get_type_hints(model, localns=vars(models))


def _fits(value: Any, wanted: Any) -> bool:
    if wanted is Any:
        return True
    arguments, origin = get_args(wanted), get_origin(wanted)
    if origin is Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if arguments:
        return any(_fits(value, alternative) for alternative in arguments)
    if isinstance(value, bool):
        return wanted is bool
    if wanted is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, wanted)


def _spell(wanted: Any) -> str:
    """The annotation as the API's documentation would put it."""
    if get_origin(wanted) is Literal:
        return " or ".join(map(repr, sorted(get_args(wanted))))
    if get_origin(wanted) is list:
        return f"a list of {_spell(get_args(wanted)[0])}"
    if arguments := [a for a in get_args(wanted) if a not in (Unset, type(None))]:
        # a list of names or any string is, to a reader, any string
        return "str" if str in arguments else " or ".join(map(_spell, arguments))
    return "an object" if attrs.has(wanted) else str(wanted.__name__)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, Decimal):  # a price; the API takes prices as text
        return str(value)
    return [*map(_without_nulls, value)] if isinstance(value, list | tuple) else value


def _or_unset(value: T | None) -> T | Unset:
    return UNSET if value is None else value


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
        raise InputError(f"{name} is {value!r:.40}, a number of seconds > 0 is needed, up to 10⁶")
    return seconds
