"""Which certificates a client trusts: `ssl_context`, the environment, the system, certifi."""

import os
import ssl
import sys
from pathlib import Path
from typing import Any

import certifi
import httpx
import openrouter_embeddings as ore
import pytest
import trustme
import truststore
from openrouter_embeddings.transport import _tls
from truststore import _openssl

from tests.http_service import HTTPService
from tests.socket_service import tls_context
from tests.support import KEY, embed_over, every, run

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="about places on Linux")
makers = pytest.mark.parametrize("make", [ore.Client, ore.AsyncClient])


@pytest.fixture(autouse=True)
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the files of certificates from the environment."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    """A file with the certificate of the authority."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


@pytest.fixture
def context(authority: trustme.CA) -> ssl.SSLContext:
    """A context that trusts the authority and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


def is_trusted(kind: str, url: str, **options: Any) -> bool:
    """Whether a client trusts the certificate of a service."""
    try:
        return len(embed_over(kind, url, ["a"], **options)) == 1
    except ore.APIConnectionError as error:
        assert "CERTIFICATE_VERIFY_FAILED" in str(error)  # noqa: PT017 - any other error is a failure
        return False


@every
def test_ssl_context_decides_what_is_trusted(
    kind: str, url: str, context: ssl.SSLContext, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so alone: SSL_CERT_FILE neither adds to it nor takes from it."""
    assert is_trusted(kind, url, ssl_context=context)
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    assert is_trusted(kind, url, ssl_context=context)
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    assert is_trusted(kind, url)
    strict = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert not is_trusted(kind, url, ssl_context=strict)


@every
def test_ssl_context_can_have_a_client_certificate(
    kind: str, authority: trustme.CA, context: ssl.SSLContext
) -> None:
    """A gateway that asks for one answers only with it."""
    theirs = tls_context(authority)
    theirs.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(theirs)
    with HTTPService(theirs) as service:
        with pytest.raises(ore.APIConnectionError):
            embed_over(kind, service.url, ["a"], ssl_context=context)
        authority.issue_cert("client.example").configure_cert(context)
        assert is_trusted(kind, service.url, ssl_context=context)


@makers
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("ca.pem", "ssl_context: expected an ssl.SSLContext, got str"),
        (False, "ssl_context: expected an ssl.SSLContext, got bool"),
        (ssl.SSLContext, "ssl_context: expected an ssl.SSLContext, got type"),
        (ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), "ssl_context is one for servers"),
    ],
)
def test_an_unusable_ssl_context_is_rejected(make: Any, wrong: Any, words: str) -> None:
    """The constructor raises InputError, which does not show the key."""
    with pytest.raises(ore.InputError, match=words) as caught:
        make(KEY, ssl_context=wrong)
    assert KEY not in str(caught.value)


@makers
def test_ssl_context_and_http_client_exclude_each_other(make: Any) -> None:
    """The httpx client makes its own connections, and the stand-in needs none."""
    with pytest.raises(TypeError, match=r"Client.local\(\) needs none: remove it"):
        make.local(ssl_context=ssl.create_default_context())
    http: Any = httpx.Client() if make is ore.Client else httpx.AsyncClient()
    with pytest.raises(ore.InputError, match="ssl_context has no effect on your http_client"):
        make(KEY, http_client=http, ssl_context=ssl.create_default_context())


@every
@pytest.mark.parametrize("installed", [True, False])
def test_certifi_is_trusted_only_without_truststore(
    kind: str, url: str, ca_file: str, monkeypatch: pytest.MonkeyPatch, *, installed: bool
) -> None:
    """With truststore, the certificates of the operating system count instead."""
    if not installed:
        monkeypatch.setitem(sys.modules, "truststore", None)
    monkeypatch.setattr(certifi, "where", lambda: ca_file)
    assert is_trusted(kind, url) is not installed
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    assert is_trusted(kind, url)


def openssl_finds(patch: pytest.MonkeyPatch, cafile: Any = None, capath: Any = None) -> None:
    """Let OpenSSL have been compiled with these places for certificates."""
    paths = ssl.DefaultVerifyPaths(cafile, capath, "", "", "", "")
    patch.setattr(ssl, "get_default_verify_paths", lambda: paths)


@on_linux
@every
def test_truststore_finds_the_systems_certificates_if_openssl_does_not(
    kind: str, url: str, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on systems for which this Python was not built, and on Windows and macOS."""
    openssl_finds(monkeypatch, capath=str(Path(ca_file).parent))  # whose names are not hashes
    assert type(_tls.create_ssl_context()) is truststore.SSLContext
    assert not is_trusted(kind, url)
    monkeypatch.setattr(_openssl, "_CA_FILE_CANDIDATES", [ca_file])
    assert is_trusted(kind, url)


@on_linux
@pytest.mark.parametrize("where", ["cafile", "capath"])
def test_on_linux_openssl_reads_the_systems_certificates_once(
    where: str, ca_file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With truststore, which Windows and macOS need, each connection would read them again."""
    (tmp_path / "0a1b2c3d.0").touch()
    openssl_finds(monkeypatch, **{where: ca_file if where == "cafile" else str(tmp_path)})
    assert type(_tls.create_ssl_context()) is ssl.SSLContext
    for system in ("win32", "darwin"):
        monkeypatch.setattr(sys, "platform", system)
        assert type(_tls.create_ssl_context()) is truststore.SSLContext


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_a_variable_comes_before_the_system_everywhere(
    variable: str, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Truststore would ignore it on Windows and macOS."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv(
        variable, ca_file if variable == "SSL_CERT_FILE" else str(Path(ca_file).parent)
    )
    assert type(_tls.create_ssl_context()) is ssl.SSLContext


@makers
def test_a_missing_ssl_cert_dir_is_an_input_error(
    make: Any, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of several directories is enough; with SSL_CERT_FILE, the variable has no effect."""
    monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
    with pytest.raises(ore.InputError, match="SSL_CERT_DIR=/nonexistent: no such directory"):
        make(KEY)
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join(["/nonexistent", str(Path(ca_file).parent)]))
    make(KEY)
    monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    make(KEY)


@makers
@pytest.mark.parametrize("context", ["made before", "made by the client"])
def test_inject_into_ssl_still_holds(make: Any, context: str) -> None:
    """A program that calls truststore.inject_into_ssl() gets truststore's contexts."""
    truststore.inject_into_ssl()
    try:
        assert type(_tls.create_ssl_context()) is truststore.SSLContext
        given = ssl.create_default_context() if context == "made before" else None
        assert repr(make(KEY, ssl_context=given)) == repr(make(KEY))
    finally:
        truststore.extract_from_ssl()


def test_a_context_made_before_inject_into_ssl_works_without_asyncio(
    url: str, context: ssl.SSLContext
) -> None:
    """It is no instance of the class that ssl.SSLContext is then, as asyncio requires."""
    truststore.inject_into_ssl()
    try:
        assert not isinstance(context, ssl.SSLContext)
        assert is_trusted("sync", url, ssl_context=context)
        with pytest.raises(ore.InputError, match="make it after that"):
            ore.AsyncClient(KEY, ssl_context=context)
    finally:
        truststore.extract_from_ssl()


def test_truststore_is_imported_only_for_a_tls_connection() -> None:
    """Importing it takes 20 ms, which a client over plain http need not wait for."""
    code = """if True:
        import sys
        import openrouter_embeddings as ore
        ore.Client("k", base_url="http://localhost:1/v1")
        before = "truststore" in sys.modules
        ore.Client("k")
        print(before, "truststore" in sys.modules)
    """
    assert run(sys.executable, "-c", code) == "False True\n"
