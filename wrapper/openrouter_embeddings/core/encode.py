"""Encodes batches as request bodies, in the form of the API's specification.

Requests are plain dicts. The generated classes are not used, because another edition of the
specification may rename them or lack a field.
"""

from collections.abc import Mapping
from typing import Any

import pybase64

from openrouter_embeddings._json import dumps, fragment
from openrouter_embeddings.inputs import Loaded, LoadedMedia, LoadedPart, RawPart

from .batching import Batch


def encode(fields: Mapping[str, Any], batch: Batch) -> bytes:
    """The JSON body of a request: the call's `fields` with the batch as `input`.

    If one input is multimodal, all are sent as multimodal objects, because the API requires it.
    """
    items = batch.items
    if tuple in {*map(type, items)}:
        return dumps({**fields, "input": [_multimodal(item) for item in items]})
    return dumps({**fields, "input": items})


def _multimodal(item: Loaded) -> dict[str, Any]:
    parts: tuple[Any, ...] = item if isinstance(item, tuple) else (item,)
    return {"content": [*map(_part, parts)]}


def _part(part: LoadedPart) -> Any:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, RawPart):
        return fragment(part.json)
    if part.kind == "image":
        return {"type": "image_url", "image_url": {"url": _url(part)}}
    name = f"input_{part.kind}"
    media = {"data": _url(part)}
    if part.format:  # unknown for a URL
        media["format"] = part.format
    return {"type": name, name: media}


def _url(media: LoadedMedia) -> str:
    return media.url or (
        f"data:{media.media_type};base64,{pybase64.b64encode_as_string(media.data)}"
    )
