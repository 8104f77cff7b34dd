"""The asyncio client."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextlib import aclosing
from functools import partial
from typing import Any, Literal, Self, TypeAlias, Unpack, cast

import stamina

from openrouter_embeddings._secret import Secret
from openrouter_embeddings.core.batching import Batch, Batcher
from openrouter_embeddings.core.decode import Decoded
from openrouter_embeddings.core.options import EmbedOptions, check_option_names
from openrouter_embeddings.core.validate import (
    InputValidator,
    Item,
    validate_inputs,
    validate_stream,
)
from openrouter_embeddings.errors import EmbeddingsError
from openrouter_embeddings.inputs import Content, EmbedInput, EmbedInputs, Loaded
from openrouter_embeddings.media import load_all, load_content
from openrouter_embeddings.result import EmbeddingResult
from openrouter_embeddings.transport import AsyncHTTPXClient, AsyncTransport

from . import _base, _clock
from ._base import BaseClient, Shared, with_input_type
from ._call import CallState, RequestState, sleep_with
from ._throttle import AsyncThrottle

# Starts a batch, and returns when there is room for another.
_Submit: TypeAlias = Callable[[Batch], Awaitable[None]]
# Submits all batches of a call.
_Feed: TypeAlias = Callable[[_Submit], Awaitable[None]]


class _Tasks:
    """The tasks of a client and of those made of it by `with_options`, in this process.

    Attributes:
        sending: those whose request is in flight.
        readers: those that read the inputs; the event loop keeps only weak references to them.
        closing: set when the client is closed.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the tasks of the parent of this forked process."""
        self.sending: set[asyncio.Task[EmbeddingResult]] = set()
        self.readers: set[asyncio.Task[None]] = set()
        self.closing = asyncio.Event()


class AsyncClient(BaseClient[AsyncHTTPXClient, AsyncThrottle]):
    """The client for asyncio: the methods and options of `Client`, awaited.

    It serves one event loop at a time, of asyncio or uvloop, and moves to a new loop when the last
    one is closed or the process was forked. In other frameworks, such as trio, its methods raise
    InputError.

    The arguments and errors are those of `Client`, except that `http_client` is your own
    `httpx.AsyncClient` or `httpx2.AsyncClient`.
    """

    _transport: AsyncTransport

    @classmethod
    def local(cls, **defaults: Unpack[EmbedOptions]) -> Self:
        """A client of the stand-in, which runs in this process; see `Client.local`."""
        check_option_names(defaults, local=True)
        from openrouter_embeddings.local.servers.in_process import async_http_client  # noqa: PLC0415 - behind an extra

        return cls._local(async_http_client, defaults)

    async def embed(self, inputs: EmbedInputs, **options: Unpack[EmbedOptions]) -> EmbeddingResult:
        """Embed one input or a list of inputs; see `Client.embed`."""
        call = self._start_call(options)
        self._bind_to_loop()
        skip = call.options.on_error == "skip"
        plan = call.plan(await _load_all(validate_inputs(inputs, skip=skip)))
        with call.traced(self._transport.server):
            try:
                if isinstance(plan, Batch):
                    return await self._embed_batch(call, plan)
                builder, batches = plan
                feed = partial(_submit_all, batches)
                async with aclosing(self._embed_batches(call, feed)) as parts:
                    async for part in parts:
                        call.add(builder, part)
            except EmbeddingsError as error:
                call.attach_results(error)
                raise
        return builder.result(call.options.model)

    async def embed_query(
        self, queries: EmbedInputs, **options: Unpack[EmbedOptions]
    ) -> EmbeddingResult:
        """Embed search queries: `embed` with `input_type="search_query"`."""
        return await self.embed(queries, **with_input_type("search_query", options))

    async def embed_documents(
        self, documents: EmbedInputs, **options: Unpack[EmbedOptions]
    ) -> EmbeddingResult:
        """Embed the documents that are searched: `embed` with `input_type="search_document"`."""
        return await self.embed(documents, **with_input_type("search_document", options))

    def embed_stream(
        self,
        inputs: Iterable[EmbedInput] | AsyncIterable[EmbedInput],
        **options: Unpack[EmbedOptions],
    ) -> AsyncGenerator[EmbeddingResult]:
        """Embed any number of inputs in bounded memory; see `Client.embed_stream`.

        Args:
            inputs: an iterable or asynchronous iterable of inputs. A task of its own reads it, so
                parts are yielded even while an asynchronous iterable waits for its next input. An
                ordinary iterable is read in the event loop, and blocks the loop while it waits.
            **options: as for `embed`; a `deadline` starts now.
        """
        call = self._start_call(options)
        if not isinstance(inputs, AsyncIterable):
            inputs = validate_stream(inputs)
        return self._embed_batches(call, partial(_submit_inputs, inputs, call.options.batch_size))

    async def close(self) -> None:
        """Close the connections. Calls that other tasks are awaiting fail with an error.

        This also closes every client that shares them: see `with_options`. An `http_client` that
        you passed stays open.
        """
        self._shared.is_closed = True
        if self._is_inherited:  # its event loop would end the requests of the parent process
            return
        for call in self._shared.calls:
            self._end(call)
        if not self._transport.loop_is_closed:
            self._tasks.closing.set()
            self._throttle.wake_all()
            for reader in self._tasks.readers:
                reader.cancel()
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.close()

    def _connect(
        self,
        base_url: str,
        key: Secret,
        http_client: AsyncHTTPXClient | Literal["httpx"] | None,
        **security: Any,
    ) -> None:
        self._transport = AsyncTransport(base_url, key, http_client, **security)
        self._shared = Shared(AsyncThrottle(self._default_options.concurrency))
        self._tasks = _Tasks()

    def _renew(self) -> None:
        super()._renew()
        self._tasks.reset()

    async def _embed_batches(self, call: CallState, feed: _Feed) -> AsyncGenerator[EmbeddingResult]:
        """Embed batches with up to `concurrency` requests at a time; yield the parts in order.

        One generator, not two nested: at shutdown an event loop closes all generators at the same
        time, and the inner one would already be closing.
        """
        self._renew_after_fork()
        self._bind_to_loop()
        call.bind_to_process()
        self._register(call)
        concurrency = call.options.concurrency
        sending = asyncio.Semaphore(concurrency)
        room = asyncio.Semaphore(2 * concurrency - 1)
        started: asyncio.Queue[asyncio.Task[EmbeddingResult] | None] = asyncio.Queue()
        pending: deque[asyncio.Task[EmbeddingResult]] = deque()

        async def embed(batch: Batch) -> EmbeddingResult:
            async with sending:
                return await self._embed_batch(call, batch)

        async def submit(batch: Batch) -> None:
            if call.has_ended:  # an iterable may continue although its reader was cancelled
                raise EmbeddingsError(call.end_reason, inputs=batch.positions)
            pending.append(asyncio.create_task(embed(batch)))
            started.put_nowait(pending[-1])
            await room.acquire()

        with call.traced(self._transport.server):
            reader = asyncio.create_task(self._read(call, partial(feed, submit), started))
            self._tasks.readers.add(reader)
            reader.add_done_callback(self._tasks.readers.discard)
            try:
                while (task := await started.get()) is not None:
                    part = await task
                    room.release()
                    await asyncio.sleep(0)  # lets the reader run, even if its source never awaits
                    pending.popleft()
                    call.deliver(part)
                    yield part
                    call.check_process()
                await reader  # raises the error of the inputs, after the parts before it
            except EmbeddingsError as error:
                if not call.is_forked:
                    call.end()
                    await _cancel([reader])
                    await self._wait_for_sending(pending)
                    await _cancel(pending)
                    if call.builder is None:  # a stream; `embed` attaches the results itself
                        call.attach_results(error)
                raise
            finally:
                if not call.is_forked:
                    call.end()
                    await _cancel([reader, *pending])

    async def _read(
        self, call: CallState, feed: Callable[[], Awaitable[None]], started: asyncio.Queue[Any]
    ) -> None:
        """Read the inputs of a call, and put None into `started` when there are no more batches."""
        try:
            await feed()
        except asyncio.CancelledError:
            if self._tasks.closing.is_set():  # do not wait for an input that may take long
                raise EmbeddingsError(call.end_reason) from None
            raise
        finally:
            started.put_nowait(None)

    async def _embed_batch(self, call: CallState, batch: Batch) -> EmbeddingResult:
        splitter = call.splitter(batch)
        with call.active(batch):
            while (piece := splitter.next()) is not None:
                request = RequestState(call, splitter, piece)
                try:
                    decoded = await self._attempt(request)
                except EmbeddingsError as error:
                    request.failed(error)
                else:
                    request.succeeded(decoded)
        return splitter.result()

    async def _attempt(self, request: RequestState) -> Decoded:
        try:
            return await self._send(request)
        except EmbeddingsError as error:
            failed = [error]
        # stamina comes in now: entering it takes a tenth of the time of a small request
        async for attempt in stamina.retry_context(**request.retry_options):
            sleep_with(attempt, partial(_clock.clock.wait_async, self._tasks.closing))
            with attempt:
                request.backoff = attempt.next_wait
                if failed:
                    raise failed.pop()
                return await self._send(request)
        raise AssertionError("stamina ends with a result or an error")

    async def _send(self, request: RequestState) -> Decoded:
        task = cast("asyncio.Task[EmbeddingResult]", asyncio.current_task())
        async with self._bind_to_loop().acquire(request) as timeout:
            self._tasks.sending.add(task)
            try:
                reply = await self._transport.send(
                    request.body(),
                    timeout,
                    request.decoder(),
                    request.may_resend,
                    request.headers(),
                )
            finally:
                self._tasks.sending.discard(task)
            return request.read(reply)

    async def _wait_for_sending(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        """Give the tasks whose request is in flight some time to finish."""
        if sending := self._tasks.sending.intersection(tasks):
            await asyncio.wait(sending, timeout=_base.GRACE_PERIOD)

    def _bind_to_loop(self) -> AsyncThrottle:
        """The running event loop's throttle. Replaces it if it belongs to a closed loop."""
        if self._transport.bind():
            self._shared.throttle = self._throttle.renewed()
            self._tasks.closing = asyncio.Event()
        return self._throttle


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait until all have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _load_all(items: list[Item]) -> list[Loaded]:
    if Content in {*map(type, items)}:
        return [await _load(item, position) for position, item in enumerate(items)]
    return load_all(items)


async def _load(item: Item, position: int) -> Loaded:
    """An input with its files, which a thread reads so that the event loop can continue."""
    if isinstance(item, Content):
        return await asyncio.to_thread(load_content, item, position)
    return load_content(item, position)


async def _submit_all(batches: Iterable[Batch], submit: _Submit) -> None:
    for batch in batches:
        await submit(batch)


async def _submit_inputs(
    inputs: Iterable[EmbedInput] | AsyncIterable[EmbedInput], batch_size: int, submit: _Submit
) -> None:
    validator, batcher = InputValidator(), Batcher(batch_size)
    position = 0

    async def add(value: EmbedInput) -> None:
        nonlocal position
        await _submit_all(batcher.add(await _load(validator.validate(value), position)), submit)
        position += 1

    if isinstance(inputs, AsyncIterable):
        async for value in inputs:
            await add(value)
    else:
        for value in inputs:
            await add(value)
    await _submit_all(batcher.flush(), submit)
