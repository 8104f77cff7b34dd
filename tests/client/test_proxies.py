"""Requests through the proxy in the environment."""

import asyncio
import base64
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
import trustme
from openrouter_embeddings.transport import _proxy

from tests.socket_service import tls_context
from tests.support import KEY, LARGE, embed_over, every, everywhere, expected

pytestmark = pytest.mark.usefixtures("sometimes_traced")

# many small requests, and one whose response arrives in many pieces
TEXTS = [*("x" * (n % 900 + 1) for n in range(64)), "x" * LARGE]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    await _closed(writer)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


class Proxy:
    """An HTTP proxy that records the CONNECT requests."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.heads: list[bytes] = []
        self.address = ""
        self.response = b"200 Fine"
        self._context = context
        self._ready, self._done = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=asyncio.run, args=[self._serve()])

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        listener = await asyncio.start_server(self._talk, "127.0.0.1", 0, ssl=self._context)
        scheme = "https" if self._context else "http"
        self.address = f"{scheme}://me:secret@localhost:{listener.sockets[0].getsockname()[1]}"
        self._ready.set()
        async with listener:
            await self._done.wait()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        writer.write(b"HTTP/1.1 " + self.response + b"\r\n\r\n")
        if not self.response.startswith(b"200"):
            await _closed(writer)
            return
        port = int(head.split()[1].split(b":")[1])
        upstream = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pump(reader, upstream[1]), _pump(upstream[0], writer))

    def start(self) -> None:
        """Start to listen."""
        self._thread.start()
        assert self._ready.wait(20)

    def stop(self) -> None:
        """Stop, and wait until every connection has ended."""
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(30)


@contextmanager
def proxy(authority: trustme.CA | None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy in the environment, over TLS if there is an authority to sign its certificate."""
    serving = Proxy(tls_context(authority) if authority else None)
    serving.start()
    monkeypatch.setenv("HTTPS_PROXY", serving.address)
    yield serving
    serving.stop()


@pytest.fixture(params=[False, True], ids=["plain", "secure"])
def serving(
    request: pytest.FixtureRequest,
    url: str,  # starts before the proxy
    trusted: None,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Proxy]:
    """A proxy in the environment, with and without TLS to the proxy itself."""
    with proxy(authority if request.param else None, monkeypatch) as started:
        yield started


@everywhere
def test_requests_go_through_the_proxy(kind: str, url: str, serving: Proxy) -> None:
    """The proxy gets its password and never the key, which travels in TLS, or TLS in TLS."""
    assert np.array_equal(embed_over(kind, url, TEXTS).vectors, expected(TEXTS))
    assert serving.heads
    password = base64.b64encode(b"me:secret")
    for head in serving.heads:
        assert head.startswith(b"CONNECT localhost:")
        assert b"Proxy-Authorization: Basic " + password in head
        assert KEY.encode() not in head


@every
def test_ssl_context_also_decides_about_the_proxy(
    kind: str, url: str, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both handshakes use it: that with an https proxy, and that with the service behind it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with proxy(authority, monkeypatch) as serving:
        with pytest.raises(ore.APIConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            embed_over(kind, url, ["a"], ssl_context=context)
        assert not serving.heads
        authority.configure_trust(context)
        assert len(embed_over(kind, url, ["a"], ssl_context=context)) == 1
        assert serving.heads


@every
@pytest.mark.usefixtures("serving")
def test_a_second_response_through_a_proxy_is_not_read_as_the_next(kind: str, url: str) -> None:
    """Even if the TLS layer has read it already and the socket is empty."""
    texts = ["x" * (n + 1) for n in range(32)]
    result = embed_over(kind, url, texts, model="again", batch_size=1, concurrency=1)
    assert np.array_equal(result.vectors, expected(texts))


@everywhere
@pytest.mark.usefixtures("trusted")
def test_no_proxy_bypasses_the_proxy(kind: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY may list the host, or the host with its port."""
    for name in ("localhost", url.removeprefix("https://").removesuffix("/v1")):
        monkeypatch.setenv("NO_PROXY", f"example.org,{name}")
        with proxy(None, monkeypatch) as serving:
            assert len(embed_over(kind, url, ["a"])) == 1
        assert serving.heads == []


@pytest.mark.parametrize(
    ("no_proxy", "address", "is_proxied"),
    [
        ("a.example:443", "https://a.example/v1", False),
        ("a.example:443", "https://a.example:8443/v1", True),
        ("a.example:8443", "https://a.example:8443/v1", False),
        ("a.example:8443", "https://a.example/v1", True),
        (".example", "https://a.example:8443/v1", False),
        ("example:8443", "https://a.example:8443/v1", False),
        ("*", "https://a.example/v1", False),
        ("::1", "https://[::1]:8443/v1", False),
        ("[::1]:8443", "https://[::1]:8443/v1", False),
        ("[::1]:8443", "https://[::1]/v1", True),
    ],
)
def test_no_proxy_matches_hosts_domains_and_ports(
    no_proxy: str, address: str, monkeypatch: pytest.MonkeyPatch, *, is_proxied: bool
) -> None:
    """An entry with a port matches only that port, which may be the default one."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", f"example.org, {no_proxy}")
    assert (_proxy.proxy_for(httpx.URL(address)) is not None) == is_proxied


@every
@pytest.mark.usefixtures("trusted")
def test_an_error_of_the_proxy_names_it_and_is_not_billed(
    kind: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy refuses the tunnel, so the request was not sent."""
    with proxy(None, monkeypatch) as serving:
        serving.response = b"407 Who are you"
        with pytest.raises(ore.APIConnectionError, match="ProxyError: 407 Who are you") as caught:
            embed_over(kind, url, ["a"])
    assert not caught.value.maybe_billed
    named = serving.address.replace("me:secret@", "")
    assert f"cannot connect to {url.removesuffix('/v1')} through the proxy {named}" in str(
        caught.value
    )


@pytest.mark.parametrize("make", [ore.Client, ore.AsyncClient])
@pytest.mark.parametrize(
    "address", ["gopher://me:secret@a.example", "http://[me:secret"]
)  # fmt: skip
def test_an_unusable_proxy_url_is_an_input_error_without_its_password(
    make: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the environment variables and does not show the password."""
    monkeypatch.setenv("ALL_PROXY", address)
    with pytest.raises(ore.InputError, match="not a usable URL") as caught:
        make(KEY)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("make", [ore.Client, ore.AsyncClient])
def test_a_socks_proxy_is_an_input_error_with_advice(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the command that installs SOCKS support."""
    monkeypatch.setenv("ALL_PROXY", "socks5://a.example:1080")
    with pytest.raises(
        ore.InputError, match=r"not support itself; run pip install 'httpx\[socks\]'"
    ):
        make(KEY)
