"""`make update FROM=…`: take a new edition, generate the client, check it, and print a report.

Without FROM, the publisher's page is downloaded. `--report` writes the report to a file as well.

Exit status: 0 if no manual work is needed; 1 if the report lists manual work (the new edition is
in place); 2 if the update failed and nothing was changed.
"""

import argparse
import sys
from contextlib import suppress
from pathlib import Path

from tools.editions import Edition
from tools.generate import CONFIG, PACKAGE, atomic_replace, changed_files, generate, read_config
from tools.openapi import SPEC, SpecError, one_line
from tools.spec import UNDO, atomic_write, current_edition, fetch_edition, with_origin

REPORT_FAILED = (
    "**The edition is in place, but the report failed:** it is unknown what changes for callers "
    f"and for the wrapper. Fix tools/diff/ or tools/drift/, or undo the update: `{UNDO}`."
)


def install(edition: Edition) -> int:
    """Replace openapi.yaml and generated/, both or neither; return how many files changed."""
    with atomic_replace(PACKAGE, then=lambda: atomic_write(edition.text, SPEC)) as fresh:
        generate(edition, read_config(CONFIG), fresh, say=lambda _: None)
        found = changed_files(PACKAGE, fresh)
    return len(found)


def main(arguments: list[str]) -> int:
    """Update, and print the report."""
    parser = argparse.ArgumentParser(prog="make update", description=__doc__)
    parser.add_argument("origin", nargs="?", default="")
    parser.add_argument("--report", type=Path)
    args = parser.parse_args(arguments)
    try:
        _check_writable(args.report)
        old = current_edition()
        name, new = fetch_edition(args.origin)
        files = install(new)
    except (SpecError, OSError) as error:
        message = f"{with_origin(args.origin, error)}\nNothing was changed."
        print(f"update: {message}", file=sys.stderr)
        with suppress(OSError):
            _write(args.report, f"# The specification could not be updated\n\n{message}\n")
        return 2
    try:
        # imported late: it imports the wrapper, which must import the new client
        from tools.report import build_report, render  # noqa: PLC0415

        report = build_report(name, old, new, files)
        text, open_items = render(report), report.open_items()
    except Exception as error:  # noqa: BLE001 - a new edition may break the tools in any way
        reason = f"{type(error).__name__}: {one_line(str(error))}"
        text, open_items = f"# The specification from {name}\n\n{REPORT_FAILED}\n\n`{reason}`\n", 1
    print(text, end="")
    _write(args.report, text)
    return 1 if open_items else 0


def _check_writable(report: Path | None) -> None:
    """Fail before anything is changed."""
    try:
        if report:
            report.open("a").close()
    except OSError as error:
        raise SpecError(
            f"the report cannot be written to {report}: {error.strerror}",
            remedy="pass a file in an existing folder",
        ) from None


def _write(report: Path | None, text: str) -> None:
    if report:
        report.write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
