"""The examples of docs/testing.md; tests/compat/mocks has those that need other people's tools."""

import re
import sys
from pathlib import Path

import pytest
from openrouter_embeddings.local.faults import Faults

from tests.compat.mocks.page import PAGE, write_examples
from tests.support import run


def test_the_fixtures_and_tests_of_the_page_pass(tmp_path: Path) -> None:
    """In a folder of their own, without a key."""
    tests = ("test_search.py", "test_named_model.py", "test_faults.py")
    write_examples(tmp_path, "search.py", "conftest.py", *tests)
    assert "4 passed" in run(sys.executable, "-m", "pytest", "-W", "error", cwd=tmp_path)


def test_the_code_without_pytest_prints_what_the_page_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the script of faults loads."""
    write_examples(tmp_path, "without pytest")
    exec(compile((tmp_path / "without").read_text(), "testing.md", "exec"), {})
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (output,) = [text for language, text in blocks if not language]
    (script,) = [text for language, text in blocks if language == "toml"]
    assert capsys.readouterr().out == output
    assert len(Faults.from_toml(script).faults) == 3
