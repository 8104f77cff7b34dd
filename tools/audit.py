"""Part of `make lint`: known vulnerabilities in what is locked, as far as anybody can be asked."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tools import ROOT

LOCKED = ROOT / "requirements" / "dev.txt"
_SECONDS = 60


def report() -> dict[str, Any] | None:
    """What pip-audit says; None where the advisories cannot be reached."""
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
    """Exit status, and lines to print."""
    dependencies = found["dependencies"] if found else []
    asked = [dependency for dependency in dependencies if "vulns" in dependency]
    if not asked:
        return 0, ["audit: skipped, the advisories cannot be reached from here"]
    lines = [
        f"audit: {dependency['name']} {dependency['version']}: {vulnerability['id']}, "
        f"mended in {', '.join(vulnerability['fix_versions']) or 'no version'}"
        for dependency in asked
        for vulnerability in dependency["vulns"]
    ]
    if lines:
        return 1, lines
    return 0, [f"audit: nothing is known against {len(asked)} of {len(dependencies)} packages"]


def main() -> int:
    """0 when nothing is known, or nobody can be asked."""
    status, lines = verdict(report())
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
