"""The blocking client."""

from __future__ import annotations

import sys
import time
import weakref
from collections import deque
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import stamina

from openrouter_embeddings._secret import Secret
from openrouter_embeddings.core.batching import Batcher, split
from openrouter_embeddings.core.options import check_names
from openrouter_embeddings.core.validate import InputValidator, accept, checked_iterable
from openrouter_embeddings.errors import EmbeddingsError
from openrouter_embeddings.media import load_content
from openrouter_embeddings.transport import Transport

from . import _request, _throttle
from ._base import LOCAL_KEY, LOCAL_MODEL, LOCAL_URL, BaseClient, Settings, with_role
from ._request import CallState, RequestState, SharedBudget, sleep_by
from ._throttle import Throttle
from ._workers import Job, Workers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self, Unpack

    import httpx

    from openrouter_embeddings.core.batching import Batch
    from openrouter_embeddings.core.decode import Decoded
    from openrouter_embeddings.core.options import EmbedOptions
    from openrouter_embeddings.inputs import EmbedInput, EmbedInputs
    from openrouter_embeddings.result import EmbeddingResult

PATIENCE = 0.01  # seconds for more inputs, while a part waits that is done
_END: Any = object()


class Client(BaseClient):
    """Embeds text, tokens, images, audio, video and files through OpenRouter.

    Safe to share among threads. In a forked process it makes its own connections at its first use;
    a copy of it, deep or not, is the client itself, and it cannot be pickled.

    Args:
        api_key: default: the environment's OPENROUTER_API_KEY.
        base_url: default: the environment's OPENROUTER_BASE_URL, else the service itself.
        http_client: an `httpx.Client` of yours, for proxies, TLS or instrumentation. It stays
            yours to close. Its time-outs and authentication are replaced for each request. After a
            fork it serves the child only if no client of this package has used it before.
        allow_http: send the key over plain http to another machine, in a network that you trust.
        **defaults: any option of `embed`, for all calls of this client.

    Raises:
        InputError: no key, a URL that would expose it, or a default that cannot be right.
    """

    _said = "Client(unfinished)"  # what a traceback shows when the constructor fails

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        http_client: httpx.Client | None = None,
        allow_http: bool = False,
        **defaults: Unpack[EmbedOptions],
    ) -> None:
        key = Secret(api_key or "")
        del api_key  # an error below would show it among the locals of this traceback
        self._settings = Settings(key, base_url, defaults)
        self._said = self._settings.describe("Client")
        self._transport = Transport(
            self._settings.base_url, self._settings.key, http_client, allow_http=allow_http
        )
        self._throttle = Throttle(self._settings.concurrency)
        self._calls: weakref.WeakSet[CallState] = weakref.WeakSet()

    @classmethod
    def local(cls, **defaults: Unpack[EmbedOptions]) -> Self:
        """A client of the stand-in, in this process: no key, no network.

        The default model is `local/minilm` (text and tokens, English, 384 dimensions);
        `local/visual` takes images, `local/hash` everything that the contract in this package has.
        Needs the extra `local`.
        """
        from openrouter_embeddings.local.servers.in_process import http_client  # noqa: PLC0415 - behind an extra

        check_names(defaults)
        if not defaults.get("model"):
            defaults["model"] = LOCAL_MODEL
        client = cls(LOCAL_KEY, base_url=LOCAL_URL, http_client=http_client(), **defaults)
        client._transport.make = http_client
        client._said = f"Client.local(model={defaults.get('model')!r})"
        return client

    def embed(self, inputs: EmbedInputs, **options: Unpack[EmbedOptions]) -> EmbeddingResult:
        """Embed inputs, one row each, in their order.

        Args:
            inputs: a text, a list of tokens, an `Image`, `Audio`, `Video`, `File` or `Content`, or
                a list of such. All of them mix but tokens. One image or other file makes every
                input of the call multimodal.
            **options: see `EmbedOptions`; they override the client's defaults.

        Returns:
            The vectors as float32 of shape (inputs, dimensions), with usage and cost.

        Raises:
            InputError: before anything is sent, naming the input's position.
            APIStatusError: the service refused; see `errors` for the types by status.
            APIConnectionError: no whole answer came within `timeout` and `deadline`.
            ResponseError: an answer whose vectors cannot be trusted.
        """
        return self._embed(self._call(options), inputs)

    def _embed(self, call: CallState, inputs: EmbedInputs) -> EmbeddingResult:
        items = accept(inputs, skip=call.options.on_error == "skip")
        loaded = [
            item if isinstance(item, str) else load_content(item, position)
            for position, item in enumerate(items)
        ]
        batches = split(loaded, call.options.batch_size)
        first, second = next(batches), next(batches, None)
        whole = call.gather(len(items))
        try:
            if second is None:
                return self._batch(call, first)
            for part in self._parts(call, chain([first, second], batches)):
                call.add(whole, part)
        except EmbeddingsError as error:
            call.conclude(error)
            raise
        return whole.result(call.options.model)

    def embed_query(self, queries: EmbedInputs, **options: Unpack[EmbedOptions]) -> EmbeddingResult:
        """`embed` with `input_type="search_query"`: for what is searched with."""
        return self.embed(queries, **with_role("search_query", options))

    def embed_documents(
        self, documents: EmbedInputs, **options: Unpack[EmbedOptions]
    ) -> EmbeddingResult:
        """`embed` with `input_type="search_document"`: for what is searched in."""
        return self.embed(documents, **with_role("search_document", options))

    def embed_stream(
        self, inputs: Iterable[EmbedInput], **options: Unpack[EmbedOptions]
    ) -> Iterator[EmbeddingResult]:
        """Embed any number of inputs in bounded memory: parts come in order, as they are done.

        At most `2 × concurrency` batches are alive. `part.start` is the position of a part's
        first row. A batch with a file is multimodal as a whole, other batches are not.

        Args:
            inputs: any iterable of inputs. It is read as the parts are taken, in the thread that
                takes them. A part that is done waits for the next input, or 10 ms for more of them;
                while the iterable itself pauses, only `AsyncClient` can hand over parts.
            **options: as for `embed`; a `deadline` counts from now.

        Raises:
            As `embed` does, in the middle of the iteration. An InputError comes when the parts
            before the wrong input have been handed over. APIConnectionError for a stream that
            began before this process was forked.
        """
        call = self._call(options)
        return self._stream(call, _batches(checked_iterable(inputs), call.options.batch_size))

    def close(self) -> None:
        """Close the connections, which ends the calls of other threads with an error.

        A client given an `http_client` leaves that one open.
        """
        self._settings.closed = True
        if self._is_inherited:
            return
        with self._throttle.lock:
            calls = [*self._calls]
        for call in calls:
            call.end("the client was closed")
        self._throttle.wake()
        self._transport.close()

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def _call(self, options: EmbedOptions, purse: SharedBudget | None = None) -> CallState:
        self._settings.check_open()
        self._ready()
        call = CallState(self._settings.options(options), self._settings.learned, purse)
        self._register(call)
        return call

    def _register(self, call: CallState) -> None:
        with self._throttle.lock:
            self._calls.add(call)

    def _renew(self) -> None:
        self._transport.renew()
        self._throttle = self._throttle.anew()
        self._calls = weakref.WeakSet()

    def _stream(
        self, call: CallState, batches: Iterable[Batch | None]
    ) -> Iterator[EmbeddingResult]:
        self._ready()
        call.begin()
        self._register(call)
        try:
            yield from self._parts(call, batches)
        except EmbeddingsError as error:
            if not call.is_forked:
                call.conclude(error)
            raise

    def _parts(self, call: CallState, batches: Iterable[Batch | None]) -> Iterator[EmbeddingResult]:
        """Parts in order, with up to `concurrency` requests under way.

        Args:
            call: whose requests they are.
            batches: and None for each input of a stream that has not filled one.
        """
        workers: Workers[EmbeddingResult] = Workers(call.options.concurrency)
        pending: deque[Job[EmbeddingResult]] = deque()
        failed: list[Exception] = []
        coming = _until_failure(batches, failed)
        try:
            while True:
                call.check_process()
                for batch in _read(coming, pending, 2 * call.options.concurrency):
                    pending.append(workers.submit(self._batch, call, batch))
                if not pending:
                    break
                part = workers.result(pending[0])
                pending.popleft()
                call.hand_over(part)
                yield part
            if failed:
                raise failed[0]
        except EmbeddingsError:
            if self._end(call, workers):
                workers.join(_request.GRACE)
            raise
        finally:
            if self._end(call, workers) and pending:  # somebody has left before the end
                self._cut(workers)

    def _end(self, call: CallState, workers: Workers[EmbeddingResult]) -> bool:
        """No more requests, and nobody waits for one any more.

        False where there is nothing to end: the requests are another process's, or the interpreter
        ends, whose other threads stand still by then and may hold any lock.
        """
        if call.is_forked or sys.is_finalizing():
            return False
        call.end()
        workers.stop()
        self._throttle.wake()
        return True

    def _cut(self, workers: Workers[EmbeddingResult]) -> None:
        """End what is in flight, at once."""
        self._transport.abort(workers.join(0))
        if not self._throttle.is_mine():  # which they need for their end
            workers.join(_request.GRACE)

    def _batch(self, call: CallState, batch: Batch) -> EmbeddingResult:
        division = call.divide(batch)
        with call.watched(batch):
            while (piece := division.next()) is not None:
                exchange = RequestState(call, division, piece)
                try:
                    decoded = self._exchange(exchange)
                except EmbeddingsError as error:
                    division.failed(piece, error, as_base64=exchange.as_base64, proven=call.proven)
                else:
                    division.succeeded(piece, decoded)
        return call.part(division)

    def _exchange(self, exchange: RequestState) -> Decoded:
        with exchange.with_error_context():
            for attempt in stamina.retry_context(**exchange.retrying):
                sleep_by(attempt, partial(_throttle.clock.wait, exchange.call.over))
                with attempt:
                    exchange.expect_backoff(attempt.next_wait)
                    with self._throttle.acquire(exchange) as timeout:
                        return exchange.read(
                            self._transport.send(
                                exchange.body, timeout, exchange.scan(), exchange.may_resend
                            )
                        )
        raise AssertionError("stamina ends with a result or an error")


def _read(
    coming: Iterator[Batch | None], pending: deque[Job[EmbeddingResult]], most: int
) -> Iterator[Batch]:
    """Batches to begin with, until so many are `pending` or the first of those is done.

    Inputs may be slow to come: a part that is done waits for one more, or a moment of them.
    """
    patience = time.monotonic() + PATIENCE
    while len(pending) < most and (batch := next(coming, _END)) is not _END:
        if batch is not None:
            yield batch
        if pending and pending[0].has_ended and (batch or time.monotonic() > patience):
            return


def _until_failure(
    batches: Iterable[Batch | None], failed: list[Exception]
) -> Iterator[Batch | None]:
    """Batches until there are no more; an error among the inputs is put into `failed`.

    It is raised when the parts before it, which are being paid for, have been handed over.
    """
    try:
        yield from batches
    except Exception as error:  # noqa: BLE001 - the caller's iterable may raise anything
        failed.append(error)


def _batches(inputs: Iterable[EmbedInput], batch_size: int) -> Iterator[Batch | None]:
    """Batches, and None after each input that has not filled one."""
    gate, planner = InputValidator(), Batcher(batch_size)
    for position, value in enumerate(inputs):
        yield from planner.add(load_content(gate.admit(value), position)) or (None,)
    yield from planner.rest()
