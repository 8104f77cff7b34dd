"""The asyncio client: the same decisions, other waiting."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterable
from contextlib import aclosing
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import stamina

from openrouter_embeddings._secret import Secret
from openrouter_embeddings.core.batching import Batcher, split
from openrouter_embeddings.core.options import check_names
from openrouter_embeddings.core.validate import InputValidator, accept, checked_iterable
from openrouter_embeddings.errors import EmbeddingsError
from openrouter_embeddings.inputs import Content
from openrouter_embeddings.media import load_content
from openrouter_embeddings.transport import AsyncTransport

from . import _request, _throttle
from ._base import LOCAL_KEY, LOCAL_MODEL, LOCAL_URL, BaseClient, Settings, with_role
from ._request import CallState, RequestState, sleep_by
from ._throttle import AsyncThrottle

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
    from types import TracebackType
    from typing import Self, Unpack

    import httpx

    from openrouter_embeddings.core.batching import Batch
    from openrouter_embeddings.core.decode import Decoded
    from openrouter_embeddings.core.options import EmbedOptions
    from openrouter_embeddings.core.validate import Item
    from openrouter_embeddings.core.wire import Reply
    from openrouter_embeddings.inputs import EmbedInput, EmbedInputs, Loaded
    from openrouter_embeddings.result import EmbeddingResult


# Gives each batch to a function that waits until there is room for another.
_Take: TypeAlias = "Callable[[Batch], Awaitable[None]]"
_Feed: TypeAlias = "Callable[[_Take], Awaitable[None]]"


class AsyncClient(BaseClient):
    """`Client` for asyncio: the same methods and options, awaited.

    It serves one event loop of asyncio or uvloop at a time, and a new one when the last is closed
    or the process was forked. Elsewhere, in trio say, its methods raise InputError.

    Args:
        api_key: default: the environment's OPENROUTER_API_KEY.
        base_url: default: the environment's OPENROUTER_BASE_URL, else the service itself.
        http_client: an `httpx.AsyncClient` of yours, for proxies, TLS or instrumentation. It stays
            yours to close. Its time-outs and authentication are replaced for each request.
        allow_http: send the key over plain http to another machine, in a network that you trust.
        **defaults: any option of `embed`, for all calls of this client.

    Raises:
        InputError: no key, a URL that would expose it, or a default that cannot be right.
    """

    _said = "AsyncClient(unfinished)"  # what a traceback shows when the constructor fails

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        http_client: httpx.AsyncClient | None = None,
        allow_http: bool = False,
        **defaults: Unpack[EmbedOptions],
    ) -> None:
        key = Secret(api_key or "")
        del api_key  # an error below would show it among the locals of this traceback
        self._settings = Settings(key, base_url, defaults)
        self._said = self._settings.describe("AsyncClient")
        self._transport = AsyncTransport(
            self._settings.base_url, self._settings.key, http_client, allow_http=allow_http
        )
        self._throttle = AsyncThrottle(self._settings.concurrency)
        self._sending: set[asyncio.Task[EmbeddingResult]] = set()
        self._reading: set[asyncio.Task[None]] = set()  # the loop would let the collector have them
        self._calls: weakref.WeakSet[CallState] = weakref.WeakSet()
        self._closing = asyncio.Event()

    @classmethod
    def local(cls, **defaults: Unpack[EmbedOptions]) -> Self:
        """A client of the stand-in, in this process; see `Client.local`."""
        from openrouter_embeddings.local.servers.in_process import async_http_client  # noqa: PLC0415 - behind an extra

        check_names(defaults)
        if not defaults.get("model"):
            defaults["model"] = LOCAL_MODEL
        client = cls(LOCAL_KEY, base_url=LOCAL_URL, http_client=async_http_client(), **defaults)
        client._transport.make = async_http_client
        client._said = f"AsyncClient.local(model={defaults.get('model')!r})"
        return client

    async def embed(self, inputs: EmbedInputs, **options: Unpack[EmbedOptions]) -> EmbeddingResult:
        """Embed inputs, one row each, in their order; see `Client.embed`."""
        call = self._call(options)
        self._throttle_here()
        items = accept(inputs, skip=call.options.on_error == "skip")
        loaded = [
            item if isinstance(item, str) else await _load(item, position)
            for position, item in enumerate(items)
        ]
        batches = split(loaded, call.options.batch_size)
        first, second = next(batches), next(batches, None)
        whole = call.gather(len(items))
        try:
            if second is None:
                return await self._batch(call, first)
            feed = partial(_feed, chain([first, second], batches))
            async with aclosing(self._parts(call, feed)) as parts:
                async for part in parts:
                    call.add(whole, part)
        except EmbeddingsError as error:
            call.conclude(error)
            raise
        return whole.result(call.options.model)

    async def embed_query(
        self, queries: EmbedInputs, **options: Unpack[EmbedOptions]
    ) -> EmbeddingResult:
        """`embed` with `input_type="search_query"`: for what is searched with."""
        return await self.embed(queries, **with_role("search_query", options))

    async def embed_documents(
        self, documents: EmbedInputs, **options: Unpack[EmbedOptions]
    ) -> EmbeddingResult:
        """`embed` with `input_type="search_document"`: for what is searched in."""
        return await self.embed(documents, **with_role("search_document", options))

    def embed_stream(
        self,
        inputs: Iterable[EmbedInput] | AsyncIterable[EmbedInput],
        **options: Unpack[EmbedOptions],
    ) -> AsyncGenerator[EmbeddingResult]:
        """Embed any number of inputs in bounded memory; see `Client.embed_stream`.

        Args:
            inputs: any iterable or asynchronous iterable of inputs. It is read in a task of its
                own, so that a part is handed over although an asynchronous one pauses. A plain one
                is read in the event loop, which it holds up while it pauses.
            **options: as for `embed`; a `deadline` counts from now.
        """
        call = self._call(options)
        if not isinstance(inputs, AsyncIterable):
            inputs = checked_iterable(inputs)
        return self._parts(call, partial(_feed_inputs, inputs, call.options.batch_size))

    async def close(self) -> None:
        """Close the connections, which ends the calls of other tasks with an error.

        A client given an `http_client` leaves that one open.
        """
        self._settings.closed = True
        if self._is_inherited:  # whose loop would end the parent's requests
            return
        for call in [*self._calls]:
            call.end("the client was closed")
        if not self._transport.loop_is_closed:
            self._closing.set()
            self._throttle.wake()
            for reader in self._reading:
                reader.cancel()
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.close()

    def _call(self, options: EmbedOptions) -> CallState:
        self._settings.check_open()
        self._ready()
        call = CallState(self._settings.options(options), self._settings.learned)
        self._calls.add(call)
        return call

    def _renew(self) -> None:
        self._transport.renew()
        self._throttle = self._throttle.anew()
        self._sending, self._reading = set(), set()
        self._calls = weakref.WeakSet()
        self._closing = asyncio.Event()

    async def _parts(self, call: CallState, feed: _Feed) -> AsyncGenerator[EmbeddingResult]:
        """Parts in order, with up to `concurrency` requests under way.

        The only asynchronous generator of a stream: a loop that ends closes all it knows at once,
        and one inside another is being closed by that one then.

        Args:
            call: whose requests they are.
            feed: gives batches to the function that it is called with, in a task of its own.
        """
        self._ready()
        self._throttle_here()
        call.begin()
        self._calls.add(call)
        concurrency = call.options.concurrency
        free = asyncio.Semaphore(concurrency)
        reserve = asyncio.Semaphore(2 * concurrency - 1)
        begun: asyncio.Queue[asyncio.Task[EmbeddingResult] | None] = asyncio.Queue()
        pending: deque[asyncio.Task[EmbeddingResult]] = deque()

        async def embed(batch: Batch) -> EmbeddingResult:
            async with free:
                return await self._batch(call, batch)

        async def take(batch: Batch) -> None:
            call.check_over(batch)  # a source may go on though its reader was cancelled
            pending.append(asyncio.create_task(embed(batch)))
            begun.put_nowait(pending[-1])
            await reserve.acquire()

        reader = asyncio.create_task(self._read(call, partial(feed, take), begun))
        self._reading.add(reader)
        reader.add_done_callback(self._reading.discard)
        try:
            while (task := await begun.get()) is not None:
                part = await task
                reserve.release()
                await asyncio.sleep(0)  # a reader without an await of its own leaves it this step
                pending.popleft()
                call.hand_over(part)
                yield part
                call.check_process()
            await reader  # raises what the inputs raised, when the parts before are handed over
        except EmbeddingsError as error:
            if not call.is_forked:
                call.end()
                await _cancelled([reader])
                await self._sent(pending)
                await _cancelled(pending)
                if call.whole is None:  # a stream; `embed` has more to do
                    call.conclude(error)
            raise
        finally:
            if not call.is_forked:
                call.end()
                await _cancelled([reader, *pending])

    async def _read(
        self, call: CallState, feed: Callable[[], Awaitable[None]], begun: asyncio.Queue[Any]
    ) -> None:
        """Read a stream's inputs; None says that no more requests come of them."""
        try:
            await feed()
        except asyncio.CancelledError:
            if self._closing.is_set():  # the source may pause for long
                raise EmbeddingsError(call.why_over) from None
            raise
        finally:
            begun.put_nowait(None)

    async def _batch(self, call: CallState, batch: Batch) -> EmbeddingResult:
        division = call.divide(batch)
        with call.watched(batch):
            while (piece := division.next()) is not None:
                exchange = RequestState(call, division, piece)
                try:
                    decoded = await self._exchange(exchange)
                except EmbeddingsError as error:
                    division.failed(piece, error, as_base64=exchange.as_base64, proven=call.proven)
                else:
                    division.succeeded(piece, decoded)
        return call.part(division)

    async def _exchange(self, exchange: RequestState) -> Decoded:
        throttle = self._throttle_here()
        with exchange.with_error_context():
            async for attempt in stamina.retry_context(**exchange.retrying):
                sleep_by(attempt, partial(_throttle.clock.wait_async, self._closing))
                with attempt:
                    exchange.expect_backoff(attempt.next_wait)
                    async with throttle.acquire(exchange) as timeout:
                        return exchange.read(await self._send(exchange, timeout))
        raise AssertionError("stamina ends with a result or an error")

    async def _send(self, exchange: RequestState, timeout: float) -> Reply:  # noqa: ASYNC109
        task = cast("asyncio.Task[EmbeddingResult]", asyncio.current_task())
        self._sending.add(task)
        try:
            return await self._transport.send(
                exchange.body, timeout, exchange.scan(), exchange.may_resend
            )
        finally:
            self._sending.discard(task)

    async def _sent(self, tasks: Iterable[asyncio.Task[EmbeddingResult]]) -> None:
        """Wait a little for those whose request is in flight."""
        if sending := self._sending.intersection(tasks):
            await asyncio.wait(sending, timeout=_request.GRACE)

    def _throttle_here(self) -> AsyncThrottle:
        """The turnstile and the connections of this event loop, made anew when the last closed."""
        if self._transport.bind():
            self._throttle = self._throttle.anew()
            self._closing = asyncio.Event()
        return self._throttle


async def _cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait until all have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _load(item: Item, position: int) -> Loaded:
    """Files are read in a thread, so that the loop goes on."""
    if isinstance(item, Content):
        return await asyncio.to_thread(load_content, item, position)
    return load_content(item, position)


async def _feed(batches: Iterable[Batch], take: _Take) -> None:
    for batch in batches:
        await take(batch)


async def _feed_inputs(
    inputs: Iterable[EmbedInput] | AsyncIterable[EmbedInput], batch_size: int, take: _Take
) -> None:
    gate, planner = InputValidator(), Batcher(batch_size)
    position = 0

    async def add(value: EmbedInput) -> None:
        nonlocal position
        for batch in planner.add(await _load(gate.admit(value), position)):
            await take(batch)
        position += 1

    if isinstance(inputs, AsyncIterable):
        async for value in inputs:
            await add(value)
    else:
        for value in inputs:
            await add(value)
    await _feed(planner.rest(), take)
