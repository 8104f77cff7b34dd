"""The inputs of a request as models see them: a list of parts each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of an input: text, token numbers, or an image's URL."""

    modality: str  # as in "No endpoints found that support image input"
    text: str = ""
    tokens: tuple[float, ...] = ()
    url: str = ""


def read_inputs(given: Any) -> list[list[Part]]:
    """`input` of a request that the contract allows, whichever of its five forms it has."""
    if isinstance(given, str):
        return [[Part("text", text=given)]]
    if given and all(isinstance(item, int | float) for item in given):
        return [[Part("text", tokens=tuple(given))]]
    return [_parts(item) for item in given]


def _parts(item: Any) -> list[Part]:
    if isinstance(item, str):
        return [Part("text", text=item)]
    if isinstance(item, list):
        return [Part("text", tokens=tuple(item))]
    return [_part(part) for part in item["content"]]


def _part(part: dict[str, Any]) -> Part:
    if part["type"] == "text":
        return Part("text", text=part["text"])
    if part["type"] == "image_url":
        return Part("image", url=part["image_url"]["url"])
    # of an edition that this stand-in was not written for
    return Part(part["type"], url=json.dumps(part, sort_keys=True))
