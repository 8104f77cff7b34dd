"""Services on this machine, with and without TLS."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
import trustme

from tests.http_service import HTTPService
from tests.socket_service import tls_context
from tests.support import Service, traced


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def http(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of which the clients of a `Service` are."""
    monkeypatch.setattr(Service, "http", request.param)
    return request.param


@pytest.fixture(scope="module", params=[False, True], ids=["", "traced"])
def sometimes_traced(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a test also while a tool replaces methods of httpx, so that requests go through httpx."""
    with traced() if request.param else nullcontext():
        yield


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority."""
    return trustme.CA()


@pytest.fixture(scope="module")
def url(authority: trustme.CA) -> Iterator[str]:
    """The URL of a service on this machine with a certificate for `localhost`."""
    with HTTPService(tls_context(authority)) as server:
        yield server.url


@pytest.fixture
def counting() -> Iterator[HTTPService]:
    """A service over real sockets that counts its connections."""
    with HTTPService() as server:
        yield server


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this machine trust the authority."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
