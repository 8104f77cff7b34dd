"""examples/quickstart.py, in an environment with only what `make demo` installs."""

import re
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, ended, run

QUICKSTART = ROOT / "examples" / "quickstart.py"


@pytest.fixture(scope="module")
def output(bare_python: Path) -> str:
    """The output of the example, through a pipe."""
    return run(bare_python, "-I", QUICKSTART)


@pytest.mark.parametrize(
    ("question", "module"),
    [
        ("read a zip archive", "zipfile"),
        ("which weekday was a date", "calendar"),
        ("compare two texts line by line", "difflib"),
        ("guess the type of a file from its name", "mimetypes"),
    ],
)
def test_the_right_module_is_found(output: str, question: str, module: str) -> None:
    """The module that answers the question ranks first."""
    assert re.search(rf"^  {question}\s+{module} 0\.\d\d,", output, re.MULTILINE)


def test_the_crop_is_found(output: str) -> None:
    """The photograph it came from ranks first of six."""
    assert "The crop of cat.jpg is closest to cat.jpg." in output


def test_the_output_ends_with_the_usage_and_the_next_step(output: str) -> None:
    """It prints tokens, requests, cost, throughput and how to use the service, without colours."""
    assert re.search(
        r"\d+ tokens in [78] requests, cost 0\.000\d+ credits .*; \d+ documents/s", output
    )
    assert "--remote" in output.splitlines()[-1]
    assert "\x1b" not in output


def test_remote_without_a_key_is_an_error() -> None:
    """The example exits with 1 and a sentence."""
    done = ended(sys.executable, QUICKSTART, "--remote")
    assert done.returncode == 1
    assert done.stderr.startswith("quickstart: no API key")
