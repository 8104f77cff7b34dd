"""MTEB: an encoder for its benchmarks, whose cost is counted."""

from __future__ import annotations

import hashlib
import os
import uuid
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import InputError
from openrouter_embeddings.inputs import Content, Image

from ._lazy import Adapter, LazyClient

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Unpack

    from openrouter_embeddings.inputs import EmbedInput
    from openrouter_embeddings.result import Matrix

    from ._lazy import AdapterOptions

_abs_encoder: Any = need("mteb.models.abs_encoder", "mteb")
_model_meta: Any = need("mteb.models.model_meta", "mteb")
_AT_ONCE = 4096  # inputs in memory, as images may be large
_CHANGE_VECTORS = (
    *("base_url", "dimensions", "document_input_type", "extra_body", "input_type", "local"),
    *("provider", "query_input_type"),
)


class OpenRouterEncoder(Adapter, _abs_encoder.AbsEncoder):
    """Encodes the texts and images of an MTEB task.

        mteb.evaluate(OpenRouterEncoder(model="openai/text-embedding-3-small"), tasks)

    The prompt types of retrieval, "query" and "document", are the roles; tasks without them send
    only `input_type`. mteb caches results by name and revision of the model, so the revision is
    made of the options that change vectors. As with mteb's own models, an empty text gets a zero
    vector, because no provider takes it. Any other input that cannot be embedded raises an error;
    `on_error="skip"` is not possible. Pickling leaves out the key.

    Args:
        meta: mteb's `ModelMeta`, as its leaderboard needs it; default: the model, a revision and
            the dimensions.
        **options: `model`, `api_key`, `base_url`, `local`, `client` and others (see
            `AdapterOptions`), and the options of `embed`.

    Raises:
        InputError: an option is invalid. Without an API key, the first call raises it.
        TypeError: an option is unknown.
        EmbeddingsError: `encode` raises the errors of `Client.embed`.
        ImportError: the extra `mteb` is not installed.
    """

    def __init__(self, *, meta: Any = None, **options: Unpack[AdapterOptions]) -> None:
        self._client = LazyClient(options)
        given: Mapping[str, Any] = options
        place = {"base_url": os.environ.get("OPENROUTER_BASE_URL"), **given}
        changing = repr([(name, place[name]) for name in _CHANGE_VECTORS if name in place])
        if options.get("client"):
            changing = uuid.uuid4().hex  # it has options that this adapter does not know
        self.mteb_model_meta: Any = meta or _model_meta.ModelMeta.create_empty(
            {
                "name": options.get("model", "local/minilm" if options.get("local") else None),
                "revision": hashlib.sha256(changing.encode()).hexdigest()[:12],
                "embed_dim": options.get("dimensions"),
            }
        )

    def encode(self, inputs: Any, *, prompt_type: Any = None, **_of_mteb: Any) -> Matrix:
        """Embed the batches of a DataLoader; float32, shape (inputs, dimensions)."""
        role = prompt_type and prompt_type.value
        present: list[bool] = []
        sent = _sent(inputs, present)
        parts = []
        while some := [*islice(sent, _AT_ONCE)]:
            parts.append(self._client.embed(some, role).vectors)
        found = np.concatenate(parts or [self._client.embed([], role).vectors])
        vectors = np.zeros((len(present), found.shape[1]), np.float32)
        vectors[np.array(present, bool)] = found
        return vectors


def _sent(batches: Iterable[Mapping[str, Any]], present: list[bool]) -> Iterator[EmbedInput]:
    """The inputs without empty texts; `present` gets True for each, and False for an empty one."""
    for item in (item for batch in batches for item in _items(batch)):
        present.append(bool(item.strip()) if isinstance(item, str) else True)
        if present[-1]:
            yield item


def _items(batch: Mapping[str, Any]) -> Iterator[EmbedInput]:
    if other := {"audio", "video"} & batch.keys():
        raise InputError(f"this encoder takes texts and images; the task has {', '.join(other)}")
    texts, images = batch.get("text"), batch.get("image")
    if images is None:
        yield from batch["text"]
    elif texts is None:
        yield from map(Image, images)
    else:
        yield from map(Content, texts, map(Image, images))
