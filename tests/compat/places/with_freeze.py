"""A process that is frozen between two events, or during one, as functions on AWS Lambda are."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.compat.loopback import Service, vector
from tests.compat.programs import wait_until, write
from tests.compat.rows import Row

ROW = Row(
    "AWS Lambda: frozen, then continued", "`deadline` from the context; tried with SIGSTOP", ""
)
both = pytest.mark.parametrize(
    "kind",
    [pytest.param("sync", marks=ROW.sync), pytest.param("async", marks=ROW.asynchronous)],
)
# calls the handler for each line, as the runtime of the platform does
RUNTIME = """
import json, sys
from types import SimpleNamespace
import lambda_function

context = SimpleNamespace(get_remaining_time_in_millis=lambda: 1000 * float(sys.argv[1]))
for line in sys.stdin:
    try:
        print(json.dumps(lambda_function.handler(json.loads(line), context)), flush=True)
    except Exception as error:
        unanswered = error.usage and error.usage.unanswered
        print(json.dumps([type(error).__name__, unanswered]), flush=True)
"""
ASYNC = """
import asyncio
loop = asyncio.new_event_loop()
asynchronous = ore.AsyncClient(model="m", timeout=client._defaults["timeout"])

def handler(event, context):
    deadline = max(0.1, context.get_remaining_time_in_millis() / 1000 - 2)
    result = loop.run_until_complete(asynchronous.embed(event["texts"], deadline=deadline))
    return result.vectors.tolist()
"""


class Function:
    """The handler of the page, in a process that can be frozen."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._events, self._answers = process.stdin, process.stdout

    def send(self, *texts: str) -> None:
        """Send an event."""
        print(json.dumps({"texts": texts}), file=self._events, flush=True)

    def answer(self) -> Any:
        """Wait for its answer."""
        return json.loads(self._answers.readline())

    def freeze(self) -> None:
        """Stop the process; returns when it has stopped."""
        self.process.send_signal(signal.SIGSTOP)
        status = Path(f"/proc/{self.process.pid}/stat")
        wait_until(lambda: status.read_text().rpartition(")")[2].split()[0] == "T", self.process)

    def thaw(self) -> None:
        """Let it continue."""
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def function(
    kind: str, service: Service, folder: Path, *, timeout: float, limit: float = 900
) -> Iterator[Function]:
    """A function whose attempts take `timeout` seconds at most, and its calls `limit`."""
    write(folder, "AWS Lambda", ASYNC if kind == "async" else "")
    module = folder / "lambda_function.py"
    settings = f"timeout={timeout}, max_retries=1)"
    code = module.read_text().replace('embedding-3-small")', f'embedding-3-small", {settings}', 1)
    module.write_text(code)
    (folder / "runtime.py").write_text(RUNTIME)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "runtime.py", str(limit)],
        cwd=folder, env=service.environment, stdin=pipe, stdout=pipe, text=True,
    ) as process:  # fmt: skip
        try:
            yield Function(process)
        finally:
            process.kill()


@both
@pytest.mark.parametrize("reset", [True, False])
def test_the_first_request_after_the_thaw_is_sent_once(
    kind: str, service: Service, tmp_path: Path, *, reset: bool
) -> None:
    """The service has closed the idle connection, or reset it, while the process was frozen."""
    with function(kind, service, tmp_path, timeout=30) as handler:
        for number in range(3):
            handler.send(f"event {number}")
            assert handler.answer() == [vector(f"event {number}")]
            handler.freeze()
            service.close_idle(reset=reset)
            handler.thaw()
    assert service.arrived == {f"event {number}": 1 for number in range(3)}
    assert service.opened == 3


@both
def test_a_response_that_came_during_the_freeze_is_used(
    kind: str, service: Service, tmp_path: Path
) -> None:
    """Its timeout and the deadline are over by then, but it is paid for."""
    service.models["a"] = "held"
    with function(kind, service, tmp_path, timeout=2, limit=4) as handler:
        handler.send("a")
        service.wait_for(lambda: service.arrived["a"])
        handler.freeze()
        frozen_at = time.monotonic()
        service.release()
        service.wait_for(lambda: [*service.open.values()] == [True])
        wait_until(lambda: time.monotonic() > frozen_at + 4, handler.process)
        handler.thaw()
        assert handler.answer() == [vector("a")]
    assert service.arrived == {"a": 1}


@both
def test_a_request_that_was_lost_in_the_freeze_is_sent_again_within_the_deadline(
    kind: str, service: Service, tmp_path: Path
) -> None:
    """The service has hung up without an answer."""
    service.models["a"] = "dropped once"
    with function(kind, service, tmp_path, timeout=30) as handler:
        handler.send("a")
        service.wait_for(lambda: service.arrived["a"])
        handler.freeze()
        service.release()
        service.wait_for(lambda: not service.open)
        handler.thaw()
        assert handler.answer() == [vector("a")]
    assert service.arrived == {"a": 2}


@both
def test_a_deadline_that_passes_in_the_freeze_ends_the_call(
    kind: str, service: Service, tmp_path: Path
) -> None:
    """The error says that a request may have been billed."""
    service.models["a"] = "held"
    with function(kind, service, tmp_path, timeout=30, limit=4) as handler:
        handler.send("a")
        service.wait_for(lambda: service.arrived["a"])
        handler.freeze()
        frozen_at = time.monotonic()
        wait_until(lambda: time.monotonic() > frozen_at + 3, handler.process)
        handler.thaw()
        name, unanswered = handler.answer()
    assert name in ("APITimeoutError", "DeadlineExceededError")
    assert unanswered == 1
    assert service.arrived == {"a": 1}
