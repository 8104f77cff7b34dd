"""Taking a new edition of the specification: out of a page, whole, or not at all."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tools.real_editions import PAGES, edition
from tools import spec
from tools.editions import parse_edition
from tools.openapi import SPEC, SpecError, extract, find, load, validate

TEXT = SPEC.read_bytes()
HEAD = b"# Submit an embedding request\n\n## OpenAPI\n\n```yaml\n"
PAGE = HEAD + TEXT + b"```\n\n## Code\n\n```python\nx = 1\n```\n"
BEFORE = HEAD.count(b"\n")

# A document of the project's own with something at every place where the tests put a flaw.
OWN = b"""\
openapi: 3.1.0
info:
  title: API
  version: 1.0.0
paths:
  /embeddings:
    post:
      operationId: embed
      requestBody:
        content:
          application/json:
            schema:
              type: object
              properties:
                dimensions:
                  type: integer
                text:
                  $ref: '#/components/schemas/Text'
              required:
                - text
      responses:
        '200':
          description: ok
        '400':
          description: bad
          content:
            application/json:
              schema:
                $ref: '#/components/schemas/Bad'
components:
  schemas:
    Bad:
      type: object
    Text:
      type: string
"""


def test_the_document_comes_out_of_a_page_byte_for_byte() -> None:
    """Whatever other code blocks the page has."""
    assert extract(PAGE) == (TEXT, BEFORE)


def test_a_bare_document_is_taken_as_it_is() -> None:
    """With comments before it, too."""
    assert extract(TEXT) == (TEXT, 0)
    assert extract(b"# edition 2\n" + TEXT) == (b"# edition 2\n" + TEXT, 0)


@pytest.mark.parametrize("name", PAGES)
def test_a_real_page_gives_its_block_byte_for_byte(name: str) -> None:
    """In the former form and in today's."""
    text = edition(name).text
    assert text.startswith(b"openapi: ")
    assert b"```" not in text


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (b"", "the input is empty"),
        (b"# a page", "no OpenAPI document found"),
        (b"# a page\n```yaml\nkey: value\n```\n", "no OpenAPI document found"),
        (PAGE + PAGE, "2 fenced yaml blocks"),
        (HEAD + TEXT, "is not closed"),
        (b"<!doctype html>", r"the page is HTML.*append \.md"),
    ],
)
def test_a_page_without_one_document_is_refused(page: bytes, words: str) -> None:
    """None, or two."""
    with pytest.raises(SpecError, match=words):
        extract(page)


def edited(old: str, new: str) -> bytes:
    """The project's own document with a piece of it replaced."""
    assert OWN.count(old.encode()) >= 1
    return OWN.replace(old.encode(), new.encode(), 1)


BROKEN = {
    "duplicate key": (
        edited("  type: integer\n", "  type: integer\n" + " " * 18 + "type: string\n"),
        r"^line 17: found duplicate key \"type\"",
    ),
    "dangling reference": (
        edited("schemas/Bad'", "schemas/Gone'"),
        r"^#/paths/~1embeddings/post/responses/400\S+ \(line 29\): the reference \S+/Gone points",
    ),
    "remote reference": (
        edited("'#/components/schemas/Bad'", "'https://example.org/x.json'"),
        "the reference https://example.org/x.json points to nothing",
    ),
    "no such type": (edited("integer", "integr"), r"/properties/dimensions/type \(line 16\): "),
    "wrong keyword value": (
        edited("              required:\n                - text\n", "              required: x\n"),
        r"schema/required \(line 19\): ",
    ),
    "wrong structure": (edited("      responses:\n", "      answers:\n"), r"^#/paths.*\(line 7\)"),
    "no operation": (edited("    post:\n", "    x-post:\n"), "has no POST /embeddings"),
    "a key that is no text": (
        edited("'400':", "true:"),
        r"responses \(line 21\): the key True is n",
    ),
    "a status twice": (edited("'400':", "200:"), r"the key 200 is not a string, or appears twice"),
    "no paths": (edited("paths:\n", "paths:\nx-paths:\n"), "#/paths"),
    "itself": (OWN + b"x-a: &a {b: *a}\n", "not a usable OpenAPI document: RecursionError"),
    "a long number": (b'{"openapi": "3.1.0", "x": ' + b"1" * 5000 + b"}", "not JSON"),
    "schema is text": (
        edited("            schema:\n              type", "            schema: x\n            y:"),
        ".",
    ),
    "null components": (OWN.split(b"components:\n")[0] + b"components:\n", "."),
    "no endpoint": (edited("  /embeddings:\n", "  /pets:\n"), "has no POST /embeddings"),
    "torn": (OWN[: len(OWN) // 2] + b"\n   - : [", r"^line \d+: "),
    "no mapping": (b"openapi:\n- a\n"[9:], "no OpenAPI document found"),
    "torn JSON": (b'{"openapi": "3.1.0", ', "^line 1: not JSON"),
    "JSON with a key twice": (b'{"openapi": "3.1.0", "openapi": ""}', 'duplicate key "openapi"'),
    "a list": (b"[]", "no OpenAPI document found"),
}


@pytest.mark.parametrize("flaw", BROKEN)
def test_a_flawed_document_is_refused_in_one_line(flaw: str) -> None:
    """With the place in the publisher's document, what is the matter, and what to do."""
    text, words = BROKEN[flaw]
    with pytest.raises(SpecError, match=words) as caught:
        parse_edition(text)
    said = str(caught.value)
    assert "\n" not in said
    assert ". What to do: " in said


SOUND = {
    "unquoted status": edited("'400':", "400:"),
    "unquoted date": edited("1.0.0", "2026-01-01"),
    "byte order mark": b"\xef\xbb\xbf" + OWN,
    "quoted key": edited("openapi:", "'openapi':"),
    "percent in a reference": OWN.replace(b"schemas/Text'", b"schemas/T%65xt'"),
    "path elsewhere": edited(
        "  /embeddings:\n    post:", "  /embeddings: {$ref: '#/x-e'}\nx-e:\n    post:"
    ).replace(b"components:", b"components:"),
    "reference in an example": edited(
        "      type: string\n", "      type: string\n      example: {$ref: '#/nowhere'}\n"
    ),
}


@pytest.mark.parametrize("habit", SOUND)
def test_odd_but_sound_documents_are_taken(habit: str) -> None:
    """With the operation, its answers and its schemas."""
    operation = parse_edition(SOUND[habit]).contract["paths"]["/embeddings"]["post"]
    assert sorted(operation["responses"]) == ["200", "400"]


def test_the_line_of_a_place_that_a_rule_has_moved_is_found() -> None:
    """Rules put alternatives around schemas and spell unions in another way."""
    moved = ("components", "schemas", "Text", "anyOf", "0", "type")
    assert find(OWN, moved) == (("components", "schemas", "Text", "type"), OWN.count(b"\n"))


@pytest.mark.parametrize("flaw", ["duplicate key", "dangling reference", "no such type"])
def test_lines_are_counted_in_the_page_that_was_given(flaw: str) -> None:
    """So that an editor goes there."""
    text, _ = BROKEN[flaw]
    with pytest.raises(SpecError) as bare:
        parse_edition(text)
    with pytest.raises(SpecError) as in_page:
        parse_edition(HEAD + text + b"```\n")
    assert (in_page.value.line or 0) - (bare.value.line or 0) == BEFORE


@pytest.mark.parametrize("edition_", ["openapi.yaml", "generator-config.yaml"])
def test_the_committed_files_are_sound(edition_: str) -> None:
    """They pass their own checks."""
    assert load((SPEC.parent / edition_).read_bytes())
    validate(parse_edition(TEXT).contract)


def command(*arguments: str, given: bytes | None = None) -> subprocess.CompletedProcess[str]:
    """`python -m tools.spec` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "tools.spec", *arguments],
        input=given.decode() if given else None,
        capture_output=True,
        text=True,
        check=False,
        cwd=SPEC.parent,
    )


@pytest.mark.parametrize("origin", ["-", "nowhere.md"])
def test_make_spec_says_what_is_wrong_and_that_nothing_changed(origin: str) -> None:
    """From standard input and from a file that is not there."""
    done = command(origin, given=b"nothing")
    assert done.returncode == 1
    assert done.stderr.startswith(f"spec: {'standard input' if origin == '-' else origin}: ")
    assert done.stderr.endswith("spec: openapi.yaml is unchanged\n")
    assert done.stderr.count("\n") == 2
    assert SPEC.read_bytes() == TEXT


def test_make_spec_knows_the_edition_it_has() -> None:
    """From standard input, as a page."""
    done = command("-", given=PAGE)
    assert done.stdout == "spec: openapi.yaml is already this edition\n"


def test_spec_diff_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It only says what would be."""
    (tmp_path / "page.yaml").write_bytes(OWN)
    assert spec.main(["--diff", str(tmp_path / "page.yaml")]) == 0
    assert "BREAKS" in capsys.readouterr().out
    assert SPEC.read_bytes() == TEXT


def test_a_sound_edition_replaces_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Byte for byte, with an account of what changes and what to do next."""
    target = tmp_path / "openapi.yaml"
    target.write_bytes(TEXT)
    monkeypatch.setattr(spec, "SPEC", target)
    (tmp_path / "page.md").write_bytes(HEAD + OWN + b"```\n")
    assert spec.main([str(tmp_path / "page.md")]) == 0
    assert target.read_bytes() == OWN
    said = capsys.readouterr().out
    assert "openapi.yaml replaced" in said
    assert "Next: run make generate" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["openapi.yaml", "page.md"]


@pytest.mark.parametrize("fence", [b"```yaml openapi.yaml", b"````yaml /x.yaml post /embeddings"])
def test_a_fence_may_be_long_or_say_more(fence: bytes) -> None:
    """As Markdown allows, and as today's page has it."""
    closing = fence[: len(fence) - len(fence.lstrip(b"`"))]
    page = b"# Page\n" + fence + b"\nopenapi: 3.1.0\n" + closing + b"\n"
    assert extract(page) == (b"openapi: 3.1.0\n", 2)


def test_front_matter_is_no_part_of_the_document() -> None:
    """Pages of 2025 begin with it."""
    page = b"---\ntitle: x\ntags:\n    - y\n---\n" + PAGE
    assert extract(page) == (TEXT, BEFORE + 5)


def whole() -> dict[str, Any]:
    """A whole document: the project's own, with other operations and what they alone use."""
    made = load(OWN)
    schemas = made["components"]["schemas"]
    schemas["Bad"] = {"type": "object", "properties": {"more": {"$ref": "#/components/schemas/M"}}}
    schemas["M"] = {"type": "string"}
    schemas["Idle"] = {"type": "string"}
    schemas["Pet"] = {"type": "object"}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}
    pets = {"responses": {"200": {"description": "ok", "content": content}}}
    made["paths"]["/pets"] = {"get": pets, "post": pets}
    made["paths"]["/embeddings"]["get"] = pets
    made["paths"]["/embeddings"]["parameters"] = [{"$ref": "#/components/parameters/Q"}]
    parameter = {"name": "q", "in": "query", "schema": {"type": "string"}}
    made["components"]["parameters"] = {"Q": parameter, "R": parameter}
    made["tags"] = [{"name": "pets"}]
    return made


WANTED = ["POST /embeddings"]


def test_a_whole_document_is_cut_to_what_the_operations_reach() -> None:
    """The rest is counted in one line."""
    found = parse_edition(json.dumps(whole()).encode(), WANTED, "openapi.json")
    assert found.omitted == "3 other operations and 3 components left out"
    document = load(found.text)
    assert sorted(document["components"]["schemas"]) == ["Bad", "M", "Text"]
    assert sorted(document["components"]["parameters"]) == ["Q"]
    assert sorted(document["paths"]["/embeddings"]) == ["parameters", "post"]
    assert list(document) == ["openapi", "info", "paths", "components"]
    assert parse_edition(found.text).contract == found.contract


def test_what_is_cut_says_where_it_is_from() -> None:
    """In a comment with the digest of the source, so that the same source gives the same file."""
    source = json.dumps(whole()).encode()
    text = parse_edition(source, WANTED, "openapi.json").text
    comment = text.partition(b"openapi:")[0].decode()
    assert "POST /embeddings and the components it uses" in comment
    assert "openapi.json, sha256 " in comment
    assert "3 other operations and 3 components left out" in comment
    assert parse_edition(source, WANTED, "openapi.json").text == text


def test_what_is_cut_is_in_a_stable_order() -> None:
    """However the publisher ordered it, below the comment that names the source."""

    def reverse(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: reverse(node[key]) for key in reversed(node)}
        return [reverse(item) for item in node] if isinstance(node, list) else node

    given = [json.dumps(each).encode() for each in (whole(), reverse(whole()))]
    texts = [parse_edition(each, WANTED).text.partition(b"openapi:")[2] for each in given]
    assert texts[0] == texts[1]


def test_a_whole_document_is_cut_as_yaml_and_as_json_alike() -> None:
    """A document with nothing but the operation is rewritten if it is JSON, and kept otherwise."""
    assert parse_edition(OWN, WANTED).text == OWN
    as_json = json.dumps(load(OWN)).encode()
    assert load(parse_edition(as_json, WANTED).text) == load(OWN)
    assert parse_edition(as_json, WANTED).omitted == ""


def test_an_operation_that_a_whole_document_lacks_is_named() -> None:
    """With the configuration that asks for it."""
    with pytest.raises(SpecError, match=r"has no POST /rerank.*generator-config\.yaml"):
        parse_edition(json.dumps(whole()).encode(), ["POST /embeddings", "POST /rerank"])


def test_what_refers_into_another_operation_gets_a_copy() -> None:
    """That operation is left out, and what stands there is not."""
    given = whole()
    pets = given["paths"]["/pets"]["get"]["responses"]["200"]
    answers = given["paths"]["/embeddings"]["post"]["responses"]
    answers["400"] = {"$ref": "#/paths/~1pets/get/responses/200"}
    found = parse_edition(json.dumps(given).encode(), WANTED)
    there = found.contract["paths"]["/embeddings"]["post"]["responses"]["400"]
    assert there == pets
    assert "Pet" in found.contract["components"]["schemas"]


def test_schemas_that_only_a_discriminator_names_are_kept() -> None:
    """By their bare names or by references."""
    given = whole()
    given["components"]["schemas"]["Bad"]["discriminator"] = {
        "propertyName": "kind",
        "mapping": {"pet": "Pet", "idle": "#/components/schemas/Idle", "else": "https://x.org/y"},
    }
    found = parse_edition(json.dumps(given).encode(), WANTED)
    assert {"Pet", "Idle"} <= set(found.contract["components"]["schemas"])


def test_a_flaw_in_a_whole_document_is_located_there() -> None:
    """And not in what was cut out of it, which nobody has seen."""
    given = OWN.replace(b"paths:\n", b"paths:\n  /pets:\n    get: {}\n").replace(
        b"type: integer", b"type: integr"
    )
    with pytest.raises(SpecError) as caught:
        parse_edition(given, WANTED)
    assert caught.value.line == given[: given.index(b"integr")].count(b"\n") + 1


def test_flaws_elsewhere_in_a_whole_document_are_nobodys_business() -> None:
    """Only what the operations reach is checked."""
    broken = whole()
    broken["components"]["schemas"]["Pet"] = {"type": "integr"}
    text = parse_edition(json.dumps(whole()).encode(), WANTED).text
    assert load(parse_edition(json.dumps(broken).encode(), WANTED).text) == load(text)


def test_odd_texts_survive_being_written_as_yaml() -> None:
    """Colons, hashes, words that YAML reads as values, lines and other alphabets."""
    odd = ["a: b", "# x", "null", "yes", "1.0", "2026-01-01", "", " a ", "a\nb\n", "é\u2028", "😀"]
    made = whole()
    made["info"]["description"] = "\n".join(odd)
    made["components"]["schemas"]["Text"] = {"type": "string", "enum": odd}
    document = load(parse_edition(json.dumps(made).encode(), WANTED).text)
    assert document["components"]["schemas"]["Text"]["enum"] == odd
    assert document["info"]["description"] == "\n".join(odd)
