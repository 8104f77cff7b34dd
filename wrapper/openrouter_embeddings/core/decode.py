"""Reply bytes to vectors, or to the error that they are.

The order is what every answer is held to: an error in the body first, then the count, the
indices, one width, and no value that would poison an index.
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
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

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

_LONGEST_MESSAGE = 600
_STRANGEST_COST = 20  # powers of ten away from one credit
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_STRANGEST_COUNT = 10**15  # tokens
_LONGEST_BODY = 2000
# Of statuses that are not in the standard, as the specification calls them.
_PHRASES = {524: "Infrastructure Timeout", 529: "Provider Overloaded"}
_ID_HEADERS = ("x-generation-id", "x-request-id", "request-id", "cf-ray")


@dataclass(frozen=True, slots=True)
class Decoded:
    """The vectors of one batch, in the order of its inputs, and the answer that held them.

    Attributes:
        matrix: the usable vectors.
        served: the answer, and the positions of their inputs.
        refused: names the inputs whose vectors could not be used, if there are any.
    """

    matrix: Matrix
    served: Served
    refused: ResponseError | None = None


def decode(reply: Reply, batch: Batch, dimensions: int | None) -> Decoded:
    """The vectors in a reply.

    Raises:
        APIStatusError: by the status, or by an error inside a success.
        ResponseError: a success that cannot be trusted as a whole.
    """
    if reply.cut is not None:
        if (decoded := _decode_cut(reply, reply.cut, batch, dimensions)) is not None:
            return decoded
        reply = replace(reply, body=reply.cut.restore(reply.body), cut=None)
    answer = _parse(reply.body)
    if not 200 <= reply.status <= 299 or (isinstance(answer, dict) and answer.get("error")):
        raise _status_error(reply, answer, batch)
    served = _served(_mapping(answer), batch.positions)
    try:
        matrix, unusable = _matrix(_items(answer, len(batch.items)), dimensions)
    except _Refused as refused:
        raise _response_error(refused.reason, refused.rows, reply, batch, served) from None
    if not unusable:
        return Decoded(matrix, served)
    error = _response_error(f"{_summary(unusable)} came back", [*unusable], reply, batch, served)
    usable = [position for row, position in enumerate(batch.positions) if row not in unusable]
    return Decoded(matrix, replace(served, positions=usable), error)


def _decode_cut(
    reply: Reply, cut: ExtractedVectors, batch: Batch, dimensions: int | None
) -> Decoded | None:
    """What `decode` gives for an answer that is entirely as expected; None for any other."""
    count = len(batch.items)
    if cut.doubtful or cut.matrix.shape != (count, dimensions or cut.matrix.shape[1]):
        return None
    try:
        answer = orjson.loads(reply.body)
        marks = _items(answer, count)
    except (orjson.JSONDecodeError, _Refused):
        return None
    if answer.get("error") or not 200 <= reply.status <= 299:
        return None
    if {*map(type, marks)} != {int}:  # by type: a float may equal a mark
        return None
    rows, inputs = cut.order(marks), [*range(count)]
    if rows != inputs:
        if sorted(rows) != inputs:
            return None
        cut.matrix[:] = cut.matrix[rows]
    return Decoded(cut.matrix, _served(answer, batch.positions))


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


class _Refused(Exception):
    """Why an answer is none, and the rows concerned; all of them where none is named."""

    def __init__(self, reason: str, rows: Sequence[int] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.rows = rows


def _parse(body: bytes) -> Any:
    """The JSON in `body`, or `_NOT_JSON`. NaN and Infinity, which are not JSON, are let in.

    Some servers print them; read, they lead to an error that names the inputs concerned.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return _NOT_JSON


_NOT_JSON = object()


def _items(answer: Any, count: int) -> list[Any]:
    """The embeddings in the order of the inputs: by `index`, or by position where none has one."""
    if not isinstance(answer, dict):
        what = "not JSON" if answer is _NOT_JSON else "no JSON object"
        raise _Refused(f"a success whose body is {what}")
    items = answer.get("data")
    if not isinstance(items, list):
        raise _Refused("a success without a list of embeddings in `data`")
    if len(items) != count:
        raise _Refused(f"{len(items)} embeddings came back for {count} inputs")
    if strange := [row for row, item in enumerate(items) if not isinstance(item, dict)]:
        raise _Refused("an item of `data` that is no object", strange)
    indices = [item.get("index") for item in items]
    embeddings = [item.get("embedding") for item in items]
    if indices == [None] * count:
        return embeddings
    # by type, too: True and 1.0 equal 1
    if {*map(type, indices)} != {int} or sorted(indices) != [*range(count)]:
        raise _Refused(f"the indices are no permutation of 0-{count - 1}: {_doubt(indices)}")
    placed: list[Any] = [None] * count
    for index, embedding in zip(indices, embeddings, strict=True):
        placed[index] = embedding
    return placed


def _doubt(indices: list[Any]) -> str:
    seen: set[int] = set()
    for index in indices:
        if type(index) is not int:
            return "one is missing" if index is None else f"one is {reprlib.repr(index):.40}"
        if index in seen:
            return f"{index} comes twice"
        if not 0 <= index < len(indices):
            return f"one is {index}"
        seen.add(index)
    raise AssertionError("the indices are a permutation after all")


def _matrix(embeddings: list[Any], dimensions: int | None) -> tuple[Matrix, dict[int, str]]:
    """The usable vectors, and why the others are not, by row. Raises _Refused."""
    vectors, unusable = _vectors(embeddings)
    widths = Counter(map(len, vectors.values()))
    width = dimensions or (widths.most_common(1)[0][0] if widths else 0)
    if dimensions and widths and dimensions not in widths:  # not these inputs' fault
        came = " and ".join(map(str, sorted(widths)))
        raise _Refused(f"{dimensions} dimensions were asked for, {came} came back", [*vectors])
    for row in [row for row, vector in vectors.items() if len(vector) != width]:
        unusable[row] = f"a vector of {len(vectors.pop(row))} dimensions, not {width},"
    matrix = np.empty((len(vectors), width), np.float32)
    for slot, vector in enumerate(vectors.values()):
        matrix[slot] = vector
    if poisonous := unusable_rows(matrix):
        rows = [*vectors]
        unusable |= {rows[slot]: reason for slot, reason in poisonous.items()}
        matrix = np.delete(matrix, [*poisonous], axis=0)
    return matrix, dict(sorted(unusable.items()))


def _vectors(embeddings: list[Any]) -> tuple[dict[int, Matrix], dict[int, str]]:
    """The vectors that can be read, and why the others cannot, by row."""
    vectors: dict[int, Matrix] = {}
    unreadable: dict[int, str] = {}
    for row, embedding in enumerate(embeddings):
        try:
            vectors[row] = read_vector(embedding)
        except ValueError as error:
            unreadable[row] = str(error)
    return vectors, unreadable


def _summary(reasons: dict[int, str]) -> str:
    return "; ".join(dict.fromkeys(reasons.values()))


def _served(answer: dict[str, Any], positions: Sequence[int]) -> Served:
    """What the answer says of itself. A missing or odd field costs nobody a paid vector."""
    return Served(
        positions=positions,
        model=_text(answer.get("model")),
        provider=_text(answer.get("provider")),
        id=_text(answer.get("id")),
        usage=_usage(answer.get("usage")),
        body={key: value for key, value in answer.items() if key != "data"},
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
    return value if type(value) is int and 0 < value < _STRANGEST_COUNT else 0


def _cost(value: Any) -> Decimal | None:
    """Exact, up to 60 digits: the shortest text of a float is the text that was sent, up to 15."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        cost = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    if not cost.is_finite() or cost < 0 or abs(cost.adjusted()) > _STRANGEST_COST:
        return None
    return EXACT.plus(cost)


def _status_error(reply: Reply, answer: Any, batch: Batch) -> APIStatusError:
    answer = _mapping(answer)
    error = answer.get("error")
    error = error if isinstance(error, dict) else answer
    metadata = _mapping(error.get("metadata"))
    code = _code(error.get("code"))
    status = reply.status
    if 200 <= status <= 299 and isinstance(code, int) and 400 <= code <= 599:
        status = code
    return error_class(status)(
        _message(status, _reason(answer), metadata),
        status=status,
        code=code,
        provider=_text(metadata.get("provider_name")) or _text(answer.get("provider")),
        request_id=_text(answer.get("id")) or _id_from_headers(reply),
        retry_after=retry_after(reply),
        body=_snippet(reply.body),
        inputs=batch.positions,
        usage=_usage(answer["usage"]) if isinstance(answer.get("usage"), dict) else None,
    )


def _reason(answer: Any, deep: int = 4) -> str | None:
    """Why a service said no, in the forms that services have for it.

    `{"error": {"message": …}}`, `{"error": …}`, `{"message": …}` and FastAPI's `{"detail": …}`,
    which may be a list of what is wrong.
    """
    if isinstance(answer, str):
        return _text(answer)
    if isinstance(answer, list) and deep:
        return _text("; ".join(filter(None, (_reason(part, deep - 1) for part in answer[:8]))))
    if not isinstance(answer, dict) or not deep:
        return None
    found = (_reason(answer.get(name), deep - 1) for name in ("error", "message", "detail", "msg"))
    return next(filter(None, found), None)


def _code(code: Any) -> int | str | None:
    """`error.code`, which servers also send as a float or as text."""
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) < 6:
        return int(code)
    if isinstance(code, float) and code.is_integer() and abs(code) < 1e6:
        return int(code)
    if isinstance(code, str):
        return _text(code)
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _message(status: int, message: Any, metadata: dict[str, Any]) -> str:
    name = _phrase(status)
    said = _text(message)
    raw = _provider_said(metadata.get("raw"))
    if said is None:
        whole = f"{name}, without a reason"
    else:  # the service's own texts often begin with the name
        whole = said if said.lower().startswith(name.lower()) else f"{name}: {said}"
    return _cut(f"{whole} (the provider said: {raw})" if raw else whole, _LONGEST_MESSAGE)


def _provider_said(raw: Any) -> str | None:
    """The reason in a provider's own answer, which is often JSON in a text; else all of it."""
    if isinstance(raw, str) and raw[:1] == "{" and len(raw) <= _LONGEST_BODY:
        with suppress(orjson.JSONDecodeError):
            return _reason(orjson.loads(raw)) or _text(raw)
    return _text(raw)


def _phrase(status: int) -> str:
    if status in _PHRASES:
        return _PHRASES[status]
    if 200 <= status <= 299:  # an error without a usable code, inside a success
        return "Error"
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # 520-523 are not in the standard
        return f"HTTP {status}"


def _id_from_headers(reply: Reply) -> str | None:
    named = (reply.headers[name] for name in _ID_HEADERS if reply.headers.get(name))
    return _text(next(named, None))


def _snippet(body: bytes) -> str:
    said = _CONTROL.sub("�", body[: _LONGEST_BODY * 4].decode(errors="replace").strip())
    return _cut(said, _LONGEST_BODY)


def _text(value: Any) -> str | None:
    """Without what would command a terminal, or cannot be written at all; and not without end."""
    if not isinstance(value, str) or not value:
        return None
    return _cut(_CONTROL.sub("�", value[: 2 * _LONGEST_MESSAGE]), _LONGEST_MESSAGE)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
