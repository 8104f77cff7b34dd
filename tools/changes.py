"""What changed between two contracts, for the person who takes a new edition."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

from tools.differences import Change, Effect, Group
from tools.documents import Json, mappings
from tools.operation_changes import compare_operation, operations_by_name

if TYPE_CHECKING:
    from collections.abc import Iterable

NEXT: dict[Group, str] = {
    "service": "the address is BASE_URL in transport/_url.py; transport/_connections.py and "
    "_httpx_client.py send the key as a bearer token",
    "operations": "a new one needs a method of its own, or a line in tools/gaps.toml",
    "request": "a new field needs an option in core/options.py, or a line in tools/gaps.toml",
    "response": "core/decode.py reads it, and takes a missing or null field but for the vectors; "
    "what is new stays readable in `served[…].body`",
    "errors": "a new status needs its exception, if it has none: errors.py, "
    "core/retry_policy.py and EXCEPTIONS in tests/contract/test_client.py",
}
_BROKEN = "make typecheck test says what of ours relies on it; CHANGELOG.md tells who else does"
_MARKS: dict[Effect, str] = {"breaks": "BREAKS", "fine": "ok    ", "note": "note  "}
_UNSAID = (
    "not said by the former form of the page",
    "the former form of the page left these out, so they may be no change of the service",
)
# How the renderer of the former form named what it moved into components.
_RENDERED = re.compile(
    r"ApplicationJsonSchema|(Get|Put|Post|Patch|Delete)(RequestBody|Responses|Parameters)"
)


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        contract: the document after the contract's rules.
        former: whether it was published in the form that the page had until July 2026.
    """

    contract: dict[str, Json]
    former: bool


def is_former_form(document: dict[str, Json]) -> bool:
    """Whether a published document, before any rule, has the form of the page until July 2026.

    Its renderer made the key a parameter, moved schemas into components named by their path, and
    printed what it could not express as "Any type".
    """
    schemas = document.get("components", {}).get("schemas", {})
    if any(_RENDERED.search(name) for name in schemas):
        return True
    for _, node in mappings(document):
        if node.get("description") == "Any type" and not node.keys() - {"description", "title"}:
            return True
        named = node.get("in") == "header" and str(node.get("name")).lower() == "authorization"
        if named and "type" not in node:  # a parameter, and no scheme of a key
            return True
    return False


def compare(old: Side, new: Side) -> list[Change]:
    """Every difference that a program can meet; texts, examples and names are left out.

    What the former form of the page could not say, or left out at times, is marked as such.
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
        replace(change, effect="unsaid") if _is_unsaid(change, old, new) else change
        for change in found
        if change.kind != "media type beside" or old.former != new.former
    ]
    groups, effects = get_args(Group), get_args(Effect)
    return sorted(
        dict.fromkeys(found), key=lambda c: (groups.index(c.group), effects.index(c.effect), c.text)
    )


def account(changes: Iterable[Change], *, advise: bool = True) -> str:
    """The changes by group, with what can break a caller marked, and what to do about them.

    `advise=False` leaves out what to do, for who says so of each change.
    """
    changes = list(changes)
    if not changes:
        return "no difference that a program could meet"
    lines: list[str] = []
    for group, advice in NEXT.items():
        mine = [c for c in changes if c.group == group and c.effect != "unsaid"]
        if mine:
            lines += [f"{group}:"]
            lines += _once(mine)
            lines += [f"          → {advice}"] * advise
    if unsaid := [change for change in changes if change.effect == "unsaid"]:
        heading, advice = _UNSAID
        lines += [f"{heading}:"]
        lines += [f"          {change.group}: {change.text}" for change in unsaid]
        lines += [f"          → {advice}"]
    if advise and any(change.breaks for change in changes):
        lines += [f"BREAKS → {_BROKEN}"]
    return "\n".join(lines)


def _once(changes: list[Change]) -> list[str]:
    """A line for each; the names that several places gained or lost, as of providers, once."""
    places: dict[tuple[Effect, str], list[str]] = {}
    for change in changes:
        said = change.text.removeprefix(change.place) if change.kind == "known" else change.text
        places.setdefault((change.effect, said), []).append(change.place)
    lines = []
    for (effect, said), where in places.items():
        listed = said.startswith(" ")
        plural = said.replace(" has ", " have ", 1).replace(" names ", " name ", 1)
        text = f"{', '.join(where)}{plural if len(where) > 1 else said}" if listed else said
        lines.append(f"  {_MARKS[effect]}  {text}")
    return lines


def _is_unsaid(change: Change, old: Side, new: Side) -> bool:
    """Whether the side that does not say it could not, or need not have, in the former form."""
    match change.on:
        case "new":
            lacking, having = old, new
        case "old":
            lacking, having = new, old
        case _:
            return False
    if not lacking.former or not change.left_out:
        return False
    return not having.former or (change.left_out == "at times" and change.breaks)
