"""Over TLS, as with the service itself."""

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pytest
import trustme

from tests.support import KEY, KINDS, Kind, answer, expected

LARGE, MUCH = 5_000_000, 1_200_000  # characters, of a request and of an answer
both = pytest.mark.parametrize("kind", KINDS)


together = threading.Barrier(4)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["model"] == "together":
            together.wait(20)
        much = "x" * (MUCH if len(asked["input"][0]) == LARGE else 0)
        body = json.dumps(answer(asked["input"], much=much)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Silence."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A client that refuses the certificate is no error here."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs certificates."""
    return trustme.CA()


@pytest.fixture(scope="module")
def url(authority: trustme.CA) -> Iterator[str]:
    """A service on this machine, with a certificate for `localhost`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=server.serve_forever, args=[0.01]).start()
        yield f"https://localhost:{server.server_port}/v1"
        server.shutdown()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authority is trusted by this machine."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def embed(kind: Kind, url: str, texts: list[str], **more: Any) -> ore.EmbeddingResult:
    """With a client of our own making."""
    options: dict[str, Any] = {"model": "m", "max_retries": 0, "batch_size": 16, **more}
    if kind == "sync":
        with ore.Client(KEY, base_url=url, **options) as client:
            return client.embed(texts)

    async def run() -> ore.EmbeddingResult:
        async with ore.AsyncClient(KEY, base_url=url, **options) as client:
            return await client.embed(texts)

    return asyncio.run(run())


@both
@pytest.mark.usefixtures("trusted")
def test_vectors_come_over_tls(kind: Kind, url: str) -> None:
    """Many requests over several connections, which are used again and closed without a warning."""
    texts = ["x" * (n % 900 + 1) for n in range(400)]
    assert np.array_equal(embed(kind, url, texts).vectors, expected(texts))


@both
def test_a_certificate_that_nobody_vouches_for_is_refused(kind: Kind, url: str) -> None:
    """Before the key is sent."""
    with pytest.raises(ore.APIConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        embed(kind, url, ["a"])


@both
@pytest.mark.usefixtures("trusted")
def test_a_certificate_for_another_name_is_refused(kind: Kind, url: str) -> None:
    """Whoever signed it."""
    with pytest.raises(ore.APIConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        embed(kind, url.replace("localhost", "127.0.0.1"), ["a"])


@both
@pytest.mark.usefixtures("trusted")
def test_requests_go_at_the_same_time_on_connections_of_their_own(kind: Kind, url: str) -> None:
    """The service answers only when four are there, again and again."""
    texts = ["x" * (n + 1) for n in range(12)]
    result = embed(kind, url, texts, model="together", batch_size=1, concurrency=4)
    assert np.array_equal(result.vectors, expected(texts))


@both
@pytest.mark.usefixtures("trusted")
def test_large_requests_and_answers_pass(kind: Kind, url: str) -> None:
    """Larger than any buffer on the way, in both directions."""
    texts = ["x" * LARGE, "y"]
    result = embed(kind, url, texts)
    assert np.array_equal(result.vectors, expected(texts))
    assert len(result.served[0].body["much"]) == MUCH
