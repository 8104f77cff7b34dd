"""`make docs`: write the --help texts of `orembed` into docs/cli.md."""

import os
import subprocess
import sys

from tools import ROOT

PAGE = ROOT / "docs" / "cli.md"
COMMANDS = ((), ("embed",), ("run",), ("search",), ("info",), ("map",), ("serve",))


def page() -> str:
    """The text of docs/cli.md."""
    sections = ["# `orembed`\n\nWritten by `make docs` from the command itself.\n"]
    for words in COMMANDS:
        done = subprocess.run(
            [sys.executable, "-m", "openrouter_embeddings.cli", *words, "--help"],
            env={**os.environ, "COLUMNS": "100"},  # argparse wraps at the terminal's width
            capture_output=True,
            text=True,
            check=True,
        )
        command = " ".join(("orembed", *words))
        sections.append(f"## `{command} --help`\n\n```text\n{done.stdout}```\n")
    return "\n".join(sections)


if __name__ == "__main__":
    PAGE.write_text(page())
