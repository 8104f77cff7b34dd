"""OpenTelemetry: spans, events and metrics of calls, and what they never contain."""

import logging
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import openrouter_embeddings as ore
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from tests.support import (
    KEY,
    MODEL,
    Kind,
    Service,
    answer,
    both,
    ended,
    in_threads,
)
from tests.tracing import Recorded, failing, recording, use

CALLS = ("embed", "embed_query", "embed_documents", "embed_stream")
DURATION = "gen_ai.client.embeddings.duration"
TOKENS = "gen_ai.client.embeddings.operation.input_tokens"


@both
@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_call_is_one_span(kind: Kind, method: str, batch_size: int, recorded: Recorded) -> None:
    """Its attributes are those of the conventions, and it is a child of the caller's span."""
    with recorded.span("mine") as mine:
        Service().run(
            kind, lambda c: getattr(c, method)([*"abcd"], batch_size=batch_size, dimensions=4)
        )
    span = recorded.only
    requests = 4 // batch_size
    assert span.name == f"embeddings {MODEL}"
    assert span.kind is SpanKind.CLIENT
    assert span.parent.span_id == mine.get_span_context().span_id
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()
    assert span.attributes == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "openrouter",
        "gen_ai.request.model": MODEL,
        "gen_ai.request.encoding_formats": ("base64",),
        "gen_ai.response.model": "embed-1",
        "gen_ai.embeddings.dimension.count": 4,
        "gen_ai.usage.input_tokens": 4,
        "server.address": "openrouter.ai",
        "server.port": 443,
        "openrouter.cost": pytest.approx(1.4e-7 * requests),
        "openrouter.providers": ("Acme",),
        "openrouter.requests": requests,
        "openrouter.retries": 0,
        "openrouter.refused": 0,
        "openrouter.unanswered": 0,
    }


@both
def test_the_providers_of_a_call_are_in_alphabetical_order(kind: Kind, recorded: Recorded) -> None:
    """So that equal calls have equal spans, whichever request was answered first."""
    names = [f"provider {number}" for number in range(12)]
    service = Service(lambda body, number: answer(body["input"], provider=names[-number]))
    service.embed(kind, [*"abcdefghijkl"], batch_size=1)
    assert recorded.only.attributes["openrouter.providers"] == tuple(sorted(names))


@both
def test_a_sampler_sees_what_is_known_at_the_start(kind: Kind) -> None:
    """The conventions name the attributes that a sampler may need."""
    seen: list[Any] = []

    class Noting(type(ALWAYS_OFF)):  # type: ignore[misc]
        def should_sample(self, *arguments: Any, **named: Any) -> Any:
            seen.append([*arguments[3:], *named.values()])
            return super().should_sample(*arguments, **named)

    with recording(sampler=Noting(ALWAYS_OFF._decision)):
        Service().embed(kind, ["a"])
    ((_, attributes, *_),) = seen
    assert attributes == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "openrouter",
        "gen_ai.request.model": MODEL,
        "server.address": "openrouter.ai",
        "server.port": 443,
    }


@both
@pytest.mark.parametrize("method", ["embed", "embed_stream"])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_requests_run_inside_the_span(
    kind: Kind, method: str, batch_size: int, recorded: Recorded
) -> None:
    """The span is current in every request, so spans of an HTTP client become its children."""
    inside: list[Any] = []

    def script(body: dict[str, Any], number: int) -> Any:
        inside.append(trace.get_current_span().get_span_context().span_id)
        return answer(body["input"]) if number else failing(503)

    Service(script).run(kind, lambda c: getattr(c, method)(["a", "b"], batch_size=batch_size))
    assert len(inside) == 1 + 2 // batch_size
    assert {*inside} == {recorded.only.context.span_id}


@both
def test_a_stream_leaves_the_callers_context_alone(kind: Kind, recorded: Recorded) -> None:
    """Neither between two parts nor while it reads the caller's inputs is its span current."""
    found: list[Any] = []

    def inputs() -> Iterator[str]:
        for text in "abcd":
            found.append(trace.get_current_span())
            yield text

    def parts(client: ore.Client) -> Iterator[None]:
        for _ in client.embed_stream(inputs(), batch_size=1, concurrency=1):
            found.append(trace.get_current_span())
            yield

    async def parts_async(client: ore.AsyncClient) -> Any:
        async for _ in client.embed_stream(inputs(), batch_size=1, concurrency=1):
            found.append(trace.get_current_span())
            yield

    with recorded.span("mine") as mine:
        Service().run(kind, parts if kind == "sync" else parts_async)
        found.append(trace.get_current_span())
    assert len(found) == 9
    assert {*found} == {mine}


def test_calls_in_threads_have_the_parents_of_their_threads(recorded: Recorded) -> None:
    """Calls of several threads with one client do not mix their parents."""
    parents: set[int] = set()
    inside: dict[str, Any] = {}

    def script(body: dict[str, Any], _: int) -> Any:
        inside[body["input"][0]] = trace.get_current_span().get_span_context().trace_id
        return answer(body["input"])

    def work(client: ore.Client) -> None:
        with recorded.span("mine") as mine:
            context = mine.get_span_context()
            parents.add(context.span_id)
            client.embed([f"{context.trace_id} {n}" for n in range(3)], batch_size=1)

    Service(script).run("sync", lambda c: in_threads(4, lambda: work(c)))
    assert {span.parent.span_id for span in recorded.spans if span.parent} == parents
    assert len(parents) == len(recorded.spans) == 4
    assert all(text.split()[0] == str(trace_id) for text, trace_id in inside.items())
    assert len(inside) == 12


@both
def test_a_retry_is_an_event(kind: Kind, recorded: Recorded) -> None:
    """It names the attempt that failed, why, and the wait that the service asked for."""
    outcomes = [failing(429, **{"retry-after": "3"}), failing(500), None]

    def script(body: dict[str, Any], number: int) -> Any:
        return outcomes[number] or answer(body["input"])

    Service(script).embed(kind, ["a"])
    span = recorded.only
    assert span.attributes["openrouter.retries"] == 2
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in span.attributes
    assert [(event.name, event.attributes) for event in span.events] == [
        (
            "openrouter.retry",
            {"openrouter.attempt": 1, "error.type": "429", "openrouter.retry_after": 3.0},
        ),
        ("openrouter.retry", {"openrouter.attempt": 2, "error.type": "500"}),
    ]
    assert span.start_time <= span.events[0].timestamp <= span.events[1].timestamp <= span.end_time


@both
def test_nothing_that_is_exported_has_a_text_a_vector_or_the_key(
    kind: Kind, recorded: Recorded
) -> None:
    """A service that quotes the input and the key in its errors changes nothing."""
    secret = "the text of a patient's letter"
    quoting = f"cannot embed {secret!r} with the key {KEY}"

    def script(body: dict[str, Any], number: int) -> Any:
        if number == 0:
            return failing(503, quoting, **{"x-request-id": secret})
        if body["input"] == ["good"]:
            return answer(["good"])
        return failing(400, quoting, **{"x-request-id": secret})

    with pytest.raises(ore.BadRequestError, match="patient"):
        Service(script).embed(kind, ["good", secret], batch_size=1, user="a patient")
    vector = answer(["good"])["data"][0]["embedding"]
    exported = recorded.everything()
    assert '"openrouter.retries": 1' in exported
    assert DURATION in exported
    for hidden in ("patient", KEY, KEY[:12], vector, "good"):
        assert hidden not in exported


@both
def test_metrics_of_a_call(kind: Kind, recorded: Recorded) -> None:
    """The duration is that of the span, the tokens are those that were billed."""
    Service().embed(kind, [*"abcd"], batch_size=2)
    labels = {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "openrouter",
        "gen_ai.request.model": MODEL,
        "gen_ai.response.model": "embed-1",
        "server.address": "openrouter.ai",
        "server.port": 443,
    }
    duration, tokens = recorded.points[DURATION], recorded.points[TOKENS]
    span = recorded.only
    assert (duration.count, duration.attributes) == (1, labels)
    assert duration.sum == pytest.approx((span.end_time - span.start_time) / 1e9)
    assert duration.explicit_bounds[:3] == (0.01, 0.02, 0.04)
    assert duration.explicit_bounds[-1] == 81.92
    assert duration.exemplars[0].span_id == span.context.span_id
    assert (tokens.count, tokens.sum, tokens.attributes) == (1, 4, labels)
    assert tokens.explicit_bounds[:3] == (1, 4, 16)
    assert tokens.explicit_bounds[-1] == 67108864
    assert set(recorded.points) == {DURATION, TOKENS}


@both
def test_a_call_that_is_not_sampled_is_still_measured(kind: Kind) -> None:
    """Its requests see an unsampled span, so that their own spans are dropped too."""
    inside: list[Any] = []

    def script(body: dict[str, Any], _: int) -> Any:
        inside.append(trace.get_current_span().get_span_context())
        return answer(body["input"])

    with recording(sampler=ALWAYS_OFF) as recorded:
        Service(script).embed(kind, ["a"])
        assert recorded.spans == []
        assert recorded.points[TOKENS].sum == 1
    assert inside[0].is_valid
    assert not inside[0].trace_flags.sampled


class Broken(SpanProcessor, SpanExporter):
    """A processor and an exporter that raise an error in one method."""

    def __init__(self, method: str) -> None:
        def fail(*_: object, **__: object) -> None:
            raise ZeroDivisionError(method)

        setattr(self, method, fail)


@both
@pytest.mark.parametrize("method", ["embed", "embed_stream"])
@pytest.mark.parametrize("broken", ["on_start", "on_end", "export"])
def test_a_failing_processor_does_not_reach_the_caller(
    kind: Kind, method: str, broken: str, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    """The call succeeds, and a log record at the level DEBUG has the error of the processor."""
    processor = Broken(broken)
    recorded.add(SimpleSpanProcessor(processor) if broken == "export" else processor)
    with caplog.at_level(logging.DEBUG, "openrouter_embeddings"):
        Service().run(kind, lambda c: getattr(c, method)(["a", "b"], batch_size=1))
    assert f"ZeroDivisionError: {broken}" in caplog.text
    if broken != "on_start":
        assert recorded.points[TOKENS].sum == 2


def test_a_failing_provider_does_not_reach_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Providers that make no tracers or meters, and an OpenTelemetry that cannot be imported."""

    class Refusing:
        def __getattr__(self, name: str) -> Any:
            raise ZeroDivisionError(name)

    with recording() as recorded:
        use(monkeypatch, recorded.tracers, Refusing())
        assert len(Service().embed("sync", ["a"])) == 1
        assert len(recorded.spans) == 1
        with monkeypatch.context() as patched:
            patched.setattr("opentelemetry.context.attach", Refusing())
            assert len(Service().embed("sync", ["a"])) == 1
    use(monkeypatch, Refusing(), Refusing())
    assert len(Service().embed("sync", ["a"])) == 1
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    monkeypatch.delattr("opentelemetry.trace")
    assert len(Service().embed("sync", ["a"])) == 1


def test_a_provider_may_have_no_hash(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of logfire has none."""
    for provider in (recorded.tracers, recorded.meters):
        monkeypatch.setattr(type(provider), "__hash__", None)
    Service().embed("sync", ["a"])
    assert len(recorded.spans) == 1
    assert recorded.points[TOKENS].count == 1


def test_a_provider_that_is_set_later_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may make calls before the program sets its providers up, or sets others."""
    use(monkeypatch, None, None)
    with httpx.Client(transport=Service().transport()) as http:
        client = ore.Client(KEY, http_client=http, model=MODEL)
        client.embed("a")
        for _ in range(2):
            with recording() as recorded:
                client.embed("a")
            assert len(recorded.spans) == 1
            assert recorded.points[TOKENS].count == 1


@both
@pytest.mark.parametrize("method", ["embed", "embed_stream"])
def test_traceparent_is_sent_only_where_asked(kind: Kind, method: str, recorded: Recorded) -> None:
    """It names the span of the call, for each request of it, and replaces the caller's own."""
    service = Service()
    headers = {"traceparent": "mine", "X-Mine": "yes"}
    asked: Any = {"trace_propagation": True, "headers": headers}
    service.run(kind, lambda c: getattr(c, method)(["a", "b"], batch_size=1))
    service.run(kind, lambda c: getattr(c, method)(["a", "b"], batch_size=1, **asked))
    sent = [request.headers for request in service.requests]
    assert not any(name in sent[n] for n in (0, 1) for name in ("traceparent", "baggage"))
    context = recorded.spans[1].context
    for request in sent[2:]:
        (traceparent,) = request.get_list("traceparent")
        assert traceparent.startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")
    assert sent[2]["X-Mine"] == "yes"
    assert headers == {"traceparent": "mine", "X-Mine": "yes"}


@pytest.mark.parametrize("carried", [{"traceparent": "a\nb"}, {"authorization": "no"}, None])
def test_a_propagator_that_fails_does_not_reach_the_caller(
    carried: Any, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request goes out without a trace context."""

    def inject(carrier: dict[str, str], *_: object) -> None:
        carrier.update(carried)

    monkeypatch.setattr("opentelemetry.propagate.inject", inject)
    service = Service()
    service.embed("sync", ["a"], trace_propagation=True)
    assert "traceparent" not in service.requests[0].headers
    assert service.requests[0].headers["authorization"] == f"Bearer {KEY}"


@both
def test_without_opentelemetry_there_is_no_trace_to_propagate(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option does no harm, but its value is checked."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    service = Service()
    service.embed(kind, ["a"], trace_propagation=True)
    assert "traceparent" not in service.requests[0].headers
    with pytest.raises(ore.InputError, match="trace_propagation: expected True or False, got 1"):
        service.embed(kind, ["a"], trace_propagation=1)


PROGRAM = """
import sys
import openrouter_embeddings as ore
from openrouter_embeddings.testing import Service
with Service().client() as client:
    client.embed(["a", "b"], batch_size=1)
    for part in client.embed_stream(["a"]):
        pass
print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""


def test_opentelemetry_is_not_imported() -> None:
    """A program that does not use it pays nothing for it."""
    done = ended(sys.executable, "-c", PROGRAM)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_the_api_without_an_sdk_changes_nothing() -> None:
    """Another library may have imported the API; nothing is recorded, and metrics stay unloaded."""
    done = ended(sys.executable, "-c", f"import opentelemetry.trace\n{PROGRAM}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "opentelemetry.trace" in done.stdout
    assert "opentelemetry.metrics" not in done.stdout
