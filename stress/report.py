"""Where the results go: the terminal and docs/reliability.md."""

from pathlib import Path

from benchmarks.pages import fill

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"


def record(section: str, text: str, *, passed: bool = True) -> int:
    """Print results, and write them into their section of the page if the test passed.

    Returns the exit status.
    """
    print(text)
    if passed:
        fill(PAGE, f"<!-- begin {section} -->", f"<!-- end {section} -->", f"{text}\n")
    return 0 if passed else 1
