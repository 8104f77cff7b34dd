"""`make spec FROM=…`: take a new edition of the specification, or leave everything as it was.

`make spec-diff FROM=…` only says what would change.
"""

import argparse
import sys
from pathlib import Path

from tools import contract
from tools.changes import account, compare
from tools.documents import SPEC, Json, SpecError, extract, load, validate
from tools.rules import apply


def read(source: bytes) -> tuple[bytes, dict[str, Json]]:
    """The document in a page, byte for byte, and the contract that it means. Raises SpecError."""
    text, lines_before = extract(source)
    try:
        document = load(text, lines_before)
        validate(document)
        return text, apply(document, contract.RULES, lambda _: None)
    except SpecError:
        raise
    except Exception as error:  # noqa: BLE001 - a document can be odd in more ways than we know
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise SpecError(f"not a usable OpenAPI document: {reason}") from None


def take(source: bytes, target: Path) -> bool:
    """Put the document found in `source` at `target`; False when it already was there.

    Nothing is written unless the document is sound.
    """
    text, _ = read(source)
    if target.exists() and target.read_bytes() == text:
        return False
    beside = target.with_suffix(".yaml.new")
    beside.write_bytes(text)
    beside.replace(target)
    return True


def differences(source: bytes, target: Path) -> str:
    """What changes for programs when the document in `source` replaces the one at `target`."""
    return account(compare(read(target.read_bytes())[1], read(source)[1]))


def main(arguments: list[str]) -> int:
    """Read the origin (a file, or - for standard input); 0 when all is well."""
    parser = argparse.ArgumentParser(prog="make spec", description=__doc__)
    parser.add_argument("origin")
    parser.add_argument("--diff", action="store_true")
    given = parser.parse_args(arguments)
    try:
        source = _bytes(given.origin)
        changes = differences(source, SPEC)
        changed = not given.diff and take(source, SPEC)
    except (SpecError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        if given.origin.startswith(("http://", "https://")):
            reason = "nothing is downloaded here; save the page and name the file"
        print(f"spec: {SPEC.name} stays as it is: {given.origin}: {reason}", file=sys.stderr)
        return 1
    if given.diff:
        print(changes)
    elif changed:
        print(f"spec: {SPEC.name} replaced\n\n{changes}\n")
        print("Next: make generate, then make check typecheck test")
    else:
        print(f"spec: {SPEC.name} already is this edition")
    return 0


def _bytes(origin: str) -> bytes:
    return sys.stdin.buffer.read() if origin == "-" else Path(origin).read_bytes()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
