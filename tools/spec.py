"""`make spec FROM=…`: take a new edition of the specification, or leave everything as it was."""

import sys
from pathlib import Path

from tools.documents import SPEC, SpecError, extract, load, validate


def take(source: bytes, target: Path) -> bool:
    """Put the document found in `source` at `target`; False when it already was there.

    Nothing is written unless the document is sound.
    """
    text, lines_before = extract(source)
    try:
        validate(load(text, lines_before))
    except SpecError:
        raise
    except Exception as error:  # noqa: BLE001 - a document can be odd in more ways than are checked
        reason = " ".join(str(error).split())[:200]
        raise SpecError(
            f"not a usable OpenAPI document: {type(error).__name__}: {reason}"
        ) from None
    if target.exists() and target.read_bytes() == text:
        return False
    beside = target.with_suffix(".yaml.new")
    beside.write_bytes(text)
    beside.replace(target)
    return True


def main(origin: str) -> int:
    """Read `origin` (a file, or - for standard input); 0 when it is the specification now."""
    try:
        source = sys.stdin.buffer.read() if origin == "-" else Path(origin).read_bytes()
        changed = take(source, SPEC)
    except (SpecError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        print(f"spec: {SPEC.name} is unchanged: {origin}: {reason}", file=sys.stderr)
        return 1
    if changed:
        print(f"spec: {SPEC.name} replaced. Next: make generate, then make test")
    else:
        print(f"spec: {SPEC.name} already is this edition")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
