"""The inputs of a request in the form that models take: a list of parts for each input."""

import json
from dataclasses import dataclass
from typing import Any

_MODALITIES = {"input_audio": "audio", "input_video": "video", "input_file": "file"}


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of an input: text, token numbers, an image's URL, or any other part as JSON."""

    modality: str  # as in "No endpoints found that support image input"
    text: str = ""
    tokens: tuple[float, ...] = ()
    url: str = ""


def read_inputs(given: Any) -> list[list[Part]]:
    """Parse `input` of a request in any of its five forms.

    Raises ValueError for any other form; some contracts allow more than the service's.
    """
    if isinstance(given, str):
        return [[Part("text", text=given)]]
    if not isinstance(given, list):
        raise ValueError("neither a text nor a list of inputs")
    if given and all(map(_is_number, given)):
        return [[Part("text", tokens=tuple(given))]]
    return [_parts(item) for item in given]


def _parts(item: Any) -> list[Part]:
    if isinstance(item, str):
        return [Part("text", text=item)]
    if isinstance(item, list) and all(map(_is_number, item)):
        return [Part("text", tokens=tuple(item))]
    match item:
        case {"content": [*parts]}:
            return [_part(part) for part in parts]
    raise ValueError("an input is neither a text, nor a list of tokens, nor an object with parts")


def _part(part: Any) -> Part:
    match part:
        case {"type": "text", "text": str(text)}:
            return Part("text", text=text)
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return Part("image", url=url)
        case {"type": str(kind)} if kind not in ("text", "image_url"):
            # perhaps from a newer edition of the specification
            return Part(_MODALITIES.get(kind, kind), url=json.dumps(part, sort_keys=True))
    raise ValueError("a part is neither a text nor an image, and has no other type")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
