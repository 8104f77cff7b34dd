"""A service over a socket that fails once and then responds, and calls of both clients to it."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openrouter_embeddings as ore
from openrouter_embeddings.testing import no_waiting

TEXT = "the text of a letter"
KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Refuse the first request with a message that quotes the text; answer the others."""
        inputs = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        self.server.headers.append(self.headers)  # type: ignore[attr-defined]
        if len(self.server.headers) == 1:  # type: ignore[attr-defined]
            message = f"overloaded: {inputs} {self.headers['Authorization']}"
            self._respond(503, {"error": {"code": 503, "message": message}})
            return
        vectors = [ore.encode_base64([1.0, 2.0]) for _ in inputs]
        data = [{"index": n, "embedding": vector} for n, vector in enumerate(vectors)]
        usage = {"prompt_tokens": 7, "total_tokens": 7, "cost": 0.25}
        self._respond(200, {"data": data, "model": "m-1", "provider": "Acme", "usage": usage})

    def _respond(self, status: int, body: dict[str, Any]) -> None:
        sent = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: Any, **__: Any) -> None:
        """Log nothing."""


@contextmanager
def service() -> Iterator[Any]:
    """The service while it runs. It has the `headers` of its requests."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.headers = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def embed(server: Any, kind: str, **options: Any) -> None:
    """Embed a text with a client of this kind, without waiting before the retry."""
    made: Any = {"base_url": f"http://127.0.0.1:{server.server_port}/v1", "model": "m", **options}

    async def run() -> None:
        async with ore.AsyncClient(KEY, **made) as client:
            await client.embed(TEXT)

    with no_waiting():
        if kind == "async":
            asyncio.run(run())
            return
        with ore.Client(KEY, **made) as client:
            client.embed(TEXT)
