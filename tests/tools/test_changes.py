"""The account of what a new edition changes."""

from pathlib import Path

import pytest

from tests.tools.editions import EDITIONS, TEXT
from tools import spec
from tools.documents import SPEC


@pytest.mark.parametrize("name", EDITIONS)
def test_an_edition_is_accounted_for(name: str, tmp_path: Path) -> None:
    """Grouped, with what can break a caller marked, and what to do next."""
    edition = EDITIONS[name]
    account = spec.differences(edition.text.encode(), SPEC)
    for line in edition.account:
        assert line in account, account
    assert ("BREAKS" in account) == any("BREAKS" in line for line in edition.account)
    assert spec.take(edition.text.encode(), tmp_path / "openapi.yaml")


def test_the_same_edition_has_no_differences() -> None:
    """Compared with itself."""
    assert spec.differences(TEXT.encode(), SPEC) == "no difference that a program could meet"


def test_spec_diff_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It only says what would be."""
    page = tmp_path / "page.yaml"
    page.write_text(TEXT.replace("operationId: create-embeddings", "operationId: embed"))
    assert spec.main(["--diff", str(page)]) == 0
    assert "create-embeddings is called embed now" in capsys.readouterr().out
    assert SPEC.read_text() == TEXT
