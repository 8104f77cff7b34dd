"""Through the proxy that the environment names."""

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
from openrouter_embeddings.transport import _connections

from tests.support import KEY, KINDS, LARGE, embed_over, expected

every = pytest.mark.parametrize("kind", [*KINDS, "uvloop"])
# many small requests, and one whose answer comes in many pieces
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
    """Connects to where it is told to, and remembers the heads of what it was asked."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.heads: list[bytes] = []
        self.address = ""
        self.answer = b"200 Fine"
        self._context = context
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        listener = await asyncio.start_server(self._talk, "127.0.0.1", 0, ssl=self._context)
        scheme = "https" if self._context else "http"
        self.address = f"{scheme}://me:secret@localhost:{listener.sockets[0].getsockname()[1]}"
        self._ready.set()
        async with listener:
            await self._over.wait()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        writer.write(b"HTTP/1.1 " + self.answer + b"\r\n\r\n")
        if not self.answer.startswith(b"200"):
            await _closed(writer)
            return
        port = int(head.split()[1].split(b":")[1])
        away = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pump(reader, away[1]), _pump(away[0], writer))

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        assert self._ready.wait(20)

    def stop(self) -> None:
        """Until every connection has ended."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)


@contextmanager
def proxy(authority: trustme.CA | None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The environment's proxy, over TLS where an authority signs for it."""
    context = None
    if authority:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
    serving = Proxy(context)
    serving.start()
    monkeypatch.setenv("HTTPS_PROXY", serving.address)
    yield serving
    serving.stop()


@pytest.fixture(params=[False, True], ids=["plain", "secure"])
def serving(
    request: pytest.FixtureRequest,
    url: str,  # which is there before the proxy
    trusted: None,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Proxy]:
    """The environment's proxy, which speaks TLS itself or does not."""
    with proxy(authority if request.param else None, monkeypatch) as started:
        yield started


@every
def test_requests_go_through_the_proxy(kind: str, url: str, serving: Proxy) -> None:
    """With its password, and without the key: TLS, within TLS where the proxy itself speaks it."""
    assert np.array_equal(embed_over(kind, url, TEXTS).vectors, expected(TEXTS))
    assert serving.heads
    password = base64.b64encode(b"me:secret")
    for head in serving.heads:
        assert head.startswith(b"CONNECT localhost:")
        assert b"Proxy-Authorization: Basic " + password in head
        assert KEY.encode() not in head


@every
@pytest.mark.usefixtures("serving")
def test_an_answer_that_comes_again_is_not_the_next_requests(kind: str, url: str) -> None:
    """Though it waits in what TLS within TLS has read, and the socket is empty."""
    texts = ["x" * (n + 1) for n in range(32)]
    result = embed_over(kind, url, texts, model="again", batch_size=1, concurrency=1)
    assert np.array_equal(result.vectors, expected(texts))


@every
@pytest.mark.usefixtures("trusted")
def test_a_host_can_be_left_out(
    kind: str,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By NO_PROXY: the host, or the host with its port."""
    for name in ("localhost", url.removeprefix("https://").removesuffix("/v1")):
        monkeypatch.setenv("NO_PROXY", f"example.org,{name}")
        with proxy(None, monkeypatch) as serving:
            assert len(embed_over(kind, url, ["a"])) == 1
        assert serving.heads == []


@pytest.mark.parametrize(
    ("left_out", "address", "goes_through"),
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
def test_a_host_is_left_out_as_it_is_named(
    left_out: str, address: str, monkeypatch: pytest.MonkeyPatch, *, goes_through: bool
) -> None:
    """A port counts where there is one, also the usual one."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", f"example.org, {left_out}")
    assert (_connections._proxy_for(httpx.URL(address)) is not None) == goes_through


@every
@pytest.mark.usefixtures("trusted")
def test_a_proxy_that_refuses_is_named_and_nothing_was_billed(
    kind: str,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The request was not sent."""
    with proxy(None, monkeypatch) as serving:
        serving.answer = b"407 Who are you"
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
def test_a_socks_proxy_asks_for_what_it_needs(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the line to install it."""
    monkeypatch.setenv("ALL_PROXY", "socks5://a.example:1080")
    with pytest.raises(
        ore.InputError, match=r"not support itself; run pip install 'httpx\[socks\]'"
    ):
        make(KEY)
