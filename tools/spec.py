"""`make spec FROM=…`: replace openapi.yaml with a new edition of the specification.

`make spec-diff FROM=…` only lists what would change. FROM is a documentation page, the whole
document as YAML or JSON, a folder with one of them, a URL, or - for standard input. Without FROM,
the publisher's page is downloaded.
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
    """Read the edition at `origin`; return its name and the edition. Raises SpecError."""
    source = read_source(origin)
    return source.name, parse_edition(source.data, read_config(CONFIG).operations, source.name)


def with_origin(origin: str, error: Exception) -> str:
    """Format an error with the origin in front, unless another file is at fault."""
    where = "standard input" if origin == "-" else origin
    is_named = not isinstance(error, SpecError) or error.file or str(error).startswith(where)
    return str(error) if is_named else f"{where}: {error}"


def current_edition() -> Edition:
    """Read the edition in this repository. Raises SpecError."""
    try:
        return parse_edition(SPEC.read_bytes())
    except SpecError as error:
        error.file = SPEC.name
        error.remedy = f"git checkout {SPEC.name}"
        raise


def atomic_write(text: bytes, target: Path) -> None:
    """Replace a file in one step; an interruption leaves the old or the new one."""
    new = target.with_name(target.name + ".new")
    try:
        new.write_bytes(text)
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)


def diff(old: Edition, new: Edition) -> list[Change]:
    """List what changes for programs from `old` to `new`."""
    return compare(*(Side(each.contract, is_old_format(each.document)) for each in (old, new)))


def main(arguments: list[str]) -> int:
    """Replace openapi.yaml, or list the changes; return 0 on success."""
    parser = argparse.ArgumentParser(prog="make spec", description=__doc__)
    parser.add_argument("origin", nargs="?", default="")
    parser.add_argument("--diff", action="store_true")
    args = parser.parse_args(arguments)
    try:
        name, new = fetch_edition(args.origin)
        old = current_edition()
        summary = summarize(diff(old, new))
        changed = not args.diff and new.text != old.text
        if changed:
            atomic_write(new.text, SPEC)
    except (SpecError, OSError) as error:
        print(f"spec: {with_origin(args.origin, error)}", file=sys.stderr)
        print(f"spec: {SPEC.name} is unchanged", file=sys.stderr)
        return 1
    if new.omitted:
        print(f"spec: {name}: {new.omitted}")
    if args.diff:
        print(summary)
    elif not changed:
        print(f"spec: {SPEC.name} is already this edition")
    else:
        print(f"spec: {SPEC.name} replaced\n\n{summary}\n")
        print(
            "Next: run make generate, then make check typecheck test (make update does all of it)"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
