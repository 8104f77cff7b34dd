"""`make contract AGAINST=live`: a few small requests show whether the service keeps the contract.

Prints the most that they can cost, and then where an answer differs from the contract. The address
and the key come from OPENROUTER_BASE_URL and OPENROUTER_API_KEY.
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
from openrouter_embeddings._json import dumps, loads
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
from openrouter_embeddings.local.contract import shipped
from openrouter_embeddings.transport import BASE_URL, Transport

from tests.contract.live_probes import MODEL, PROBES, Probe, most_tokens
from tools.diff.operations import json_schema
from tools.schema.model import SchemaReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TIMEOUT = 60.0
_MAX_BODY = 1 << 22  # bytes of an answer
_BUSY = (408, 429, *range(500, 600))
# Recorded calls show that vectors of one text differ a little between requests and encodings.
_SAME = 0.999  # cosine similarity
REFUSED = "allowed by the contract, but refused"


class Examination:
    """Sends probes, and compares each answer with the contract.

    Attributes:
        spent: credits that the service has reported.
        unlisted: fields of answers that the contract does not list; it allows them.
    """

    def __init__(
        self, base_url: str, key: Secret, model: str, http: httpx.Client | None = None
    ) -> None:
        self._transport = Transport(base_url, key, http)
        self._bare = http or httpx.Client(trust_env=base_url.startswith("https"))
        self._url = base_url.rstrip("/") + "/embeddings"
        self._model = model
        self._vectors: dict[str, Any] = {}
        self.spent = Decimal(0)
        self.unlisted: set[str] = set()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()
        self._bare.close()

    def differences(self, probe: Probe) -> list[str]:
        """How the answer to a probe differs from the contract.

        Raises EmbeddingsError if there is no answer to compare.
        """
        reply = self._send(probe)
        body = _parsed(reply)
        self._note(reply, body)
        error = body.get("error") if isinstance(body, dict) else None
        inside = error.get("code") if isinstance(error, dict) else None
        if reply.status in _BUSY or inside in _BUSY:
            raise ServerError(f"busy or failing: {excerpt(reply)}", status=reply.status)
        if not probe.valid and reply.status < 400:
            return [f"not refused, but answered with {reply.status}: {excerpt(reply)}"]
        if probe.valid and (reply.status >= 400 or error):
            return [f"{REFUSED} with {reply.status}: {excerpt(reply)}"]
        found = [*_against_schema(reply, body)]
        return found if found or not probe.valid else [*self._vectors_of(probe, reply)]

    def _note(self, reply: Reply, body: Any) -> None:
        """Add up what the answer cost, and collect the fields that the contract does not list."""
        usage = body.get("usage") if isinstance(body, dict) else None
        cost = usage.get("cost") if isinstance(usage, dict) else None
        if isinstance(cost, int | float):
            self.spent += Decimal(str(cost))
        message = shipped().operation["responses"].get(str(reply.status))
        if message is not None:
            known = SchemaReader(shipped().document).paths(json_schema(shipped().document, message))
            self.unlisted |= {path for path in _paths(body, "") if path not in known}

    def _send(self, probe: Probe) -> Reply:
        body = dumps({"model": self._model, **probe.request})
        if probe.with_key:
            return self._transport.send(body, _TIMEOUT, StreamDecoder(0, _MAX_BODY))
        headers = {"Content-Type": "application/json"}
        answer = self._bare.post(self._url, content=body, headers=headers, timeout=_TIMEOUT)
        return Reply(answer.status_code, dict(answer.headers), answer.content)

    def _vectors_of(self, probe: Probe, reply: Reply) -> Iterator[str]:
        """Check what a schema cannot say: the vectors' count, order, width and values."""
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
                yield f"the vector has another width than that of {probe.same_as!r}"
            elif (likeness := _cosine(mine, other[0])) < _SAME:
                yield f"the vector is not that of {probe.same_as!r}: cosine {likeness:.4f}"


_NOT_JSON = object()


def _parsed(reply: Reply) -> Any:
    try:
        return loads(reply.body)
    except ValueError:
        return _NOT_JSON


def _against_schema(reply: Reply, body: Any) -> Iterator[str]:
    documented = shipped().operation["responses"].get(str(reply.status))
    if documented is None:
        yield f"status {reply.status} is not in the contract"
        return
    if body is _NOT_JSON:
        yield f"status {reply.status} with a body that is not JSON: {excerpt(reply)}"
        return
    schema = json_schema(shipped().document, documented)
    schema = {**schema, "components": shipped().document.get("components", {})}
    for error in jsonschema_rs.Draft202012Validator(schema, mask="the value").iter_errors(body):
        place = ".".join(map(str, error.instance_path)) or "the whole"
        yield f"status {reply.status}: {place}: {error.message[:200]}"


def _paths(value: Any, path: str) -> Iterator[str]:
    """The path of every field: `usage.cost`, `data[].index`."""
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


def excerpt(reply: Reply) -> str:
    """The beginning of a body, in one line."""
    return " ".join(reply.body[:300].decode(errors="replace").split())


def examine(examination: Examination, most: Decimal, say: Callable[[str], None]) -> tuple[int, int]:
    """Send all probes: how many answers differ, and how many probes got none to compare.

    Stops once the service has reported more than `most` credits.
    """
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
                say("stopped: the service does not answer; try again later")
                break
            continue
        differed += bool(found)
        for line in found:
            say(f"differs     {probe.name}: {line}")
        if not found:
            say(f"ok          {probe.name}")
        elif probe is PROBES[0] and found[0].startswith(REFUSED):
            say("stopped: the service would refuse the other requests too; is the model right?")
            break
    return differed, without_verdict


def _price(text: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal("NaN")
    if not price.is_finite() or price < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a price; write a number such as 0.20")
    return price


def main(arguments: list[str]) -> int:
    """0 if nothing differs, 1 if something does, 2 if a probe got no answer to compare."""
    parser = argparse.ArgumentParser(prog="make contract AGAINST=live", description=__doc__)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--price", type=_price, default=Decimal("0.20"))
    args = parser.parse_args(arguments)
    key = Secret(os.environ.get("OPENROUTER_API_KEY", ""))
    base_url = os.environ.get("OPENROUTER_BASE_URL") or BASE_URL
    most = most_tokens() * args.price / 1_000_000
    print(
        f"{len(PROBES)} requests to {base_url} for {args.model}: at most {most_tokens()} tokens, "
        f"{most:f} credits at {args.price} per million tokens (PRICE=…)"
    )
    try:
        if not key:
            raise InputError("no API key; set OPENROUTER_API_KEY")
        key.check()
        examination = Examination(base_url, key, args.model)
    except EmbeddingsError as error:
        print(f"contract-live: {error}", file=sys.stderr)
        return 2
    try:
        differed, without_verdict = examine(examination, most, print)
    finally:
        examination.close()
    if examination.unlisted:
        print(f"not listed in the contract: {', '.join(sorted(examination.unlisted))}")
    print(f"{differed} differ, {without_verdict} without a verdict, {examination.spent:f} credits")
    return 1 if differed else 2 if without_verdict else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
