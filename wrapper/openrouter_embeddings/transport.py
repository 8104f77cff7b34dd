"""The only module that knows httpx: request bytes out, a whole `Reply` in, or a typed error."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from contextlib import closing
from typing import TYPE_CHECKING

import httpx

from ._version import __version__
from .core.wire import Reply
from .errors import APIConnectionError, APITimeoutError, EmbeddingsError, InputError

if TYPE_CHECKING:
    from collections.abc import Generator

    from ._secret import Secret

BASE_URL = "https://openrouter.ai/api/v1"
# httpx keeps only 20 idle connections by default and reconnects for every request above that
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=128)
_CONNECT_TIMEOUT = 15.0
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]+")
# an error message that echoes the key is shorter; vectors need not be searched
_SHORT_ENOUGH_FOR_AN_ECHO = 65_536


class _Bearer(httpx.Auth):
    """Sets the header when a request is sent, so that no client's default headers hold the key."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        yield request


class _Endpoint:
    """Where requests go and with which key: what both transports share."""

    def __init__(self, base_url: str, key: Secret) -> None:
        url = _checked(base_url)
        self.url = url.copy_with(path=url.path.rstrip("/") + "/embeddings")
        self.key = key
        self.auth = _Bearer(key)

    def request(
        self, client: httpx.Client | httpx.AsyncClient, body: bytes, timeout: float
    ) -> httpx.Request:
        limits = httpx.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT))
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"openrouter-embeddings/{__version__} python-httpx/{httpx.__version__}",
        }
        return client.build_request("POST", self.url, content=body, headers=headers, timeout=limits)

    def reply(self, response: httpx.Response, body: bytes) -> Reply:
        if response.status_code >= 400 or len(body) < _SHORT_ENOUGH_FOR_AN_ECHO:
            body = self.key.redact(body)
        return Reply(response.status_code, dict(response.headers), body, time.time())


class Transport:
    """Sends request bodies, blocking. Safe to share among threads."""

    def __init__(self, base_url: str, key: Secret, client: httpx.Client | None) -> None:
        if client is not None and not isinstance(client, httpx.Client):
            raise InputError(f"http_client is {type(client).__name__}; Client takes httpx.Client")
        self._endpoint = _Endpoint(base_url, key)
        self._owned = client is None
        self._http = client or httpx.Client(limits=_LIMITS)

    def send(self, body: bytes, timeout: float) -> Reply:
        """The whole answer. Raises APITimeoutError or APIConnectionError."""
        _refuse_closed(self._http)
        ends = time.monotonic() + timeout
        request = self._endpoint.request(self._http, body, timeout)
        try:
            response = self._http.send(
                request, stream=True, auth=self._endpoint.auth, follow_redirects=False
            )
            with closing(response):
                chunks = []
                for chunk in response.iter_bytes():
                    chunks.append(chunk)
                    if time.monotonic() > ends:
                        raise httpx.ReadTimeout("the answer had not ended")
            return self._endpoint.reply(response, b"".join(chunks))
        except (httpx.HTTPError, httpx.StreamError) as error:
            failure = _translated(error, timeout, self._endpoint.url)
        raise failure  # out here: httpx's frames hold the headers, and with them the key

    def close(self) -> None:
        """Close the connections, unless the caller brought the httpx client."""
        if self._owned:
            self._http.close()


class AsyncTransport:
    """The same for asyncio."""

    def __init__(self, base_url: str, key: Secret, client: httpx.AsyncClient | None) -> None:
        if client is not None and not isinstance(client, httpx.AsyncClient):
            name = type(client).__name__
            raise InputError(f"http_client is {name}; AsyncClient takes httpx.AsyncClient")
        self._endpoint = _Endpoint(base_url, key)
        self._owned = client is None
        self._http = client or httpx.AsyncClient(limits=_LIMITS)

    async def send(self, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - as Transport
        """The whole answer. Raises APITimeoutError or APIConnectionError."""
        _refuse_closed(self._http)
        request = self._endpoint.request(self._http, body, timeout)
        try:
            async with asyncio.timeout(timeout):
                response = await self._http.send(
                    request, stream=True, auth=self._endpoint.auth, follow_redirects=False
                )
                try:
                    whole = b"".join([chunk async for chunk in response.aiter_bytes()])
                finally:
                    await response.aclose()
            return self._endpoint.reply(response, whole)
        except (httpx.HTTPError, httpx.StreamError, TimeoutError) as error:
            failure = _translated(error, timeout, self._endpoint.url)
        raise failure  # out here: httpx's frames hold the headers, and with them the key

    async def aclose(self) -> None:
        """Close the connections, unless the caller brought the httpx client."""
        if self._owned:
            await self._http.aclose()


def _refuse_closed(client: httpx.Client | httpx.AsyncClient) -> None:
    if client.is_closed:
        raise InputError("the client, or the httpx client it was given, is closed; make a new one")


def _translated(error: Exception, timeout: float, url: httpx.URL) -> EmbeddingsError:
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
        return APIConnectionError(f"no connection to {url.scheme}://{url.netloc.decode()} ({said})")
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return APITimeoutError(f"no whole answer within the time-out of {timeout:g} s ({said})")
    return APIConnectionError(f"the connection broke before the whole answer came ({said})")


def _checked(base_url: str) -> httpx.URL:
    """Refuse what would send the key where it can be read on the way."""
    right = f"{BASE_URL}, say, is right"
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError):
        raise InputError(f"base_url {base_url!r} is no URL; {right}") from None
    if url.userinfo:
        raise InputError("base_url holds a user name or password; only the API key is sent")
    if url.scheme not in ("http", "https") or not url.host:
        raise InputError(f"base_url {base_url!r} is no http(s) URL; {right}")
    if url.query or url.fragment or not _HOST.fullmatch(url.netloc.decode()):
        raise InputError(
            f"base_url {base_url!r} has more than scheme, host, port and path; {right}"
        )
    if url.scheme == "http" and not _is_loopback(url.host):
        raise InputError(
            f"base_url goes to {url.host} over plain http, where the API key can be read on the "
            "way; https is right, and http only to this machine itself"
        )
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
