"""Part of `make lint`: known vulnerabilities of the locked packages, if pip-audit is online."""

import json
import subprocess
import sys
from typing import Any

from tools import ROOT

LOCKED = ROOT / "requirements" / "dev.txt"
_SECONDS = 60


def report() -> dict[str, Any] | None:
    """The report of pip-audit, or None if it cannot reach the advisories."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCKED), "--disable-pip"]
    command += ["--no-deps", "--format", "json", "--progress-spinner", "off", "--timeout", "5"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return None
    return found


def verdict(found: dict[str, Any] | None) -> tuple[int, list[str]]:
    """The exit status and the lines to print."""
    dependencies = found["dependencies"] if found else []
    asked = [dependency for dependency in dependencies if "vulns" in dependency]
    if not asked:
        return 0, ["audit: skipped, because pip-audit cannot reach the advisories from here"]
    lines = [
        f"audit: {dependency['name']} {dependency['version']}: {vulnerability['id']}, "
        f"fixed in {', '.join(vulnerability['fix_versions']) or 'no version'}"
        for dependency in asked
        for vulnerability in dependency["vulns"]
    ]
    if lines:
        return 1, lines
    return 0, [f"audit: no known vulnerability in {len(asked)} of {len(dependencies)} packages"]


def main() -> int:
    """Print the result; return 1 if a locked package has a known vulnerability."""
    status, lines = verdict(report())
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
