"""A drill: editions that the publisher may bring go through the whole pipeline.

Each is noticed by somebody: the account of changes (test_changes.py), the names, the drift test or
the type checker. One that concerns no caller leaves the wrapper working with the new client.
"""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.contract.test_drift import gaps
from tests.tools.editions import EDITIONS, NOTHING, TEXT
from tools import ROOT, contract
from tools.documents import SPEC, SpecError, load
from tools.generate import CONFIG, PACKAGE, differences, generate
from tools.rules import apply

TODAY = apply(load(SPEC.read_bytes()), contract.RULES, lambda _: None)
OWN_TESTS = ["tests/generated", "tests/core/test_encode.py", "tests/core/test_options.py"]
OWN_TESTS += [
    "tests/core/test_decode.py",
    "tests/client/test_embed.py",
    "tests/client/test_stream.py",
]
OWN_TESTS += ["tests/client/test_pain_points.py", "tests/client/test_retries.py"]
SAME_CODE = {"oneOf spelt anyOf"}


@cache
def _folder(base: Path, name: str) -> Path:
    """A folder with the client of an edition, generated once."""
    folder, text = base / re.sub(r"\W", "-", name), EDITIONS[name].text
    folder.mkdir()
    (folder / "openapi.yaml").write_text(text)
    generate(folder / "openapi.yaml", CONFIG, folder / PACKAGE.name, lambda _: None)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this module's clients are generated."""
    return tmp_path_factory.mktemp("editions")


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command of the project's that finds the edition's client before the committed one."""
    paths = {name: str(folder) for name in ("PYTHONPATH", "MYPYPATH")}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", EDITIONS)
def test_generation_asks_for_the_names_it_lacks(name: str, base: Path) -> None:
    """Otherwise it works, and the client is another, if only in its contract and docstrings."""
    edition = EDITIONS[name]
    if edition.names:
        with pytest.raises(SpecError, match=edition.names):
            _folder(base, name)
    else:
        found = differences(PACKAGE, _folder(base, name) / PACKAGE.name)
        assert (found == []) == (name in SAME_CODE)


@pytest.mark.parametrize("name", EDITIONS)
def test_drift_says_what_the_wrapper_does_not_offer(name: str) -> None:
    """In words, and nothing else."""
    edition = EDITIONS[name]
    document = apply(load(edition.text.encode()), contract.RULES, lambda _: None)
    assert {*gaps(document)} - {*gaps(TODAY)} == {*edition.gaps}


@pytest.mark.parametrize("name", [n for n, e in EDITIONS.items() if not e.names])
def test_types_say_where_the_wrapper_no_longer_fits(name: str, base: Path) -> None:
    """And are clean where it does."""
    folder = _folder(base, name)
    done = run(folder, "mypy", "--cache-dir", str(base / "mypy"), "-p", "openrouter_embeddings")
    assert (EDITIONS[name].types or "Success: no issues found") in done.stdout


@pytest.mark.parametrize("name", [n for n, e in EDITIONS.items() if e.harmless])
def test_a_harmless_edition_leaves_the_wrapper_working(name: str, base: Path) -> None:
    """The wrapper's own tests pass with the new client, or one says what the stand-in lacks."""
    done = run(_folder(base, name), "pytest", "-x", "-q", "-p", "no:cacheprovider", *OWN_TESTS)
    if missing := EDITIONS[name].tests:
        # where CI is set, pytest cuts nothing off, and the error's text follows the name
        assert re.search(rf"::{missing}\b", done.stdout)
    else:
        assert done.returncode == 0, done.stdout[-2000:]


def test_none_passes_in_silence() -> None:
    """Where the account has nothing to say, names are asked for, or only words have changed."""
    silent = [n for n, e in EDITIONS.items() if e.account == NOTHING and not e.names]
    assert silent == ["other words", "oneOf spelt anyOf"]
    assert len(EDITIONS) >= 20


def test_a_number_that_names_something_else_is_pointed_out(tmp_path: Path) -> None:
    """The two alternatives changed places: every override matches, and two mean the other."""
    text = TEXT.replace("ContentItems0", "ContentItemsX").replace("ContentItems1", "ContentItems0")
    text = text.replace("ContentItemsX", "ContentItems1")
    (tmp_path / "openapi.yaml").write_text(text)
    said: list[str] = []
    generate(tmp_path / "openapi.yaml", CONFIG, tmp_path / PACKAGE.name, said.append)
    pointed_out = [line.split(":")[1].split()[0] for line in said if line.startswith("LOOK: ")]
    assert pointed_out == ["ContentPartText", "ContentPartImage"]
