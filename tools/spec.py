"""`make spec FROM=…`: take a new edition of the specification, or leave everything as it was.

`make spec-diff FROM=…` only says what would change. FROM is a documentation page, the whole
document as YAML or JSON, a folder with one of them, an address, or - for standard input. Without
FROM, the publisher's page is downloaded.
"""

import argparse
import sys
from pathlib import Path

from tools.diff.contracts import Side, compare, is_old_format, summarize
from tools.diff.schemas import Change
from tools.editions import Edition, parse_edition
from tools.fetch import read_source
from tools.generate import CONFIG, read_config
from tools.openapi import SPEC, SpecError

UNDO = "git checkout openapi.yaml generated && git clean -fdq generated"


def fetch_edition(origin: str) -> tuple[str, Edition]:
    """The edition at `origin`, and what to call its source. Raises SpecError."""
    source = read_source(origin)
    return source.name, parse_edition(source.data, read_config(CONFIG).operations, source.name)


def with_origin(origin: str, error: Exception) -> str:
    """An error with the name of what was given, unless it is about something else."""
    where = "standard input" if origin == "-" else origin
    elsewhere = not isinstance(error, SpecError) or error.file or str(error).startswith(where)
    return str(error) if elsewhere else f"{where}: {error}"


def current() -> Edition:
    """The edition that this repository has. Raises SpecError."""
    try:
        return parse_edition(SPEC.read_bytes())
    except SpecError as error:
        error.file = SPEC.name
        error.remedy = f"git checkout {SPEC.name}"
        raise


def write(text: bytes, target: Path) -> None:
    """Replace a file in one step, so that no reader and no interruption sees half of it."""
    beside = target.with_name(target.name + ".new")
    try:
        beside.write_bytes(text)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def differ(old: Edition, new: Edition) -> list[Change]:
    """What changes for programs when `new` takes the place of `old`."""
    return compare(*(Side(each.contract, is_old_format(each.document)) for each in (old, new)))


def main(arguments: list[str]) -> int:
    """Take an edition, or say what it would change; 0 when all is well."""
    parser = argparse.ArgumentParser(prog="make spec", description=__doc__)
    parser.add_argument("origin", nargs="?", default="")
    parser.add_argument("--diff", action="store_true")
    given = parser.parse_args(arguments)
    try:
        name, new = fetch_edition(given.origin)
        old = current()
        said = summarize(differ(old, new))
        changed = not given.diff and new.text != old.text
        if changed:
            write(new.text, SPEC)
    except (SpecError, OSError) as error:
        print(f"spec: {with_origin(given.origin, error)}", file=sys.stderr)
        print(f"spec: {SPEC.name} stays as it was", file=sys.stderr)
        return 1
    if new.omitted:
        print(f"spec: {name}: {new.omitted}")
    if given.diff:
        print(said)
    elif not changed:
        print(f"spec: {SPEC.name} already is this edition")
    else:
        print(f"spec: {SPEC.name} replaced\n\n{said}\n")
        print("Next: make generate, then make check typecheck test; make update does all of it")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
