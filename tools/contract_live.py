"""`make contract-live`: does the service keep its own specification? A few small requests, bounded.

Says first what they can cost at most, then where an answer is not what the contract allows. The
address and the key come from OPENROUTER_BASE_URL and OPENROUTER_API_KEY.
"""

from __future__ import annotations

import argparse
import os
import sys
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import httpx
import jsonschema_rs
import numpy as np
import orjson
from openrouter_embeddings._secret import Secret
from openrouter_embeddings.core.batching import Batch
from openrouter_embeddings.core.decode import decode
from openrouter_embeddings.core.streaming import StreamDecoder
from openrouter_embeddings.core.wire import Reply
from openrouter_embeddings.errors import (
    APIConnectionError,
    EmbeddingsError,
    InputError,
    ServerError,
)
from openrouter_embeddings.local.contract import contract, operation
from openrouter_embeddings.transport import BASE_URL, Transport

from tools.diff.operations import json_schema
from tools.live_probes import MODEL, PROBES, Probe, most_tokens
from tools.schema.model import SchemaReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TIMEOUT = 60.0
_LONGEST = 1 << 22  # bytes of an answer
_BUSY = (408, 429, *range(500, 600))
# Vectors of one text differ a little between requests and encodings; facts from recorded calls.
_SAME = 0.999
REFUSED = "allowed by the contract, refused"


class Examination:
    """Sends the probes and remembers what was said of each."""

    def __init__(
        self, base_url: str, key: Secret, model: str, http: httpx.Client | None = None
    ) -> None:
        self._transport = Transport(base_url, key, http)
        self._bare = http or httpx.Client(trust_env=base_url.startswith("https"))
        self._url = base_url.rstrip("/") + "/embeddings"
        self._model = model
        self._vectors: dict[str, Any] = {}
        self.spent = Decimal(0)
        self.beyond: set[str] = set()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()
        self._bare.close()

    def differences(self, probe: Probe) -> list[str]:
        """Where the answer to a probe is not what the contract says. Raises EmbeddingsError."""
        reply = self._send(probe)
        body = _parsed(reply)
        self._note(reply, body)
        error = body.get("error") if isinstance(body, dict) else None
        inside = error.get("code") if isinstance(error, dict) else None
        if reply.status in _BUSY or inside in _BUSY:
            raise ServerError(f"busy, or failing: {said(reply)}", status=reply.status)
        if not probe.valid and reply.status < 400:
            return [f"a refusal was due, {reply.status} came: {said(reply)}"]
        if probe.valid and (reply.status >= 400 or error):
            return [f"{REFUSED} with {reply.status}: {said(reply)}"]
        found = [*_against_schema(reply, body)]
        return found if found or not probe.valid else [*self._vectors_of(probe, reply)]

    def _note(self, reply: Reply, body: Any) -> None:
        """What it cost, and which fields the contract does not list: it allows them."""
        usage = body.get("usage") if isinstance(body, dict) else None
        cost = usage.get("cost") if isinstance(usage, dict) else None
        if isinstance(cost, int | float):
            self.spent += Decimal(str(cost))
        message = operation()["responses"].get(str(reply.status))
        if message is not None:
            known = SchemaReader(contract()).paths(json_schema(contract(), message))
            self.beyond |= {path for path in _paths(body, "") if path not in known}

    def _send(self, probe: Probe) -> Reply:
        body = orjson.dumps({"model": self._model, **probe.request})
        if probe.with_key:
            return self._transport.send(body, _TIMEOUT, StreamDecoder(0, _LONGEST))
        headers = {"Content-Type": "application/json"}
        answer = self._bare.post(self._url, content=body, headers=headers, timeout=_TIMEOUT)
        return Reply(answer.status_code, dict(answer.headers), answer.content)

    def _vectors_of(self, probe: Probe, reply: Reply) -> Iterator[str]:
        """What the schema cannot say: count, order, width, and that the vectors can be used."""
        batch = Batch(range(probe.rows), [""] * probe.rows)
        try:
            decoded = decode(reply, batch, probe.request.get("dimensions"))
        except EmbeddingsError as error:
            yield str(error)
            return
        self._vectors[probe.name] = decoded.matrix
        if probe.same_as is not None and (other := self._vectors.get(probe.same_as)) is not None:
            mine = decoded.matrix[0]
            if len(mine) != len(other[0]):
                yield f"has another width than {probe.same_as!r}"
            elif (likeness := _cosine(mine, other[0])) < _SAME:
                yield f"is not the vector of {probe.same_as!r}: cosine {likeness:.4f}"


_NOT_JSON = object()


def _parsed(reply: Reply) -> Any:
    try:
        return orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return _NOT_JSON


def _against_schema(reply: Reply, body: Any) -> Iterator[str]:
    documented = operation()["responses"].get(str(reply.status))
    if documented is None:
        yield f"status {reply.status} is not in the contract"
        return
    if body is _NOT_JSON:
        yield f"status {reply.status} with a body that is not JSON: {said(reply)}"
        return
    schema = json_schema(contract(), documented)
    schema = {**schema, "components": contract().get("components", {})}
    for error in jsonschema_rs.Draft202012Validator(schema, mask="the value").iter_errors(body):
        place = ".".join(map(str, error.instance_path)) or "the whole"
        yield f"status {reply.status}: {place}: {error.message[:200]}"


def _paths(value: Any, path: str) -> Iterator[str]:
    """The place of every field: `usage.cost`, `data[].index`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            below = f"{path}.{key}".lstrip(".")
            yield below
            yield from _paths(inner, below)
    elif isinstance(value, list):
        for inner in value:
            yield from (p for p in _paths(inner, f"{path}[]"))


def _cosine(a: Any, b: Any) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def said(reply: Reply) -> str:
    """The beginning of a body, for a person."""
    return " ".join(reply.body[:300].decode(errors="replace").split())


def examine(examination: Examination, most: Decimal, say: Callable[[str], None]) -> tuple[int, int]:
    """Try all probes; how many differed, and how many had no verdict."""
    differed = without_verdict = 0
    for probe in PROBES:
        if examination.spent > most:
            say(f"stopped: the service has reported {examination.spent:f} credits")
            return differed + 1, without_verdict
        try:
            found = examination.differences(probe)
        except (APIConnectionError, ServerError, httpx.HTTPError) as error:
            without_verdict += 1
            say(f"no verdict  {probe.name}: {error}")
            if probe is PROBES[0]:
                say("stopped: no more is to be learned from a service that cannot answer")
                break
            continue
        differed += bool(found)
        for line in found:
            say(f"differs     {probe.name}: {line}")
        if not found:
            say(f"ok          {probe.name}")
        elif probe is PROBES[0] and found[0].startswith(REFUSED):
            say("stopped: who refuses the first request refuses the others; is the model right?")
            break
    return differed, without_verdict


def _price(text: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal("NaN")
    if not price.is_finite() or price < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no price; 0.20, say, is right")
    return price


def main(arguments: list[str]) -> int:
    """0 when nothing differs, 1 when something does, 2 when there was no verdict on something."""
    parser = argparse.ArgumentParser(prog="make contract-live", description=__doc__)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--price", type=_price, default=Decimal("0.20"))
    given = parser.parse_args(arguments)
    key = Secret(os.environ.get("OPENROUTER_API_KEY", ""))
    base_url = os.environ.get("OPENROUTER_BASE_URL") or BASE_URL
    most = most_tokens() * given.price / 1_000_000
    print(
        f"{len(PROBES)} requests to {base_url} for {given.model}: at most {most_tokens()} tokens, "
        f"{most:f} credits at {given.price} per million tokens (PRICE=…)"
    )
    try:
        if not key:
            raise InputError("no API key: set OPENROUTER_API_KEY")
        key.check()
        examination = Examination(base_url, key, given.model)
    except EmbeddingsError as error:
        print(f"contract-live: {error}", file=sys.stderr)
        return 2
    try:
        differed, without_verdict = examine(examination, most, print)
    finally:
        examination.close()
    if examination.beyond:
        print(f"not listed in the contract: {', '.join(sorted(examination.beyond))}")
    print(f"{differed} differ, {without_verdict} without a verdict, {examination.spent:f} credits")
    return 1 if differed else 2 if without_verdict else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
