"""Sections of documentation pages that benchmarks and stress tests write."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def fill(page: Path, begin: str, end: str, text: str) -> None:
    """Replace the lines between the markers `begin` and `end`; `text` is whole lines."""
    before, rest = page.read_text("utf-8").split(f"{begin}\n", 1)
    after = rest.split(end, 1)[1]
    page.write_text(f"{before}{begin}\n{text}{end}{after}", "utf-8")
