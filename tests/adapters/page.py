"""The code of docs/frameworks.md."""

import re
from typing import Any

import pytest

from tests.compat.loopback import ROOT

PAGE = ROOT / "docs" / "frameworks.md"


def run_section(heading: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the Python blocks of a section in one scope; they print what its plain block shows."""
    section = PAGE.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    scope: dict[str, Any] = {}
    for language, code in blocks:
        if language == "python":
            exec(compile(code, "frameworks.md", "exec"), scope)
    (shown,) = [text for language, text in blocks if not language]
    assert capsys.readouterr().out == shown
