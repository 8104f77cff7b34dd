"""What the contract offers, whether the wrapper offers it, and which gaps are accepted."""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tools import ROOT
from tools.diff.operations import json_schema, operations_by_name
from tools.diff.schemas import Change
from tools.drift.finding import Finding, merge_by_key
from tools.drift.recording_client import RecordingClient
from tools.drift.request import RequestDrift
from tools.drift.response import ResponseDrift, ServiceDrift
from tools.openapi import Json
from tools.schema.model import SchemaReader

ACCEPTED = ROOT / "tools" / "gaps.toml"
OPERATION = "POST /embeddings"


def findings(contract: dict[str, Json]) -> list[Finding]:
    """List everything in a contract, and whether the wrapper offers it."""
    operation = operations_by_name(contract)[OPERATION]
    schema = json_schema(contract, operation.get("requestBody", {}))
    with RecordingClient() as wrapper:
        service = ServiceDrift(contract, OPERATION, wrapper)
        request = RequestDrift(SchemaReader(contract), schema, wrapper)
        response = ResponseDrift(contract, operation, wrapper)
        looks = (service.findings(), request.findings(), response.findings())
        return [*merge_by_key(finding for look in looks for finding in look)]


def findings_for(change: Change, found: Iterable[Finding]) -> list[Finding]:
    """List the findings about a change; for an added object, also those about its fields."""
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
        case "value" | "known" | "type":
            return any(detail in change.detail for detail in finding.detail)
        case "closed":
            return finding.detail == ("closed",)
        case "null" | "required" | "typed":
            return f" {change.kind} " in finding.key
        case _:
            return True


def is_handled(change: Change, found: Iterable[Finding]) -> bool:
    """Whether the wrapper already does what a change requires of callers.

    It checks that the wrapper respects a new limit, always sends a required field, never sends a
    null or a type that is no longer allowed, and reads responses with missing or null fields.
    """
    match change.group, change.kind:
        case "request", "null":
            here = [f for f in found if f.place == change.place]
            return not any(f.key.startswith("sent ") for f in here)
        case ("request", "limit" | "closed" | "required" | "typed") | ("response", "null"):
            checked = findings_for(change, found)
        case "response", "optional":
            checked = [f for f in found if f.key == "response 200"]
        case _:
            return False
    return bool(checked) and all(finding.is_offered for finding in checked)


@dataclass(frozen=True)
class Drift:
    """The gaps between a contract and the wrapper.

    Attributes:
        open: gaps that need work.
        accepted: gaps that stay, each with the reason.
        obsolete: entries of gaps.toml for what the wrapper offers by now.
    """

    open: list[Finding]
    accepted: list[tuple[Finding, str]]
    obsolete: list[str]

    def problems(self) -> list[str]:
        """Format a line for everything that needs work."""
        unneeded = "the wrapper offers it; remove the entry → tools/gaps.toml"
        return [*map(str, self.open), *(f"{key}: {unneeded}" for key in self.obsolete)]


def read_accepted() -> dict[str, str]:
    """Read the accepted gaps with their reasons; `*` in a key matches anything."""
    accepted: dict[str, str] = tomllib.loads(ACCEPTED.read_text("utf-8"))["gaps"]
    return accepted


def check_gaps(found: Sequence[Finding], accepted: Mapping[str, str]) -> Drift:
    """Separate accepted gaps from open ones.

    Entries that match nothing in this contract are ignored, because editions differ.
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
            drift.obsolete.append(key)
    return drift


def _pattern(key: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, key.split("*"))))
