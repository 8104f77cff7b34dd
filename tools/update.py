"""`make update FROM=…`: take a new edition, generate, check, and say in one page what it means.

Without FROM, the publisher's page is downloaded. The page can go to a file, for a pull request.

Exit status: 0 when nothing needs a person; 1 when something does, and the page says what: the new
edition is in place to work on; 2 when the run stopped, and everything is as it was.
"""

import argparse
import sys
from contextlib import suppress
from pathlib import Path

from tools.editions import Edition
from tools.generate import CONFIG, PACKAGE, atomic_replace, differences, generate, read_config
from tools.openapi import SPEC, SpecError, one_line
from tools.spec import UNDO, current, fetch_edition, with_origin, write

NOT_EXAMINED = (
    "**The edition is in place, and a person is needed:** what it means for callers and for the "
    "wrapper could not be found out. Mend tools/diff/ or tools/drift/, or take the edition "
    f"back: `{UNDO}`."
)


def take(edition: Edition) -> int:
    """Put the edition and its client in place, both or neither; how many files differ."""
    with atomic_replace(PACKAGE, then=lambda: write(edition.text, SPEC)) as fresh:
        generate(edition, read_config(CONFIG), fresh, say=lambda _: None)
        found = differences(PACKAGE, fresh)
    return len(found)


def main(arguments: list[str]) -> int:
    """Update, and print the page."""
    parser = argparse.ArgumentParser(prog="make update", description=__doc__)
    parser.add_argument("origin", nargs="?", default="")
    parser.add_argument("--report", type=Path)
    args = parser.parse_args(arguments)
    try:
        _check_writable(args.report)
        old = current()
        name, new = fetch_edition(args.origin)
        files = take(new)
    except (SpecError, OSError) as error:
        said = f"{with_origin(args.origin, error)}\nEverything is as it was."
        print(f"update: {said}", file=sys.stderr)
        with suppress(OSError):
            _write(args.report, f"# The specification could not be taken\n\n{said}\n")
        return 2
    try:
        # not before: the wrapper, which it examines, imports the client that is new now
        from tools.report import examine, page  # noqa: PLC0415

        outcome = examine(name, old, new, files)
        said, needs = page(outcome), outcome.needs()
    except Exception as error:  # noqa: BLE001 - what is new to us may be more than tools/ can take
        reason = f"{type(error).__name__}: {one_line(str(error))}"
        said, needs = f"# The specification from {name}\n\n{NOT_EXAMINED}\n\n`{reason}`\n", 1
    print(said, end="")
    _write(args.report, said)
    return 1 if needs else 0


def _check_writable(report: Path | None) -> None:
    """Find out before anything is done."""
    try:
        if report:
            report.open("a").close()
    except OSError as error:
        raise SpecError(
            f"the report cannot be written to {report}: {error.strerror}",
            remedy="name a file in a folder that exists",
        ) from None


def _write(report: Path | None, text: str) -> None:
    if report:
        report.write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
