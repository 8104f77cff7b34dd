"""The examples of docs/testing.md as files."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "testing.md"


def write_examples(folder: Path, *names: str) -> None:
    """Write the code blocks whose first line is a comment with one of these names."""
    for name in names:
        pattern = rf"^```python\n# {re.escape(name)}\n(.*?)^```$"
        (code,) = re.findall(pattern, PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
        (folder / name.partition(" ")[0]).write_text(code)
