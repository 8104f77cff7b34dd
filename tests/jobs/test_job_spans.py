"""OpenTelemetry: the spans of a job."""

from pathlib import Path
from typing import Any

import openrouter_embeddings as ore
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings.local.faults import Fault
from openrouter_embeddings.testing import Service
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from tests.job_support import TABLE, TEXTS, run, stopped
from tests.tracing import Recorded


def counts(span: Any) -> dict[str, Any]:
    """The counts on the span of a job."""
    prefix = "openrouter.job."
    return {n.removeprefix(prefix): v for n, v in span.attributes.items() if n.startswith(prefix)}


def test_a_job_has_one_span_and_one_for_all_its_requests(
    tmp_path: Path, recorded: Recorded
) -> None:
    """Tokens and cost are on the span of the requests alone, so that sums over spans are right."""
    with recorded.span("mine") as mine:
        report, _ = run(TABLE, tmp_path / "t.npy", column="text", concurrency=4)
    requests, job = recorded.spans
    assert (job.name, job.kind) == ("embed_file local/hash", SpanKind.INTERNAL)
    assert (requests.name, requests.kind) == ("embeddings local/hash", SpanKind.CLIENT)
    assert job.parent.span_id == mine.get_span_context().span_id
    assert requests.parent.span_id == job.context.span_id
    assert counts(job) == {"rows": 100, "embedded": 80, "reused": 0, "refused": 0}
    assert job.attributes["gen_ai.request.model"] == "local/hash"
    assert requests.attributes["openrouter.requests"] == 5
    assert requests.attributes["gen_ai.usage.input_tokens"] == report.usage.prompt_tokens
    assert requests.attributes["openrouter.cost"] == float(report.usage.cost)
    assert not {*job.attributes} & {"gen_ai.usage.input_tokens", "openrouter.cost"}
    assert len(recorded.points) == 2
    assert {point.count for point in recorded.points.values()} == {1}


def test_requests_and_callbacks_of_a_job_run_inside_its_spans(
    tmp_path: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener runs inside the job's span, the requests inside theirs."""
    inside: list[int] = []
    listened: list[int] = []
    service = Service()
    play = service.faults.play

    def noting(*arguments: Any) -> Any:
        inside.append(trace.get_current_span().get_span_context().span_id)
        return play(*arguments)

    monkeypatch.setattr(service.faults, "play", noting)
    run(
        TABLE, tmp_path / "t.npy", service=service, column="text", concurrency=4,
        on_progress=lambda _: listened.append(trace.get_current_span().get_span_context().span_id),
    )  # fmt: skip
    requests, job = recorded.spans
    assert inside == [requests.context.span_id] * 5
    assert {*listened} == {job.context.span_id}
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_job_that_fails_says_so_and_what_it_has(tmp_path: Path, recorded: Recorded) -> None:
    """Both spans have the error; a resumed job counts the vectors of all its runs."""
    stopped(TABLE, tmp_path / "t.npy", at=2, column="text")
    requests, job = recorded.spans
    for span in (requests, job):
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "402"
    assert counts(job) == {"rows": 100, "embedded": 32, "reused": 0, "refused": 0}
    assert requests.attributes["openrouter.requests"] == 2
    run(TABLE, tmp_path / "t.npy", column="text")
    assert counts(recorded.spans[-1])["embedded"] == 80
    assert recorded.spans[-1].status.status_code is StatusCode.UNSET


def test_a_job_without_anything_to_send_has_no_span_of_requests(
    tmp_path: Path, recorded: Recorded
) -> None:
    """A finished job that runs again, and one whose vectors are all in the cache."""
    for name in ("one.npy", "other.npy", "other.npy"):
        run(TABLE, tmp_path / name, column="text", cache=tmp_path / "cache")
    assert [span.name.split()[0] for span in recorded.spans] == [
        "embeddings", "embed_file", "embed_file", "embed_file",
    ]  # fmt: skip
    assert counts(recorded.spans[2])["reused"] == 80


def test_an_interrupted_job_ends_its_spans(tmp_path: Path, recorded: Recorded) -> None:
    """Ctrl-C after the last request: the job has failed, its requests have not."""

    def interrupt(progress: jobs.Progress) -> None:
        if progress.stage == "writing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(TABLE, tmp_path / "t.npy", column="text", on_progress=interrupt)
    requests, job = recorded.spans
    assert requests.status.status_code is StatusCode.UNSET
    assert job.attributes["error.type"] == "KeyboardInterrupt"


def test_no_span_of_a_job_has_a_text_or_a_path(tmp_path: Path, recorded: Recorded) -> None:
    """A refused input is counted, not quoted."""
    fault = Fault("status", status=400, requests=[0])
    with pytest.raises(ore.EmbeddingsError):
        run(TABLE, tmp_path / "t.npy", fault, Fault("status", status=402), column="text")
    exported = recorded.everything()
    assert "embed_file" in exported
    for hidden in (*TEXTS[:3], str(tmp_path), "t.npy"):
        assert hidden not in exported
