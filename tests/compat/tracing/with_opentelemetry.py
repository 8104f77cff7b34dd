"""OpenTelemetry's SDK, without and with the instrumentation of httpx."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from tests.compat.rows import Row
from tests.compat.tracing.service import KEY, TEXT, embed, service
from tests.tracing import Recorded, recording

instrumentation: Any = import_module("opentelemetry.instrumentation.httpx")
OURS = Row(
    "OpenTelemetry", "a span and metrics for each call: [telemetry](telemetry.md)",
    package="opentelemetry-sdk",
)  # fmt: skip
HTTPX = Row(
    "HTTPXClientInstrumentor", "a span for each request, inside that of its call",
    package="opentelemetry-instrumentation-httpx",
)  # fmt: skip


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """What the program's exporters get."""
    with recording() as recorded:
        yield recorded


def check(recorded: Recorded, kind: str) -> Any:
    """Make a call inside a span of the program; return the span of the call."""
    with recorded.span("mine") as mine, service() as server:
        embed(server, kind)
    (span,) = [s for s in recorded.spans if s.name == "embeddings m"]
    assert span.parent.span_id == mine.get_span_context().span_id
    assert span.attributes["openrouter.retries"] == 1
    assert span.attributes["openrouter.cost"] == 0.25
    exported = recorded.everything()
    assert "gen_ai.client.embeddings.duration" in exported
    assert TEXT not in exported
    assert KEY not in exported
    return span


@OURS.sync
def test_a_call(recorded: Recorded) -> None:
    """The program's exporter gets the span, as a child of the program's own."""
    check(recorded, "sync")
    assert len(recorded.spans) == 1


@OURS.asynchronous
def test_an_async_call(recorded: Recorded) -> None:
    """The same for asyncio."""
    check(recorded, "async")
    assert len(recorded.spans) == 1


def check_requests(recorded: Recorded, kind: str) -> None:
    """Each request has a span of its own inside that of the call."""
    instrumentor = instrumentation.HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=recorded.tracers, meter_provider=recorded.meters)
    try:
        span = check(recorded, kind)
    finally:
        instrumentor.uninstrument()
    requests = [s for s in recorded.spans if s is not span]
    assert [s.name for s in requests] == ["POST"] * 2
    assert {s.parent.span_id for s in requests} == {span.context.span_id}


@HTTPX.sync
def test_requests_have_spans(recorded: Recorded) -> None:
    """The instrumentation sees the client's own connections."""
    check_requests(recorded, "sync")


@HTTPX.asynchronous
def test_async_requests_have_spans(recorded: Recorded) -> None:
    """The same for asyncio."""
    check_requests(recorded, "async")
