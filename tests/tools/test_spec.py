"""Taking a new edition of the specification: out of a page, whole, or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools import spec
from tools.documents import SPEC, SpecError, extract, load, validate

TEXT = SPEC.read_bytes()
HEAD = b"# Submit an embedding request\n\n## OpenAPI\n\n```yaml\n"
PAGE = HEAD + TEXT + b"```\n\n## Code\n\n```python\nx = 1\n```\n"
BEFORE = HEAD.count(b"\n")


def test_the_document_comes_out_of_a_page_byte_for_byte() -> None:
    """Whatever other code blocks the page has."""
    assert extract(PAGE) == (TEXT, BEFORE)


def test_a_bare_document_is_taken_as_it_is() -> None:
    """With comments before it, too."""
    assert extract(TEXT) == (TEXT, 0)
    assert extract(b"# edition 2\n" + TEXT) == (b"# edition 2\n" + TEXT, 0)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (b"", "no OpenAPI document found"),
        (b"# a page\n```yaml\nkey: value\n```\n", "no OpenAPI document found"),
        (PAGE + PAGE, "2 fenced yaml blocks"),
        (HEAD + TEXT, "is not closed"),
    ],
)
def test_a_page_without_one_document_is_refused(page: bytes, words: str) -> None:
    """None, or two."""
    with pytest.raises(SpecError, match=words):
        extract(page)


def edited(old: str, new: str, *, count: int = 1) -> bytes:
    """The specification with a piece of it replaced."""
    assert old.encode() in TEXT
    return TEXT.replace(old.encode(), new.encode(), count)


BROKEN = {
    "duplicate key": (
        edited("  type: integer\n", "  type: integer\n" + " " * 18 + "type: string\n"),
        r"line \d+: found duplicate key \"type\"",
    ),
    "dangling reference": (
        edited("schemas/BadRequestResponse'", "schemas/Gone'"),
        r"paths\./embeddings\.post\.responses\.400.*: the reference #/components/schemas/Gone",
    ),
    "remote reference": (
        edited("'#/components/schemas/BadRequestResponse'", "'https://example.org/x.json'"),
        "the reference https://example.org/x.json points at nothing",
    ),
    "no such type": (edited("type: integer", "type: integr"), r"properties\.\w+\.type: .*integr"),
    "wrong keyword value": (
        edited("      required:\n        - text\n", "      required: text\n"),
        r"components\.schemas\.\w+\.required: ",
    ),
    "wrong structure": (edited("      responses:\n", "      answers:\n"), "paths|responses"),
    "no operation": (edited("    post:\n", "    x-post:\n"), r"paths\./embeddings\.post: missing"),
    "unquoted status": (edited("'400':", "400:"), r"responses: the key 400 is no text; quote it"),
    "date": (edited("1.0.0", "2026-01-01"), r"info\.version: a date is not JSON; quote it"),
    "schema is text": (edited("        schema:\n", "        schema: x\n        y:\n"), "."),
    "null components": (TEXT.split(b"components:")[0] + b"components:\n", "."),
    "no endpoint": (edited("  /embeddings:\n", "  /pets:\n"), r"paths\./embeddings\.post: missing"),
    "torn": (TEXT[: len(TEXT) // 2] + b"\n   - : [", r"line \d+: "),
    "no mapping": (b"openapi:\n- a\n"[9:], "no OpenAPI document found"),
}


@pytest.mark.parametrize("flaw", BROKEN)
@pytest.mark.parametrize("in_page", [False, True])
def test_a_flawed_document_changes_nothing(flaw: str, in_page: bool, tmp_path: Path) -> None:
    """It is refused in one line that says what is wrong and where."""
    text, words = BROKEN[flaw]
    target = tmp_path / "openapi.yaml"
    target.write_bytes(b"as it was")
    with pytest.raises(SpecError, match=words) as caught:
        spec.take(PAGE.replace(TEXT, text) if in_page else text, target)
    assert "\n" not in str(caught.value)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"as it was"]


def test_lines_are_counted_in_the_page_that_was_given() -> None:
    """So that an editor goes there."""
    text, _ = BROKEN["duplicate key"]
    with pytest.raises(SpecError) as bare:
        load(text)
    with pytest.raises(SpecError) as in_page:
        load(text, BEFORE)
    lines = [int(str(e.value).split(":")[0].removeprefix("line ")) for e in (bare, in_page)]
    assert lines[1] - lines[0] == BEFORE


def test_a_sound_edition_replaces_the_old_one(tmp_path: Path) -> None:
    """And is recognised when it comes again."""
    target = tmp_path / "openapi.yaml"
    assert spec.take(PAGE, target) is True
    assert target.read_bytes() == TEXT
    assert spec.take(TEXT, target) is False


def test_the_committed_specification_is_sound() -> None:
    """It passes its own checks."""
    validate(load(TEXT))


@pytest.mark.parametrize("origin", ["-", "nowhere.md"])
def test_make_spec_says_what_is_wrong_in_one_line(origin: str) -> None:
    """From standard input and from a file that is not there; the specification stays."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.spec", origin],
        input="nothing",
        capture_output=True,
        text=True,
        check=False,
        cwd=SPEC.parent,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"spec: openapi.yaml stays as it is: {origin}: ")
    assert done.stderr.count("\n") == 1
    assert SPEC.read_bytes() == TEXT


def test_make_spec_knows_the_edition_it_has() -> None:
    """From standard input, as a page."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.spec", "-"],
        input=PAGE,
        capture_output=True,
        check=False,
        cwd=SPEC.parent,
    )
    assert done.stdout == b"spec: openapi.yaml already is this edition\n"


@pytest.mark.parametrize("fence", [b"```yaml openapi.yaml", b"````yaml", b"```yml {1}"])
def test_a_fence_may_be_long_or_say_more(fence: bytes) -> None:
    """As Markdown allows."""
    closing = fence[: len(fence) - len(fence.lstrip(b"`"))]
    page = b"# Page\n" + fence + b"\nopenapi: 3.1.0\n" + closing + b"\n"
    assert extract(page) == (b"openapi: 3.1.0\n", 2)


@pytest.mark.parametrize("page", [b'{"openapi": "3.1.0"}', b"<!doctype html>"])
def test_json_and_html_are_told_by_name(page: bytes) -> None:
    """Whoever saved the wrong form of the page learns which is right."""
    with pytest.raises(SpecError, match="JSON or HTML"):
        extract(page)


def test_nothing_is_downloaded(capsys: pytest.CaptureFixture[str]) -> None:
    """An address is no file, and the message says what to do."""
    assert spec.main(["--diff", "https://example.org/page.md"]) == 1
    assert "nothing is downloaded here; save the page" in capsys.readouterr().err
