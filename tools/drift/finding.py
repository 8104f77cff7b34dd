"""A finding: one item of the contract, and whether the wrapper offers it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tools.diff.schemas import Group
from tools.openapi import Json

WRAPPER = "wrapper/openrouter_embeddings"


@dataclass(frozen=True)
class Finding:
    """One item of the contract, and whether the wrapper offers it.

    Attributes:
        key: its name in gaps.toml: "request field priority".
        group: the part of the contract, as in a `Change`.
        place: the place in it, as in a `Change`: "priority", "usage.is_byok", "status 413".
        sentence: how the wrapper offers it, or what it does instead.
        file: the file to change if it does not.
        is_offered: whether the wrapper offers it.
        detail: the value, or the keyword and value of a limit, as in a `Change`.
    """

    key: str
    group: Group
    place: str
    sentence: str
    file: str
    is_offered: bool
    detail: tuple[Json, ...] = ()

    def __str__(self) -> str:
        """Format it on one line, with the file to change if it is a gap."""
        where = "" if self.is_offered else f" → {self.file}"
        return f"{self.key}: {self.sentence}{where}"


def merge_by_key(found: Iterable[Finding]) -> Iterator[Finding]:
    """Yield one finding for each key; a gap in one alternative of a place is a gap."""
    by_key: dict[str, Finding] = {}
    for finding in found:
        before = by_key.setdefault(finding.key, finding)
        if before.is_offered and not finding.is_offered:
            by_key[finding.key] = finding
    yield from by_key.values()


def values_at(message: Json, path: str) -> Iterator[Json]:
    """Yield every value at a path such as `input[].content[].text`."""
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
