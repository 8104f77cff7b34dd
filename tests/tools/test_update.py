"""`make update`: all or nothing, with a report."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import ended
from tests.tools import edits as e
from tests.tools.made_up_editions import EDITIONS, PUBLISHED, TEXT
from tests.tools.published_document import edited
from tests.tools.real_editions import FILES, PAGES
from tools import ROOT
from tools.openapi import as_yaml

PARTS = ["tools", "wrapper", "generated", "openapi.yaml", "generator-config.yaml", "pyproject.toml"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what an update needs; one copy for all tests, so that mypy's cache is warm."""
    folder = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("__pycache__", "prism")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        else:
            shutil.copy(ROOT / part, folder / part)
    return folder


def install(source: Path, project: Path) -> None:
    """Copy the specification and the client of one folder to another."""
    if (project / "generated").exists():
        shutil.rmtree(project / "generated")
    shutil.copytree(source / "generated", project / "generated")
    shutil.copy(source / "openapi.yaml", project)


def update(
    project: Path, *arguments: Any, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python -m tools.update` in a project."""
    path = os.pathsep.join(str(project / part) for part in ("", "wrapper", "generated"))
    command = [sys.executable, "-m", "tools.update", *arguments]
    return ended(*command, stdin=given, cwd=project, PYTHONPATH=path)


@pytest.fixture
def current(project: Path) -> Path:
    """The copy, with the current edition and its client."""
    install(ROOT, project)
    return project


@pytest.fixture(scope="module")
def earliest(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the earliest edition and its client."""
    install(ROOT, project)
    assert update(project, EARLIEST).returncode in (0, 1)  # from whatever this repository has
    folder = tmp_path_factory.mktemp("earliest")
    install(project, folder)
    return folder


# The earliest real edition at hand: what is newer breaks nobody who has it.
EARLIEST = FILES.get("openrouter-embeddings.md", FILES["openapi.yaml"])


def contents(project: Path) -> dict[str, bytes]:
    """Return the files that an update may or must not change."""
    parts = ["generated", "openapi.yaml", "generator-config.yaml"]
    files = [path for part in parts for path in [project / part, *(project / part).rglob("*")]]
    kept = [path for path in files if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(project)): path.read_bytes() for path in kept}


# How many changes break callers, counted by hand; the wrapper does already what they ask for.
BREAKS = {"2026-08-21.md": 4, "openapi-2026-08-21.yaml": 4}


@pytest.mark.parametrize("name", [name for name in FILES if name != "openapi.yaml"])
def test_a_real_edition_needs_no_manual_work(name: str, project: Path, earliest: Path) -> None:
    """The report says so, the types fit, and the configuration is unchanged."""
    install(earliest, project)
    done = update(project, FILES[name])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "**No manual work is needed.**" in done.stdout
    assert "- passed: the wrapper's types fit the new client" in done.stdout
    assert done.stdout.count("  BREAKS  ") == BREAKS.get(name, 0)
    assert done.stdout.count(": the wrapper already complies") == BREAKS.get(name, 0)
    config = (project / "generator-config.yaml").read_bytes()
    assert config == (ROOT / "generator-config.yaml").read_bytes()
    if name in PAGES:
        assert (project / "openapi.yaml").read_bytes() in FILES[name].read_bytes()


def test_the_report_lists_manual_work_with_the_file_to_change(
    current: Path, tmp_path: Path
) -> None:
    """The edition is in place, and the report file has the same text."""
    given = EDITIONS["an optional request field"].text
    report = tmp_path / "report.md"
    done = update(current, "-", "--report", report, given=given)
    assert done.returncode == 1, done.stdout
    assert "**One item needs manual work.**" in done.stdout
    line = "- request field priority: "
    (said,) = [said for said in done.stdout.splitlines() if said.startswith(line)]
    assert said.endswith(" → wrapper/openrouter_embeddings/core/options.py")
    assert report.read_text() == done.stdout
    assert (current / "openapi.yaml").read_text() == given


@pytest.mark.parametrize(
    "given",
    [
        as_yaml(edited(PUBLISHED, e.set_keys("request.dimensions", type="integr"))),
        TEXT[: len(TEXT) // 2],
        TEXT.replace("application/json:", "application/strange:", 1),
        "no document at all",
    ],
    ids=["schema", "torn", "inexpressible", "nothing"],
)
def test_a_failed_update_changes_nothing(given: str, current: Path, tmp_path: Path) -> None:
    """It exits with 2 and says what is wrong, where, and what to do."""
    report = tmp_path / "report.md"
    before: dict[str, Any] = contents(ROOT)
    done = update(current, "-", "--report", report, given=given)
    assert done.returncode == 2
    assert contents(current) == before
    assert "What to do: " in done.stderr
    assert done.stderr.endswith("Nothing was changed.\n")
    assert len(done.stderr.splitlines()) == 2
    assert "could not be updated" in report.read_text()


def test_an_unwritable_report_fails_before_any_change(current: Path) -> None:
    """The path is checked first."""
    before = contents(ROOT)
    done = update(current, "-", "--report", "nowhere/report.md", given=TEXT)
    assert done.returncode == 2
    assert "the report cannot be written to nowhere/report.md: No such file" in done.stderr
    assert contents(current) == before


def test_the_current_edition_changes_nothing(current: Path) -> None:
    """The report says that nothing changed."""
    before = contents(ROOT)
    done = update(current, "-", given=(ROOT / "openapi.yaml").read_text())
    assert done.returncode == 0
    assert "no change that affects programs" in done.stdout
    assert contents(current) == before
