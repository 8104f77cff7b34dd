"""One request and its answer, blocking and for asyncio."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING, Any

import httpcore
import httpx

from openrouter_embeddings.core.wire import Reply
from openrouter_embeddings.errors import (
    APIConnectionError,
    APITimeoutError,
    EmbeddingsError,
    InputError,
    ResponseError,
)

from ._connections import HEADERS, AsyncConnections, Connections, inflater_of
from ._deadlines import CONNECT_TIMEOUT, begin_attempt, cut, end_attempt, shorten_attempt
from ._event_hooks import (
    LAST_WORDS,
    LONGEST_ERROR,
    body_of,
    read_error,
    read_error_async,
    reading_first,
)
from ._log_redaction import hide
from ._signal_handlers import raised_by_handler, unmask
from ._url import checked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from openrouter_embeddings._secret import Secret
    from openrouter_embeddings.core.streaming import ExtractedVectors, StreamDecoder

    from ._connections import Answer, AsyncAnswer

_TURN = 256  # chunks
_FAILURES = (
    httpx.HTTPError,
    httpx.StreamError,
    httpcore.ConnectionNotAvailable,  # closed by another thread just when it was taken
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.TimeoutException,
    OSError,  # TimeoutError too, from a transport of the caller's
    UnicodeError,  # from name look-up, or, where it is about decoding, from a hook of the caller's
)
_NOT_SENT = (
    httpx.ConnectTimeout,
    httpx.ConnectError,
    httpx.ProxyError,
    httpcore.ConnectionNotAvailable,
    httpcore.ConnectTimeout,
    httpcore.ConnectError,
    httpcore.ProxyError,
)
_TOO_LATE = (httpx.TimeoutException, httpcore.TimeoutException, TimeoutError)


def _never() -> bool:
    return False


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
        url = checked(base_url, allow_http=allow_http)
        self.url = url.copy_with(path=url.path.rstrip("/") + "/embeddings")
        # A proxy would read the key of a plain request to this machine, and cannot reach it anyway.
        self.trust_env = url.scheme == "https"
        self.key = key
        hide(key)
        self.auth = _Bearer(key)

    def reply(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        cut: ExtractedVectors | None,
    ) -> Reply:
        said: dict[str, str] = {}
        for raw, value in headers:
            name = raw.decode(errors="replace").lower()
            text = self.key.redact(value).decode(errors="replace")
            said[name] = f"{said[name]}, {text}" if name in said else text
        return Reply(status, said, self.key.redact(body), time.time(), cut)

    def outcome(self, error: BaseException, timeout: float, way: str) -> Reply | BaseException:
        """What an attempt comes to that ended with an error: without the frames behind that.

        Args:
            error: how it ended.
            timeout: seconds that it might have taken.
            way: for a connection that could not be made, what it was to go through.
        """
        own = raised_by_handler(error)
        if own is None and isinstance(error, httpx.HTTPStatusError) and self._is_ours(error):
            response = error.response
            return self.reply(response.status_code, response.headers.raw, body_of(response), None)
        if own is None and isinstance(error, _FAILURES):
            return self._failure(error, timeout, way)
        error = own or error
        if isinstance(error, EmbeddingsError):
            error.message = self.key.redact(error.message.encode(errors="replace")).decode()
            error.args = (error.message,)
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)

    def _is_ours(self, error: httpx.HTTPStatusError) -> bool:
        """Whether a hook of the caller's httpx client has refused the answer to our request.

        It may have asked another service, for a token say, which is no answer of this one.
        """
        return error.request.url.copy_with(query=None) == self.url

    def _failure(self, error: Exception, timeout: float, way: str) -> EmbeddingsError:
        """The error of this package for one of httpx or of the system, as text alone."""
        text = self.key.redact(str(error).encode(errors="replace")).decode()
        said = f"{type(error).__name__}: {text}" if text else type(error).__name__
        is_name = isinstance(error, UnicodeError) and not isinstance(error, UnicodeDecodeError)
        if isinstance(error, _NOT_SENT) or is_name:
            where = f"{self.url.scheme}://{self.url.netloc.decode()}"
            return APIConnectionError(f"no connection to {where}{way} ({said})")
        failure: APIConnectionError
        if isinstance(error, _TOO_LATE):
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
        self.make: Callable[[], httpx.Client | Connections] | None = (
            self._make if client is None else None
        )
        self._live: set[int] = set()  # threads with a request under way
        self._http = client or self._make()

    def _make(self) -> httpx.Client | Connections:
        endpoint = self._endpoint
        return Connections(endpoint.url, endpoint.key, trust_env=endpoint.trust_env)

    def send(
        self,
        body: bytes,
        timeout: float,
        scan: StreamDecoder,
        may_resend: Callable[[], bool] = _never,
    ) -> Reply:
        """The whole answer, which a success puts into `scan` as it comes.

        `may_resend` is asked whether a request that a kept connection lost goes out again at once,
        though it may have been billed.

        Raises APITimeoutError, APIConnectionError or ResponseError.
        """
        _refuse_closed(self._http)
        if self.make is None:
            _use(self._http)
        ends = begin_attempt(timeout)
        self._live.add(threading.get_ident())
        try:
            return self._exchange(body, timeout, scan, ends, may_resend)
        except BaseException as error:  # noqa: BLE001 - it is raised below
            outcome = self._endpoint.outcome(error, timeout, getattr(self._http, "way", ""))
        finally:
            self._live.discard(threading.get_ident())
            end_attempt()
        if isinstance(outcome, Reply):
            return outcome
        try:
            raise outcome  # out here: the frames below hold the headers, and with them the key
        finally:
            del outcome  # or it and this frame would hold each other

    def _exchange(
        self,
        body: bytes,
        timeout: float,
        scan: StreamDecoder,
        ends: float,
        may_resend: Callable[[], bool],
    ) -> Reply:
        with self._post(body, timeout, may_resend) as (status, headers, chunks):
            if status >= 400:
                shorten_attempt(LAST_WORDS)
                ends = min(ends, time.monotonic() + LAST_WORDS)
            refusal = _Refusal()
            try:
                for chunk in chunks:
                    if (scan if status < 400 else refusal).add(chunk):
                        break
                    if time.monotonic() > ends:
                        raise httpx.ReadTimeout("the answer had not ended")
            except (*_FAILURES, ResponseError) as error:
                unmask(error)
                if status < 400:
                    raise
        return self._endpoint.reply(status, headers, *(scan if status < 400 else refusal).end())

    def _post(
        self, body: bytes, timeout: float, may_resend: Callable[[], bool]
    ) -> AbstractContextManager[Answer]:
        if isinstance(self._http, Connections):
            return self._http.post(body, timeout, may_resend)
        return _through(self._http, self._endpoint, body, timeout)

    def cut(self, threads: Iterable[int]) -> None:
        """End what these threads are sending or reading; only on connections of ours."""
        cut(threads)

    def close(self) -> None:
        """Close the connections, unless the caller brought the httpx client.

        Requests that other threads have under way end with an error.
        """
        if self.make is not None:
            cut(list(self._live))
            self._http.close()

    def renew(self) -> None:
        """Have connections of one's own in a forked process; the parent keeps its own.

        Raises APIConnectionError for an httpx client of the caller's that the parent has used.
        """
        if self.make is None:
            _refuse_inherited(self._http)
            return
        if isinstance(self._http, Connections):
            self._http.leave()
        self._http, self._live = self.make(), set()


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
        self.make: Callable[[], httpx.AsyncClient | AsyncConnections] | None = (
            self._make if client is None else None
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._http = client or self._make()

    def _make(self) -> httpx.AsyncClient | AsyncConnections:
        endpoint = self._endpoint
        return AsyncConnections(endpoint.url, endpoint.key, trust_env=endpoint.trust_env)

    async def send(
        self,
        body: bytes,
        timeout: float,  # noqa: ASYNC109 - as Transport
        scan: StreamDecoder,
        may_resend: Callable[[], bool] = _never,
    ) -> Reply:
        """As `Transport.send`."""
        _refuse_closed(self._http)
        if self.make is None:
            _use(self._http)
        try:
            async with asyncio.timeout(timeout) as bound:
                return await self._exchange(body, timeout, scan, bound, may_resend)
        except BaseException as error:  # noqa: BLE001 - it is raised below
            outcome = self._endpoint.outcome(error, timeout, getattr(self._http, "way", ""))
        if isinstance(outcome, Reply):
            return outcome
        try:
            raise outcome  # out here: the frames below hold the headers, and with them the key
        finally:
            del outcome  # or it and this frame would hold each other

    async def _exchange(
        self,
        body: bytes,
        timeout: float,  # noqa: ASYNC109 - as Transport
        scan: StreamDecoder,
        bound: asyncio.Timeout,
        may_resend: Callable[[], bool],
    ) -> Reply:
        async with self._post(body, timeout, may_resend) as (status, headers, chunks):
            if status < 400:
                await _added(scan, chunks)
                return self._endpoint.reply(status, headers, *scan.end())
            refusal = _Refusal()
            now = asyncio.get_running_loop().time()
            left = min((bound.when() or now) - now, LAST_WORDS)
            bound.reschedule(None)  # when it came here, its error would hide the status
            try:
                async with asyncio.timeout(left):
                    await _added(refusal, chunks)
            except (*_FAILURES, ResponseError) as error:
                unmask(error)
        return self._endpoint.reply(status, headers, *refusal.end())

    def _post(
        self, body: bytes, timeout: float, may_resend: Callable[[], bool]
    ) -> AbstractAsyncContextManager[AsyncAnswer]:
        if isinstance(self._http, AsyncConnections):
            return self._http.post(body, timeout, may_resend)
        return _through_async(self._http, self._endpoint, body, timeout)

    def bind(self) -> bool:
        """Belong to the running event loop; True where the connections had to be made anew.

        Raises InputError while another loop has them, or when they are the caller's.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise InputError("AsyncClient works in asyncio only; Client works anywhere") from None
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
        if isinstance(self._http, AsyncConnections):
            self._http.abandon()
        self._loop, self._http = loop, self.make()
        return True

    def renew(self) -> None:
        """As `Transport.renew`.

        The parent's connections are kept here and not touched: closing one would take it out of
        the epoll that its event loop shares with this process.
        """
        if self.make is None:
            _refuse_inherited(self._http)
            return
        self._parents = self._http
        self._http, self._loop = self.make(), None

    @property
    def is_abandoned(self) -> bool:
        """Whether the event loop that has the connections is closed."""
        return self._loop is not None and self._loop.is_closed()

    async def aclose(self) -> None:
        """Close the connections, unless the caller brought the httpx client."""
        if self.make is None:
            return
        if not self.is_abandoned:
            await self._http.aclose()
        elif isinstance(self._http, AsyncConnections):
            self._http.abandon()


@contextmanager
def _through(
    client: httpx.Client, endpoint: _Endpoint, body: bytes, timeout: float
) -> Iterator[Answer]:
    request = _request(client, endpoint, body, timeout)
    response = reading_first(client, read_error).send(
        request, stream=True, auth=endpoint.auth, follow_redirects=False
    )
    with closing(response):
        yield response.status_code, response.headers.raw, _inflated(response)


@asynccontextmanager
async def _through_async(
    client: httpx.AsyncClient,
    endpoint: _Endpoint,
    body: bytes,
    timeout: float,  # noqa: ASYNC109 - as above
) -> AsyncIterator[AsyncAnswer]:
    request = _request(client, endpoint, body, timeout)
    response = await reading_first(client, read_error_async).send(
        request, stream=True, auth=endpoint.auth, follow_redirects=False
    )
    async with aclosing(response):
        yield response.status_code, response.headers.raw, _inflated_async(response)


def _inflated(response: httpx.Response) -> Iterator[bytes]:
    inflater_of(response.headers.raw)  # its error: httpx would inflate in any number of ways
    yield from response.iter_bytes()


async def _inflated_async(response: httpx.Response) -> AsyncIterator[bytes]:
    inflater_of(response.headers.raw)
    async for chunk in response.aiter_bytes():
        yield chunk


def _request(
    client: httpx.Client | httpx.AsyncClient, endpoint: _Endpoint, body: bytes, timeout: float
) -> httpx.Request:
    limits = httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT))
    return client.build_request("POST", endpoint.url, content=body, headers=HEADERS, timeout=limits)


async def _added(receiver: StreamDecoder | _Refusal, chunks: AsyncIterator[bytes]) -> None:
    """Give chunks to what takes them, and others their turn now and then."""
    count = 0
    async for chunk in chunks:
        if receiver.add(chunk):
            break
        count += 1
        if not count % _TURN:  # what has come is read without a step of the loop
            await asyncio.sleep(0)


class _Refusal:
    """The body of an error, up to a bound: what came of it, when the rest is missing."""

    def __init__(self) -> None:
        self._reserve = LONGEST_ERROR
        self._chunks: list[bytes] = []

    def add(self, chunk: bytes) -> bool:
        """Take a chunk; True where no more is wanted."""
        self._chunks.append(chunk[: self._reserve])
        self._reserve -= len(chunk)
        return self._reserve < 0

    def end(self) -> tuple[bytes, None]:
        """What came."""
        return b"".join(self._chunks), None


# Which process sends through an httpx client; two clients of ours may share one of the caller's.
_processes: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


def _use(client: Any) -> None:
    """Note who sends through it. Raises APIConnectionError as `_refuse_inherited`."""
    _processes.setdefault(client, os.getpid())
    _refuse_inherited(client)  # it may be older than the client of ours, which this process made


def _refuse_inherited(client: Any) -> None:
    if _processes.get(client, os.getpid()) != os.getpid():
        raise APIConnectionError(
            "the http_client was used before this process was forked, and its connections are the "
            "parent's; make it and the client after the fork"
        )


def _refuse_closed(client: Any) -> None:
    if client.is_closed:
        raise InputError("the client, or the httpx client it was given, is closed; make a new one")
