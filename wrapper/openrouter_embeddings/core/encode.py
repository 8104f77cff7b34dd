"""Batches to request bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pybase64
from openrouter_embeddings_api.models import (
    ContentPartImage,
    ContentPartText,
    ImageUrl,
    MultimodalInput,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openrouter_embeddings.inputs import Loaded, LoadedImage

    from .plan import Batch


def encode(fields: Mapping[str, Any], batch: Batch) -> bytes:
    """The JSON body of a request: the call's `fields` with the batch as `input`.

    One image in a batch makes all of it multimodal objects, as the API requires.
    """
    items = batch.items
    if any(isinstance(item, tuple) for item in items):
        return orjson.dumps({**fields, "input": [_multimodal(item) for item in items]})
    return orjson.dumps({**fields, "input": items})


def _multimodal(item: Loaded) -> dict[str, Any]:
    parts: tuple[Any, ...] = item if isinstance(item, tuple) else (item,)
    return MultimodalInput(
        content=[
            ContentPartText(text=part)
            if isinstance(part, str)
            else ContentPartImage(image_url=ImageUrl(url=_url(part)))
            for part in parts
        ]
    ).to_dict()


def _url(image: LoadedImage) -> str:
    return image.url or (
        f"data:{image.media_type};base64,{pybase64.b64encode_as_string(image.data)}"
    )
