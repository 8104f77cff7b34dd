"""Editions that the publisher may bring go through the whole pipeline.

test_diff.py tests their changes, test_drift.py their gaps. Here a client is generated from each,
and the wrapper's tests run with it.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import ended
from tests.tools.made_up_editions import EDITIONS, PUBLISHED, SPELLINGS
from tests.tools.published_document import NotApplicable, edited
from tools import ROOT
from tools.class_names import move_classes_to_components
from tools.editions import parse_edition
from tools.generate import CONFIG, PACKAGE, changed_files, generate, read_config
from tools.openapi import as_yaml, validate
from tools.rules import apply, generator_input

# Parts of the wrapper's own tests that send, read and stream; all of them would take minutes.
OWN_TESTS = ["tests/generated", "tests/core/test_encode.py", "tests/core/test_options.py"]
OWN_TESTS += ["tests/core/test_decode.py", "tests/client/test_embed.py"]
CONFIGURED = read_config(CONFIG)
# those that only spell the same in another way are tried one by one
HARMLESS = {n: e for n, e in EDITIONS.items() if e.harmless and n not in SPELLINGS}


@pytest.mark.parametrize("name", EDITIONS)
def test_every_made_up_edition_gives_valid_generator_input(name: str) -> None:
    """It is valid, and its classes are named by their places."""
    contract = parse_edition(EDITIONS[name].text.encode()).contract
    bent = apply(contract, generator_input.RULES)
    made, classes = move_classes_to_components(bent, CONFIGURED.names, CONFIGURED.operations)
    validate(made)
    assert {"EmbeddingRequest", "ProviderPreferences"} <= {named.name for named in classes}


def client_of(text: str, folder: Path) -> Path:
    """Generate the client of an edition in a folder."""
    generate(parse_edition(text.encode()), CONFIGURED, folder / PACKAGE.name, lambda _: None)
    return folder


def run(folder: Path, *command: Any) -> subprocess.CompletedProcess[str]:
    """Run a module of the project with the client in `folder` first on the path."""
    paths: Any = {name: str(folder) for name in ("PYTHONPATH", "MYPYPATH")}
    return ended(sys.executable, "-m", *command, **paths)


@pytest.fixture(scope="module")
def everything_harmless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generate the client of an edition with all changes that break nobody."""
    document, applied = PUBLISHED, 0
    for edition in HARMLESS.values():
        try:
            document = edited(document, *edition.edits)
            applied += 1
        except NotApplicable:  # another one has done the same
            continue
    assert applied > 15
    return client_of(as_yaml(document), tmp_path_factory.mktemp("harmless"))


def test_the_wrapper_type_checks_with_all_harmless_changes(everything_harmless: Path) -> None:
    """Mypy accepts the wrapper with the new client."""
    assert changed_files(PACKAGE, everything_harmless / PACKAGE.name)
    # the cache stays for the next run: mypy finds out what has changed
    cache = ROOT / ".mypy_cache" / "made_up_editions"
    done = run(everything_harmless, "mypy", "--cache-dir", cache, "-p", "openrouter_embeddings")
    assert "Success: no issues found" in done.stdout


def test_the_wrapper_works_with_all_harmless_changes(everything_harmless: Path) -> None:
    """The wrapper's own tests pass with the new client."""
    done = run(everything_harmless, "pytest", "-x", "-q", "-p", "no:cacheprovider", *OWN_TESTS)
    assert done.returncode == 0, done.stdout[-2000:]


RESPELT: dict[str, Callable[[str], str]] = {
    "oneOf as anyOf": lambda text: text.replace("oneOf:", "anyOf:"),
    "3.0": lambda text: text.replace("openapi: 3.1.0", "openapi: 3.0.3"),
}


@pytest.mark.parametrize("spelling", RESPELT)
def test_equivalent_spellings_give_the_same_client(spelling: str, tmp_path: Path) -> None:
    """The generated code is the same, byte for byte."""
    given = (ROOT / "openapi.yaml").read_text()
    client = client_of(RESPELT[spelling](given), tmp_path)
    found = changed_files(PACKAGE, client / PACKAGE.name)
    assert [line for line in found if not line.startswith("contract.json")] == []
