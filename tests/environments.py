"""Runs tests in an environment of their own, with the packages of other people that they need."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(environment: str, *arguments: str | Path) -> bool:
    """Run pytest in `.venv/ENVIRONMENT`, such as "compat/mocks"; True if all tests have passed.

    Of the conftest.py files, only that of the folder `tests/compat` is loaded, for example.
    """
    python = ROOT / ".venv" / environment / "bin" / "python"
    folder = f"tests/{environment.partition('/')[0]}"
    command = [python, "-m", "pytest", "--confcutdir", folder, *arguments]
    path = os.pathsep.join(str(ROOT / folder) for folder in (".", "wrapper", "generated"))
    variables = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode == 0
