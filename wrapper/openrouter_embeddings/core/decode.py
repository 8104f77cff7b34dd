"""Decodes a response into vectors, or into the exception to raise.

Every response is checked in this order: no error in the body; as many embeddings as inputs; indices
that are absent or a permutation; one width; only finite values; no zero vector. The envelope is
read leniently, because a missing `usage` or `object` is no reason to lose vectors that were paid
for. Which fields there are follows the specification and what providers send beyond it.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from openrouter_embeddings._json import loads
from openrouter_embeddings.errors import APIStatusError, ResponseError
from openrouter_embeddings.result import EXACT, Served, Usage

from .retry_policy import error_class, retry_after
from .vectors import read_vector, unusable_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openrouter_embeddings.result import Matrix

    from .batching import Batch
    from .streaming import ExtractedVectors
    from .wire import Reply

_MAX_MESSAGE = 600  # characters
_COST_RANGE = 20  # powers of ten above or below one credit
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_MAX_TOKENS = 10**15
_MAX_BODY = 2000  # characters
# Names in the specification of statuses outside the HTTP standard.
_PHRASES = {524: "Infrastructure Timeout", 529: "Provider Overloaded"}
_ID_HEADERS = ("x-generation-id", "x-request-id", "request-id", "cf-ray")
# What `Served.headers` has besides: whether the service's cache answered, and the rate limits.
_SHOWN_HEADERS = {*_ID_HEADERS, "retry-after"}
_SHOWN_PREFIXES = ("x-openrouter-cache-", "x-ratelimit-")


@dataclass(frozen=True, slots=True)
class Decoded:
    """The vectors of one batch, in the order of its inputs, and the response they came with.

    Attributes:
        matrix: the usable vectors.
        served: the response, with the positions of their inputs.
        error: names the inputs whose vectors are unusable; None if all are usable.
    """

    matrix: Matrix
    served: Served
    error: ResponseError | None = None


def decode(reply: Reply, batch: Batch, dimensions: int | None) -> Decoded:
    """The vectors in a reply.

    Raises:
        APIStatusError: the status, or an error in the body, says that the request failed.
        ResponseError: the response fails validation as a whole.
    """
    if (extracted := reply.extracted) is not None:
        if (decoded := _decode_extracted(reply, extracted, batch, dimensions)) is not None:
            return decoded
        reply = replace(reply, body=extracted.restore(reply.body), extracted=None)
    payload = _parse(reply.body)
    if not 200 <= reply.status <= 299 or (isinstance(payload, dict) and payload.get("error")):
        raise _status_error(reply, payload, batch)
    served = _served(_mapping(payload), reply, batch.positions)
    try:
        matrix, unusable = _matrix(_embeddings(payload, len(batch.items)), dimensions)
    except _InvalidError as invalid:
        raise _response_error(invalid.reason, invalid.rows, reply, batch, served) from None
    if not unusable:
        return Decoded(matrix, served)
    reasons = "; ".join(dict.fromkeys(unusable.values()))
    error = _response_error(f"the service returned {reasons}", [*unusable], reply, batch, served)
    usable = [position for row, position in enumerate(batch.positions) if row not in unusable]
    return Decoded(matrix, replace(served, positions=usable), error)


def _decode_extracted(
    reply: Reply, extracted: ExtractedVectors, batch: Batch, dimensions: int | None
) -> Decoded | None:
    """The result of `decode` if the response is entirely as expected, else None."""
    count, matrix = len(batch.items), extracted.matrix
    if extracted.doubtful or matrix.shape != (count, dimensions or matrix.shape[1]):
        return None
    try:
        payload = loads(reply.body)
        placeholders = _embeddings(payload, count)
    except (ValueError, _InvalidError):
        return None
    if payload.get("error") or not 200 <= reply.status <= 299:
        return None
    if {*map(type, placeholders)} != {int}:  # by type: a float may equal a placeholder
        return None
    rows, inputs = extracted.rows(placeholders), [*range(count)]
    if rows != inputs:
        if sorted(rows) != inputs:
            return None
        matrix[:] = matrix[rows]
    return Decoded(matrix, _served(payload, reply, batch.positions))


def _response_error(
    reason: str, rows: Sequence[int], reply: Reply, batch: Batch, served: Served
) -> ResponseError:
    return ResponseError(
        reason,
        status=reply.status,
        provider=served.provider,
        request_id=served.id or _id_from_headers(reply),
        body=_snippet(reply.body),
        inputs=[batch.positions[row] for row in rows] or batch.positions,
        usage=served.usage,
    )


class _InvalidError(Exception):
    """Why a response fails validation, and the rows concerned; without rows, all of them."""

    def __init__(self, reason: str, rows: Sequence[int] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.rows = rows


def _parse(body: bytes) -> Any:
    """The JSON in `body`, or `_NOT_JSON`.

    NaN and Infinity are accepted, though they are not JSON: some servers print them, and the later
    checks then name the inputs concerned.
    """
    try:
        return loads(body)
    except ValueError:
        pass
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return _NOT_JSON


_NOT_JSON = object()


def _embeddings(payload: Any, count: int) -> list[Any]:
    """The embeddings in the order of the inputs: by `index`, or as they come if none has one."""
    if not isinstance(payload, dict):
        what = "not JSON" if payload is _NOT_JSON else "not a JSON object"
        raise _InvalidError(f"the service returned a body that is {what}")
    items = payload.get("data")
    if not isinstance(items, list):
        raise _InvalidError("the service returned no list of embeddings in `data`")
    if len(items) != count:
        raise _InvalidError(f"got {len(items)} embeddings for {count} inputs")
    if {*map(type, items)} - {dict}:
        wrong = [row for row, item in enumerate(items) if not isinstance(item, dict)]
        raise _InvalidError("the service returned an item of `data` that is not an object", wrong)
    indices: list[Any] = [*map(dict.get, items, repeat("index"))]
    embeddings = [*map(dict.get, items, repeat("embedding"))]
    if indices == [None] * count:
        return embeddings
    # by type as well, because True and 1.0 equal 1
    if {*map(type, indices)} != {int} or sorted(indices) != [*range(count)]:
        raise _InvalidError(
            f"the service returned indices other than 0-{count - 1}: {_index_problem(indices)}"
        )
    if indices == [*range(count)]:
        return embeddings
    placed: list[Any] = [None] * count
    for index, embedding in zip(indices, embeddings, strict=True):
        placed[index] = embedding
    return placed


def _index_problem(indices: list[Any]) -> str:
    seen: set[int] = set()
    for index in indices:
        if type(index) is not int:
            return "one is missing" if index is None else f"one is {reprlib.repr(index):.40}"
        if index in seen:
            return f"{index} occurs twice"
        if not 0 <= index < len(indices):
            return f"one is {index}"
        seen.add(index)
    raise AssertionError("the indices are a permutation")


def _matrix(embeddings: list[Any], dimensions: int | None) -> tuple[Matrix, dict[int, str]]:
    """The usable vectors, and by row why the others are not. Raises _InvalidError."""
    vectors, unusable = _vectors(embeddings)
    widths = Counter(map(len, vectors.values()))
    width = dimensions or (widths.most_common(1)[0][0] if widths else 0)
    if dimensions and widths and dimensions not in widths:  # not the fault of some inputs
        returned = " and ".join(map(str, sorted(widths)))
        raise _InvalidError(f"requested {dimensions} dimensions, got {returned}", [*vectors])
    for row in [row for row, vector in vectors.items() if len(vector) != width]:
        unusable[row] = f"a vector of {len(vectors.pop(row))} dimensions instead of {width}"
    matrix = np.empty((len(vectors), width), np.float32)
    for slot, vector in enumerate(vectors.values()):
        matrix[slot] = vector
    if wrong := unusable_rows(matrix):
        rows = [*vectors]
        unusable |= {rows[slot]: reason for slot, reason in wrong.items()}
        matrix = np.delete(matrix, [*wrong], axis=0)
    return matrix, dict(sorted(unusable.items()))


def _vectors(embeddings: list[Any]) -> tuple[dict[int, Matrix], dict[int, str]]:
    """The vectors that can be read, and by row why the others cannot."""
    vectors: dict[int, Matrix] = {}
    unreadable: dict[int, str] = {}
    for row, embedding in enumerate(embeddings):
        try:
            vectors[row] = read_vector(embedding)
        except ValueError as error:
            unreadable[row] = str(error)
    return vectors, unreadable


def _served(payload: dict[str, Any], reply: Reply, positions: Sequence[int]) -> Served:
    """The response without its vectors. Missing and malformed fields are ignored."""
    headers = _shown_headers(reply)
    usage = _usage(payload.get("usage"))
    if not usage.cost and headers.get("x-openrouter-cache-status") == "HIT":
        usage = Usage(cost=Decimal(0), requests=1)  # the tokens may be those of the first answer
    return Served(
        positions=positions,
        model=_text(payload.get("model")),
        provider=_text(payload.get("provider")),
        id=_text(payload.get("id")),
        usage=usage,
        body={key: value for key, value in payload.items() if key != "data"},
        headers=headers,
    )


def _usage(usage: Any) -> Usage:
    usage = _mapping(usage)
    prompt = _count(usage.get("prompt_tokens"))
    tokens = _mapping(usage.get("prompt_tokens_details"))
    costs = {_text(k): _cost(v) for k, v in _mapping(usage.get("cost_details")).items()}
    is_byok = usage.get("is_byok")
    return Usage(
        prompt_tokens=prompt,
        total_tokens=_count(usage.get("total_tokens")) or prompt,
        cost=_cost(usage.get("cost")),
        prompt_tokens_details={
            name: _count(v) for k, v in tokens.items() if (name := _text(k)) and _count(v)
        },
        is_byok=is_byok if isinstance(is_byok, bool) else None,
        cost_details={name: cost for name, cost in costs.items() if name and cost is not None},
        requests=1,
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 < value < _MAX_TOKENS else 0


def _cost(value: Any) -> Decimal | None:
    """The exact cost, to 60 digits; a float's shortest repr equals up to 15 digits as sent."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        cost = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    if not cost.is_finite() or cost < 0 or abs(cost.adjusted()) > _COST_RANGE:
        return None
    return EXACT.plus(cost)


def _status_error(reply: Reply, payload: Any, batch: Batch) -> APIStatusError:
    payload = _mapping(payload)
    error = payload.get("error")
    error = error if isinstance(error, dict) else payload
    metadata = _mapping(error.get("metadata"))
    code = _code(error.get("code"))
    status = reply.status
    if 200 <= status <= 299 and isinstance(code, int) and 400 <= code <= 599:
        status = code
    return error_class(status)(
        _message(status, _reason(payload), metadata),
        status=status,
        code=code,
        provider=_text(metadata.get("provider_name")) or _text(payload.get("provider")),
        request_id=_text(payload.get("id")) or _id_from_headers(reply),
        retry_after=retry_after(reply),
        body=_snippet(reply.body),
        inputs=batch.positions,
        usage=_usage(payload["usage"]) if isinstance(payload.get("usage"), dict) else None,
    )


def _reason(payload: Any, depth: int = 4) -> str | None:
    """The reason in an error response, in any of the forms that services use.

    These are `{"error": {"message": …}}`, `{"error": …}`, `{"message": …}` and FastAPI's
    `{"detail": …}`, which may be a list.
    """
    if isinstance(payload, str):
        return _text(payload)
    if isinstance(payload, list) and depth:
        return _text("; ".join(filter(None, (_reason(part, depth - 1) for part in payload[:8]))))
    if not isinstance(payload, dict) or not depth:
        return None
    fields = map(payload.get, ("error", "message", "detail", "msg"))
    return next(filter(None, (_reason(field, depth - 1) for field in fields)), None)


def _code(code: Any) -> int | str | None:
    """`error.code`, which some servers send as a float or as text."""
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) < 6:
        return int(code)
    if isinstance(code, float) and code.is_integer() and abs(code) < 1e6:
        return int(code)
    if isinstance(code, str):
        return _text(code)
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _message(status: int, message: Any, metadata: dict[str, Any]) -> str:
    name = _phrase(status)
    reason = _text(message)
    raw = _provider_reason(metadata.get("raw"))
    if reason is None:
        whole = f"{name}, without a reason"
    else:  # the service's own texts often begin with the name
        whole = reason if reason.lower().startswith(name.lower()) else f"{name}: {reason}"
    return _truncate(f"{whole} (the provider said: {raw})" if raw else whole, _MAX_MESSAGE)


def _provider_reason(raw: Any) -> str | None:
    """The reason in a provider's own response, which is often JSON in a string; else all of it."""
    if isinstance(raw, str) and raw[:1] == "{" and len(raw) <= _MAX_BODY:
        with suppress(ValueError):
            return _reason(loads(raw)) or _text(raw)
    return _text(raw)


def _phrase(status: int) -> str:
    if status in _PHRASES:
        return _PHRASES[status]
    if 200 <= status <= 299:  # an error inside a 200 response, without a usable code
        return "Error"
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # 520-523 are not in the standard
        return f"HTTP {status}"


def _shown_headers(reply: Reply) -> dict[str, str]:
    return {
        name: text
        for name, value in reply.headers.items()
        if (name in _SHOWN_HEADERS or name.startswith(_SHOWN_PREFIXES)) and (text := _text(value))
    }


def _id_from_headers(reply: Reply) -> str | None:
    shown = _shown_headers(reply)
    return next((shown[name] for name in _ID_HEADERS if name in shown), None)


def _snippet(body: bytes) -> str:
    text = _CONTROL.sub("�", body[: _MAX_BODY * 4].decode(errors="replace").strip())
    return _truncate(text, _MAX_BODY)


def _text(value: Any) -> str | None:
    """A string without control characters and lone surrogates, truncated; None for no string."""
    if not isinstance(value, str) or not value:
        return None
    if len(value) <= _MAX_MESSAGE and value.isascii() and value.isprintable():  # ten times as fast
        return value
    return _truncate(_CONTROL.sub("�", value[: 2 * _MAX_MESSAGE]), _MAX_MESSAGE)


def _truncate(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
