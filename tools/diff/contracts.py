"""Compares two contracts, and summarizes the changes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import get_args

from tools.diff.operations import compare_operation, operations_by_name
from tools.diff.schemas import Change, Effect, Group
from tools.openapi import Json, mappings

# Files are named by their paths below the package; a test checks that they exist.
ADVICE: dict[Group, str] = {
    "service": "change BASE_URL in transport/_url.py; transport/_connections.py and "
    "transport/_httpx_client.py send the key as a bearer token",
    "operations": "a new operation needs a method, or a line in tools/gaps.toml",
    "request": "a new field needs an option in core/options.py, or a line in tools/gaps.toml",
    "response": "core/decode.py accepts missing and null fields except vectors; a new field is "
    "readable in `served[…].body`",
    "errors": "a new status needs an exception, if it has none: errors.py, "
    "core/retry_policy.py and EXCEPTIONS in tests/contract/test_client.py",
}
_BROKEN = "run make typecheck test to find what relies on it here; tell users in CHANGELOG.md"
_MARKS: dict[Effect, str] = {"breaks": "BREAKS", "fine": "ok    ", "note": "note  "}
_FORMAT_ONLY = (
    "not in the old page format",
    "the old page format omitted these, so the service itself may not have changed",
)
# The names that the renderer of the old page format gave to components.
_RENDERED = re.compile(
    r"ApplicationJsonSchema|(Get|Put|Post|Patch|Delete)(RequestBody|Responses|Parameters)"
)


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        contract: the document after the repair rules.
        old_format: whether it was published in the page format used until July 2026.
    """

    contract: dict[str, Json]
    old_format: bool


def is_old_format(document: dict[str, Json]) -> bool:
    """Whether a published document, before any rule, has the page format used until July 2026.

    Its renderer made the key a parameter, moved schemas to components named after their path, and
    printed "Any type" for what it could not express.
    """
    schemas = document.get("components", {}).get("schemas", {})
    if any(_RENDERED.search(name) for name in schemas):
        return True
    for _, node in mappings(document):
        if node.get("description") == "Any type" and not node.keys() - {"description", "title"}:
            return True
        named = node.get("in") == "header" and str(node.get("name")).lower() == "authorization"
        if named and "type" not in node:  # a parameter, not a security scheme
            return True
    return False


def compare(old: Side, new: Side) -> list[Change]:
    """List every change that affects programs; ignore texts, examples and names.

    Changes that may only be due to the old page format have the effect "format".
    """
    before, after = operations_by_name(old.contract), operations_by_name(new.contract)
    found = [
        Change("operations", name, "new", f"{name} is new", "fine", on="new")
        for name in after.keys() - before.keys()
    ]
    found += [
        Change("operations", name, "gone", f"{name} is gone", "breaks", on="old")
        for name in before.keys() - after.keys()
    ]
    for name in before.keys() & after.keys():
        sides = (old.contract, before[name]), (new.contract, after[name])
        found += compare_operation(name, *sides)
    found = [
        replace(change, effect="format") if _is_format_difference(change, old, new) else change
        for change in found
        if change.kind != "media type beside" or old.old_format != new.old_format
    ]
    groups, effects = get_args(Group), get_args(Effect)
    return sorted(
        dict.fromkeys(found), key=lambda c: (groups.index(c.group), effects.index(c.effect), c.text)
    )


def summarize(changes: Iterable[Change], *, advise: bool = True) -> str:
    """Format the changes by group; mark those that break callers, and add advice.

    `advise=False` omits the advice for each group.
    """
    changes = list(changes)
    if not changes:
        return "no change that affects programs"
    lines: list[str] = []
    for group, advice in ADVICE.items():
        mine = [c for c in changes if c.group == group and c.effect != "format"]
        if mine:
            lines += [f"{group}:"]
            lines += _grouped_lines(mine)
            lines += [f"          → {advice}"] * advise
    if format_only := [change for change in changes if change.effect == "format"]:
        heading, advice = _FORMAT_ONLY
        lines += [f"{heading}:"]
        lines += [f"          {change.group}: {change.text}" for change in format_only]
        lines += [f"          → {advice}"]
    if advise and any(change.breaks for change in changes):
        lines += [f"BREAKS → {_BROKEN}"]
    return "\n".join(lines)


def _grouped_lines(changes: list[Change]) -> list[str]:
    """Format a line for each change; combine places that gained or lost the same values."""
    places: dict[tuple[Effect, str], list[str]] = {}
    for change in changes:
        words = change.text.removeprefix(change.place) if change.kind == "known" else change.text
        places.setdefault((change.effect, words), []).append(change.place)
    lines = []
    for (effect, words), where in places.items():
        listed = words.startswith(" ")
        plural = words.replace(" has ", " have ", 1).replace(" lists ", " list ", 1)
        text = f"{', '.join(where)}{plural if len(where) > 1 else words}" if listed else words
        lines.append(f"  {_MARKS[effect]}  {text}")
    return lines


def _is_format_difference(change: Change, old: Side, new: Side) -> bool:
    """Whether a change may only be due to the old page format of the side that lacks it."""
    match change.on:
        case "new":
            lacking, having = old, new
        case "old":
            lacking, having = new, old
        case _:
            return False
    if not lacking.old_format or not change.omitted:
        return False
    return not having.old_format or (change.omitted == "sometimes" and change.breaks)
