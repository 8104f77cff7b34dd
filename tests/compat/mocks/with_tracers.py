"""Tracers of httpx: OpenTelemetry's instrumentation, logfire and Sentry."""

from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import logfire  # pyright: ignore[reportMissingImports]
import pytest
import sentry_sdk  # pyright: ignore[reportMissingImports]
from openrouter_embeddings.testing import no_waiting
from opentelemetry.instrumentation.httpx import (  # pyright: ignore[reportMissingImports]
    HTTPX2ClientInstrumentor,
    HTTPXClientInstrumentor,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sentry_sdk.transport import Transport  # pyright: ignore[reportMissingImports]

from tests.compat.mocks.service import KEY, LoopbackService, check_own_connections, embed
from tests.compat.rows import Row

OTEL = Row("opentelemetry-instrumentation-httpx", how="a span per request, and `traceparent`")
LOGFIRE = Row("logfire", how="`logfire.instrument_httpx()`: a span per request, and `traceparent`")
SENTRY = Row("sentry-sdk", how="nothing to set up: a span per request, and `sentry-trace`")


def kinds(row: Row) -> pytest.MarkDecorator:
    """Parametrize a test with both clients."""
    sync = pytest.param("sync", marks=row.sync)
    return pytest.mark.parametrize("kind", [sync, pytest.param("async", marks=row.asynchronous)])


def traced_calls(kind: str) -> LoopbackService:
    """The service after two calls of one client, of which the first needs a retry."""
    with no_waiting(), LoopbackService(429) as service:
        embed(kind, service.url, ["a"], ["bb"])
    assert service.texts == [["a"], ["a"], ["bb"]]
    assert service.opened == 1  # on our own connections
    return service


@kinds(OTEL)
def test_opentelemetry_makes_a_span_of_each_request(kind: str) -> None:
    """Until it is told to stop; no span has the key."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        service = traced_calls(kind)
    finally:
        instrumentor.uninstrument()
    spans = exporter.get_finished_spans()
    assert [(span.attributes or {})["http.status_code"] for span in spans] == [429, 200, 200]
    traces = [f"{span.context.trace_id:032x}" for span in spans if span.context]
    assert [headers["traceparent"].split("-")[1] for headers in service.headers] == traces
    assert KEY not in "".join(span.to_json() for span in spans)
    check_own_connections(kind)


@kinds(LOGFIRE)
def test_logfire_makes_a_span_of_each_request(kind: str) -> None:
    """No span has the key, even with all headers."""
    exporter = InMemorySpanExporter()
    logfire.configure(
        send_to_logfire=False,
        console=False,
        additional_span_processors=[SimpleSpanProcessor(exporter)],
    )
    logfire.instrument_httpx(capture_headers=True)
    try:
        service = traced_calls(kind)
    finally:
        HTTPXClientInstrumentor().uninstrument()
        HTTPX2ClientInstrumentor().uninstrument()
    spans = exporter.get_finished_spans()
    assert len([span for span in spans if "POST" in span.name]) == 3
    assert all("traceparent" in headers for headers in service.headers)
    assert KEY not in "".join(span.to_json() for span in spans)
    check_own_connections(kind)


class Envelopes(Transport):  # type: ignore[misc] # it is Any where Sentry is missing
    """Keeps what Sentry would send."""

    def __init__(self) -> None:
        super().__init__({"dsn": None})
        self.sent: list[Any] = []

    def capture_envelope(self, envelope: Any) -> None:
        """Keep one."""
        self.sent.append(envelope)


@pytest.fixture(scope="module")
def envelopes() -> Iterator[Envelopes]:
    """What Sentry would send. Afterwards, what it has replaced for ever is put back."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (httpx, httpx2):
            for client in (module.Client, module.AsyncClient):
                patch.setattr(client, "send", client.send)
        kept = Envelopes()
        sentry_sdk.init("http://k@127.0.0.1:9/1", transport=kept, traces_sample_rate=1.0)
        yield kept
        sentry_sdk.init()


@kinds(SENTRY)
def test_sentry_makes_a_span_of_each_request(kind: str, envelopes: Envelopes) -> None:
    """Its integration is on by default; the transaction does not have the key."""
    with sentry_sdk.start_transaction(name=kind):
        service = traced_calls(kind)
    events = [envelope.get_transaction_event() for envelope in envelopes.sent]
    (transaction,) = [event for event in events if event and event["transaction"] == kind]
    requests = [span for span in transaction["spans"] if span["op"] == "http.client"]
    assert [span["data"]["http.response.status_code"] for span in requests] == [429, 200, 200]
    assert all("sentry-trace" in headers for headers in service.headers)
    assert KEY not in str(transaction)
