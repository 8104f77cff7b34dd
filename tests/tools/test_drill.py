"""A drill: what generation does with editions that the publisher may bring.

The account of changes notices all of them (test_changes.py); here is who else does.
"""

from pathlib import Path

import pytest

from tests.tools.test_changes import EDITIONS, TEXT
from tools.documents import SpecError
from tools.generate import CONFIG, PACKAGE, differences, generate

# Editions that generation refuses until a name is given, moved or removed, and what it says.
NAMES = {
    "a value removed from a request": "EncodingFormat matches nothing: rename or remove it",
    "an operation renamed": "CreateEmbeddingsBody matches nothing: rename or remove it",
    "a new content part": "the name ContentPartType2 is machine-made: give it one",
}
HARMLESS = {"oneOf spelt anyOf"}


def made(tmp_path: Path, text: str) -> list[str]:
    """Generate from an edition; what differs from the committed client."""
    (tmp_path / "openapi.yaml").write_text(text)
    package = tmp_path / PACKAGE.name
    generate(tmp_path / "openapi.yaml", CONFIG, package, lambda _: None)
    return differences(PACKAGE, package)


@pytest.mark.parametrize("name", EDITIONS)
def test_an_edition_generates_or_says_which_name_is_missing(name: str, tmp_path: Path) -> None:
    """None passes in silence: the committed client differs, or a name is asked for."""
    old, new, _ = EDITIONS[name]
    text = TEXT.replace(old, new, 1)
    if name in NAMES:
        with pytest.raises(SpecError, match=NAMES[name]):
            made(tmp_path, text)
    else:
        assert (made(tmp_path, text) == []) == (name in HARMLESS)


def test_shifted_numbers_name_the_override_to_move(tmp_path: Path) -> None:
    """An alternative inserted before another renames all that come after it."""
    text = TEXT.replace("ContentItems1", "ContentItems2").replace("ItemsOneOf1", "ItemsOneOf2")
    moved = r"ContentItems1 matches nothing: its place may be taken by \w+ContentItems2"
    with pytest.raises(SpecError, match=moved):
        made(tmp_path, text)
