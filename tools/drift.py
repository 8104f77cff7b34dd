"""`python -m tools.drift`: what the contract offers and the wrapper does not, a line each.

The wrapper is asked by calling it. A gap that shall stay one is accepted in tools/gaps.toml.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openrouter_embeddings.local.contract import contract as shipped

from tools import ROOT
from tools.drift_request import RequestDrift
from tools.drift_response import ResponseDrift, ServiceDrift
from tools.findings import Finding, once
from tools.meaning import Reader
from tools.operation_changes import json_schema, operations_by_name
from tools.probes import Wrapper

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tools.differences import Change
    from tools.documents import Json

ACCEPTED = ROOT / "tools" / "gaps.toml"
OPERATION = "POST /embeddings"


def findings(contract: dict[str, Json]) -> list[Finding]:
    """All that a contract says, and whether the wrapper offers it."""
    operation = operations_by_name(contract)[OPERATION]
    schema = json_schema(contract, operation.get("requestBody", {}))
    with Wrapper() as wrapper:
        service = ServiceDrift(contract, OPERATION, wrapper)
        request = RequestDrift(Reader(contract), schema, wrapper)
        response = ResponseDrift(contract, operation, wrapper)
        looks = (service.findings(), request.findings(), response.findings())
        return [*once(finding for look in looks for finding in look)]


def gaps(contract: dict[str, Json]) -> list[Finding]:
    """What a contract offers, or asks for, and the wrapper does not do."""
    return [finding for finding in findings(contract) if not finding.is_offered]


def offered(contract: dict[str, Json]) -> list[Finding]:
    """What of a contract the wrapper offers."""
    return [finding for finding in findings(contract) if finding.is_offered]


def concerning(change: Change, found: Iterable[Finding]) -> list[Finding]:
    """What was found about a change; where something is new, about all that it holds."""
    return [finding for finding in found if _is_about(finding, change)]


def _is_about(finding: Finding, change: Change) -> bool:
    if finding.group != change.group:
        return False
    if change.kind == "new" and finding.place.startswith((f"{change.place}.", f"{change.place}[")):
        return True
    if finding.place != change.place:
        return False
    match change.kind:
        case "limit":
            return finding.detail == change.detail
        case "value" | "known" | "form":
            return any(detail in change.detail for detail in finding.detail)
        case "closed":
            return finding.detail == ("closed",)
        case "null" | "required" | "typed":
            return f" {change.kind} " in finding.key
        case _:
            return True


def keeps(change: Change, found: Iterable[Finding]) -> bool:
    """Whether the wrapper does already what a change asks of callers, as was tried out.

    A limit of requests is kept, a field that is required now is always sent, null is never sent
    where it may not be, nor another type where any could be; an answer that may lack a field, or
    have null there, is read.
    """
    match change.group, change.kind:
        case "request", "null":
            here = [f for f in found if f.place == change.place]
            return not any(f.key.startswith("sent ") for f in here)
        case ("request", "limit" | "closed" | "required" | "typed") | ("response", "null"):
            tried = concerning(change, found)
        case "response", "optional":
            tried = [f for f in found if f.key == "response 200"]
        case _:
            return False
    return bool(tried) and all(finding.is_offered for finding in tried)


@dataclass(frozen=True)
class Drift:
    """What is to be done about a contract.

    Attributes:
        open: gaps that nobody has accepted.
        accepted: gaps with the reason why they stay.
        idle: acceptances of what the wrapper offers.
    """

    open: list[Finding]
    accepted: list[tuple[Finding, str]]
    idle: list[str]

    def problems(self) -> list[str]:
        """A line for everything that needs somebody."""
        lines = [str(finding) for finding in self.open]
        return [*lines, *(f"{key}: the wrapper offers it → tools/gaps.toml" for key in self.idle)]


def read_accepted() -> dict[str, str]:
    """The gaps that stay, each with its reason; `*` in a key stands for anything."""
    accepted: dict[str, str] = tomllib.loads(ACCEPTED.read_text("utf-8"))["gaps"]
    return accepted


def judge(found: Sequence[Finding], accepted: Mapping[str, str]) -> Drift:
    """Tell gaps that are accepted from those that are not.

    What is accepted and not in this contract is moot: editions come and go.
    """
    patterns = {key: _pattern(key) for key in accepted}
    drift = Drift([], [], [])
    for finding in found:
        reasons = [accepted[key] for key in accepted if patterns[key].fullmatch(finding.key)]
        if not finding.is_offered and reasons:
            drift.accepted.append((finding, reasons[0]))
        elif not finding.is_offered:
            drift.open.append(finding)
    for key, pattern in patterns.items():
        meant = [finding for finding in found if pattern.fullmatch(finding.key)]
        if meant and all(finding.is_offered for finding in meant):
            drift.idle.append(key)
    return drift


def _pattern(key: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, key.split("*"))))


def main(arguments: list[str]) -> int:
    """Print the gaps of the contract that ships; 1 where one is not accepted."""
    parser = argparse.ArgumentParser(prog="python -m tools.drift", description=__doc__)
    parser.add_argument("--accepted", action="store_true", help="list accepted gaps, too")
    args = parser.parse_args(arguments)
    drift = judge(findings(shipped()), read_accepted())
    problems = drift.problems()
    for line in problems:
        print(line)
    print(f"{len(problems)} to do; {len(drift.accepted)} gaps are accepted in tools/gaps.toml")
    if args.accepted:
        for finding, reason in drift.accepted:
            print(f"  {finding.key}: {reason}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
