"""The list of models: `GET /models` and `GET /embeddings/models`.

The contract has neither. The answers follow the official SDK (`openrouter` 1.3), which reads them
in a test, and https://openrouter.ai/docs/api/api-reference/embeddings/list-all-embeddings-models.
That page documents no 401, so the stand-in requires no key.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from openrouter_embeddings._json import dumps

from .models import Model
from .reply import LocalReply, Refusal
from .respond import PRICE, error_reply

_MODALITIES = ("text", "image", "audio", "video", "file")
_MAX_LIMIT = 1000  # models in an answer


def list_models(models: Mapping[str, Model], path: str, query: str) -> LocalReply:
    """Answer with all models, or with the page that `offset` and `limit` in the query select.

    The service omits embedding models from `/models` unless `output_modalities` asks for them. The
    stand-in has no other models, so it lists them at both paths.
    """
    try:
        parameters = parse_qs(query)
        offset = _number(parameters, "offset", 0, least=0)
        limit = _number(parameters, "limit", 500, least=1, most=_MAX_LIMIT)
    except Refusal as refusal:
        return error_reply(refusal)
    found = [_entry(model) for model in models.values()]
    page = found[offset : offset + limit] if {*parameters} & {"offset", "limit"} else found
    after = offset + len(page)
    following = f"{path}?offset={after}&limit={limit}" if page and after < len(found) else None
    body = {"data": page, "total_count": len(found), "links": {"next": following}}
    return LocalReply(200, dumps(body))


def _number(
    parameters: Mapping[str, list[str]], name: str, default: int, least: int, most: int = 2**31 - 1
) -> int:
    text = parameters.get(name, [str(default)])[0]
    if text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most:
        return int(text)
    raise Refusal(400, f"{name}: use an integer from {least} to {most}, not {text[:20]!r}")


def _entry(model: Model) -> dict[str, Any]:
    inputs = [kind for kind in _MODALITIES if model.modalities is None or kind in model.modalities]
    return {
        "id": model.name,
        "canonical_slug": model.name,
        "name": model.name,
        "description": model.description,
        "created": 0,
        "context_length": model.context_length,
        "architecture": {
            "input_modalities": inputs,
            "output_modalities": ["embeddings"],
            "modality": f"{'+'.join(inputs)}->embeddings",
            "tokenizer": "Other",
            "instruct_type": None,
        },
        "pricing": {"prompt": f"{PRICE:.8f}", "completion": "0"},
        "top_provider": {
            "context_length": model.context_length,
            "is_moderated": False,
            "max_completion_tokens": None,
        },
        "per_request_limits": None,
        "default_parameters": None,
        "supported_parameters": [],
        "supported_voices": None,
        "hugging_face_id": None,
        "knowledge_cutoff": None,
        "expiration_date": None,
        "links": {"details": f"/api/v1/models/{model.name}/endpoints"},
    }
