"""Sends one request and returns its response, for threads and for asyncio."""

import asyncio
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import ModuleType
from typing import Any, ClassVar, Generic, Literal, TypeVar

import h11
import httpx

from openrouter_embeddings._secret import Secret
from openrouter_embeddings.core.streaming import ExtractedVectors, StreamDecoder
from openrouter_embeddings.core.wire import Reply
from openrouter_embeddings.errors import (
    APIConnectionError,
    APITimeoutError,
    EmbeddingsError,
    InputError,
    ResponseError,
)

from . import _httpx_client, _visible
from ._asyncio_backend import AttemptTimeout
from ._connections import AsyncConnections, AsyncResponse, Connections, Response
from ._httpx_client import ERROR_BODY_TIMEOUT, MAX_ERROR_BODY, AsyncHTTPXClient, HTTPXClient
from ._httpx_modules import classes, replaced
from ._log_redaction import redact_logs
from ._signal_handlers import raised_by_handler, unmask
from ._sync_backend import (
    abort_attempts,
    begin_attempt,
    check_attempt,
    current_attempt,
    end_attempt,
    shorten_attempt,
)
from ._tls import check_ssl_context
from ._url import parse_base_url

_CHUNKS_PER_TURN = 256
H = TypeVar("H", bound=HTTPXClient | Connections | AsyncHTTPXClient | AsyncConnections)


def _network_errors() -> tuple[type[Exception], ...]:
    """The errors of a connection, from httpx, httpcore, their successors and the system."""
    return (
        *classes("HTTPError", "StreamError", "NetworkError", "ProtocolError", "ProxyError"),
        *classes("TimeoutException"),
        *classes("ConnectionNotAvailable"),  # another thread closed the caller's httpx client
        h11.ProtocolError,
        OSError,  # includes TimeoutError, from the caller's httpx transport
        UnicodeError,  # from the name lookup; a UnicodeDecodeError comes from the caller's hooks
    )


def _unreadable() -> tuple[type[Exception], ...]:
    """The errors that end the body of an error response early, which then stays incomplete."""
    return (*_network_errors(), ResponseError)


def _was_not_sent(error: Exception) -> bool:
    """Whether the error happened before anything was sent."""
    if isinstance(error, UnicodeError):
        return not isinstance(error, UnicodeDecodeError)
    names = ("ConnectTimeout", "ConnectError", "ProxyError", "ConnectionNotAvailable")
    return isinstance(error, classes(*names))


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether the certificate is one that nobody trusts, rather than one for another host."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        # as in `raised_by_handler`: any other context may be what the caller is handling
        error = error.__cause__ or (error.__context__ if error.__suppress_context__ else None)
    return error is not None and "mismatch" not in str(error)


def _never() -> bool:
    return False


class _BaseTransport(ABC, Generic[H]):
    """The endpoint, the key and the connections, and how every attempt ends.

    Attributes:
        make_connections: makes the connections; None if the caller brought an httpx client.
        server: host and port.
    """

    _client_class: ClassVar[str]  # the httpx client's, and also ours

    def __init__(
        self,
        base_url: str,
        key: Secret,
        client: H | Literal["httpx"] | None,
        *,
        allow_http: bool = False,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        own = client is None or client == "httpx"
        if ssl_context is not None:
            check_ssl_context(ssl_context, for_asyncio=self._client_class == "AsyncClient")
            if not own:
                raise InputError(
                    "ssl_context has no effect on your http_client; pass it to that one as verify=…"
                )
        if not own:
            _httpx_client.check_class(client, self._client_class)
        url = parse_base_url(base_url, allow_http=allow_http)
        self._url = url.copy_with(path=url.path.rstrip("/") + "/embeddings")
        self.server: tuple[str, int] = (
            url.host,
            url.port or (443 if url.scheme == "https" else 80),
        )
        # A proxy could read the key in plain http, and does not reach this machine anyway.
        self._trust_env = url.scheme == "https"
        self._ssl_context = ssl_context
        self._key = key
        redact_logs(key)
        self._auth = _httpx_client.BearerAuth(key)
        self._always_httpx = own and client is not None
        self.make_connections: Callable[[], H] | None = self._make if own else None
        given: Any = client
        self._http: H = self._make() if own else given

    @abstractmethod
    def _make(self) -> H:
        """Connections of our own."""

    def _required_module(self) -> ModuleType | None:
        """The module that the next request goes through, so that a tool for it sees the request."""
        return httpx if self._always_httpx else replaced(self._client_class)

    def _check_usable(self) -> None:
        """Raise unless this process may send through the connections."""
        if self._http.is_closed:
            raise InputError("the client, or its http_client, is closed; make a new one")
        if self.make_connections is None:
            _httpx_client.mark_used_by_this_process(self._http)

    @staticmethod
    def _end(outcome: Reply | BaseException) -> Reply:
        """Return the response of an attempt, or raise its error; every attempt ends here.

        The error is raised only here, since the frames of the attempt hold the key.
        """
        if isinstance(outcome, Reply):
            return outcome
        try:
            raise outcome
        finally:
            del outcome  # else the error and this frame would refer to each other

    def _reply(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        vectors: ExtractedVectors | None,
    ) -> Reply:
        redacted: dict[str, str] = {}
        for raw, value in headers:
            name = raw.decode(errors="replace").lower()
            text = self._key.redact(value).decode(errors="replace")
            redacted[name] = f"{redacted[name]}, {text}" if name in redacted else text
        return Reply(status, redacted, self._key.redact(body), time.time(), vectors)

    def _outcome(self, error: BaseException, timeout: float) -> Reply | BaseException:
        """The reply or the error that a caught error stands for, without its traceback."""
        own = raised_by_handler(error)
        if own is None and (reply := self._refused_by_hook(error)):
            return reply
        if own is None and isinstance(error, _network_errors()):
            return self._connection_error(error, timeout)
        error = own or error
        if isinstance(error, EmbeddingsError):
            error.message = self._key.redact(error.message.encode(errors="replace")).decode()
            error.args = (error.message,)
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)

    def _refused_by_hook(self, error: Any) -> Reply | None:
        """The reply for which a hook of the caller's has called `raise_for_status`, if any.

        A hook may also send a request to another service, such as one for tokens.
        """
        if not isinstance(error, classes("HTTPStatusError")):
            return None
        if str(error.request.url.copy_with(query=None)) != str(self._url):
            return None
        response = error.response
        body = _httpx_client.error_body(response)
        return self._reply(response.status_code, response.headers.raw, body, None)

    def _connection_error(self, error: Exception, timeout: float) -> EmbeddingsError:
        """The error of this package for one of httpx, httpcore or the system."""
        text = self._key.redact(str(error).encode(errors="replace")).decode()
        reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
        host = f"{self._url.scheme}://{self._url.netloc.decode()}"
        if _was_not_sent(error):
            proxy = getattr(self._http, "via_proxy", "")  # an httpx client does not tell
            advice = "check base_url and the network"
            if _is_untrusted(error):
                parameter = "ssl_context=" if self.make_connections else "verify= to http_client"
                advice = (
                    f"pass {parameter}, or set SSL_CERT_FILE, to trust the certificate of your "
                    "proxy or server"
                )
            return APIConnectionError(f"cannot connect to {host}{proxy} ({reason}); {advice}")
        failure: APIConnectionError
        if isinstance(error, (*classes("TimeoutException"), TimeoutError)):
            failure = APITimeoutError(
                f"no complete response from {host} within {timeout:g} s ({reason}); "
                "a larger timeout or deadline waits longer"
            )
        else:
            failure = APIConnectionError(
                f"the connection to {host} broke before the response was complete ({reason}); "
                "the service may still have billed the request"
            )
        failure.maybe_billed = not isinstance(error, classes("PoolTimeout"))
        return failure

    def renew(self) -> None:
        """Make new connections in a forked process, which never touch the parent's.

        Raises APIConnectionError if the parent has used the caller's httpx client.
        """
        if self.make_connections is None:
            _httpx_client.check_not_inherited(self._http)
            return
        self._leave_parent()
        self._http = self.make_connections()

    @abstractmethod
    def _leave_parent(self) -> None:
        """Let go of what this forked process inherited."""


class Transport(_BaseTransport[HTTPXClient | Connections]):
    """Sends requests and blocks; safe to share among threads."""

    _client_class = "Client"

    def _make(self) -> HTTPXClient | Connections:
        return Connections(
            self._url, self._key, trust_env=self._trust_env, ssl_context=self._ssl_context
        )

    def send(
        self,
        body: bytes,
        timeout: float,
        decoder: StreamDecoder,
        confirm_resend: Callable[[], bool] = _never,
        headers: Sequence[tuple[bytes, bytes]] = (),
        *,
        owner: object = None,
    ) -> Reply:
        """The complete response; the body of a success goes through `decoder` as it arrives.

        `headers` are added to the request. Pass `core.headers.Headers`, because a traceback shows
        their repr. `abort(owner)` ends the request.

        If a reused connection loses a request that the service may have billed, the request is
        sent again at once only if `confirm_resend()` is True.

        Raises APITimeoutError, APIConnectionError or ResponseError.
        """
        self._check_usable()
        outer = current_attempt()
        try:
            begin_attempt(timeout, self, owner)
            return self._end(self._attempt(body, timeout, decoder, confirm_resend, headers))
        finally:
            end_attempt(outer)

    def _attempt(
        self,
        body: bytes,
        timeout: float,
        decoder: StreamDecoder,
        confirm_resend: Callable[[], bool],
        headers: Sequence[tuple[bytes, bytes]],
    ) -> Reply | BaseException:
        try:
            with self._post(body, timeout, confirm_resend, headers, decoder) as response:
                status, received, chunks = response
                if status >= 400:
                    shorten_attempt(ERROR_BODY_TIMEOUT)
                receiver: StreamDecoder | _ErrorBody = decoder if status < 400 else _ErrorBody()
                try:
                    for chunk in chunks:
                        if receiver.add(chunk):
                            break
                        check_attempt()
                except Exception as error:
                    unmask(error)
                    if status < 400 or not isinstance(error, _unreadable()):
                        raise
            return self._reply(status, received, *receiver.end())
        except BaseException as error:  # noqa: BLE001 - `_end` raises it
            return self._outcome(error, timeout)

    def _post(
        self,
        body: bytes,
        timeout: float,
        confirm_resend: Callable[[], bool],
        headers: Sequence[tuple[bytes, bytes]],
        decoder: StreamDecoder,
    ) -> AbstractContextManager[Response]:
        http = self._http
        if isinstance(http, Connections):
            if (module := self._required_module()) is None:
                return http.post(body, timeout, confirm_resend, headers, decoder.add)
            http = _visible.client(module, http, confirm_resend)
        return _httpx_client.post(http, str(self._url), self._auth, body, timeout, headers=headers)

    def abort(self, owner: object) -> None:
        """Abort the requests of this owner; has no effect on the caller's httpx client."""
        abort_attempts(owner)

    def close(self) -> None:
        """Close the connections, unless the caller brought the httpx client.

        Requests in flight in other threads fail.
        """
        if self.make_connections is not None:
            self._http.close()  # first: no thread starts a request after that
            abort_attempts(self)

    def _leave_parent(self) -> None:
        if isinstance(self._http, Connections):
            self._http.close_inherited()


class AsyncTransport(_BaseTransport[AsyncHTTPXClient | AsyncConnections]):
    """Sends requests from one asyncio event loop."""

    _client_class = "AsyncClient"
    _loop: asyncio.AbstractEventLoop | None = None

    def _make(self) -> AsyncHTTPXClient | AsyncConnections:
        return AsyncConnections(
            self._url, self._key, trust_env=self._trust_env, ssl_context=self._ssl_context
        )

    async def send(
        self,
        body: bytes,
        timeout: float,  # noqa: ASYNC109 - as Transport
        decoder: StreamDecoder,
        confirm_resend: Callable[[], bool] = _never,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> Reply:
        """As `Transport.send`."""
        self._check_usable()
        return self._end(await self._attempt(body, timeout, decoder, confirm_resend, headers))

    async def _attempt(
        self,
        body: bytes,
        timeout: float,  # noqa: ASYNC109 - as Transport
        decoder: StreamDecoder,
        confirm_resend: Callable[[], bool],
        headers: Sequence[tuple[bytes, bytes]],
    ) -> Reply | BaseException:
        try:
            async with (
                AttemptTimeout(timeout) as limit,
                self._post(body, timeout, confirm_resend, headers, decoder) as response,
            ):
                status, received, chunks = response
                if status < 400:
                    await _feed(decoder, chunks)
                    return self._reply(status, received, *decoder.end())
                error_body = _ErrorBody()
                # its TimeoutError would hide the status
                remaining = min(limit.stop(), ERROR_BODY_TIMEOUT)
                try:
                    async with asyncio.timeout(remaining):
                        await _feed(error_body, chunks)
                except Exception as error:
                    unmask(error)
                    if not isinstance(error, _unreadable()):
                        raise
            return self._reply(status, received, *error_body.end())
        except BaseException as error:  # noqa: BLE001 - `_end` raises it
            return self._outcome(error, timeout)

    def _post(
        self,
        body: bytes,
        timeout: float,
        confirm_resend: Callable[[], bool],
        headers: Sequence[tuple[bytes, bytes]],
        decoder: StreamDecoder,
    ) -> AbstractAsyncContextManager[AsyncResponse]:
        http = self._http
        if isinstance(http, AsyncConnections):
            if (module := self._required_module()) is None:
                return http.post(body, timeout, confirm_resend, headers, decoder.add)
            http = _visible.async_client(module, http, confirm_resend)
        return _httpx_client.post_async(
            http, str(self._url), self._auth, body, timeout, headers=headers
        )

    def bind(self) -> bool:
        """Belong to the running event loop; True if that required new connections.

        Raises InputError if another running loop, or the caller, owns the connections.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise InputError(
                "AsyncClient works only inside a running asyncio event loop; use Client elsewhere"
            ) from None
        if self._loop is loop:
            return False
        before, self._loop = self._loop, self._loop or loop
        if before is None:
            return False
        if self.make_connections is None or not before.is_closed():
            raise InputError(
                "this AsyncClient was first used in another event loop, which owns its "
                "connections; make one AsyncClient in each loop, or use Client"
            )
        if isinstance(self._http, AsyncConnections):
            self._http.close_after_loop()
        self._loop, self._http = loop, self.make_connections()
        return True

    def _leave_parent(self) -> None:
        # not closed: that would remove them from the epoll that both processes share
        self._parents, self._loop = self._http, None

    @property
    def loop_is_closed(self) -> bool:
        """Whether the event loop that owns the connections is closed."""
        return self._loop is not None and self._loop.is_closed()

    async def aclose(self) -> None:
        """Close the connections, unless the caller brought the httpx client."""
        if self.make_connections is None:
            return
        if not self.loop_is_closed:
            await self._http.aclose()
        elif isinstance(self._http, AsyncConnections):
            self._http.close_after_loop()


class _ErrorBody:
    """Collects the body of an error response, up to a limit; it may stay incomplete."""

    def __init__(self) -> None:
        self._remaining = MAX_ERROR_BODY
        self._chunks: list[bytes] = []

    def add(self, chunk: bytes) -> bool:
        """Add a chunk; True if the limit is reached."""
        self._chunks.append(chunk[: self._remaining])
        self._remaining -= len(chunk)
        return self._remaining < 0

    def end(self) -> tuple[bytes, None]:
        return b"".join(self._chunks), None


async def _feed(receiver: StreamDecoder | _ErrorBody, chunks: AsyncIterator[bytes]) -> None:
    """Pass chunks to the receiver, and let other tasks run now and then."""
    count = 0
    async for chunk in chunks:
        if receiver.add(chunk):
            break
        count += 1
        if not count % _CHUNKS_PER_TURN:  # data that has arrived is read without awaiting
            await asyncio.sleep(0)
