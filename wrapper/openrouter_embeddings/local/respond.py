"""`POST /embeddings`: request bytes to a reply, without HTTP, clock, network or randomness."""

import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import pybase64

from openrouter_embeddings._json import dumps, loads

from .contract import Contract, shipped
from .models import MODELS, Embedded, Model, Unsupported, range_text
from .models.parts import read_inputs
from .reply import LocalReply, Refusal

STATUS_HEADER = "x-local-status"
STATUS_MODEL = "local/status-"
# Made-up credits per token, so that code that adds up costs has something to add up.
PRICE = 2e-8
_PROVIDER = "Local"
# Limits of a request, so that no mistake fills this machine's memory.
MAX_BODY = 64 << 20
MAX_INPUTS = 2048


def respond(
    body: bytes,
    headers: Mapping[str, str],
    contract: Contract | None = None,
    models: Mapping[str, Model] = MODELS,
) -> LocalReply:
    """Answer one `POST /embeddings`.

    Args:
        body: the request's body. The model `local/status-503` gets an error of that status, with
            the body that the specification describes.
        headers: with lower-case names. `X-Local-Status: 503` has the same effect.
        contract: the contract to follow (default: the one that ships).
        models: the models that compute vectors, by name.
    """
    contract = contract or shipped()
    try:
        if not headers.get("authorization", "").lower().startswith("bearer "):
            raise Refusal(401, "No auth credentials found")
        request = _parsed(body)
        contract.check_request(request)
        if not isinstance(request, dict) or not isinstance(request.get("model"), str):
            raise Refusal(400, "the request: not an object with a model")  # some contracts allow it
        _raise_requested_status(request["model"], headers.get(STATUS_HEADER), contract)
        embedded = _embed(request, models)
    except Refusal as refusal:
        return error_reply(refusal, contract)
    answer = contract.complete(200, _success(request, embedded, body))
    return LocalReply(200, dumps(answer))


def _parsed(body: bytes) -> Any:
    if len(body) > MAX_BODY:
        raise Refusal(413, f"the request has {len(body)} bytes; at most {MAX_BODY} are allowed")
    try:
        return loads(body)
    except ValueError as error:
        raise Refusal(400, f"the request is not JSON: {error}") from None


def _raise_requested_status(model: str, header: str | None, contract: Contract) -> None:
    by_model = model.removeprefix(STATUS_MODEL) if model.startswith(STATUS_MODEL) else None
    status_text = header or by_model
    if status_text is None:
        return
    is_number = status_text.isascii() and status_text.isdigit() and len(status_text) == 3
    if not is_number or not 400 <= int(status_text) <= 599:
        raise Refusal(
            400, f"{STATUS_HEADER} or {STATUS_MODEL}…: {status_text[:20]!r} is not 400 to 599"
        )
    status = int(status_text)
    documented = contract.response(status).get("description")
    is_standard = status in set(HTTPStatus)
    phrase = documented or (HTTPStatus(status).phrase if is_standard else f"Status {status}")
    headers = {"Retry-After": "1"} if status in (429, 503) else {}
    raise Refusal(status, phrase, metadata={"provider_name": _PROVIDER}, headers=headers)


def _embed(request: dict[str, Any], models: Mapping[str, Model]) -> Embedded:
    model = models.get(request["model"])
    if model is None:
        known = ", ".join(sorted(models))
        raise Refusal(
            404,
            f"No endpoints found for {request['model'][:80]}. Models here: {known}. To use another "
            "name, give the stand-in an alias",
        )
    dimensions = request.get("dimensions")
    if dimensions is not None and dimensions not in model.dimensions:
        what = f"{dimensions} is not supported by {model.name}; use {range_text(model.dimensions)}"
        raise Refusal(400, f"dimensions: {what}")
    if dimensions is not None:
        dimensions = int(dimensions)  # JSON Schema takes 64.0 for an integer
    try:
        inputs = read_inputs(request.get("input"))
    except ValueError as error:
        raise Refusal(400, f"input: {error}") from None
    if len(inputs) > MAX_INPUTS:
        raise Refusal(400, f"input: {len(inputs)} inputs, at most {MAX_INPUTS} inputs are allowed")
    needed = {part.modality for parts in inputs for part in parts}
    if model.modalities is not None and (lacking := sorted(needed - model.modalities)):
        raise Refusal(404, f"No endpoints found that support {lacking[0]} input")
    try:
        return model.embed(inputs, dimensions)
    except Unsupported as error:
        raise Refusal(400, f"input.{error.position}: {error}") from None


def _success(request: dict[str, Any], embedded: Embedded, body: bytes) -> dict[str, Any]:
    tokens = sum(embedded.tokens.values())
    cost = round(tokens * PRICE, 12)
    usage: dict[str, Any] = {"prompt_tokens": tokens, "total_tokens": tokens, "cost": cost}
    cost_details = {
        "upstream_inference_cost": cost,
        "upstream_inference_prompt_cost": cost,
        "upstream_inference_completions_cost": 0,
    }
    if len(embedded.tokens) > 1:  # the specification wants a breakdown for several modalities only
        usage["prompt_tokens_details"] = {
            f"{modality}_tokens": count for modality, count in sorted(embedded.tokens.items())
        }
    as_base64 = request.get("encoding_format") == "base64"
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": (
                    pybase64.b64encode_as_string(row.astype("<f4").tobytes())
                    if as_base64
                    else row.tolist()
                ),
            }
            for index, row in enumerate(embedded.vectors)
        ],
        "model": request["model"],
        "usage": {**usage, "is_byok": False, "cost_details": cost_details},
        "provider": _PROVIDER,
        "id": f"gen-emb-{hashlib.sha256(body).hexdigest()[:20]}",
    }


def error_reply(refusal: Refusal, contract: Contract | None = None) -> LocalReply:
    """A refusal as a reply, with the contract's error body."""
    error: dict[str, Any] = {"code": refusal.status, "message": refusal.message}
    if refusal.metadata is not None:
        error["metadata"] = refusal.metadata
    body = {"error": error, "user_id": None}
    completed = (contract or shipped()).complete(refusal.status, body)
    return LocalReply(refusal.status, dumps(completed), refusal.headers)
