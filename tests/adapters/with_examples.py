"""The example applications, with the stand-in."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import openrouter_embeddings as ore
import PIL.Image
import PIL.ImageOps
import pytest

from tests.compat.loopback import PATIENCE, ROOT

EXAMPLES = ROOT / "examples"
# only this environment has them
playwright = import_module("playwright.sync_api")
uvicorn = import_module("uvicorn")

NOTES = {
    "bread.md": "# Bread\n\nMix flour.\n\n## Baking\n\nBake for 40 minutes at <i>230°C</i>.\n",
    "garden/tomatoes.md": "Water tomatoes in the morning.\n\n```\n# not a heading\n```\n",
    "long.md": "# Long\n\n" + "".join(f"This is line number {number}.\n" for number in range(100)),
}


@pytest.fixture(scope="module")
def notes_search() -> Any:
    """The module of the example."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        return import_module("notes_search")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Some notes."""
    for name, text in NOTES.items():
        path = tmp_path / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return tmp_path / "notes"


@pytest.fixture
def notes(notes_search: Any, folder: Path, tmp_path: Path) -> Iterator[Any]:
    """The notes in their store."""
    with ore.Client.local() as client:
        yield notes_search.Notes(folder, tmp_path / "store", client)


@pytest.fixture
def address(notes_search: Any, notes: Any) -> Iterator[str]:
    """Where the page is served."""
    server = uvicorn.Server(
        uvicorn.Config(notes_search.make_app(notes), port=0, log_level="error", lifespan="off")
    )
    listening = server.config.bind_socket()
    thread = threading.Thread(target=server.run, args=[[listening]])
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join(PATIENCE)
    listening.close()


def test_notes_are_cut_at_headings_and_lose_nothing(notes_search: Any, folder: Path) -> None:
    """A comment in code is no heading, and a long section becomes several passages."""
    passages = list(notes_search.read_notes(folder))
    assert [(one.file, one.heading) for one in passages[:3]] == [
        ("bread.md", "Bread"),
        ("bread.md", "Baking"),
        ("garden/tomatoes.md", "tomatoes"),
    ]
    assert "# not a heading" in passages[2].text
    lines = [line for one in passages[3:] for line in one.text.splitlines()]
    assert lines == NOTES["long.md"].splitlines()[2:]
    assert len(passages) > 4
    assert max(len(one.text) for one in passages) <= notes_search.LENGTH


def test_the_prompt_has_the_passage_and_the_question(notes_search: Any, notes: Any) -> None:
    """The nearest passage comes first, with its file and heading."""
    question = "How hot should the oven be?"
    passages = notes.search(question)
    assert passages[0]["heading"] == "Baking"
    prompt = notes_search.prompt(question, passages)
    assert "[1] bread.md, Baking:\nBake for 40 minutes at <i>230°C</i>.\n" in prompt
    assert prompt.endswith(f"Question: {question}")


def test_a_folder_without_notes_is_an_error(notes_search: Any, tmp_path: Path) -> None:
    """It is named, and nothing is sent."""
    with pytest.raises(SystemExit, match=r"no text in .*\.md"):
        notes_search.Notes(tmp_path, tmp_path / "store", None)


def test_the_page_answers_in_a_browser(address: str) -> None:
    """Typing a question shows passages and the prompt; markup in either is shown, not run."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    with playwright.sync_playwright() as runner:
        if not found and not Path(runner.chromium.executable_path).exists():
            missing = pytest.fail if "CI" in os.environ else pytest.skip
            missing("no browser to look at the page with: install Chromium, or run `make browser`")
        browser = runner.chromium.launch(executable_path=found)
        page = browser.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        assert page.locator("article").count() == 0
        question = 'How hot? <b>"oven" & co</b>'
        page.get_by_label("Ask your notes").fill(question)
        page.get_by_label("Ask your notes").press("Enter")
        page.locator("article").first.wait_for()
        assert page.locator("article").count() == 4
        assert page.locator("article h2").first.inner_text().startswith("Baking bread.md, 0.")
        assert "<i>230°C</i>" in page.locator("article p").first.inner_text()
        assert page.get_by_label("Ask your notes").input_value() == question
        assert page.locator("pre").is_hidden()
        page.get_by_text("Prompt for a chat model").click()
        assert page.locator("pre").inner_text().endswith(f"Question: {question}")
        if "SCREENSHOT" in os.environ:
            page.screenshot(path=os.environ["SCREENSHOT"])
        browser.close()
    assert wrong == []


def photo_search(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run the example."""
    command = [sys.executable, EXAMPLES / "photo_search.py", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)


@pytest.mark.parametrize("name", ["cat", "rocket"])
def test_a_piece_of_a_photograph_finds_it(name: str, tmp_path: Path) -> None:
    """It comes first; the second search sends only the query."""
    crop, vectors = tmp_path / "crop.png", tmp_path / "photos.parquet"
    with PIL.Image.open(EXAMPLES / "photos" / f"{name}.jpg") as photo:
        width, height = photo.size
        photo.crop((width // 8, height // 8, width, height)).save(crop)
    for requests in (1, 0):
        done = photo_search(crop, "--vectors", vectors)
        assert done.returncode == 0, done.stderr
        nearest, *others, end = done.stdout.splitlines()
        assert nearest.endswith(f"{name}.jpg")
        assert len(others) == 2
        assert end == f"{requests} requests for 6 photographs"


def test_the_stand_in_refuses_a_text_as_a_picture() -> None:
    """The message says why."""
    done = photo_search("a cat")
    assert done.returncode == 2
    assert "the stand-in cannot search by text" in done.stderr


def test_the_applications_are_short() -> None:
    """Each has fewer than 150 lines."""
    for name in ("notes_search", "photo_search"):
        assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 150, name
