"""The documentation cannot lie: its code runs, its output is compared, its links lead somewhere."""

import asyncio
import gc
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import httpx
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.local.faults import Faults
from openrouter_embeddings.local.models import MODELS
from openrouter_embeddings.local.models.hash import HashModel
from openrouter_embeddings.local.servers.in_process import LocalTransport

from benchmarks import corpus, report
from stress.servers import served
from tests.newest import newest
from tests.support import KEY, PNG, in_a_fork
from tools import helptexts

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "guide.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")])


def blocks(language: str) -> list[str]:
    """The code blocks in a language, of the README and then of the guide."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README + GUIDE, re.DOTALL | re.MULTILINE)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # its clients are as short-lived as it is
def test_the_code_of_readme_and_guide_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From top to bottom, as a reader would type it; what reads `openai/…` gets the stand-in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    for model in ("openai/text-embedding-3-small", "google/gemini-embedding-2"):
        monkeypatch.setitem(MODELS, model, HashModel())
    Path("shoe.jpg").write_bytes(PNG)
    Path("rain.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
    Path("report.pdf").write_bytes(b"%PDF-1.7")
    scope: dict[str, Any] = {}
    code = blocks("python")
    assert len(code) >= 10
    # the generated client is shown with the service's own address
    monkeypatch.setattr(httpx.Client, "_init_transport", lambda _, **__: LocalTransport())
    with served(Faults(contract=newest())) as url:
        monkeypatch.setenv("OPENROUTER_BASE_URL", url)
        for block in code:
            exec(compile(block, "README.md", "exec"), scope)
    scope.clear()
    gc.collect()  # here, where the mention of connections that are open is ignored
    said = capsys.readouterr().out
    assert "900 (100, 256)" in said
    assert "\n2 384 6\n" in said
    assert "input 1: the text is empty; every provider refuses that, leave it out\n(1,)\n" in said
    assert said.endswith("402 Local None None\n")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_reliability_pages_code_prints_what_it_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The application in a fork, the example for tests of one's own, the faults of the script."""
    page = (ROOT / "docs" / "reliability.md").read_text()
    app, code, said, script = re.findall(
        r"^```(?:python|toml|)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE
    )
    exec(compile(code, "reliability.md", "exec"), {})
    assert capsys.readouterr().out == said
    assert len(Faults.from_toml(script).faults) == 3
    scope: dict[str, Any] = {}
    exec(compile(app, "reliability.md", "exec"), scope)

    def serves() -> bool:
        (body,) = scope["app"]({}, lambda *_: None)
        return bool(body == f"process {os.getpid()}: (2, 256)\n".encode())

    assert in_a_fork(serves) == 0


def test_a_whole_file_can_be_embedded_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's job prints what the README says, the first time and the second."""
    monkeypatch.chdir(tmp_path)
    (code,) = [block for block in blocks("python") if "embed_file" in block]
    first, again = re.findall(r"# (.*); again: (.*)", code)[0]
    scope: dict[str, Any] = {"ore": ore}
    for said in (first, again):
        exec(compile(code, "README.md", "exec"), scope)
        assert capsys.readouterr().out == f"{said}\n"
    scope.clear()


def test_the_readmes_commands_print_what_it_says() -> None:
    """Every `$ orembed …` and the lines under it."""
    sessions = [
        session
        for block in blocks("console")
        for session in re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", block, re.MULTILINE)
    ]
    assert sessions
    for command, output in sessions:
        words = shlex.split(command)
        assert words[0] == "orembed"
        done = subprocess.run(
            [sys.executable, "-m", "openrouter_embeddings.cli", *words[1:]],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == output


def test_the_help_texts_are_the_commands_own() -> None:
    """`make docs` was run after the last change, with whatever Python."""
    assert words_of(helptexts.PAGE.read_text()) == words_of(helptexts.page())


def words_of(page: str) -> list[str]:
    """What help texts say; before 3.13 they had an argument behind each name of an option."""
    return re.sub(r"(-\w) (\S+), (--[\w-]+ \2)", r"\1, \3", page).split()


def test_the_guide_knows_the_defaults() -> None:
    """The table of options says what the code does."""
    from openrouter_embeddings.core.options import EmbedOptions, Options

    default = Options()
    assert f"| {default.batch_size}, {default.concurrency} |" in GUIDE
    assert f"| seconds for one attempt | {default.timeout:g} |" in GUIDE
    assert f"time-out | {default.max_retries} |" in GUIDE
    for name in EmbedOptions.__annotations__:
        assert f"`{name}`" in GUIDE, name


def test_the_performance_pages_code_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another transport below httpx, over a socket."""
    (code,) = re.findall(
        r"^```python\n(.*?)^```$",
        (ROOT / "docs" / "performance.md").read_text(),
        re.DOTALL | re.MULTILINE,
    )
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    monkeypatch.setitem(MODELS, "openai/text-embedding-3-small", HashModel())
    scope: dict[str, Any] = {}
    with served(Faults([])) as url:
        monkeypatch.setenv("OPENROUTER_BASE_URL", url)
        exec(compile(code, "performance.md", "exec"), scope)
        assert len(asyncio.run(scope["main"]())) == 2


def test_the_figures_are_those_that_were_measured() -> None:
    """docs/performance.md has what `make bench` wrote into docs/performance.json, and no other."""
    found = json.loads((ROOT / "docs" / "performance.json").read_text())
    page = (ROOT / "docs" / "performance.md").read_text()
    assert (
        "\n".join(report.lines(found)) == page.split(report.BEGIN)[1].split(report.END)[0].strip()
    )


def test_the_comparison_of_jobs_is_what_was_measured() -> None:
    """docs/performance.md has what `make bench-corpus` wrote, and no other."""
    found = json.loads((ROOT / "docs" / "performance-corpus.json").read_text())
    page = (ROOT / "docs" / "performance.md").read_text()
    assert (
        "\n".join(corpus.lines(found)) == page.split(corpus.BEGIN)[1].split(corpus.END)[0].strip()
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link is a file of the project."""
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_make_target_in_the_docs_exists() -> None:
    """And `make` alone lists all of them."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):.* ## ", makefile, re.MULTILINE))
    for page in PAGES:
        for line in re.findall(r"^make (.+?)(?:  |$)", page.read_text(), re.MULTILINE):
            words = {word for word in line.split() if "=" not in word}
            assert words <= targets, (page, words - targets)
    done = subprocess.run(["make"], capture_output=True, text=True, check=True, cwd=ROOT)
    assert all(f"{target} " in done.stdout for target in targets)


def test_every_dependency_has_its_excuse() -> None:
    """A comment behind each line that brings one in."""
    text = (ROOT / "pyproject.toml").read_text()
    whole = tomllib.loads(text)
    project, groups = whole["project"], whole["dependency-groups"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *itertools.chain(*extras, *groups.values())]
    for requirement in wanted:
        if isinstance(requirement, dict):  # a group within a group
            continue
        assert re.search(rf'"{re.escape(requirement)}",\s+# \w+', text), requirement


def test_nothing_names_an_index_or_a_place_on_this_machine() -> None:
    """Lock files pin by hash and leave the index to whoever installs."""
    for path in (ROOT / "requirements").rglob("*.txt"):
        text = path.read_text()
        assert "://" not in text
        assert "--index" not in text
        packages = re.findall(r"^[a-zA-Z0-9._-]+==", text, re.MULTILINE)
        assert packages
        assert text.count("--hash=sha256:") >= len(packages)


def test_every_test_states_a_behaviour() -> None:
    """One sentence in its docstring."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        found = re.findall(r"^def (test_\w+)\((?:.|\n)*?\) -> None:\n    (.*)", text, re.MULTILINE)
        assert len(found) == len(re.findall(r"^def test_", text, re.MULTILINE)), path
        assert all(line.startswith('"""') for _, line in found), path
