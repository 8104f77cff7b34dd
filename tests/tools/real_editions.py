"""Real editions, read where they are: the project's own, and others beside a checkout of it."""

from functools import cache

from tools import ROOT
from tools.editions import Edition, parse_edition
from tools.generate import CONFIG, read_config
from tools.openapi import SPEC

# None of these is part of the project. Where they are missing, made-up editions hold the rules.
_BESIDE = ROOT.parent / "shared" / "data"
FILES = {
    SPEC.name: SPEC,
    **{
        path.name: path
        for path in [*sorted(_BESIDE.glob("*.md")), *sorted(_BESIDE.glob("editions/*"))]
        if path.name != "README.md"
    },
}
REAL = list(FILES)
PAGES = [name for name in REAL if name.endswith(".md")]


@cache
def edition(name: str) -> Edition:
    """One of them, read."""
    return parse_edition(FILES[name].read_bytes(), read_config(CONFIG).operations, name)
