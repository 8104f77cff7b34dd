"""The documentation is right: its code runs, its output matches, its links work."""

import asyncio
import gc
import itertools
import json
import re
import shlex
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.core.options import CLIENT_OPTIONS, EmbedOptions, Options
from openrouter_embeddings.local.faults import Faults
from openrouter_embeddings.local.models import MODELS
from openrouter_embeddings.local.models.hash import HashModel
from openrouter_embeddings.local.servers.in_process import LocalTransport

from benchmarks import corpus, report
from stress.servers import served
from tests.newest import newest
from tests.support import KEY, PNG, ROOT, run
from tools import helptexts

README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "guide.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")])


def blocks(language: str, text: str = README + GUIDE) -> list[str]:
    """The code blocks in a language: those of the README, then those of the guide."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # their code closes no client
def test_the_code_of_readme_and_guide_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All blocks run from top to bottom, with the stand-in as the service."""
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
    # the block about the generated client has the service's address in it
    monkeypatch.setattr(httpx.Client, "_init_transport", lambda _, **__: LocalTransport())
    with served(Faults(contract=newest())) as url:
        monkeypatch.setenv("OPENROUTER_BASE_URL", url)
        for block in code:
            exec(compile(block, "README.md", "exec"), scope)
    scope.clear()
    gc.collect()  # so that ResourceWarnings come now, while they are ignored
    output = capsys.readouterr().out
    assert "900 (100, 256)" in output
    assert "\n['a cat sleeps', 'a kitten naps']\n" in output
    assert "\n2 384 6\n" in output
    assert "input 1: the text is empty, which every provider rejects; remove it\n(1,)\n" in output
    assert output.endswith("402 Local None None\n")


def test_make_compat_runs_all_code_in_deployment_md() -> None:
    """Each section with code is named in a test of tests/compat, which runs it."""
    page = (ROOT / "docs" / "deployment.md").read_text()
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "compat").rglob("with_*.py"))
    sections = re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", page, re.MULTILINE)
    headings = [heading for heading, text in sections if blocks("python", text)]
    assert len(headings) == 7
    for heading in headings:
        assert re.search(rf'(blocks|write)\([^)]*"{heading}"', tests), heading


def test_make_adapters_runs_all_code_in_frameworks_md() -> None:
    """Each section with code is named in a test of its framework, which runs it."""
    page = (ROOT / "docs" / "frameworks.md").read_text()
    sections = re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", page, re.MULTILINE)
    headings = {heading for heading, text in sections if blocks("python", text)}
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "adapters").glob("with_*.py"))
    assert headings == {*re.findall(r'run_section\("(.*?)"', tests)}
    environments = {path.stem for path in (ROOT / "requirements" / "adapters").glob("*.txt")}
    assert len(headings) == len(environments - {"stores", "recipes", "examples"})


@pytest.mark.parametrize("page", ["stores", "recipes"])
def test_make_adapters_runs_all_code_of_the_other_pages(page: str) -> None:
    """A test has the sections with code as its parameters; all come after "Preparation"."""
    tests = (ROOT / "tests" / "adapters" / f"with_{page}.py").read_text()
    assert f'PAGE = "{page}.md"' in tests
    assert '[name for name in sections(PAGE) if name != "Preparation"]' in tests
    introduction, *sections = (ROOT / "docs" / f"{page}.md").read_text().split("\n## ")
    assert not blocks("python", introduction)
    assert len([section for section in sections if blocks("python", section)]) >= 8


def test_stores_and_recipes_name_the_versions_of_the_locks() -> None:
    """In the tables at their tops."""
    for page in ("stores", "recipes"):
        lock = (ROOT / "requirements" / "adapters" / f"{page}.txt").read_text()
        text = (ROOT / "docs" / f"{page}.md").read_text()
        rows = re.findall(r"^\| \[.*\| (.*) \|$", text, re.MULTILINE)
        assert len(rows) >= 7
        for name, version in (tried.split(" ") for row in rows for tried in row.split(", ")):
            assert f"\n{name}=={version} " in lock, name


def test_the_job_in_the_readme_can_be_run_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints what the README shows, the first time and the second."""
    monkeypatch.chdir(tmp_path)
    (code,) = [block for block in blocks("python") if "embed_file" in block]
    first, again = re.findall(r"# prints ([\d ]*\d)", code)
    scope: dict[str, Any] = {"ore": ore}
    for output in (first, again):
        exec(compile(code, "README.md", "exec"), scope)
        assert capsys.readouterr().out == f"{output}\n"
    scope.clear()


def test_the_commands_in_readme_and_guide_print_what_they_show() -> None:
    """Every `$ orembed …` prints the lines under it."""
    sessions = [
        session
        for block in blocks("console")
        for session in re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", block, re.MULTILINE)
    ]
    assert sessions
    for command, output in sessions:
        program, *words = shlex.split(command)
        assert program == "orembed"
        assert run(sys.executable, "-m", "openrouter_embeddings.cli", *words) == output


def test_cli_md_has_the_help_texts() -> None:
    """docs/cli.md has the current output of --help, with the wrapping of any Python version."""
    assert words_of(helptexts.PAGE.read_text()) == words_of(helptexts.page())


def words_of(page: str) -> list[str]:
    """The words of help texts. Python before 3.13 repeats the argument: -o FILE, --output FILE."""
    return re.sub(r"(-\w) (\S+), (--[\w-]+ \2)", r"\1, \3", page).split()


def test_the_table_of_options_has_the_defaults() -> None:
    """The guide names every option, and the defaults that the code has."""
    default = Options()
    assert f"| inputs per request | {default.batch_size} |" in GUIDE
    assert f"while the call runs | {default.concurrency} |" in GUIDE
    assert f"| seconds for one attempt | {default.timeout:g} |" in GUIDE
    assert f"time-out | {default.max_retries} |" in GUIDE
    for name in EmbedOptions.__annotations__:
        assert f"`{name}`" in GUIDE, name


def test_the_table_of_arguments_has_those_of_a_client() -> None:
    """The guide has a row for each of them, in the order of the code."""
    table = GUIDE.partition("| argument | what it is | default |\n|---|---|---|\n")[2]
    rows = table.partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` ", rows, re.MULTILINE) == [*CLIENT_OPTIONS]


def test_the_code_in_performance_md_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of another transport under httpx makes two requests over a socket."""
    (code,) = blocks("python", (ROOT / "docs" / "performance.md").read_text())
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    monkeypatch.setitem(MODELS, "openai/text-embedding-3-small", HashModel())
    scope: dict[str, Any] = {}
    with served(Faults([])) as url:
        monkeypatch.setenv("OPENROUTER_BASE_URL", url)
        exec(compile(code, "performance.md", "exec"), scope)
        assert len(asyncio.run(scope["main"]())) == 2


def test_the_code_in_telemetry_md_prints_the_span_on_the_page() -> None:
    """All but IDs, times and versions is as shown, and the page explains every attribute."""
    page = (ROOT / "docs" / "telemetry.md").read_text()
    (code, metrics), (shown,) = blocks("python", page), blocks("json", page)
    output = run(sys.executable, "-c", f"{metrics}\n{code}")
    printed, end = json.JSONDecoder().raw_decode(output)
    assert "gen_ai.client.embeddings.operation.input_tokens" in output[end:]
    assert without_ids(json.dumps(printed)) == without_ids(json.dumps(json.loads(shown)))
    (event,) = printed["events"]
    for name in (*printed["attributes"], *event["attributes"]):
        assert re.search(rf"`({re.escape(name)}|\.{name.rsplit('.', 1)[-1]})`", page), name


def without_ids(printed: str) -> str:
    """What a console exporter prints, without IDs, times and versions."""
    return re.sub(r'"[\dTZ:.-]{5,}"|0x[0-9a-f]+|"[0-9a-f-]{36}"', "…", printed)


@pytest.mark.parametrize(
    ("figures", "tables"), [("performance.json", report), ("performance-corpus.json", corpus)]
)
def test_performance_md_has_the_figures_of_the_benchmarks(figures: str, tables: ModuleType) -> None:
    """Its tables match the files that `make bench` and `make bench SUITE=corpus` write."""
    lines = tables.lines(json.loads((ROOT / "docs" / figures).read_text()))
    page = (ROOT / "docs" / "performance.md").read_text()
    assert "\n".join(lines) == page.split(tables.BEGIN)[1].split(tables.END)[0].strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_have_a_target(page: Path) -> None:
    """Every relative link leads to a file of the project."""
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_make_target_in_the_docs_exists() -> None:
    """Every `make …` on a page is a target, and `make` alone lists all targets."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):.* ## ", makefile, re.MULTILINE))
    for page in PAGES:
        for line in re.findall(r"^make (.+?)(?:  |$)", page.read_text(), re.MULTILINE):
            words = {word for word in line.split() if "=" not in word}
            assert words <= targets, (page, words - targets)
    listed = run("make")
    assert all(f"{target} " in listed for target in targets)


def test_every_dependency_has_a_reason() -> None:
    """Each line of pyproject.toml that adds a dependency has a comment."""
    text = (ROOT / "pyproject.toml").read_text()
    whole = tomllib.loads(text)
    project, groups = whole["project"], whole["dependency-groups"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *itertools.chain(*extras, *groups.values())]
    for requirement in wanted:
        if isinstance(requirement, dict):  # a group within a group
            continue
        assert re.search(rf'"{re.escape(requirement)}",\s+# \w+', text), requirement


def test_lock_files_pin_by_hash_and_name_no_index() -> None:
    """Whoever installs chooses the package index."""
    for path in (ROOT / "requirements").rglob("*.txt"):
        text = path.read_text()
        assert "://" not in text
        assert "--index" not in text
        packages = re.findall(r"^[a-zA-Z0-9._-]+==", text, re.MULTILINE)
        assert packages
        assert text.count("--hash=sha256:") >= len(packages)


def test_every_test_has_a_docstring() -> None:
    """Each test function states the behaviour in a docstring."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        start = r"^(?:async )?def test_"
        found = re.findall(rf"{start}\w+\((?:.|\n)*?\) -> None:\n    (.*)", text, re.MULTILINE)
        assert len(found) == len(re.findall(start, text, re.MULTILINE)), path
        assert all(line.startswith('"""') for line in found), path
