"""`make lint` turns pip-audit's report into lines and an exit status."""

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
        ([BAD, CLEAN], 1, "audit: old 1.0: PYSEC-2026-1, fixed in 1.1"),
        ([CLEAN, UNKNOWN], 0, "audit: no known vulnerability in 1 of 2 packages"),
        ([UNKNOWN], 0, "audit: skipped, because pip-audit cannot reach the advisories from here"),
    ],
)
def test_a_vulnerability_fails_and_missing_advisories_are_reported(
    dependencies: list[dict[str, Any]], status: int, line: str
) -> None:
    """Only a known vulnerability fails; packages without advisories are counted or reported."""
    assert verdict({"dependencies": dependencies}) == (status, [line])


def test_a_missing_report_is_reported_as_skipped() -> None:
    """Without a report, `make lint` says that the audit was skipped."""
    assert verdict(None)[0] == 0
    assert "skipped" in verdict(None)[1][0]
