"""What `make` and `.ci/run` install, and when; nothing is installed here."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def commands(target: str) -> str:
    """What `make` would run for a target in a new clone."""
    dry = ["make", "--dry-run", "--always-make", target]
    return subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def pins(name: str) -> set[str]:
    """The packages of a lock file, with their versions and markers."""
    text = (ROOT / "requirements" / name).read_text()
    return set(re.findall(r"^([a-zA-Z0-9._-]+==.*?) \\$", text, re.MULTILINE))


def test_the_demo_installs_what_the_main_job_needs() -> None:
    """A few packages from a lock of its own; the tests add theirs to the same environment."""
    demo, test = commands("demo"), commands("test")
    assert re.findall(r"requirements/\w+", demo) == ["requirements/demo"]
    assert re.findall(r"requirements/\w+", test) == ["requirements/demo", "requirements/dev"]
    assert test.count("-m venv") == 1
    assert len({pin.partition("==")[0] for pin in pins("demo.txt")}) <= 45
    assert pins("demo.txt") < pins("dev.txt")


@pytest.mark.parametrize("target", ["demo", "test", "check", "lint", "typecheck"])
def test_no_target_installs_on_the_machine_unasked(target: str) -> None:
    """A browser comes with `make browser` alone."""
    said = commands(target)
    assert "apt-get" not in said
    assert "playwright install" not in said
    assert "apt-get" in commands("browser")


def test_ci_has_a_browser_before_the_tests_run(tmp_path: Path) -> None:
    """In a step of its own; without one the tests that need it fail there."""
    log = tmp_path / "log"
    make = tmp_path / "make"
    make.write_text(f'#!/bin/sh\necho "CI=$CI make $*" >> {log}\n')
    make.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run([ROOT / ".ci" / "run"], env={**os.environ, "PATH": path}, check=True)
    assert log.read_text() == "CI=1 make browser\nCI=1 make check test\n"
