"""The blocking client."""

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Literal, Self, Unpack

import stamina

from openrouter_embeddings._secret import Secret
from openrouter_embeddings.core.batching import Batch, Batcher
from openrouter_embeddings.core.decode import Decoded
from openrouter_embeddings.core.options import EmbedOptions, check_option_names
from openrouter_embeddings.core.validate import InputValidator, validate_inputs, validate_stream
from openrouter_embeddings.errors import EmbeddingsError
from openrouter_embeddings.inputs import EmbedInput, EmbedInputs
from openrouter_embeddings.media import load_all, load_content
from openrouter_embeddings.result import EmbeddingResult
from openrouter_embeddings.transport import HTTPXClient, Transport

from . import _base
from ._base import BaseClient, Shared, with_input_type
from ._call import CallState, RequestState, sleep_with
from ._throttle import Throttle
from .workers import WorkerFuture, Workers

MAX_READ_TIME = 0.01  # seconds to read more inputs while a finished part waits
_END: Any = object()


class Client(BaseClient[HTTPXClient, Throttle]):
    """A blocking client for OpenRouter's embeddings API.

    It embeds text, tokens, images, audio, video and files. Threads can share one client. After a
    fork, the child process opens its own connections when it first uses the client. A copy of a
    client, deep or not, is the client itself. Clients cannot be pickled.

    Args:
        api_key: default: the environment variable OPENROUTER_API_KEY.
        base_url: default: the environment variable OPENROUTER_BASE_URL, or else OpenRouter's URL.
        http_client: your own `httpx.Client` or `httpx2.Client`, for proxies, TLS settings or
            instrumentation. You close it yourself. Each request overrides its timeouts and
            authentication. A forked process can use it only if no client of this package has used
            it before the fork. With `"httpx"`, the client sends every request through an httpx
            client of its own. Without it, the client does so only while a tool that mocks, records
            or traces requests has replaced methods of httpx or httpx2.
        allow_http: send the API key over plain HTTP to another machine. Use it only in a network
            that you trust.
        ssl_context: your own TLS settings, such as the certificate authority of your company or a
            client certificate. Default: SSL_CERT_FILE or SSL_CERT_DIR; else the certificates that
            the operating system trusts, if the extra `truststore` is installed; else certifi's.
        **defaults: options of `embed`, as defaults for every call of this client.

    Raises:
        InputError: there is no API key, the URL would expose it, or a default option is invalid.
    """

    _transport: Transport

    @classmethod
    def local(cls, **defaults: Unpack[EmbedOptions]) -> Self:
        """A client of the stand-in, which runs in this process: no API key, no network.

        The default model is `local/minilm` (text and tokens, English, 384 dimensions).
        `local/visual` embeds images, `local/hash` every kind of input that the API contract in this
        package allows. Requires the extra `local`.
        """
        check_option_names(defaults, local=True)
        from openrouter_embeddings.local.servers.in_process import http_client  # noqa: PLC0415 - behind an extra

        return cls._local(http_client, defaults)

    def embed(self, inputs: EmbedInputs, **options: Unpack[EmbedOptions]) -> EmbeddingResult:
        """Embed one input or a list of inputs. The result has one row per input, in order.

        Args:
            inputs: a text, a list of tokens, an `Image`, `Audio`, `Video`, `File` or `Content`, or
                a list of these. A list can mix all of them except tokens. If any input has an image
                or another file, the whole call uses the API's multimodal format.
            **options: see `EmbedOptions`; they override the client's defaults.

        Returns:
            The vectors as a float32 matrix of shape (inputs, dimensions), with usage and cost.

        Raises:
            InputError: an input or option is invalid. Nothing was sent; the message names the
                input's position.
            APIStatusError: the service returned an error; `errors` has a subclass for each status.
            APIConnectionError: no complete response arrived within `timeout` and `deadline`.
            ResponseError: a response failed validation, so its vectors cannot be trusted.
        """
        return self._embed(self._start_call(options), inputs)

    def _embed(self, call: CallState, inputs: EmbedInputs) -> EmbeddingResult:
        skip = call.options.on_error == "skip"
        plan = call.plan(load_all(validate_inputs(inputs, skip=skip)))
        with call.traced(self._transport.server):
            try:
                if isinstance(plan, Batch):
                    return self._embed_batch(call, plan)
                builder, batches = plan
                for part in self._embed_batches(call, batches):
                    call.add(builder, part)
            except EmbeddingsError as error:
                call.attach_results(error)
                raise
        return builder.result(call.options.model)

    def embed_query(self, queries: EmbedInputs, **options: Unpack[EmbedOptions]) -> EmbeddingResult:
        """Embed search queries: `embed` with `input_type="search_query"`."""
        return self.embed(queries, **with_input_type("search_query", options))

    def embed_documents(
        self, documents: EmbedInputs, **options: Unpack[EmbedOptions]
    ) -> EmbeddingResult:
        """Embed the documents that are searched: `embed` with `input_type="search_document"`."""
        return self.embed(documents, **with_input_type("search_document", options))

    def embed_stream(
        self, inputs: Iterable[EmbedInput], **options: Unpack[EmbedOptions]
    ) -> Iterator[EmbeddingResult]:
        """Embed any number of inputs in bounded memory.

        Yields one result per batch ("part"), in the order of the inputs, as soon as it is complete.
        `part.start` is the position of the part's first input. At most `2 × concurrency` batches
        are in memory. A batch with an image or another file uses the API's multimodal format; the
        other batches do not.

        Args:
            inputs: any iterable of inputs. The thread that takes the parts also reads the inputs.
                A complete part waits until the next input has been read, and for up to 10 ms of
                further reading. While the iterable blocks, no part can be yielded; `AsyncClient`
                does not have this limit.
            **options: as for `embed`; a `deadline` starts now.

        Raises:
            The errors of `embed`, during the iteration. An InputError is raised after the parts
            before the invalid input have been yielded. APIConnectionError is also raised if the
            process was forked after the stream began.
        """
        call = self._start_call(options)
        return self._stream(call, _batches(validate_stream(inputs), call.options.batch_size))

    def close(self) -> None:
        """Close the connections. Calls that other threads are waiting for fail with an error.

        This also closes every client that shares them: see `with_options`. An `http_client` that
        you passed stays open.
        """
        self._shared.is_closed = True
        if self._is_inherited:
            return
        for call in self._shared.calls:
            self._end(call)
        self._throttle.wake_all()
        self._transport.close()

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def _connect(
        self,
        base_url: str,
        key: Secret,
        http_client: HTTPXClient | Literal["httpx"] | None,
        **security: Any,
    ) -> None:
        self._transport = Transport(base_url, key, http_client, **security)
        self._shared = Shared(Throttle(self._default_options.concurrency))

    def _stream(
        self, call: CallState, batches: Iterable[Batch | None]
    ) -> Iterator[EmbeddingResult]:
        self._renew_after_fork()
        call.bind_to_process()
        self._register(call)
        with call.traced(self._transport.server):
            try:
                yield from self._embed_batches(call, batches)
            except EmbeddingsError as error:
                call.attach_results(error)
                raise

    def _embed_batches(
        self, call: CallState, batches: Iterable[Batch | None]
    ) -> Iterator[EmbeddingResult]:
        """Embed batches with up to `concurrency` requests at a time; yield the parts in order.

        `batches` has None for each input that has not completed one.
        """
        workers: Workers[EmbeddingResult] = Workers(call.options.concurrency)
        pending: deque[WorkerFuture[EmbeddingResult]] = deque()
        errors: list[Exception] = []
        coming = _until_error(batches, errors)
        try:
            while True:
                call.check_process()
                for batch in _batches_to_start(coming, pending, 2 * call.options.concurrency):
                    pending.append(workers.submit(self._embed_batch, call, batch))
                if not pending:
                    break
                part = workers.result(pending[0])
                pending.popleft()
                call.deliver(part)
                yield part
            if errors:
                raise errors[0]
        except EmbeddingsError:
            if self._end_call(call, workers):
                workers.join(_base.GRACE_PERIOD)
            raise
        finally:
            if self._end_call(call, workers) and pending:  # the caller stopped before the last part
                self._abort(call, workers)

    def _end_call(self, call: CallState, workers: Workers[EmbeddingResult]) -> bool:
        """End a call: send no more requests and wake the threads that wait to send one.

        Returns False, and does nothing, if the requests belong to another process, or if the
        interpreter is exiting: its other threads are frozen then, and may hold any lock.
        """
        if call.is_forked or sys.is_finalizing():
            return False
        call.end()
        workers.stop()
        self._throttle.wake_all()
        return True

    def _abort(self, call: CallState, workers: Workers[EmbeddingResult]) -> None:
        self._transport.abort(call)
        if not self._throttle.is_locked_by_this_thread():  # the workers need the lock to end
            workers.join(_base.GRACE_PERIOD)

    def _embed_batch(self, call: CallState, batch: Batch) -> EmbeddingResult:
        splitter = call.splitter(batch)
        lock = self._throttle.lock  # what splitters learn is shared by all calls of the client
        with call.active(batch):
            while True:
                with lock:
                    piece = splitter.next()
                if piece is None:
                    break
                request = RequestState(call, splitter, piece)
                try:
                    decoded = self._attempt(request)
                except EmbeddingsError as error:
                    with lock:
                        request.failed(error)
                else:
                    with lock:
                        request.succeeded(decoded)
        return splitter.result()

    def _attempt(self, request: RequestState) -> Decoded:
        try:
            return self._send(request)
        except EmbeddingsError as error:
            failed = [error]
        # stamina comes in now: entering it takes a tenth of the time of a small request
        for attempt in stamina.retry_context(**request.retry_options):
            sleep_with(attempt, request.call.wait)
            with attempt:
                request.backoff = attempt.next_wait
                if failed:
                    raise failed.pop()
                return self._send(request)
        raise AssertionError("stamina ends with a result or an error")

    def _send(self, request: RequestState) -> Decoded:
        with self._throttle.acquire(request) as timeout:
            return request.read(
                self._transport.send(
                    request.body(),
                    timeout,
                    request.decoder(),
                    request.may_resend,
                    request.headers(),
                    owner=request.call,
                )
            )


def _batches_to_start(
    coming: Iterator[Batch | None], pending: deque[WorkerFuture[EmbeddingResult]], limit: int
) -> Iterator[Batch]:
    """Batches to start, until `limit` are pending or a finished part has waited long enough."""
    stops_at = time.monotonic() + MAX_READ_TIME
    while len(pending) < limit and (batch := next(coming, _END)) is not _END:
        if batch is not None:
            yield batch
        if pending and pending[0].has_ended and (batch or time.monotonic() > stops_at):
            return


def _until_error(
    batches: Iterable[Batch | None], errors: list[Exception]
) -> Iterator[Batch | None]:
    """The batches before an error in the caller's iterable, which goes into `errors`.

    The client raises it after the parts before it, which will be billed, have been yielded.
    """
    try:
        yield from batches
    except Exception as error:  # noqa: BLE001 - the caller's iterable may raise anything
        errors.append(error)


def _batches(inputs: Iterable[EmbedInput], batch_size: int) -> Iterator[Batch | None]:
    """The batches of a stream, and None for each input that has not completed one."""
    validator, batcher = InputValidator(), Batcher(batch_size)
    for position, value in enumerate(inputs):
        yield from batcher.add(load_content(validator.validate(value), position)) or (None,)
    yield from batcher.flush()
