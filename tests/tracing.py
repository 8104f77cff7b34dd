"""OpenTelemetry's SDK with exporters in memory, as the program's, for as long as a test runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Recorded:
    """What the program's exporters have got.

    Attributes:
        tracers: the program's provider.
    """

    def __init__(self, **options: Any) -> None:
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False, **options)
        self.add(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)

    def add(self, processor: SpanProcessor) -> None:
        """Let a processor hear of every span."""
        self.tracers.add_span_processor(processor)

    def span(self, name: str) -> Any:
        """A span of the program, current in a `with` block."""
        return self.tracers.get_tracer("program").start_as_current_span(name)

    @property
    def spans(self) -> list[Any]:
        """The spans of this package that have ended."""
        return [s for s in self._exporter.get_finished_spans() if scope(s) != "program"]

    @property
    def only(self) -> Any:
        """The only one of them."""
        (span,) = self.spans
        return span

    @property
    def points(self) -> dict[str, Any]:
        """The only data point of each metric of this package."""
        data = self._reader.get_metrics_data()
        found = data.resource_metrics[0].scope_metrics if data else []
        return {
            metric.name: metric.data.data_points[0]
            for scope in found
            if scope.scope.name == "openrouter_embeddings"
            for metric in scope.metrics
            if len(metric.data.data_points) == 1
        }

    def everything(self) -> str:
        """All that the exporters have got, as text."""
        data = self._reader.get_metrics_data()
        return "".join(span.to_json() for span in self.spans) + (data.to_json() if data else "")


def scope(span: ReadableSpan) -> str | None:
    """Who made a span."""
    return span.instrumentation_scope.name if span.instrumentation_scope else None


@contextmanager
def recording(**options: Any) -> Iterator[Recorded]:
    """The program uses OpenTelemetry; `options` are those of its TracerProvider."""
    recorded = Recorded(**options)
    with pytest.MonkeyPatch.context() as patch:
        use(patch, recorded.tracers, recorded.meters)
        yield recorded


def use(patch: pytest.MonkeyPatch, tracers: Any, meters: Any) -> None:
    """Make these the program's providers; OpenTelemetry itself allows that once per process."""
    patch.setattr(trace, "_TRACER_PROVIDER", tracers)
    patch.setattr("opentelemetry.metrics._internal._METER_PROVIDER", meters)


def failing(status: int, message: str = "no", **headers: str) -> Any:
    """A response with an error."""
    body = {"error": {"code": status, "message": message}}
    return lambda: httpx.Response(status, json=body, headers=headers)
