"""A service on the loopback, and both clients, for tests of other people's tools."""

import asyncio
import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import openrouter_embeddings as ore

KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"
REFUSED = "http://127.0.0.1:9/v1"  # no service listens there
OPTIONS: Any = {"model": "acme/embed-1", "max_retries": 1}


def vectors(texts: list[str]) -> list[list[float]]:
    """The vectors of these texts, from the service and from every mock."""
    return [[64.0 - len(text), 1.0, -0.5] for text in texts]


def answer(texts: list[str]) -> dict[str, Any]:
    """The service's response."""
    data = [{"index": i, "embedding": vector} for i, vector in enumerate(vectors(texts))]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return {"object": "list", "data": data, "model": "embed-1", "usage": usage}


class LoopbackService(ThreadingHTTPServer):
    """Answers every request, after the error statuses in `statuses`.

    Attributes:
        texts: those of each request.
        headers: those of each request.
        opened: the number of connections so far.
    """

    daemon_threads = True

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses = [*statuses]
        self.texts: list[list[str]] = []
        self.headers: list[dict[str, str]] = []
        self.opened = 0
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=[0.01]).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        self.opened += 1
        super().process_request_thread(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        service: Any = self.server
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        service.texts.append(texts)
        service.headers.append({name.lower(): value for name, value in self.headers.items()})
        status, body = 200, answer(texts)
        if service.statuses:
            status, body = service.statuses.pop(0), {"error": {"code": 429, "message": "no"}}
        sent = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(sent)

    def log_message(self, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Log nothing."""


def embed(kind: str, url: str, *calls: list[str], **options: Any) -> list[ore.EmbeddingResult]:
    """The results of these calls of one client of `kind`; their vectors are right."""
    options = {"base_url": url, **OPTIONS, **options}

    async def run() -> list[ore.EmbeddingResult]:
        async with ore.AsyncClient(KEY, **options) as client:
            return [await client.embed(texts) for texts in calls]

    if kind == "async":
        results = asyncio.run(run())
    else:
        with ore.Client(KEY, **options) as client:
            results = [client.embed(texts) for texts in calls]
    for texts, result in zip(calls, results, strict=True):
        assert result.vectors.tolist() == vectors(texts)
    return results


def check_own_connections(kind: str) -> None:
    """After a tool has ended, requests reach the service, on one connection."""
    with LoopbackService() as service:
        embed(kind, service.url, ["a"], ["bb"])
    assert service.texts == [["a"], ["bb"]]
    assert service.opened == 1
