"""The code of the pages that `make adapters` runs."""

import re
from typing import Any

import pytest

from tests.adapters.passages import ANSWERS
from tests.compat.loopback import ROOT

QUESTION = next(iter(ANSWERS))  # that of the code in stores.md and recipes.md


def sections(page: str) -> dict[str, list[tuple[str, str]]]:
    """The language and the text of each block of the sections that have Python code."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    found = {}
    for section in text.split("\n## ")[1:]:
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
        if any(language == "python" for language, _ in blocks):
            found[section.partition("\n")[0]] = blocks
    return found


def run_section(heading: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the Python blocks of a section in one scope; they print what its plain block shows."""
    run_code("frameworks.md", heading, {})
    (shown,) = [text for language, text in sections("frameworks.md")[heading] if not language]
    assert capsys.readouterr().out == shown


def run_code(page: str, heading: str, scope: dict[str, Any], question: str = QUESTION) -> int:
    """Run the Python blocks of a section, with another question; returns how many there are."""
    code = [text for language, text in sections(page)[heading] if language == "python"]
    for text in code:
        exec(compile(text.replace(QUESTION, question), page, "exec"), scope)
    return len(code)
