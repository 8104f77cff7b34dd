"""logfire, which sends what OpenTelemetry records."""

from importlib import import_module
from typing import Any

from tests.compat.rows import Row
from tests.compat.tracing.service import KEY, TEXT, embed, service

logfire: Any = import_module("logfire")  # only the environment of these tests has it
capfire = import_module("logfire.testing").capfire
ROW = Row("logfire", "nothing to set up after `logfire.configure()`")


def check(captured: Any, kind: str) -> None:
    """A call inside a span of logfire's is its child; text and key are nowhere."""
    with logfire.span("mine"), service() as server:
        embed(server, kind)
    spans = {s["name"]: s for s in captured.exporter.exported_spans_as_dict()}
    assert set(spans) == {"mine", "embeddings m"}
    call = spans["embeddings m"]
    assert call["parent"]["span_id"] == spans["mine"]["context"]["span_id"]
    assert call["attributes"]["openrouter.retries"] == 1
    assert call["attributes"]["gen_ai.usage.input_tokens"] == 7
    metrics = captured.get_collected_metrics()
    assert "gen_ai.client.embeddings.duration" in [metric["name"] for metric in metrics]
    exported = repr((spans, metrics))
    assert TEXT not in exported
    assert KEY not in exported


@ROW.sync
def test_a_call(capfire: Any) -> None:
    """Logfire gets the span of the call."""
    check(capfire, "sync")


@ROW.asynchronous
def test_an_async_call(capfire: Any) -> None:
    """The same for asyncio."""
    check(capfire, "async")
