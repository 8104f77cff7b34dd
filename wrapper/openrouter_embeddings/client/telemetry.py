"""OpenTelemetry spans and metrics, for programs that have imported OpenTelemetry.

The names are those of the GenAI conventions for embeddings (open-telemetry/semantic-conventions-
genai, in development). Nothing here gets an input, a vector, the key or the message of an error,
which may quote inputs. What OpenTelemetry raises is logged and never reaches the caller.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from openrouter_embeddings._version import __version__
from openrouter_embeddings.core.headers import Headers, read_headers
from openrouter_embeddings.core.options import Options
from openrouter_embeddings.errors import APIStatusError, EmbeddingsError
from openrouter_embeddings.result import Served, Usage

S = TypeVar("S", bound="Span")
MAX_WAIT = 0.1  # seconds to wait for a span to end that may have to wait for this thread
SECONDS = [0.01 * 2**n for n in range(14)]  # the buckets that the conventions give
TOKENS = [4**n for n in range(14)]
_log = logging.getLogger(__name__)
_made: dict[Callable[[Any], Any], tuple[Any, Any]] = {}


def if_imported(start: Callable[[], S]) -> S | None:
    """The span that `start` makes; None if the program has not imported OpenTelemetry."""
    if "opentelemetry.trace" in sys.modules:
        with _logged():
            return start()
    return None


@contextmanager
def traced_job(model: str) -> Iterator[dict[str, Any]]:
    """Around a job: its span, current meanwhile. What the dict gets becomes attributes."""
    span = if_imported(lambda: Span("embed_file", model))
    if span is None:
        yield {}
        return
    with span, span.current():
        yield span.results


class Span:
    """A context manager around a call or a job, whose span it ends once, in the same process.

    Attributes:
        results: become attributes at the end.
    """

    _has_ended = True  # until it has started

    def __init__(self, name: str, model: str, kind: str = "INTERNAL", **attributes: Any) -> None:
        trace: Any = sys.modules["opentelemetry.trace"]
        self._trace, self._context = trace, sys.modules["opentelemetry.context"]
        self.results: dict[str, Any] = {}
        self._process = os.getpid()
        self._started, self._clock = time.time_ns(), time.perf_counter_ns()
        self._span = _made_by(trace.get_tracer_provider(), _tracer).start_span(
            f"{name} {model}",
            kind=trace.SpanKind[kind],
            attributes={"gen_ai.request.model": model, **attributes},
            start_time=self._started,
        )
        self._has_ended = False

    def now(self) -> int:
        """The time of the span, which goes on evenly even if the system's clock is set."""
        return self._started + time.perf_counter_ns() - self._clock

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the span current: spans of an HTTP client become its children."""
        token: Any = None
        with _logged():
            token = self._context.attach(self._trace.set_span_in_context(self._span))
        try:
            yield
        except GeneratorExit:
            if self._trace.get_current_span() is not self._span:
                token = None  # the coroutine is collected in another context
            raise
        finally:
            if token is not None:
                self._context.detach(token)

    def __enter__(self) -> Self:
        """The span itself."""
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """End the span. It has failed after any error, such as a cancellation."""
        if self._has_ended or os.getpid() != self._process or sys.is_finalizing():
            return
        self._has_ended = True
        if not isinstance(error, GeneratorExit):
            self._end(error, self.now())
            return
        # The caller has left a stream. The garbage collector may be what closes it, inside a
        # method of OpenTelemetry that holds a lock: in this thread `_end` could wait forever.
        with _logged():
            # A daemon, because others take a lock of `threading` that may be held, too.
            thread = threading.Thread(target=self._end, args=[None, self.now()], daemon=True)
            thread.start()
            thread.join(MAX_WAIT)

    def __del__(self) -> None:
        """End the span of an asynchronous stream whose event loop has gone."""
        self.__exit__(None, GeneratorExit(), None)

    def _end(self, error: BaseException | None, now: int) -> None:
        with _logged():
            self._span.set_attributes(self.results.copy())  # a thread may still change it
            if error is not None:
                self._span.set_attribute("error.type", _error_type(error))
                failed = self._trace.Status(self._trace.StatusCode.ERROR, type(error).__name__)
                self._span.set_status(failed)
            self._span.end(now)


class CallSpan(Span):
    """The span and metrics of a call of `embed`, of a stream, or of all calls of a job.

    Any thread may call its methods.
    """

    def __init__(self, options: Options, server: tuple[str, int]) -> None:
        self._usage, self._lock = Usage(), threading.Lock()
        self._providers: set[str] = set()
        self._labels: dict[str, Any] = {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.provider.name": "openrouter",
            "gen_ai.request.model": options.model,
            "server.address": server[0],
            "server.port": server[1],
        }
        super().__init__("embeddings", options.model, "CLIENT", **self._labels)
        self.results["gen_ai.request.encoding_formats"] = (options.encoding_format,)

    def trace_headers(self) -> Headers:
        """What the program's propagators add to a request."""
        carrier: dict[str, str] = {}
        with _logged():  # importing this fails if OTEL_PROPAGATORS names one that is missing
            from opentelemetry import propagate  # noqa: PLC0415 - only for who asks for it

            propagate.inject(carrier, self._trace.set_span_in_context(self._span))
        headers = read_headers(carrier)
        return headers if isinstance(headers, Headers) else Headers()

    def spent(self, usage: Usage) -> None:
        """Count what a request has used."""
        with self._lock:  # `_end` never takes it
            self._usage += usage

    def answered(self, served: Served, dimensions: int) -> None:
        """Note who has answered a request."""
        self.results["gen_ai.embeddings.dimension.count"] = dimensions
        if served.model:
            self.results["gen_ai.response.model"] = served.model
        if served.provider:
            self._providers.add(served.provider)

    def retried(self, attempt: int, error: EmbeddingsError) -> None:
        """Note that an attempt (the first is 1) has failed, and that another follows."""
        event: dict[str, Any] = {"openrouter.attempt": attempt, "error.type": _error_type(error)}
        if error.retry_after is not None:
            event["openrouter.retry_after"] = error.retry_after
        with _logged():
            if not self._has_ended:  # as that of a stream that the caller has left
                self._span.add_event("openrouter.retry", event, self.now())

    def _end(self, error: BaseException | None, now: int) -> None:
        usage = self._usage
        for name in ("requests", "retries", "refused", "unanswered"):
            self.results[f"openrouter.{name}"] = getattr(usage, name)
        if usage.requests:
            self.results["gen_ai.usage.input_tokens"] = usage.prompt_tokens
        if usage.cost is not None:
            self.results["openrouter.cost"] = float(usage.cost)
        if self._providers:
            self.results["openrouter.providers"] = sorted(self._providers.copy())
        super()._end(error, now)
        with _logged():
            self._record(error, (now - self._started) / 1e9)

    def _record(self, error: BaseException | None, seconds: float) -> None:
        metrics: Any = sys.modules.get("opentelemetry.metrics")
        if metrics is None:
            return
        duration, tokens, _ = _made_by(metrics.get_meter_provider(), _histograms)
        context = self._trace.set_span_in_context(self._span)  # for exemplars
        if model := self.results.get("gen_ai.response.model"):
            self._labels["gen_ai.response.model"] = model
        if self._usage.prompt_tokens:
            tokens.record(self._usage.prompt_tokens, self._labels, context)
        if error is not None:
            self._labels["error.type"] = _error_type(error)
        duration.record(seconds, self._labels, context)


def _error_type(error: BaseException) -> str:
    """The status of an error of the service, or else the name of the exception."""
    if isinstance(error, APIStatusError) and (error.status or 0) >= 300:
        return str(error.status)
    return type(error).__name__


@contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except Exception:  # noqa: BLE001 - a span processor may raise anything
        _log.debug("OpenTelemetry raised an error", exc_info=True)


def _made_by(provider: Any, make: Callable[[Any], Any]) -> Any:
    """What `make` makes with a provider, kept until the program sets another one."""
    known = _made.get(make)
    if known is None or known[0] is not provider:  # `is`, because some cannot be hashed
        known = _made[make] = provider, make(provider)
    return known[1]


def _tracer(provider: Any) -> Any:
    return provider.get_tracer("openrouter_embeddings", __version__)


def _histograms(provider: Any) -> tuple[Any, Any, Any]:
    """Duration, tokens and their meter, which logfire would forget if nobody held it."""
    meter = provider.get_meter("openrouter_embeddings", __version__)

    def histogram(name: str, unit: str, buckets: list[Any]) -> Any:
        name = f"gen_ai.client.embeddings.{name}"
        return meter.create_histogram(name, unit, explicit_bucket_boundaries_advisory=buckets)

    duration = histogram("duration", "s", SECONDS)
    return duration, histogram("operation.input_tokens", "{token}", TOKENS), meter
