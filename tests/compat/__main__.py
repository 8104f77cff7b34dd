"""Tries the package with other people's tools: `make compat`, or `make compat ONLY=mocks`.

Each folder of `tests/compat/` has an environment of its own in `.venv/compat/`, with the tools as
their users install them. All together write the table of docs/compatibility.md; `--only` writes
nothing.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.environments import ROOT, run

PAGE = ROOT / "docs" / "compatibility.md"
START, END = "<!-- written by make compat -->\n", "<!-- end -->\n"
CELLS = {True: "works", False: "**fails**", None: "–"}


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
            tests = sorted((ROOT / "tests" / "compat" / name).glob("with_*.py"))
            if not run(f"compat/{name}", "--rows", results, *tests):
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
