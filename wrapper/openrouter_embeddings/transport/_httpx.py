"""One request and its answer over httpx, blocking and for asyncio."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import threading
import time
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, TypeAlias

import httpx

from openrouter_embeddings._version import __version__
from openrouter_embeddings.core.wire import Reply
from openrouter_embeddings.errors import (
    APIConnectionError,
    APITimeoutError,
    EmbeddingsError,
    InputError,
)

from ._attempts import begin_attempt, cut, end_attempt
from ._clients import OwnAsyncClient, OwnClient

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from openrouter_embeddings._secret import Secret
    from openrouter_embeddings.core.scan import Cut, Scan

BASE_URL = "https://openrouter.ai/api/v1"
_CONNECT_TIMEOUT = 15.0
_LONGEST_ERROR = 1 << 20
_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "User-Agent": f"openrouter-embeddings/{__version__} python-httpx/{httpx.__version__}",
}
# Base64 of vectors shrinks by a quarter, for several times the CPU of decoding them.
_OWN_HEADERS = httpx.Headers({**_HEADERS, "Accept-Encoding": "identity"})
# OSError, which TimeoutError is, from a transport of the caller's; UnicodeError from name look-up
_FAILURES = (httpx.HTTPError, httpx.StreamError, OSError, UnicodeError)
_AnyClient: TypeAlias = httpx.Client | httpx.AsyncClient | OwnClient | OwnAsyncClient
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]+")


class _Bearer(httpx.Auth):
    """Sets the header when a request is sent, so that no client's default headers hold the key."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        yield request


class _Endpoint:
    """Where requests go and with which key: what both transports share."""

    def __init__(self, base_url: str, key: Secret, *, allow_http: bool) -> None:
        url = _checked(base_url, allow_http=allow_http)
        self.url = url.copy_with(path=url.path.rstrip("/") + "/embeddings")
        # A proxy would read the key of a plain request to this machine, and cannot reach it anyway.
        self.trust_env = url.scheme == "https"
        self.key = key
        self.auth = _Bearer(key)

    def request(self, client: _AnyClient, body: bytes, timeout: float) -> httpx.Request:
        limits = httpx.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT))
        if isinstance(client, OwnClient | OwnAsyncClient):  # nothing of the client's to be merged
            return httpx.Request(
                "POST",
                self.url,
                headers=_OWN_HEADERS,
                content=body,
                extensions={"timeout": limits.as_dict()},
            )
        return client.build_request(
            "POST", self.url, content=body, headers=_HEADERS, timeout=limits
        )

    def reply(self, response: httpx.Response, body: bytes, cut: Cut | None = None) -> Reply:
        headers = {
            name: self.key.redact(value.encode()).decode()
            for name, value in response.headers.items()
        }
        return Reply(response.status_code, headers, self.key.redact(body), time.time(), cut)

    def failure(self, error: Exception, timeout: float) -> EmbeddingsError:
        """The error of this package for one of httpx or of the system, as text alone."""
        text = self.key.redact(str(error).encode(errors="replace")).decode()
        said = f"{type(error).__name__}: {text}" if text else type(error).__name__
        if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
            where = f"{self.url.scheme}://{self.url.netloc.decode()}"
            return APIConnectionError(f"no connection to {where} ({said})")
        failure: APIConnectionError
        if isinstance(error, httpx.TimeoutException | TimeoutError):
            failure = APITimeoutError(
                f"no whole answer within the time-out of {timeout:g} s ({said})"
            )
        else:
            failure = APIConnectionError(
                f"the connection broke before the whole answer came ({said})"
            )
        failure.maybe_billed = not isinstance(error, httpx.PoolTimeout)
        return failure


class Transport:
    """Sends request bodies, blocking. Safe to share among threads."""

    def __init__(
        self,
        base_url: str,
        key: Secret,
        client: httpx.Client | None,
        *,
        allow_http: bool = False,
    ) -> None:
        if client is not None and not isinstance(client, httpx.Client):
            raise InputError(f"http_client is {type(client).__name__}; Client takes httpx.Client")
        self._endpoint = _Endpoint(base_url, key, allow_http=allow_http)
        self.owns_client = client is None
        self._live: set[int] = set()  # threads with a request under way
        self._http = client or OwnClient(trust_env=self._endpoint.trust_env)

    def send(self, body: bytes, timeout: float, scan: Scan) -> Reply:
        """The whole answer, which a success puts into `scan` as it comes.

        Raises APITimeoutError, APIConnectionError or ResponseError.
        """
        _refuse_closed(self._http)
        request = self._endpoint.request(self._http, body, timeout)
        ends = begin_attempt(timeout)
        self._live.add(threading.get_ident())
        try:
            response = self._http.send(
                request, stream=True, auth=self._endpoint.auth, follow_redirects=False
            )
            with closing(response):
                receiver = _receiver(response, scan)
                for chunk in response.iter_bytes():
                    if receiver.add(chunk):
                        break
                    if time.monotonic() > ends:
                        raise httpx.ReadTimeout("the answer had not ended")
            return self._endpoint.reply(response, *receiver.end())
        except httpx.HTTPStatusError as error:  # a hook of the caller's httpx client
            return self._endpoint.reply(error.response, b"")
        except _FAILURES as error:
            failure = self._endpoint.failure(error, timeout)
        finally:
            self._live.discard(threading.get_ident())
            end_attempt()
        raise failure  # out here: httpx's frames hold the headers, and with them the key

    def cut(self, threads: Iterable[int]) -> None:
        """End what these threads are sending or reading; only for an httpx client of ours."""
        cut(threads)

    def close(self) -> None:
        """Close the connections, unless the caller brought the httpx client.

        Requests that other threads have under way end with an error.
        """
        if self.owns_client:
            cut(list(self._live))
            self._http.close()


class AsyncTransport:
    """The same for asyncio."""

    def __init__(
        self,
        base_url: str,
        key: Secret,
        client: httpx.AsyncClient | None,
        *,
        allow_http: bool = False,
    ) -> None:
        if client is not None and not isinstance(client, httpx.AsyncClient):
            name = type(client).__name__
            raise InputError(f"http_client is {name}; AsyncClient takes httpx.AsyncClient")
        self._endpoint = _Endpoint(base_url, key, allow_http=allow_http)
        self.make = self._make if client is None else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._http = client or self._make()

    def _make(self) -> httpx.AsyncClient | OwnAsyncClient:
        return OwnAsyncClient(trust_env=self._endpoint.trust_env)

    async def send(self, body: bytes, timeout: float, scan: Scan) -> Reply:  # noqa: ASYNC109 - as Transport
        """As `Transport.send`."""
        _refuse_closed(self._http)
        request = self._endpoint.request(self._http, body, timeout)
        try:
            async with asyncio.timeout(timeout):
                response = await self._http.send(
                    request, stream=True, auth=self._endpoint.auth, follow_redirects=False
                )
                async with aclosing(response):
                    receiver = _receiver(response, scan)
                    async for chunk in response.aiter_bytes():
                        if receiver.add(chunk):
                            break
            return self._endpoint.reply(response, *receiver.end())
        except httpx.HTTPStatusError as error:  # a hook of the caller's httpx client
            return self._endpoint.reply(error.response, b"")
        except _FAILURES as error:
            failure = self._endpoint.failure(error, timeout)
        raise failure  # out here: httpx's frames hold the headers, and with them the key

    def bind(self) -> bool:
        """Belong to the running event loop; True where the connections had to be made anew.

        Raises InputError while another loop has them, or when they are the caller's.
        """
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return False
        before, self._loop = self._loop, self._loop or loop
        if before is None:
            return False
        if self.make is None or not before.is_closed():
            raise InputError(
                "this AsyncClient was first used in another event loop, and its connections belong "
                "to that; make one in each loop, or use Client"
            )
        self._loop, self._http = loop, self.make()
        return True

    async def aclose(self) -> None:
        """Close the connections, unless the caller brought the httpx client."""
        if self.make is not None and not (self._loop and self._loop.is_closed()):
            await self._http.aclose()  # in a closed loop no connection is left


class _Refusal:
    """The body of an error, up to a bound."""

    def __init__(self) -> None:
        self._room = _LONGEST_ERROR
        self._chunks: list[bytes] = []

    def add(self, chunk: bytes) -> bool:
        """Take a chunk; True where no more is wanted."""
        self._chunks.append(chunk[: self._room])
        self._room -= len(chunk)
        return self._room < 0

    def end(self) -> tuple[bytes, None]:
        """What came."""
        return b"".join(self._chunks), None


def _receiver(response: httpx.Response, scan: Scan) -> Scan | _Refusal:
    return _Refusal() if response.status_code >= 400 else scan


def _refuse_closed(client: _AnyClient) -> None:
    if client.is_closed:
        raise InputError("the client, or the httpx client it was given, is closed; make a new one")


def _checked(base_url: str, *, allow_http: bool) -> httpx.URL:
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
    if url.path.rstrip("/").endswith("/embeddings"):
        raise InputError(f"base_url {base_url!r} names the operation; leave /embeddings out")
    if url.scheme == "http" and not allow_http and not _is_loopback(url.host):
        raise InputError(
            f"base_url goes to {url.host} over plain http, where the API key can be read on the "
            "way; https is right, and http only to this machine itself. In a network that you "
            "trust, say allow_http=True"
        )
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
