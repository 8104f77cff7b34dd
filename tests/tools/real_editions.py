"""Real editions: the project's own, and others in a folder beside the checkout."""

from functools import cache

from tools import ROOT
from tools.editions import Edition, parse_edition
from tools.generate import CONFIG, read_config
from tools.openapi import SPEC

# They are not part of the project. Without them, the made-up editions test the rules.
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
    """Parse one of them."""
    return parse_edition(FILES[name].read_bytes(), read_config(CONFIG).operations, name)
