"""What a caller may hand in, refused or made uniform before anything is sent."""

from __future__ import annotations

import math
import operator
from array import array
from collections.abc import Iterable, Mapping
from itertools import filterfalse
from typing import Any, Literal, NoReturn

import orjson

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

from .plain_json import plain_json, shown

Item = str | list[int] | Content

_SHAPE = (
    '{"content": [{"type": "text", "text": "…"}, '
    '{"type": "image_url", "image_url": {"url": "https://… or data:…"}}]}'
)
LARGEST = 2**31 - 1  # what tokenizers and JSON readers hold
_MISSING = {"NoneType": "None", "NAType": "NA", "NaTType": "NaT"}  # of pandas, without importing it
SKIPPING = 'leave it out, or set on_error="skip" to go on without it'
_TAKEN = "a text, a list of token integers, an Image, Audio, Video, File or a Content"


def accept(inputs: Any, *, skip: bool = False) -> list[Item]:
    """The inputs of one call, uniform: all text, all tokens, or all `Content`.

    One text, token list, `Image`, `Content` and so on is a list of one. With `skip`, a missing
    value in a list is `MISSING`. Raises InputError.
    """
    values = _listed(inputs)
    if _plain_texts(values):
        return values
    values = [_plain(value) for value in values]
    if not values:
        raise InputError(f"the list of inputs is empty; give {_TAKEN}")
    missing = [*map(_missing, values)]
    if all(map(_is_number, values)) and not all(missing):
        return [_tokens(values, 0)]
    if any(missing) and not skip:
        position = next(n for n, name in enumerate(missing) if name)
        _refuse(position, f"missing value ({missing[position]}); {SKIPPING}")
    items = [*map(InputValidator().admit_plain, values)]
    if any(isinstance(item, Content) and item.parts for item in items):
        return [Content(item) if isinstance(item, str) else item for item in items]
    return items


def checked_iterable(inputs: Any) -> Iterable[Any]:
    """The inputs of a stream; InputError for what is one input by itself, or has no order."""
    if _is_bytes(inputs):
        _item(inputs, 0)
    if isinstance(inputs, str | Media | Content | Mapping):
        raise InputError(
            f"embed_stream takes a list or iterator of inputs, {_name(inputs)} is one input; "
            'put it in a list, as in ["…"]'
        )
    _has_order(inputs)
    if not isinstance(inputs, Iterable):
        raise InputError(
            f"embed_stream takes a list or iterator of inputs, {_name(inputs)} is none"
        )
    return inputs


class InputValidator:
    """Lets inputs in one by one: each is checked, and tokens never mix with the rest."""

    def __init__(self) -> None:
        self._position = 0
        self._tokens: bool | None = None

    def admit(self, value: Any) -> Item:
        """The next input, checked. Raises InputError naming its position."""
        return self.admit_plain(_plain(value))

    def admit_plain(self, value: Any) -> Item:
        """The same for a value that is no array. A missing one is `MISSING`, among all others."""
        position = self._position
        if _missing(value):
            self._position += 1
            return MISSING
        item = _item(value, position)
        is_tokens = isinstance(item, list)
        if self._tokens is None:
            self._tokens = is_tokens
        elif self._tokens != is_tokens:
            found, before = ("tokens", "text") if is_tokens else ("text or images", "tokens")
            _refuse(
                position,
                f"{found} among {before}; one call is all tokens, or text, images and the like in "
                "any mix",
            )
        self._position += 1
        return item


def _plain(value: Any) -> Any:
    """The values of an array, series or scalar of numpy, pandas, Polars or Arrow as Python's."""
    if isinstance(value, str | list):
        return value
    if hasattr(value, "to_pylist") and not hasattr(value, "columns"):  # no table
        return value.to_pylist()
    if hasattr(value, "to_list"):
        return value.to_list()
    return value.as_py() if hasattr(value, "as_py") else _without_numpy(value)


def _missing(value: Any) -> str:
    """What pandas, Polars and Arrow call a missing value; empty for any other."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else ""
    return _MISSING.get(type(value).__name__, "")


def _plain_texts(values: list[Any]) -> bool:
    """Whether there is nothing to be done, as for most corpora: a tenth of looking at each."""
    if {*map(type, values)} != {str} or not all(values):
        return False
    try:
        for text in filterfalse(str.isascii, values):
            text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _listed(inputs: Any) -> list[Any]:
    inputs = _plain(inputs)
    if isinstance(inputs, str | Media | Content | Mapping):
        return [inputs]
    if inputs is None or _is_bytes(inputs):
        _item(inputs, 0)
    if hasattr(inputs, "__fspath__") or is_pil(inputs):
        _item(inputs, 0)
    _has_order(inputs)
    if not isinstance(inputs, Iterable):
        raise InputError(f"inputs of type {type(inputs).__name__} are not taken; give {_TAKEN}")
    return list(inputs)


def _has_order(inputs: Any) -> None:
    if isinstance(inputs, set | frozenset):
        raise InputError("a set has no order for the rows to follow; give a list")
    if hasattr(inputs, "columns"):  # iterating a table gives the names of its columns
        raise InputError(f"a {type(inputs).__name__} is a table; give one column of it")


def _item(value: Any, position: int) -> Item:
    if isinstance(value, str):
        return _text(value, position)
    if isinstance(value, Image | Audio | Video | File):
        return Content(value)
    if isinstance(value, Content):
        return _content(value, position)
    if isinstance(value, Mapping):
        return _from_wire(value, position)
    if _is_bytes(value):
        _refuse(
            position,
            "bytes are not text; decode them, wrap those of a file in Image(…), Audio(…), Video(…) "
            "or File(…), or give tokens as a list of integers",
        )
    if _is_number(value):
        _refuse(position, "a number among texts; token inputs are lists of integers: [[101, 102]]")
    if isinstance(value, list | tuple | range):
        return _tokens(value, position)
    if hasattr(value, "__fspath__") or is_pil(value):
        _refuse(position, f"{_name(value)} is not taken by itself; Image(…) reads an image")
    _refuse(position, f"{_name(value)} is not taken; give {_TAKEN}")


def _text(text: str, position: int, where: str = "") -> str:
    if not text:
        _refuse(position, f"{where}the text is empty; every provider refuses that, leave it out")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            _refuse(
                position,
                f"{where}a lone surrogate (U+{ord(text[error.start]):04X}) at character "
                f"{error.start}; it cannot be sent as UTF-8. Half an emoji, perhaps: mend the "
                'text, or text.encode(errors="replace").decode()',
            )
    return text


def _tokens(values: Iterable[Any], position: int) -> list[int]:
    tokens: list[int] = []
    for number, value in enumerate(values):
        if isinstance(value, str):
            _refuse(position, "a list of texts among the inputs; texts are not nested")
        if type(value) is int:
            token = value
        elif isinstance(value, bool) or not hasattr(type(value), "__index__"):
            _refuse(
                position, f"token {number} is {_name(value)}; tokens are integers from 0 to 2³¹-1"
            )
        else:
            token = operator.index(value)
        if not 0 <= token <= LARGEST:
            _refuse(
                position, f"token {number} is {shown(token)}; tokens are integers from 0 to 2³¹-1"
            )
        tokens.append(token)
    if not tokens:
        _refuse(position, "the list of tokens is empty; leave it out")
    return tokens


def _content(content: Content, position: int) -> Content:
    if not content.parts:
        _refuse(position, 'the Content is empty; Content("text", Image("cat.png")) is right')
    parts = [_part(part, number, position) for number, part in enumerate(content.parts)]
    return Content(*parts)


def _part(part: Any, number: int, position: int) -> ContentPart | RawPart:
    if isinstance(part, str):
        return _text(part, position, f"part {number}: ")
    if isinstance(part, Mapping):
        return _part_from_wire(part, number, position)
    if not isinstance(part, Image | Audio | Video | File):
        _refuse(
            position,
            f"part {number} is {_name(part)}; a part is a text, an Image, Audio, Video or File, or "
            "a mapping in the API's own form",
        )
    return part


def _from_wire(value: Mapping[Any, Any], position: int) -> Content:
    parts = value.get("content")
    if set(value) != {"content"} or not isinstance(parts, list | tuple):
        keys = ", ".join(map(shown, value)) or "none"
        _refuse(position, f"a mapping with the keys {keys:.200}; the API takes {_SHAPE}")
    for number, part in enumerate(parts):
        if not isinstance(part, Mapping):
            _refuse(position, f"part {number} is {_name(part)}; the API takes {_SHAPE}")
    return _content(Content(*parts), position)


def _part_from_wire(part: Mapping[Any, Any], number: int, position: int) -> str | Image | RawPart:
    """A text and an image as such; what else there may be, as it is."""
    kind = part.get("type")
    if not isinstance(kind, str) or not kind:
        _refuse(position, f'part {number} has no "type"; the API takes {_SHAPE}')
    match part:
        case {"type": "text", "text": str(text), **rest}:
            _text(text, position, f"part {number}: ")
            if not rest:
                return text
        case {"type": "image_url", "image_url": {"url": str(url), **more}, **rest}:
            # a path here would be read from this machine's disk, which a request never means
            if not url[:8].lower().startswith(("http://", "https://", "data:")):
                _refuse(
                    position,
                    f"part {number}: the image_url is neither an https nor a data: URL; use "
                    'Image("path")',
                )
            if not (rest or more):
                return Image(url)
        case {"type": "text" | "image_url"}:
            _refuse(position, f"part {number} is not as the API wants it: {_SHAPE}")
    try:
        return RawPart(orjson.dumps(plain_json(part, f"part {number}")), *_held(part))
    except ValueError as error:
        _refuse(position, str(error))


def _held(part: Mapping[Any, Any]) -> tuple[Literal["text", "", Kind], str]:
    """What a part in the API's own form is, and the URL or the data in it."""
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


def _without_numpy(value: Any) -> Any:
    """numpy, pandas, array.array and torch give their plain values by `tolist`."""
    return value.tolist() if hasattr(value, "tolist") and not _is_bytes(value) else value


def _is_bytes(value: Any) -> bool:
    """Bytes in any buffer of Python's own; an array of wider integers holds tokens."""
    if isinstance(value, array):
        return value.itemsize == 1
    return isinstance(value, bytes | bytearray | memoryview)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or hasattr(type(value), "__index__")


def _name(value: Any) -> str:
    return (
        "None"
        if value is None
        else shown(value)
        if _is_number(value)
        else (f"a {type(value).__name__}")
    )


def _refuse(position: int, what: str) -> NoReturn:
    raise InputError(f"input {position}: {what}", inputs=[position])
