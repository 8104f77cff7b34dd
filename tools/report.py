"""The report of `make update`: what changed for callers, and what is left to do in the wrapper."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tools import ROOT
from tools.diff.contracts import ADVICE, summarize
from tools.diff.schemas import Change
from tools.drift.finding import Finding
from tools.drift.gaps import Drift, check_gaps, findings, findings_for, is_handled, read_accepted
from tools.editions import Edition
from tools.openapi import pluralize
from tools.spec import UNDO, diff

_MAX_LINES = 20  # lines of a failed check
COMMANDS = {
    "generated/ matches openapi.yaml": ["tools.generate", "--check"],
    "the wrapper's types fit the new client": [
        *("mypy", "--no-error-summary", "-p", "openrouter_embeddings"),
        *("-p", "openrouter_embeddings_api"),
    ],
}


@dataclass(frozen=True)
class UpdateReport:
    """The contents of the report on an edition that is in place.

    Attributes:
        name: its origin.
        omitted: what was left out of a whole document.
        files: how many files of generated/ changed.
        changes: what changed for callers.
        findings: everything in the contract, and whether the wrapper offers it.
        drift: the gaps that need work, and the accepted ones.
        checks: the output of each check that failed; nothing for one that passed.
    """

    name: str
    omitted: str
    files: int
    changes: list[Change]
    findings: list[Finding]
    drift: Drift
    checks: dict[str, list[str]]

    def unhandled_breaks(self) -> list[Change]:
        """List the breaking changes that the wrapper does not handle yet."""
        return [c for c in self.changes if c.breaks and not is_handled(c, self.findings)]

    def open_items(self) -> int:
        """Count the places and failed checks that need work, each place once."""
        places = {(change.group, change.place) for change in self.unhandled_breaks()}
        places |= {(gap.group, gap.place) for gap in self.drift.open}
        return len(places) + len(self.drift.obsolete) + sum(map(bool, self.checks.values()))


def build_report(name: str, old: Edition, new: Edition, files: int) -> UpdateReport:
    """Compare the wrapper, running on the new client, with the new edition."""
    found = findings(new.contract)
    checks = {check: _run(*command) for check, command in COMMANDS.items()}
    drift = check_gaps(found, read_accepted())
    return UpdateReport(name, new.omitted, files, diff(old, new), found, drift, checks)


def _run(*module: str) -> list[str]:
    """Run a module in the project root; return its output if it fails."""
    paths = [str(ROOT / "wrapper"), str(ROOT / "generated")]
    done = subprocess.run(
        [sys.executable, "-m", *module],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines if done.returncode else []


def render(report: UpdateReport) -> str:
    """Format the report as Markdown."""
    sections = [
        f"# The specification from {report.name}",
        " ".join(_summary(report)),
        "## What changed for callers",
        f"```\n{summarize(report.changes, advise=False)}\n```",
        *_section("Already supported by the wrapper", _offered(report)),
        *_section("To do in the wrapper", _to_do(report)),
        *_section("Accepted gaps (tools/gaps.toml)", _accepted(report)),
        "## Checks",
        "\n".join(_checks(report)),
        "## Next",
        _next(report.open_items()),
    ]
    return "\n\n".join(sections) + "\n"


def _summary(report: UpdateReport) -> Iterator[str]:
    match report.open_items():
        case 0:
            yield "**No manual work is needed.**"
        case 1:
            yield "**One item needs manual work.**"
        case count:
            yield f"**{count} items need manual work.**"
    if breaks := sum(change.breaks for change in report.changes):
        kept = "does not handle all of them yet" if report.unhandled_breaks() else "handles them"
        yield f"{pluralize(breaks, 'change')} can break callers of the API; the wrapper {kept}."
    yield f"{pluralize(report.files, 'file')} of `generated/` changed."
    if report.omitted:
        yield f"{report.omitted}."


def _section(heading: str, lines: list[str]) -> list[str]:
    return [f"## {heading}", "\n".join(f"- {line}" for line in lines)] if lines else []


def _offered(report: UpdateReport) -> list[str]:
    lines = []
    for change in report.changes:
        about = findings_for(change, report.findings) if change.on == "new" else []
        offered = [finding for finding in about if finding.is_offered]
        if change.breaks and is_handled(change, report.findings):
            lines.append(f"{change.text}: the wrapper already complies")
        elif offered:
            lines.append(f"{change.text}: {offered[0].sentence}")
    return list(dict.fromkeys(lines))


def _to_do(report: UpdateReport) -> list[str]:
    lines = [f"{change.text} → {ADVICE[change.group]}" for change in report.unhandled_breaks()]
    return [*lines, *report.drift.problems()]


def _accepted(report: UpdateReport) -> list[str]:
    about = [f for change in report.changes for f in findings_for(change, report.findings)]
    return [f"{f.key}: {reason}" for f, reason in report.drift.accepted if f in about]


def _checks(report: UpdateReport) -> list[str]:
    lines = []
    for check, output in report.checks.items():
        lines.append(f"- {'failed' if output else 'passed'}: {check}")
        lines += [f"  - `{line}`" for line in output[:_MAX_LINES]]
        if len(output) > _MAX_LINES:
            lines.append(f"  - and {len(output) - _MAX_LINES} more lines")
    return lines


def _next(open_items: int) -> str:
    start = "Do the work listed above, then run" if open_items else "Run"
    return (
        f"{start} `make check lint typecheck test` and `make contract`. "
        "Describe in CHANGELOG.md what users will notice, and commit everything together. "
        f"To undo the update: `{UNDO}`."
    )
