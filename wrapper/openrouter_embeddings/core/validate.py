"""Checks the inputs of a call before anything is sent, and converts them to one form.

The forms are text, tokens and `Content`. Arrays and columns of numpy, pandas, Polars and Arrow are
converted without importing those libraries. An InputError names the position of the first invalid
input and says what is expected. What the API accepts follows its specification.
"""

import math
import operator
from array import array
from collections.abc import Iterable, Mapping
from itertools import filterfalse
from typing import Any, Literal, NoReturn

from openrouter_embeddings._json import dumps
from openrouter_embeddings.errors import InputError
from openrouter_embeddings.inputs import (
    MISSING,
    Audio,
    Content,
    ContentPart,
    File,
    Image,
    Kind,
    Media,
    RawPart,
    Video,
    is_pil,
)

from .plain_json import plain_json, short_repr, utf8_problem

Item = str | list[int] | Content

_SHAPE = (
    '{"content": [{"type": "text", "text": "…"}, '
    '{"type": "image_url", "image_url": {"url": "https://… or data:…"}}]}'
)
MAX_INT32 = 2**31 - 1  # the largest integer that tokenizers and JSON readers surely accept
_MISSING = {"NoneType": "None", "NAType": "NA", "NaTType": "NaT"}  # by type, without pandas
SKIP_HINT = 'remove it, or set on_error="skip" to skip it'
_INPUT = "a text, a list of tokens, an Image, Audio, Video, File or Content"
_INTEGER = "an integer from 0 to 2³¹-1"


def validate_inputs(inputs: Any, *, skip: bool = False) -> list[Item]:
    """The inputs of one call in one form: all text, all tokens, or all `Content`.

    A single text, token list, `Image`, `Content` or the like becomes a list of one. With `skip`,
    missing values in a list become `MISSING`. Raises InputError.
    """
    values = _as_list(inputs)
    if _all_valid_texts(values):
        return values
    values = [_to_python(value) for value in values]
    if not values:
        raise InputError(f"the list of inputs is empty; expected at least one of {_INPUT}")
    missing = [*map(_missing_name, values)]
    if all(map(_is_number, values)) and not all(missing):
        return [_tokens(values, 0)]
    if any(missing) and not skip:
        position = next(n for n, name in enumerate(missing) if name)
        _reject(position, f"missing value ({missing[position]}); {SKIP_HINT}")
    items = [*map(InputValidator().validate_plain, values)]
    if any(isinstance(item, Content) and item.parts for item in items):
        return [Content(item) if isinstance(item, str) else item for item in items]
    return items


def validate_stream(inputs: Any) -> Iterable[Any]:
    """The inputs of a stream. Raises InputError for a single input and for unordered inputs."""
    if _is_bytes(inputs):
        _validate(inputs, 0)
    if isinstance(inputs, str | Media | Content | Mapping):
        raise InputError(
            f"embed_stream expects a list or iterator of inputs, got {_name(inputs)}; put it in a "
            'list, as in ["…"]'
        )
    _check_ordered(inputs)
    if not isinstance(inputs, Iterable):
        raise InputError(
            f"embed_stream expects a list or iterator of inputs, got {type(inputs).__name__}"
        )
    return inputs


class InputValidator:
    """Checks inputs one by one, and that tokens are not mixed with other inputs."""

    def __init__(self) -> None:
        self._position = 0
        self._tokens: bool | None = None

    def validate(self, value: Any) -> Item:
        """The next input in its final form. Raises InputError naming its position."""
        return self.validate_plain(_to_python(value))

    def validate_plain(self, value: Any) -> Item:
        """As `validate`, for a value that is not an array. A missing value becomes `MISSING`."""
        position = self._position
        if _missing_name(value):
            self._position += 1
            return MISSING
        item = _validate(value, position)
        is_tokens = isinstance(item, list)
        if self._tokens is None:
            self._tokens = is_tokens
        elif self._tokens != is_tokens:
            mix = "tokens after text or media" if is_tokens else "text or media after tokens"
            _reject(position, f"got {mix}; embed tokens in a call of their own")
        self._position += 1
        return item


def _to_python(value: Any) -> Any:
    """The Python values of an array, series or scalar of numpy, pandas, Polars or Arrow."""
    if isinstance(value, str | list):
        return value
    if hasattr(value, "to_pylist") and not hasattr(value, "columns"):  # not a table
        return value.to_pylist()
    if hasattr(value, "to_list"):
        return value.to_list()
    if hasattr(value, "as_py"):
        return value.as_py()
    return value.tolist() if hasattr(value, "tolist") and not _is_bytes(value) else value


def _missing_name(value: Any) -> str:
    """The name of a missing value of pandas, Polars or Arrow; empty for any other value."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else ""
    return _MISSING.get(type(value).__name__, "")


def _all_valid_texts(values: list[Any]) -> bool:
    """Whether all are valid texts, as in most corpora. Ten times faster than checking each."""
    if {*map(type, values)} != {str} or not all(values):
        return False
    try:
        for text in filterfalse(str.isascii, values):
            text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_list(inputs: Any) -> list[Any]:
    inputs = _to_python(inputs)
    if isinstance(inputs, str | Media | Content | Mapping):
        return [inputs]
    if inputs is None or _is_bytes(inputs) or hasattr(inputs, "__fspath__") or is_pil(inputs):
        _validate(inputs, 0)
    _check_ordered(inputs)
    if not isinstance(inputs, Iterable):
        raise InputError(f"expected {_INPUT}, or a list of them, got {type(inputs).__name__}")
    return list(inputs)


def _check_ordered(inputs: Any) -> None:
    if isinstance(inputs, set | frozenset):
        raise InputError("a set has no order for the rows to follow; pass a list")
    if hasattr(inputs, "columns"):  # iterating over a table gives the names of its columns
        raise InputError(f"got a table ({type(inputs).__name__}); pass one of its columns")


def _validate(value: Any, position: int) -> Item:
    if isinstance(value, str):
        return _text(value, position)
    if isinstance(value, Image | Audio | Video | File):
        return Content(value)
    if isinstance(value, Content):
        return _content(value, position)
    if isinstance(value, Mapping):
        return _from_wire(value, position)
    if _is_bytes(value):
        _reject(
            position,
            "got bytes; decode them if they are text, wrap them in Image(…), Audio(…), Video(…) or "
            "File(…) if they are a file, or pass tokens as a list of integers",
        )
    if _is_number(value):
        _reject(position, "got a number; pass tokens as a list of integers, as in [[101, 102]]")
    if isinstance(value, list | tuple | range):
        return _tokens(value, position)
    if hasattr(value, "__fspath__") or is_pil(value):
        _reject(position, f"got {_name(value)}; wrap it in Image(…) if it is an image")
    _reject(position, f"expected {_INPUT}, got {_name(value)}")


def _text(text: str, position: int, where: str = "") -> str:
    if not text:
        _reject(position, f"{where}the text is empty, which every provider rejects; remove it")
    if not text.isascii() and (problem := utf8_problem(text)):
        _reject(position, f"{where}{problem}")
    return text


def _tokens(values: Iterable[Any], position: int) -> list[int]:
    tokens: list[int] = []
    for number, value in enumerate(values):
        if isinstance(value, str):
            _reject(position, "got a list of texts inside the list of inputs; flatten it")
        if type(value) is int:
            token = value
        elif isinstance(value, bool) or not hasattr(type(value), "__index__"):
            _reject(position, f"token {number}: expected {_INTEGER}, got {_name(value)}")
        else:
            token = operator.index(value)
        if not 0 <= token <= MAX_INT32:
            _reject(position, f"token {number}: expected {_INTEGER}, got {short_repr(token)}")
        tokens.append(token)
    if not tokens:
        _reject(position, "the list of tokens is empty; remove it")
    return tokens


def _content(content: Content, position: int) -> Content:
    if not content.parts:
        _reject(
            position, 'the Content is empty; give it parts, as in Content("text", Image("cat.png"))'
        )
    parts = [_part(part, number, position) for number, part in enumerate(content.parts)]
    return Content(*parts)


def _part(part: Any, number: int, position: int) -> ContentPart | RawPart:
    if isinstance(part, str):
        return _text(part, position, f"part {number}: ")
    if isinstance(part, Mapping):
        return _part_from_wire(part, number, position)
    if not isinstance(part, Image | Audio | Video | File):
        _reject(
            position,
            f"part {number}: expected a text, an Image, Audio, Video, File or a mapping in the "
            f"API's own form, got {_name(part)}",
        )
    return part


def _from_wire(value: Mapping[Any, Any], position: int) -> Content:
    parts = value.get("content")
    if set(value) != {"content"} or not isinstance(parts, list | tuple):
        keys = ", ".join(map(short_repr, value)) or "none"
        _reject(position, f"got a mapping with the keys {keys:.200}; the API expects {_SHAPE}")
    for number, part in enumerate(parts):
        if not isinstance(part, Mapping):
            _reject(position, f"part {number} is {_name(part)}; the API expects {_SHAPE}")
    return _content(Content(*parts), position)


def _part_from_wire(part: Mapping[Any, Any], number: int, position: int) -> str | Image | RawPart:
    """A part in the API's own form: as str or `Image` if it is one, else unchanged."""
    kind = part.get("type")
    if not isinstance(kind, str) or not kind:
        _reject(position, f'part {number} has no "type"; the API expects {_SHAPE}')
    match part:
        case {"type": "text", "text": str(text), **rest}:
            _text(text, position, f"part {number}: ")
            if not rest:
                return text
        case {"type": "image_url", "image_url": {"url": str(url), **more}, **rest}:
            # Image(path) would read a file of this machine, which a request must not be able to do
            if not url[:8].lower().startswith(("http://", "https://", "data:")):
                _reject(
                    position,
                    f"part {number}: the image_url is neither an https nor a data: URL; use "
                    'Image("path") for a local file',
                )
            if not (rest or more):
                return Image(url)
        case {"type": "text" | "image_url"}:
            _reject(position, f"part {number} is malformed; the API expects {_SHAPE}")
    try:
        return RawPart(dumps(plain_json(part, f"part {number}")), *_kind_and_source(part))
    except ValueError as error:
        _reject(position, str(error))


def _kind_and_source(part: Mapping[Any, Any]) -> tuple[Literal["text", "", Kind], str]:
    """The kind of a part in the API's own form, and the URL or data in it."""
    match part:
        case {"type": "text"}:
            return "text", ""
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return "image", url
        case {"type": "input_audio", "input_audio": {"data": str(data)}}:
            return "audio", data
        case {"type": "input_video", "input_video": {"data": str(data)}}:
            return "video", data
        case {"type": "input_file", "input_file": {"data": str(data)}}:
            return "file", data
    return "", ""


def _is_bytes(value: Any) -> bool:
    """Whether a value is a buffer of bytes. An array of wider integers holds tokens instead."""
    if isinstance(value, array):
        return value.itemsize == 1
    return isinstance(value, bytes | bytearray | memoryview)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or hasattr(type(value), "__index__")


def _name(value: Any) -> str:
    """A number as it is, any other value by its type."""
    if value is None:
        return "None"
    return short_repr(value) if _is_number(value) else type(value).__name__


def _reject(position: int, what: str) -> NoReturn:
    raise InputError(f"input {position}: {what}", inputs=[position])
