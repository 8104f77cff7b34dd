"""What `make` and `.ci/run` print, install and run; these tests install nothing."""

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import SLOWEST
from tests.support import ROOT, ended, run


def commands(*words: str) -> str:
    """The commands that `make` would run in a new clone."""
    return run("make", "--no-print-directory", "--dry-run", "--always-make", *words)


def pins(name: str) -> set[str]:
    """The packages of a lock file, with their versions and markers."""
    text = (ROOT / "requirements" / name).read_text()
    return set(re.findall(r"^([a-zA-Z0-9._-]+==.*?) \\$", text, re.MULTILINE))


def test_help_fits_on_one_screen() -> None:
    """`make` alone prints fewer than 24 lines of fewer than 80 columns."""
    lines = run("make", "--no-print-directory").splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) < 80


def test_the_demo_installs_what_the_main_job_needs() -> None:
    """`make demo` installs a few packages from its own lock; `make test` adds to them."""
    demo, test = commands("demo"), commands("test")
    assert re.findall(r"requirements/\w+", demo) == ["requirements/demo"]
    assert re.findall(r"requirements/\w+", test) == ["requirements/demo", "requirements/dev"]
    assert test.count("-m venv") == 1
    assert len({pin.partition("==")[0] for pin in pins("demo.txt")}) <= 45
    assert pins("demo.txt") < pins("dev.txt")


@pytest.mark.parametrize("target", ["demo", "test", "check", "lint", "typecheck"])
def test_no_target_installs_on_the_machine_unasked(target: str) -> None:
    """Only `make browser` installs a browser, and it says so first."""
    assert "apt-get" not in commands(target)
    assert "playwright install" not in commands(target)
    browser = commands("browser")
    assert browser.index("installing Chromium") < browser.index("apt-get update")


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("contract", "tests.contract.over_socket"),
        ("contract AGAINST=live", "tests.contract.live"),
        ("contract AGAINST=prism", "pytest tests/contract/against_prism.py"),
        ("stress KIND=fuzz", "stress.fuzz"),
        ("faults", "stress.faults"),
        ("bench", "benchmarks.run"),
        ("bench-quick", "benchmarks.run --quick"),
        ("bench SUITE=quick", "benchmarks.run --quick"),
        ("bench SUITE=million", "benchmarks.million"),
        ("adapters ONLY=llm", "tests.adapters llm"),
        ("adapters ONLY=llm COMPARE=1", "tests.adapters.side_by_side llm"),
    ],
)
def test_a_variable_chooses_what_is_run(words: str, command: str) -> None:
    """AGAINST=, KIND=, SUITE= and COMPARE= each have a default, and choose one command."""
    assert commands(*words.split()).rstrip().endswith(f"-m {command}")


@pytest.mark.parametrize("words", ["contract AGAINST=x", "stress KIND=x", "bench SUITE=x"])
def test_an_unknown_value_is_an_error(words: str) -> None:
    """The message says where the values are listed."""
    done = ended("make", "--no-print-directory", *words.split())
    assert done.returncode == 2
    assert "`make` lists the values" in done.stdout


@pytest.mark.parametrize(
    ("target", "page"), [("compat", "compatibility.md"), ("adapters", "frameworks.md")]
)
def test_an_unknown_environment_is_an_error_that_lists_them(target: str, page: str) -> None:
    """So does a page of documentation."""
    done = ended("make", "--no-print-directory", target, "ONLY=x")
    assert done.returncode == 2
    names = {path.stem for path in (ROOT / "requirements" / target).glob("*.txt")}
    assert done.stdout == f"ONLY=x does not exist; use one of: {' '.join(sorted(names))}\n"
    text = (ROOT / "docs" / page).read_text()
    assert all(f"`{name}`" in text for name in names)


def test_stress_runs_every_kind_by_default() -> None:
    """Without KIND=, `make stress` runs each module of stress/ that is a command."""
    kinds = re.findall(r"-m stress\.(\w+)", commands("stress"))
    runnable = {
        path.stem for path in (ROOT / "stress").glob("*.py") if "__main__" in path.read_text()
    }
    assert set(kinds) == runnable


def test_the_files_that_start_first_exist() -> None:
    """A renamed test file keeps its place in the order of `make test`."""
    assert all((ROOT / "tests" / name).exists() for name in SLOWEST)


def test_ci_has_a_browser_before_the_tests_run(tmp_path: Path) -> None:
    """`.ci/run` installs it in its own step; the tests that need one fail without it there."""
    log = tmp_path / "log"
    make = tmp_path / "make"
    make.write_text(f'#!/bin/sh\necho "CI=$CI make $*" >> {log}\n')
    make.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run([ROOT / ".ci" / "run"], env={**os.environ, "PATH": path}, check=True)
    assert log.read_text() == "CI=1 make browser\nCI=1 make check test\n"


def workflow() -> dict[str, Any]:
    """The workflow that tests every change."""
    loaded: dict[str, Any] = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "ci.yml")
    return loaded


def test_ci_runs_every_python_that_the_package_names() -> None:
    """Each classifier has a job, and each job a classifier."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = set(re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"])))
    jobs = workflow()["jobs"]
    run_in = {*jobs["all"]["strategy"]["matrix"]["python"]}
    core = [one["python"] for one in jobs["core"]["strategy"]["matrix"]["include"]]
    assert run_in | {python.removesuffix("t") for python in core} == named
    assert any(python.endswith("t") for python in core) == (
        "Programming Language :: Python :: Free Threading :: 1 - Unstable" in project["classifiers"]
    )


def test_ci_names_only_files_and_targets_that_exist() -> None:
    """A renamed test or target would otherwise be missed silently, or fail only there."""
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    paths = re.findall(r"\b(?:tests|requirements|docs)/[\w./-]*\w", text)
    assert len(paths) > 8
    for path in paths:
        assert (ROOT / path).exists(), path
    for words in re.findall(r"run: make (.*?)(?: #.*)?$", text, re.MULTILINE):
        commands(*words.split())


@pytest.mark.parametrize("name", ["ci.yml", "spec.yml"])
def test_workflows_pin_actions_and_grant_nothing_by_default(name: str) -> None:
    """A tag of an action can be moved, and a token that may do nothing is worth nothing."""
    text = (ROOT / ".github" / "workflows" / name).read_text()
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", one) for one in used)
    assert "\npermissions: {}\n" in text


def test_the_lock_of_the_core_has_versions_of_the_lock_of_all() -> None:
    """So that both run the same tests with the same packages."""

    def versions(name: str) -> set[str]:
        return {pin.partition(" ")[0] for pin in pins(name)}

    assert versions("core.txt") <= versions("dev.txt")
