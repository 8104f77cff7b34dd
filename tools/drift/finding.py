"""What a look at the wrapper finds: of each thing in the contract, whether the wrapper has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tools.diff.schemas import Group
    from tools.openapi import Json

WRAPPER = "wrapper/openrouter_embeddings"


@dataclass(frozen=True)
class Finding:
    """One thing of the contract, and whether the wrapper offers it.

    Attributes:
        key: its name, which gaps.toml accepts: "request field priority".
        group: the part of the contract, as in a `Change`.
        place: where in it, as in a `Change`: "priority", "usage.is_byok", "status 413".
        sentence: how the wrapper offers it, or what it does instead.
        file: the file to change where it does not.
        is_offered: whether it does.
        detail: of a limit its keyword and value, of a value the value, as in a `Change`.
    """

    key: str
    group: Group
    place: str
    sentence: str
    file: str
    is_offered: bool
    detail: tuple[Json, ...] = ()

    def __str__(self) -> str:
        """In a line: what, why, and where to change it."""
        where = "" if self.is_offered else f" → {self.file}"
        return f"{self.key}: {self.sentence}{where}"


def merge_by_key(found: Iterable[Finding]) -> Iterator[Finding]:
    """Each key once: what is missing in one alternative of a place is missing."""
    by_key: dict[str, Finding] = {}
    for finding in found:
        before = by_key.setdefault(finding.key, finding)
        if before.is_offered and not finding.is_offered:
            by_key[finding.key] = finding
    yield from by_key.values()


def values_at(message: Json, path: str) -> Iterator[Json]:
    """Every value in a message at a path like `input[].content[].text`."""
    if not path:
        yield message
        return
    head, _, rest = path.partition(".")
    name = head.rstrip("[]")
    if not isinstance(message, dict) or name not in message:
        return
    values = [message[name]]
    for _ in range(head.count("[]")):
        values = [item for value in values if isinstance(value, list) for item in value]
    for value in values:
        yield from values_at(value, rest)
