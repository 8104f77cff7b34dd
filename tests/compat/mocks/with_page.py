"""The examples of docs/testing.md that need other people's tools."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compat.mocks.page import write_examples
from tests.compat.mocks.service import KEY, LoopbackService


def passes(folder: Path, *tests: str, url: str = "") -> None:
    """Fail unless pytest passes in this folder, with the service at this URL."""
    environment = {**os.environ, "OPENROUTER_API_KEY": KEY, "OPENROUTER_BASE_URL": url}
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, *tests]
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=60)


def test_the_mocks_of_the_page_answer(tmp_path: Path) -> None:
    """pytest-httpx and respx."""
    names = ("test_with_pytest_httpx.py", "test_with_respx.py")
    write_examples(tmp_path, "search.py", *names)
    passes(tmp_path, *names)


@pytest.mark.parametrize("settings", ["vcr.VCR", "vcr_config"])
def test_the_recorders_of_the_page_keep_the_key_out_of_the_file(
    tmp_path: Path, settings: str
) -> None:
    """They record once, and need no service afterwards."""
    names = ["search.py", "test_recorded.py"]
    write_examples(tmp_path, *names, "conftest.py for pytest-recording")
    if settings == "vcr_config":
        test = (tmp_path / "test_recorded.py").read_text()
        body = test.partition(")\ndef ")[2]
        imports = "import openrouter_embeddings as ore\nimport pytest\nfrom search import nearest\n"
        (tmp_path / "test_recorded.py").write_text(f"{imports}@pytest.mark.vcr\ndef {body}")
    with LoopbackService() as service:
        options = ["--record-mode=once"] if settings == "vcr_config" else []
        passes(tmp_path, "test_recorded.py", *options, url=service.url)
    assert len(service.texts) == 1
    passes(tmp_path, "test_recorded.py", url=service.url)
    (cassette,) = tmp_path.rglob("*.yaml")
    assert "a kitten" in cassette.read_text()
    assert KEY not in cassette.read_text()
