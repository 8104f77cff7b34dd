"""A drill: editions that the publisher may bring go through the whole pipeline.

test_diff.py holds what the account says of each, test_drift.py what drift says. Here it is
whether a client can be generated from it, and whether the wrapper works with that client.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.made_up_editions import EDITIONS, PUBLISHED, SPELLINGS
from tests.tools.published_document import NotApplicable, edited
from tools import ROOT, class_names
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
def test_every_made_up_edition_becomes_the_generators_input(name: str) -> None:
    """Sound, with every class named by its place."""
    contract = parse_edition(EDITIONS[name].text.encode()).contract
    bent = apply(contract, generator_input.RULES)
    made, classes = class_names.hoist(bent, CONFIGURED.names, CONFIGURED.operations)
    validate(made)
    assert {"EmbeddingRequest", "ProviderPreferences"} <= {named.name for named in classes}


def client_of(text: str, folder: Path) -> Path:
    """A folder with the client of an edition."""
    generate(parse_edition(text.encode()), CONFIGURED, folder / PACKAGE.name, lambda _: None)
    return folder


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


@pytest.fixture(scope="module")
def everything_harmless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client of an edition that brings everything at once that breaks nobody."""
    document, applied = PUBLISHED, 0
    for edition in HARMLESS.values():
        try:
            document = edited(document, *edition.edits)
            applied += 1
        except NotApplicable:  # another one has done the same
            continue
    assert applied > 15
    return client_of(as_yaml(document), tmp_path_factory.mktemp("harmless"))


def test_what_breaks_nobody_leaves_the_types_whole(
    everything_harmless: Path,
) -> None:
    """The wrapper type-checks against a client that has all of it."""
    assert changed_files(PACKAGE, everything_harmless / PACKAGE.name)
    # the cache stays for the next run: mypy finds out what has changed
    cache = ROOT / ".mypy_cache" / "made_up_editions"
    command = ["mypy", "--cache-dir", str(cache), "-p", "openrouter_embeddings"]
    done = run(everything_harmless, *command)
    assert "Success: no issues found" in done.stdout


def test_what_breaks_nobody_leaves_the_wrapper_working(everything_harmless: Path) -> None:
    """Its own tests pass with that client."""
    done = run(everything_harmless, "pytest", "-x", "-q", "-p", "no:cacheprovider", *OWN_TESTS)
    assert done.returncode == 0, done.stdout[-2000:]


RESPELT: dict[str, Callable[[str], str]] = {
    "oneOf as anyOf": lambda text: text.replace("oneOf:", "anyOf:"),
    "3.0": lambda text: text.replace("openapi: 3.1.0", "openapi: 3.0.3"),
}


@pytest.mark.parametrize("spelling", RESPELT)
def test_another_spelling_gives_the_same_client(spelling: str, tmp_path: Path) -> None:
    """Byte for byte, in the generated code."""
    given = (ROOT / "openapi.yaml").read_text()
    client = client_of(RESPELT[spelling](given), tmp_path)
    found = changed_files(PACKAGE, client / PACKAGE.name)
    assert [line for line in found if not line.startswith("contract.json")] == []
