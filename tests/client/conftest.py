"""Services on this machine, with and without TLS."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.http_service import HTTPService


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority."""
    return trustme.CA()


@pytest.fixture(scope="module")
def url(authority: trustme.CA) -> Iterator[str]:
    """The URL of a service on this machine with a certificate for `localhost`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with HTTPService() as server:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        server.start()
        yield f"https://localhost:{server.server_port}/v1"
        server.shutdown()


@pytest.fixture
def counting() -> Iterator[HTTPService]:
    """A service over real sockets that counts its connections."""
    with HTTPService() as server:
        server.start()
        yield server
        server.shutdown()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this machine trust the authority."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
