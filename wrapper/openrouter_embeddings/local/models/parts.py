"""The inputs of a request as models see them: a list of parts each."""

from __future__ import annotations

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
    """`input` of a request, whichever of its five forms it has.

    Raises ValueError for any other, which a contract may allow that says less than the service's.
    """
    if isinstance(given, str):
        return [[Part("text", text=given)]]
    if not isinstance(given, list):
        raise ValueError("no text, and no list of inputs")
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
    raise ValueError("an input that is no text, no list of tokens and has no list of parts")


def _part(part: Any) -> Part:
    match part:
        case {"type": "text", "text": str(text)}:
            return Part("text", text=text)
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return Part("image", url=url)
        case {"type": str(kind)} if kind not in ("text", "image_url"):
            # of an edition that this stand-in was not written for, perhaps
            return Part(_MODALITIES.get(kind, kind), url=json.dumps(part, sort_keys=True))
    raise ValueError("a part that is no text, no image and has no other type")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
