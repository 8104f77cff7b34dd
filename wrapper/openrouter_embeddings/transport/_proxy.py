"""The proxy in the environment, and the tunnel through it."""

import base64
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import h11
import httpcore
import httpx

from openrouter_embeddings.errors import InputError

from ._response_reader import ResponseReader, encode_request


def proxy_for(url: httpx.URL) -> httpx.Proxy | None:
    """The environment's proxy for this URL, if any. Raises InputError."""
    proxies = urllib.request.getproxies()
    address = proxies.get(url.scheme) or proxies.get("all")
    if not address or _bypasses_proxy(url, proxies.get("no", "")):
        return None
    try:
        proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
    except (ValueError, httpx.InvalidURL):  # does not show the address, which may hold a password
        raise InputError(
            "the proxy in the environment (HTTPS_PROXY or ALL_PROXY) is not a usable URL; "
            "set it to something like http://proxy.example:3128"
        ) from None
    if proxy.url.scheme.startswith("socks"):
        raise InputError(
            "the environment names a SOCKS proxy, which this client does not support itself; run "
            "pip install 'httpx[socks]', and pass http_client=httpx.Client()"
        )
    return proxy


def _bypasses_proxy(url: httpx.URL, no_proxy: str) -> bool:
    """Whether NO_PROXY lists the host, the host with its port, or `*`."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    bypass = urllib.request.proxy_bypass
    is_all = "*" in map(str.strip, no_proxy.split(","))  # urllib knows `*` only when it is alone
    return bool(is_all or bypass(url.host) or bypass(f"{host}:{port}"))


def tunnel_request(proxy: httpx.Proxy, url: httpx.URL) -> tuple[h11.Connection, bytes]:
    """The request for a tunnel through the proxy to the host of this URL."""
    host, port = address(url)
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = [(b"Host", target.encode()), (b"Accept", b"*/*"), *proxy.headers.raw]
    if proxy.raw_auth:
        password = base64.b64encode(b":".join(proxy.raw_auth))
        headers.append((b"Proxy-Authorization", b"Basic " + password))
    return encode_request(h11.Request(method="CONNECT", target=target, headers=headers))


@contextmanager
def tunnelling(connection: h11.Connection) -> Iterator[ResponseReader]:
    """Read the response to a request for a tunnel. Raises ProxyError unless it opens one."""
    reader = ResponseReader(None, connection)
    try:
        yield reader
    except (httpcore.ReadError, httpcore.RemoteProtocolError, h11.RemoteProtocolError) as error:
        raise httpcore.ProxyError(str(error)) from error
    if not 200 <= reader.status <= 299:
        raise httpcore.ProxyError(f"{reader.status} {reader.reason.decode(errors='replace')}")
    if reader.has_surplus:
        raise httpcore.ProxyError("data arrived before the TLS handshake")


def address(url: httpx.URL) -> tuple[str, int]:
    """Host and port."""
    return url.raw_host.decode(), url.port or {"http": 80, "https": 443}[url.scheme]


def origin(proxy: httpx.Proxy) -> str:
    """Scheme, host and port, without a user name and password."""
    host, port = address(proxy.url)
    return f"{proxy.url.scheme}://{host}:{port}"
