"""What `make lint` makes of pip-audit's answers."""

from typing import Any

import pytest

from tools.audit import verdict

CLEAN = {"name": "httpx", "version": "0.28.1", "vulns": []}
UNKNOWN = {"name": "ours", "skip_reason": "Dependency not found on PyPI"}
BAD = {
    "name": "old",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["1.1"], "aliases": [], "description": ""}],
}


@pytest.mark.parametrize(
    ("dependencies", "status", "line"),
    [
        ([BAD, CLEAN], 1, "audit: old 1.0: PYSEC-2026-1, mended in 1.1"),
        ([CLEAN, UNKNOWN], 0, "audit: nothing is known against 1 of 2 packages"),
        ([UNKNOWN], 0, "audit: skipped, the advisories cannot be reached from here"),
    ],
)
def test_a_vulnerability_fails_and_silence_is_said(
    dependencies: list[dict[str, Any]], status: int, line: str
) -> None:
    """Whoever cannot be asked has not said that all is well."""
    assert verdict({"dependencies": dependencies}) == (status, [line])


def test_no_answer_at_all_is_said() -> None:
    """The service could not be reached, or said something else."""
    assert verdict(None)[0] == 0
    assert "skipped" in verdict(None)[1][0]
