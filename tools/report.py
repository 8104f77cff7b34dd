"""What a new edition means, in one page: for callers, for the wrapper, and what is left to do."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tools import ROOT
from tools.diff.contracts import ADVICE, summarize
from tools.drift.gaps import Drift, check_gaps, findings, findings_for, is_handled, read_accepted
from tools.openapi import pluralize
from tools.spec import UNDO, differ

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.diff.schemas import Change
    from tools.drift.finding import Finding
    from tools.editions import Edition

_MOST = 20  # lines of a failing check that the page shows
COMMANDS = {
    "generated/ is what openapi.yaml gives": ["tools.generate", "--check"],
    "the wrapper's types fit the new client": [
        *("mypy", "--no-error-summary", "-p", "openrouter_embeddings"),
        *("-p", "openrouter_embeddings_api"),
    ],
}


@dataclass(frozen=True)
class Check:
    """Something that was held against the new edition.

    Attributes:
        name: what should be so.
        lines: what is not; nothing where all is well.
    """

    name: str
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class UpdateReport:
    """All that is known of a new edition once it is in place.

    Attributes:
        name: where it came from.
        left_out: what was not taken from a whole document.
        files: how many files of generated/ changed.
        changes: what changed for callers.
        findings: what the contract says, and whether the wrapper offers it.
        drift: which of it needs somebody.
        checks: the commands that were run.
    """

    name: str
    omitted: str
    files: int
    changes: list[Change]
    findings: list[Finding]
    drift: Drift
    checks: list[Check]

    def unhandled_breaks(self) -> list[Change]:
        """What breaks callers, and the wrapper does not do already."""
        return [c for c in self.changes if c.breaks and not is_handled(c, self.findings)]

    def needs(self) -> int:
        """How many places and checks need a person; what is said twice of a place counts once."""
        places = {(change.group, change.place) for change in self.unhandled_breaks()}
        places |= {(gap.group, gap.place) for gap in self.drift.open}
        return len(places) + len(self.drift.idle) + sum(bool(each.lines) for each in self.checks)


def examine(name: str, old: Edition, new: Edition, files: int) -> UpdateReport:
    """Hold the wrapper, as it runs with the new client, against the new edition."""
    found = findings(new.contract)
    checks = [Check(what, _run(*command)) for what, command in COMMANDS.items()]
    drift = check_gaps(found, read_accepted())
    return UpdateReport(name, new.omitted, files, differ(old, new), found, drift, checks)


def _run(*module: str) -> list[str]:
    """What a module of this environment says of the project; nothing where it ends well."""
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


def page(outcome: UpdateReport) -> str:
    """The account of an update, as Markdown."""
    needs = outcome.needs()
    sections = [
        f"# The specification from {outcome.name}",
        " ".join(_summary(outcome)),
        "## What changed for callers",
        f"```\n{summarize(outcome.changes, advise=False)}\n```",
        *_section("What the wrapper offers of it already", _offered(outcome)),
        *_section("What the wrapper does not do yet", _to_do(outcome)),
        *_section("Gaps that are accepted in tools/gaps.toml", _accepted(outcome)),
        "## Checks",
        "\n".join(_checks(outcome)),
        "## Next",
        _next(needs),
    ]
    return "\n\n".join(sections) + "\n"


def _summary(outcome: UpdateReport) -> Iterator[str]:
    match outcome.needs():
        case 0:
            yield "**Nothing needs a person.**"
        case 1:
            yield "**One thing needs a person.**"
        case needs:
            yield f"**{needs} things need a person.**"
    if breaks := [change for change in outcome.changes if change.breaks]:
        kept = (
            "keeps all of that"
            if not outcome.unhandled_breaks()
            else "does not keep all of that yet"
        )
        yield f"{pluralize(len(breaks), 'change')} can break callers of the API; the wrapper {kept}."
    yield f"{pluralize(outcome.files, 'file')} of `generated/` changed."
    if outcome.omitted:
        yield f"{outcome.omitted}."


def _section(heading: str, lines: list[str]) -> list[str]:
    return [f"## {heading}", "\n".join(f"- {line}" for line in lines)] if lines else []


def _offered(outcome: UpdateReport) -> list[str]:
    lines = [
        f"{change.text}: the wrapper keeps it"
        for change in outcome.changes
        if change.breaks and is_handled(change, outcome.findings)
    ]
    for change in outcome.changes:
        about = findings_for(change, outcome.findings) if change.on == "new" else []
        if offered := [finding for finding in about if finding.is_offered]:
            lines.append(f"{change.text}: {offered[0].sentence}")
    return list(dict.fromkeys(lines))


def _to_do(outcome: UpdateReport) -> list[str]:
    lines = [f"{change.text} → {ADVICE[change.group]}" for change in outcome.unhandled_breaks()]
    return [*lines, *outcome.drift.problems()]


def _accepted(outcome: UpdateReport) -> list[str]:
    about = [f for change in outcome.changes for f in findings_for(change, outcome.findings)]
    return [f"{f.key}: {reason}" for f, reason in outcome.drift.accepted if f in about]


def _checks(outcome: UpdateReport) -> list[str]:
    lines = []
    for check in outcome.checks:
        lines.append(f"- {'no' if check.lines else 'yes'}: {check.name}")
        lines += [f"  - `{line}`" for line in check.lines[:_MOST]]
        if len(check.lines) > _MOST:
            lines.append(f"  - and {len(check.lines) - _MOST} lines more")
    return lines


def _next(needs: int) -> str:
    mend = "Change what does not fit (see above), then run" if needs else "Run"
    return (
        f"{mend} `make check lint typecheck test` and `make contract`. "
        "Say in CHANGELOG.md what users will notice, and commit it together. "
        f"To take it back: `{UNDO}`."
    )
