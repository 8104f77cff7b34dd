"""Calls the wrapper through its public API, without a network, and records what it sends."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

import httpx
import openrouter_embeddings as ore
from openrouter_embeddings.transport import BASE_URL

from tools.drift.finding import WRAPPER
from tools.openapi import Json
from tools.schema.samples import URL

_KEY = "sk-probe"
_PACKAGE = Path(ore.__file__).parent


@dataclass
class Sent:
    """The requests of a call, or the error that prevented them and the file that raised it."""

    bodies: list[Json] = field(default_factory=list)
    refusal: str = ""
    refused_in: str = ""


class RecordingClient:
    """The wrapper's client on a mock transport."""

    def __init__(self) -> None:
        self._requests: list[httpx.Request] = []
        self._response: tuple[int, Json] | None = None
        self._http = httpx.Client(transport=httpx.MockTransport(self._handle))
        self._client = ore.Client(
            _KEY, base_url=BASE_URL, http_client=self._http, model="m", max_retries=0
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._http.close()

    def send(self, body: Json, **more: Any) -> Sent:
        """Call the wrapper with the fields of a request body as arguments."""
        options = {name: value for name, value in body.items() if name != "input"}
        return self.embed(body.get("input", "x"), {**options, **more})

    def embed(self, inputs: Any, options: dict[str, Any]) -> Sent:
        """Call the wrapper, and record the request bodies."""
        self._requests.clear()
        self._response = None
        try:
            self._client.embed(inputs, **options)
        except (ore.InputError, TypeError) as error:
            return Sent(refusal=str(error), refused_in=_file_of(error))
        except ore.EmbeddingsError:  # an invalid response; the request still counts
            pass
        return Sent([json.loads(request.content) for request in self._requests])

    def request(self) -> httpx.Request:
        """Return a request with its URL and headers."""
        self.embed("x", {})
        return self._requests[0]

    def error_for(self, status: int, response: Json) -> ore.EmbeddingsError | None:
        """Return the error for a response; None if it is accepted."""
        self._response = (status, response)
        try:
            self._client.embed("x")
        except ore.EmbeddingsError as error:
            return error
        return None

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self._requests.append(request)
        if self._response is not None:
            return httpx.Response(self._response[0], json=self._response[1])
        body = json.loads(request.content)
        return httpx.Response(200, json=response_to(body))


def calls() -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield calls with every kind of input and every named option."""
    yield "x", {}
    yield ["x", "y"], {}
    yield [1, 2], {}
    yield [[1, 2], [3]], {}
    for name in ore.__all__:
        made = getattr(ore, name)
        if isinstance(made, type) and made.__module__.endswith(".inputs"):
            yield made(URL), {}
    for name, hint in get_type_hints(ore.EmbedOptions).items():
        for value in _values(hint):
            yield "x", {name: value}
    yield "x", {"user": None, "provider": {"zdr": True, "order": None}}
    yield "x", {"provider": {"max_price": {"prompt": 1.5}}}


def _file_of(error: Exception) -> str:
    """Return the file of the wrapper that raised an error: the one to change."""
    frames = [Path(frame.filename) for frame in extract_tb(error.__traceback__)]
    ours = [path.relative_to(_PACKAGE) for path in frames if path.is_relative_to(_PACKAGE)]
    return f"{WRAPPER}/{ours[-1].as_posix()}" if ours else ""


def _values(hint: Any) -> list[Any]:
    """Return the values that an annotation lists, or else one of its type."""
    if get_origin(hint) is Literal:
        return [*get_args(hint)]
    kinds = {hint, *get_args(hint)}
    return [sample for kind, sample in ((int, 1), (str, "x"), (float, 1.0)) if kind in kinds][:1]


def response_to(body: Json) -> Json:
    """Make a valid response to a request."""
    width = body.get("dimensions", 2)
    width = width if isinstance(width, int) and width < 10_000 else 2
    vector = [0.5] * width
    data = [
        {"object": "embedding", "index": i, "embedding": vector} for i in range(len(body["input"]))
    ]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return {"object": "list", "data": data, "model": "m", "usage": usage}
