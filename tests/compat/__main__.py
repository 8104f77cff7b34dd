"""Tries the package with other people's tools: `make compat`, or `make compat ONLY=mocks`.

Each folder of `tests/compat/` has an environment of its own in `.venv/compat/`, with the tools as
their users install them. All together write the table of docs/compatibility.md; `--only` writes
nothing.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support import ROOT

PAGE = ROOT / "docs" / "compatibility.md"
START, END = "<!-- written by make compat -->\n", "<!-- end -->\n"
CELLS = {True: "works", False: "**fails**", None: "–"}


def run(name: str, rows: Path) -> bool:
    """Run the tests of one environment, which write their results; True if all have passed."""
    python = ROOT / ".venv" / "compat" / name / "bin" / "python"
    tests = sorted((ROOT / "tests" / "compat" / name).glob("with_*.py"))
    command: list[str | Path] = [
        python,
        "-m",
        "pytest",
        "--confcutdir",
        "tests/compat",
        "--rows",
        rows,
        *tests,
    ]
    path = os.pathsep.join(str(ROOT / folder) for folder in (".", "wrapper", "generated"))
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = ["| tool or place | `Client` | `AsyncClient` | how |", "|---|---|---|---|"]
    for row in rows:
        cells = (row["name"], *(CELLS[row.get(client)] for client in ("sync", "async")), row["how"])
        lines.append(f"| {' | '.join(cells)} |")
    return "".join(f"{line}\n" for line in lines)


def main(arguments: list[str]) -> int:
    """Run the environments named. Write the page if all have passed, unless `--only` is given."""
    names = [name for name in arguments if name != "--only"]
    rows: list[dict[str, Any]] = []
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            print(f"{name}:", flush=True)
            results = Path(folder, f"{name}.json")
            if not run(name, results):
                failed.append(name)
            rows += json.loads(results.read_text()) if results.exists() else []
    print(table(rows), end="")
    if failed:
        print(f"failed: {', '.join(failed)}")
        return 1
    if "--only" not in arguments:
        before, _, rest = PAGE.read_text().partition(START)
        PAGE.write_text(f"{before}{START}{table(rows)}{END}{rest.partition(END)[2]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
