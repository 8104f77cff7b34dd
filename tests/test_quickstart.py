"""`make demo` does what it says, in an environment that holds no more than it installs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import run

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "examples" / "quickstart.py"


@pytest.fixture(scope="module")
def said(bare_python: Path) -> str:
    """What it prints, piped."""
    return run(bare_python, "-I", QUICKSTART, cwd=ROOT)


@pytest.mark.parametrize(
    ("question", "module"),
    [
        ("read a zip archive", "zipfile"),
        ("which weekday was a date", "calendar"),
        ("compare two texts line by line", "difflib"),
        ("guess the type of a file from its name", "mimetypes"),
    ],
)
def test_the_right_module_is_found(said: str, question: str, module: str) -> None:
    """First in the ranking for the question."""
    assert re.search(rf"^  {question}\s+{module} 0\.\d\d,", said, re.MULTILINE)


def test_the_crop_is_found(said: str) -> None:
    """Among six photographs."""
    assert "The crop of cat.jpg is closest to cat.jpg." in said


def test_it_says_what_it_took_and_what_comes_next(said: str) -> None:
    """Tokens, requests, cost, throughput, and how to use the service."""
    assert re.search(
        r"\d+ tokens in [67] requests, cost 0\.000\d+ credits .*; \d+ documents/s", said
    )
    assert "--remote" in said.splitlines()[-1]
    assert "\x1b" not in said


def test_without_a_key_the_service_is_not_tried() -> None:
    """A sentence, and a status."""
    command = [sys.executable, str(QUICKSTART), "--remote"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("quickstart: no API key")
