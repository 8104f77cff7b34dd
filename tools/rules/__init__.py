"""A rule is a function that changes a document in place and yields the places it has changed."""

import copy
from collections.abc import Callable, Iterable, Iterator

from tools.openapi import Json, Pointer, pointer

Rule = Callable[[dict[str, Json]], Iterator[Pointer]]


def apply(
    document: dict[str, Json], rules: Iterable[Rule], say: Callable[[str], None] | None = None
) -> dict[str, Json]:
    """Apply rules to a copy of `document`; `say` gets a line for each rule."""
    document = copy.deepcopy(document)
    for rule in rules:
        places = list(rule(document))
        if say is None:
            continue
        name = rule.__name__.replace("_", " ")
        if places:
            more = f" and {len(places) - 1} more" if len(places) > 1 else ""
            say(f"{name}: {pointer(places[0])}{more}")
        else:
            say(f"{name}: no change")
    return document
