"""Parsing a new edition, and `make spec`: from a page or a whole document, all or nothing."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import ended
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


def test_a_document_is_extracted_byte_for_byte() -> None:
    """Other code blocks on the page do not matter."""
    assert extract(PAGE) == (TEXT, BEFORE)


def test_a_bare_document_is_kept_as_it_is() -> None:
    """It may begin with comments."""
    assert extract(TEXT) == (TEXT, 0)
    assert extract(b"# edition 2\n" + TEXT) == (b"# edition 2\n" + TEXT, 0)


@pytest.mark.parametrize("name", PAGES)
def test_a_document_is_extracted_from_every_real_page(name: str) -> None:
    """The old and the current page format both work."""
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
def test_a_page_without_exactly_one_document_is_rejected(page: bytes, words: str) -> None:
    """A page with none or with two documents is an error."""
    with pytest.raises(SpecError, match=words):
        extract(page)


def edited(old: str, new: str) -> bytes:
    """Replace a piece of the test document."""
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
def test_an_invalid_document_is_rejected_in_one_line(flaw: str) -> None:
    """The error has the place in the document, the problem and the remedy."""
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
def test_unusual_but_valid_documents_are_accepted(habit: str) -> None:
    """Their operations, responses and schemas are all there."""
    operation = parse_edition(SOUND[habit]).contract["paths"]["/embeddings"]["post"]
    assert sorted(operation["responses"]) == ["200", "400"]


def test_the_line_of_a_place_that_a_rule_moved_is_found() -> None:
    """Rules wrap schemas in unions and rename union keywords."""
    moved = ("components", "schemas", "Text", "anyOf", "0", "type")
    assert find(OWN, moved) == (("components", "schemas", "Text", "type"), OWN.count(b"\n"))


@pytest.mark.parametrize("flaw", ["duplicate key", "dangling reference", "no such type"])
def test_line_numbers_refer_to_the_page(flaw: str) -> None:
    """An editor can jump to the line."""
    text, _ = BROKEN[flaw]
    with pytest.raises(SpecError) as bare:
        parse_edition(text)
    with pytest.raises(SpecError) as in_page:
        parse_edition(HEAD + text + b"```\n")
    assert (in_page.value.line or 0) - (bare.value.line or 0) == BEFORE


@pytest.mark.parametrize("edition_", ["openapi.yaml", "generator-config.yaml"])
def test_the_committed_files_are_valid(edition_: str) -> None:
    """openapi.yaml and generator-config.yaml pass their own checks."""
    assert load((SPEC.parent / edition_).read_bytes())
    validate(parse_edition(TEXT).contract)


@pytest.mark.parametrize("origin", ["-", "nowhere.md"])
def test_make_spec_reports_an_error_and_changes_nothing(origin: str) -> None:
    """It reports invalid standard input and a missing file."""
    done = ended(sys.executable, "-m", "tools.spec", origin, stdin="nothing")
    assert done.returncode == 1
    assert done.stderr.startswith(f"spec: {'standard input' if origin == '-' else origin}: ")
    assert done.stderr.endswith("spec: openapi.yaml is unchanged\n")
    assert done.stderr.count("\n") == 2
    assert SPEC.read_bytes() == TEXT


def test_make_spec_recognizes_the_current_edition() -> None:
    """It says that nothing has to be replaced."""
    done = ended(sys.executable, "-m", "tools.spec", "-", stdin=PAGE.decode())
    assert done.stdout == "spec: openapi.yaml is already this edition\n"


def test_spec_diff_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It only prints the changes."""
    (tmp_path / "page.yaml").write_bytes(OWN)
    assert spec.main(["--diff", str(tmp_path / "page.yaml")]) == 0
    summary = capsys.readouterr().out
    assert "BREAKS" in summary
    assert "is called embed now" in summary
    assert SPEC.read_bytes() == TEXT


def test_a_valid_edition_replaces_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is replaced byte for byte; the output lists the changes and the next step."""
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
def test_a_code_fence_may_be_long_and_have_more_info(fence: bytes) -> None:
    """Markdown allows it, and the current page uses it."""
    closing = fence[: len(fence) - len(fence.lstrip(b"`"))]
    page = b"# Page\n" + fence + b"\nopenapi: 3.1.0\n" + closing + b"\n"
    assert extract(page) == (b"openapi: 3.1.0\n", 2)


def test_front_matter_is_ignored() -> None:
    """Pages of 2025 begin with it."""
    page = b"---\ntitle: x\ntags:\n    - y\n---\n" + PAGE
    assert extract(page) == (TEXT, BEFORE + 5)


def whole() -> dict[str, Any]:
    """Make a whole document: the test document with other operations and their components."""
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


def test_only_the_wanted_operations_and_their_components_are_selected() -> None:
    """One line counts what was left out."""
    found = parse_edition(json.dumps(whole()).encode(), WANTED, "openapi.json")
    assert found.omitted == "3 other operations and 3 components left out"
    document = load(found.text)
    assert sorted(document["components"]["schemas"]) == ["Bad", "M", "Text"]
    assert sorted(document["components"]["parameters"]) == ["Q"]
    assert sorted(document["paths"]["/embeddings"]) == ["parameters", "post"]
    assert list(document) == ["openapi", "info", "paths", "components"]
    assert parse_edition(found.text).contract == found.contract


def test_selected_operations_have_a_comment_with_their_source() -> None:
    """It has the digest of the source, and the same source gives the same file."""
    source = json.dumps(whole()).encode()
    text = parse_edition(source, WANTED, "openapi.json").text
    comment = text.partition(b"openapi:")[0].decode()
    assert "POST /embeddings and the components it uses" in comment
    assert "openapi.json, sha256 " in comment
    assert "3 other operations and 3 components left out" in comment
    assert parse_edition(source, WANTED, "openapi.json").text == text


def test_selected_operations_are_sorted() -> None:
    """The publisher's order does not matter."""

    def reverse(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: reverse(node[key]) for key in reversed(node)}
        return [reverse(item) for item in node] if isinstance(node, list) else node

    given = [json.dumps(each).encode() for each in (whole(), reverse(whole()))]
    texts = [parse_edition(each, WANTED).text.partition(b"openapi:")[2] for each in given]
    assert texts[0] == texts[1]


def test_yaml_and_json_give_the_same_selection() -> None:
    """YAML without other operations is kept as it is; JSON is always rewritten."""
    assert parse_edition(OWN, WANTED).text == OWN
    as_json = json.dumps(load(OWN)).encode()
    assert load(parse_edition(as_json, WANTED).text) == load(OWN)
    assert parse_edition(as_json, WANTED).omitted == ""


def test_a_missing_operation_is_reported() -> None:
    """The error names the configuration that asks for it."""
    with pytest.raises(SpecError, match=r"has no POST /rerank.*generator-config\.yaml"):
        parse_edition(json.dumps(whole()).encode(), ["POST /embeddings", "POST /rerank"])


def test_a_reference_into_another_operation_is_inlined() -> None:
    """That operation is left out, so its content is copied."""
    given = whole()
    pets = given["paths"]["/pets"]["get"]["responses"]["200"]
    answers = given["paths"]["/embeddings"]["post"]["responses"]
    answers["400"] = {"$ref": "#/paths/~1pets/get/responses/200"}
    found = parse_edition(json.dumps(given).encode(), WANTED)
    there = found.contract["paths"]["/embeddings"]["post"]["responses"]["400"]
    assert there == pets
    assert "Pet" in found.contract["components"]["schemas"]


def test_schemas_that_only_a_discriminator_names_are_kept() -> None:
    """A discriminator may use bare names or references."""
    given = whole()
    given["components"]["schemas"]["Bad"]["discriminator"] = {
        "propertyName": "kind",
        "mapping": {"pet": "Pet", "idle": "#/components/schemas/Idle", "else": "https://x.org/y"},
    }
    found = parse_edition(json.dumps(given).encode(), WANTED)
    assert {"Pet", "Idle"} <= set(found.contract["components"]["schemas"])


def test_an_error_in_a_whole_document_has_its_line_there() -> None:
    """The line refers to the input, not to the selection, which nobody has seen."""
    given = OWN.replace(b"paths:\n", b"paths:\n  /pets:\n    get: {}\n").replace(
        b"type: integer", b"type: integr"
    )
    with pytest.raises(SpecError) as caught:
        parse_edition(given, WANTED)
    assert caught.value.line == given[: given.index(b"integr")].count(b"\n") + 1


def test_errors_outside_the_selection_are_ignored() -> None:
    """Only what the wanted operations use is validated."""
    broken = whole()
    broken["components"]["schemas"]["Pet"] = {"type": "integr"}
    text = parse_edition(json.dumps(whole()).encode(), WANTED).text
    assert load(parse_edition(json.dumps(broken).encode(), WANTED).text) == load(text)


def test_unusual_strings_survive_the_conversion_to_yaml() -> None:
    """Colons, hashes, YAML keywords, line breaks and other alphabets are kept."""
    odd = ["a: b", "# x", "null", "yes", "1.0", "2026-01-01", "", " a ", "a\nb\n", "é\u2028", "😀"]
    made = whole()
    made["info"]["description"] = "\n".join(odd)
    made["components"]["schemas"]["Text"] = {"type": "string", "enum": odd}
    document = load(parse_edition(json.dumps(made).encode(), WANTED).text)
    assert document["components"]["schemas"]["Text"]["enum"] == odd
    assert document["info"]["description"] == "\n".join(odd)
