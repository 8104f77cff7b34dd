"""Runs programs and tests in an environment of their own, with packages of other people."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def python(environment: str, *arguments: str | Path, given: str | None = None) -> bool:
    """Run the Python of `.venv/ENVIRONMENT`, such as "compat/mocks"; True if its status is 0.

    `given` is its standard input.
    """
    command = [ROOT / ".venv" / environment / "bin" / "python", *arguments]
    path = os.pathsep.join(str(ROOT / folder) for folder in (".", "wrapper", "generated"))
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        input=given,
        text=True,
        check=False,
    )
    return done.returncode == 0


def run(environment: str, *arguments: str | Path) -> bool:
    """Run pytest in an environment; True if all tests have passed.

    Of the conftest.py files, only that of the folder `tests/compat` is loaded, for example.
    """
    folder = f"tests/{environment.partition('/')[0]}"
    return python(environment, "-m", "pytest", "--confcutdir", folder, *arguments)
