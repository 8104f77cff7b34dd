"""`orembed run` from the command line."""

import io
import json
import shlex
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openrouter_embeddings import cli, jobs
from openrouter_embeddings.cli import _progress
from openrouter_embeddings.local.faults import Fault, Faults
from openrouter_embeddings.testing import Service

from stress import kills
from stress.servers import served
from tests.job_support import vectors
from tests.support import HASH, ended, orembed

TEXTS = ["a", "b", "a", "c", ""]
USAGE = ore.Usage(prompt_tokens=2500, cost=Decimal("0.5"), requests=10, retries=2)
PROGRESS = jobs.Progress("embedding", 1500, 4500, 500, 900, 0, 0, 3, 4, USAGE, 10.0)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A few lines."""
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    return tmp_path / "texts.txt"


def test_a_file_is_embedded_into_a_file(texts: Path, tmp_path: Path) -> None:
    """Standard error has the report; a second run sends nothing."""
    target = tmp_path / "t.npy"
    done = orembed("run", texts, "-o", target, *HASH)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"{target}: 5 rows, vectors of 4 dimensions; 1 duplicates, 0 from the" in done.stderr
    assert f"1 row has no vector: {target}.errors.jsonl" in done.stderr
    assert np.array_equal(np.load(target)[:4], vectors([*"abac"], dimensions=4))
    done = orembed("run", texts, "-o", target, *HASH)
    assert "this run sent no request" in done.stderr


def test_json_output_is_one_object_per_line(texts: Path, tmp_path: Path) -> None:
    """The last one is the report."""
    done = orembed("run", texts, "-o", tmp_path / "t.npy", *HASH, "--json")
    report = json.loads(done.stdout.splitlines()[-1])["report"]
    assert (report["rows"], report["errors"], report["usage"]["requests"]) == (5, 1, 1)
    done = orembed("run", texts, "-o", tmp_path / "u.npy", "--dry-run", "--price", "1", "--json")
    assert json.loads(done.stdout)["estimate"]["duplicates"] == 1


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["-o", "t.txt", "--local"], 2, "name a file that ends in .parquet, .jsonl or .npy"),
        (["-o", "t.npy", "--column", "x", "--local"], 2, "there is no column 'x'"),
        (["-o", "t.npy", "--budget", "much"], 2, "'much' is not an amount of credits"),
        (["-o", "t.npy"], 2, "no API key: set OPENROUTER_API_KEY"),
        (["-o", "t.npy", "--price", "1"], 2, "--price needs --dry-run"),
        (["-o", "t.npy", "--dim", "4"], 2, "orembed run: error: unrecognized arguments: --dim 4\n"),
        (["-o", "t.npy", "--deadline", "4"], 2, "usage: orembed run "),
        (["-o", "t.npy", "--colum=a"], 2, "arguments: --colum=a; did you mean --column?"),
        (["-o", "t.npy", "--local", "--model", "local/status-402"], 3, "Payment Required"),
        (["-o", "t.npy", "--local", "--model", "local/status-401"], 1, "Unauthorized"),
        (["-o", "/proc/t.npy", "--local"], 1, "unable to open database file"),
    ],
)
def test_a_failing_command_says_why(
    texts: Path, arguments: list[str], status: int, words: str
) -> None:
    """Each kind of failure has an exit status, and none prints a traceback."""
    done = orembed("run", texts, *arguments, cwd=texts.parent)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    if status == 3:
        assert "add credits, then run the same command again" in done.stderr


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """What was saved before is there when the disk has room again."""
    source, target = tmp_path / "s.parquet", tmp_path / "t.npy"
    pq.write_table(pa.table({"text": [f"text {n}" for n in range(3000)]}), source)
    code = """
import resource, sys
from openrouter_embeddings.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
sys.exit(main(sys.argv[1:]))
"""
    job = ["run", str(source), "-o", str(target), "--local", "--model", "local/hash"]
    options = ["--dimensions", "64", "--batch-size", "50", "--concurrency", "1", "--json"]
    full = ended(sys.executable, "-c", code, *job, *options)
    assert full.returncode == 1
    assert "everything saved before is safe" in full.stderr
    assert "Traceback" not in full.stderr
    done = orembed(*job, *options)
    report = json.loads(done.stdout.splitlines()[-1])["report"]
    assert (report["embedded"], report["damaged"]) == (3000, 0)
    assert 0 < report["usage"]["requests"] < 60
    assert not np.isnan(np.load(target)).any()


def test_killed_jobs_lose_nothing_and_pay_for_nothing_twice() -> None:
    """Except for requests in flight; `stress.kills` runs this for longer."""
    found = kills.run_killed_jobs(rows=2000, kills=3, seed=1)
    assert (found.kills >= 3, found.differing) == (True, 0)
    assert found.billed_again <= found.in_flight


def test_progress_is_a_bar_or_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bar if the terminal can move its cursor, otherwise a line now and then."""
    assert _progress.line(PROGRESS) == (
        "embedding 1,500 of 4,500 rows: 100 rows/s, 2,500 tokens, 0.5000 of about 2.0000 credits, "
        "3 of 4 in flight, 2 retries, 0 min 30 s to go"
    )
    monkeypatch.setattr(_progress, "LINE_INTERVAL", 0.0)
    with _progress.progress_listener(as_json=False) as listener:
        listener(PROGRESS)
    assert capsys.readouterr().err == _progress.line(PROGRESS) + "\n"

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for kind, is_bar in (("xterm", True), ("dumb", False)):
        monkeypatch.setenv("TERM", kind)
        with _progress.progress_listener(as_json=False) as listener:
            listener(PROGRESS)
        assert "2,500 tokens" in terminal.getvalue()
        assert ("\x1b" in terminal.getvalue()) == is_bar
        terminal.truncate(0)


def test_a_narrow_terminal_breaks_a_line_between_two_details() -> None:
    """It never breaks a detail, such as the remaining time."""
    for width in range(35, 120):
        lines = _progress.wrapped_details(PROGRESS, width).split("\n")
        assert max(map(len, lines)) <= width
        assert ", ".join(line.removesuffix(",") for line in lines) == _progress.details(PROGRESS)


def test_an_estimate_uses_a_price_or_a_sample(texts: Path) -> None:
    """Both give the number of rows, duplicates, tokens and the cost."""
    found = jobs.estimate(texts, price=Decimal(1))
    assert (found.rows, found.duplicates, found.unusable, found.requests) == (5, 1, 1, 1)
    assert (found.tokens, found.cost, found.seconds_range) == (1, Decimal("0.000001"), None)
    service = Service()
    with service.client(model="local/hash") as client:
        found = jobs.estimate(texts, client=client)
        asked = client.embed([*"abc"]).usage
    assert (found.tokens, found.cost) == (asked.prompt_tokens, asked.cost)
    assert found.seconds_range is not None


def test_a_job_is_resumed_over_a_socket(texts: Path, tmp_path: Path) -> None:
    """The base URL and the key come from the environment."""
    target = tmp_path / "t.npy"
    options = ("--model", "local/hash", "--dimensions", 4, "--batch-size", 1, "--concurrency", 1)
    faults = Faults([Fault("status", status=402, requests=[2])])
    with served(faults) as url:
        place: Any = {"OPENROUTER_BASE_URL": url, "OPENROUTER_API_KEY": "local"}
        assert orembed("run", texts, "-o", target, *options, **place).returncode == 3
        assert orembed("run", texts, "-o", target, *options, **place).returncode == 0
    assert [bill.inputs for bill in faults.billed] == [('"a"',), ('"b"',), ('"c"',)]


def test_a_missing_extra_is_named(
    texts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error has the command that installs it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    target = texts.parent / "t.npy"
    assert cli.main(["run", str(texts), "-o", str(target), "--local"]) == 1
    assert 'pip install "openrouter-embeddings[jobs]"' in capsys.readouterr().err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_job_needs_no_standard_streams(texts: Path, tmp_path: Path, closed: str) -> None:
    """The shell may have closed them; messages never go to another file."""
    target = tmp_path / "t.npy"
    command = [sys.executable, "-m", "openrouter_embeddings.cli", "run", texts, "-o", target]
    done = ended("sh", "-c", f"{shlex.join(map(str, [*command, *HASH]))} {closed}")
    assert (done.returncode, done.stdout) == (0, "")
    assert np.load(target).shape == (5, 4)
