"""Comparing two contracts: every change is found, marked and summarized."""

import ast
import copy
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools import edits as e
from tests.tools import real_editions
from tests.tools.made_up_editions import EDITIONS, NOTHING, PARTS, PUBLISHED, STRING, MadeUpEdition
from tests.tools.published_document import Edit, NotApplicable, edited
from tests.tools.random_edits import MEANINGS, SPELLINGS, edited_at_random
from tools import ROOT
from tools.diff.contracts import Side, compare, is_old_format, summarize
from tools.diff.operations import json_schema
from tools.diff.schemas import Change
from tools.openapi import SPEC
from tools.rules import apply, repair
from tools.schema.model import SchemaReader
from tools.schema.samples import Place, Sampler

BASES = [SPEC.name, *real_editions.PAGES]


def side_of(document: dict[str, Any]) -> Side:
    """Make a side of a comparison from a published document."""
    return Side(apply(document, repair.RULES), is_old_format(document))


@cache
def real(name: str) -> Side:
    """Make a side of a comparison from a real edition."""
    return side_of(real_editions.edition(name).document)


TODAY = side_of(PUBLISHED)


def problems_in_summary(base: Side, made_up: MadeUpEdition, document: dict[str, Any]) -> list[str]:
    """List what is wrong with the summary of a made-up edition."""
    said = summarize(compare(base, side_of(made_up.of(document))))
    missing = [f"{line!r} is not in:\n{said}" for line in made_up.changes if line not in said]
    if ("BREAKS" in said) != made_up.breaks:
        missing.append(f"something else breaks, or does not:\n{said}")
    return missing


@pytest.mark.parametrize("name", EDITIONS)
def test_the_summary_lists_the_changes_of_a_made_up_edition(name: str) -> None:
    """The summary groups the changes, marks breaking ones and adds advice."""
    EDITIONS[name].today()
    assert problems_in_summary(TODAY, EDITIONS[name], PUBLISHED) == []


@pytest.mark.parametrize("base", BASES)
def test_made_up_edits_give_the_same_summary_on_every_real_edition(base: str) -> None:
    """The summary does not depend on the page format or on the names of components."""
    document = real_editions.edition(base).document
    wrong, moot = [], []
    for name, made_up in EDITIONS.items():
        try:
            wrong += [
                f"{name}: {line}" for line in problems_in_summary(real(base), made_up, document)
            ]
        except NotApplicable as reason:
            moot.append(f"{name}: {reason}")
    assert wrong == []
    # made for the edition of 2026-04-18, where each has something to do
    assert len(moot) <= (0 if real(base).old_format else len(EDITIONS) / 4), moot


@pytest.mark.parametrize("name", EDITIONS)
def test_an_edition_does_not_differ_from_itself(name: str) -> None:
    """Comparing any edition with a copy of itself gives no changes."""
    side = side_of(EDITIONS[name].today())
    assert compare(side, copy.deepcopy(side)) == []


@given(st.randoms(use_true_random=False), st.integers(1, 12))
def test_equivalent_spellings_give_no_changes(random: Random, count: int) -> None:
    """Hoisting, inlining, wrapping, reordering and rewording change nothing in either direction."""
    other = Side(
        edited_at_random(TODAY.contract, SPELLINGS, count, random), old_format=TODAY.old_format
    )
    assert compare(TODAY, other) == []
    assert compare(other, TODAY) == []


def validator(side: Side, *message: str) -> Any:
    """Return a validator for a message of a side, and its schema."""
    found: Any = side.contract["paths"]["/embeddings"]["post"]
    for key in message:
        found = found[key]
    schema = json_schema(side.contract, found)
    whole = {**schema, "components": side.contract["components"]}
    return jsonschema_rs.Draft202012Validator(whole), schema


def messages(side: Side, schema: Any) -> Iterator[Any]:
    """Yield messages that a side allows, each with one unusual place."""
    sampler = Sampler(SchemaReader(side.contract))

    def below(place: Place) -> Iterator[Any]:
        if place.allowed.null:
            yield place.message_with(None)
        for variant in place.allowed.variants.values():
            yield place.message_with(sampler.value(variant, place.name))
            yield from (place.message_with(value) for value in variant.known.values())
            if variant.items is not None:
                yield from below(sampler.items(place, variant))
            if variant.kind == "object":
                for one in sampler.alternatives(variant):
                    for field in sampler.fields(place, one):
                        yield from below(field)

    return below(sampler.whole(schema))


@pytest.mark.parametrize("message", ["request", "response"])
@given(random=st.randoms(use_true_random=False))
def test_changes_that_break_nobody_reject_no_message(message: str, random: Random) -> None:
    """JSON Schema confirms it: the reader's schema accepts everything that the sender's allows."""
    other = Side(edited_at_random(TODAY.contract, MEANINGS, 2, random), old_format=TODAY.old_format)
    path = ("requestBody",) if message == "request" else ("responses", "200")
    sender, reader = (TODAY, other) if message == "request" else (other, TODAY)
    differences = (c for c in compare(TODAY, other) if c.group == message)
    if any(change.breaks or change.effect == "format" for change in differences):
        return
    allows, _ = validator(reader, *path)
    sent, schema = validator(sender, *path)
    for value in messages(sender, schema):
        if sent.is_valid(value):
            assert allows.is_valid(value), value


def test_a_change_of_one_alternative_names_it() -> None:
    """A field that only text parts require is reported for text parts only."""
    lang = edited(PUBLISHED, e.add_field(PARTS, "lang", STRING, required=True))
    (change,) = compare(TODAY, side_of(lang))
    assert change.breaks
    assert change.text == "input[].content[].lang is new and required (where type is text)"


MODERN = edited(
    PUBLISHED,
    e.to_current_format,
    e.where_applicable(
        e.set_keys("request.dimensions", minimum=1),
        e.set_keys("request.provider:object", additionalProperties=False),
        e.add_null("request.provider"),
        e.add_null("request.provider.sort"),
        e.replace_schema("request.provider.max_price.image", STRING),
        e.status("529", {"description": "Overloaded"}),
        e.media_type("response", "text/event-stream"),
    ),
)
FORMER = side_of(edited(MODERN, e.to_old_format))
FORMAT_ONLY = {
    "dimensions has minimum 1 now",
    "provider no longer allows other fields",
    "provider may be null now",
    "provider.sort may be null now",
    "provider.max_price.image must be string now; before, any value was allowed",
    "status 529 is new",
    "may be text/event-stream now",
}


def test_changes_due_to_the_old_page_format_are_listed_separately() -> None:
    """They are only separate if one side has the old page format."""
    today = side_of(MODERN)
    assert (FORMER.old_format, today.old_format) == (True, False)
    changes = compare(FORMER, today)
    assert {c.effect for c in changes} == {c.effect for c in compare(today, FORMER)} == {"format"}
    assert {c.text for c in changes} >= FORMAT_ONLY
    assert summarize(changes).startswith("not in the old page format:")
    alike = compare(Side(FORMER.contract, old_format=False), today)
    assert {c.text for c in alike if c.breaks} >= {
        "dimensions has minimum 1 now",
        "provider no longer allows other fields",
        "provider.max_price.image must be string now; before, any value was allowed",
    }


@pytest.mark.parametrize(
    ("edit", "breaks"),
    [
        (e.set_keys("request.user", maxLength=9), "user has maxLength 9 now"),
        (e.remove("request", "user"), "user is gone"),
        (e.add_null("response.usage"), "usage may be null now"),
        (e.add_null("response.id"), "id may be null now"),
        (e.remove_null("request.provider.zdr"), "provider.zdr may no longer be null"),
        (e.remove_value("request.encoding_format", "float"), "no longer has the value float"),
    ],
)
def test_real_changes_break_despite_the_old_page_format(edit: Edit, breaks: str) -> None:
    """What the old page format could express still counts as breaking."""
    (change,) = [c for c in compare(FORMER, side_of(edited(MODERN, edit))) if c.breaks]
    assert breaks in change.text


def parameter(**keys: Any) -> Edit:
    """Give the operation this parameter only."""
    return e.operation(parameters=[{"in": "query", "name": "a", "schema": STRING, **keys}])


def headers(**keys: Any) -> Edit:
    """Give the response this header."""
    return e.response("200", headers={"X-Id": {"schema": STRING, **keys}})


def address(default: str) -> Edit:
    """Give the document an address with a variable."""
    return e.document(servers=[{"url": "https://{x}.ai", "variables": {"x": {"default": default}}}])


IN_JSON = {"application/json": {"schema": STRING}}
LISTED = {"type": "array", "items": STRING}


@pytest.mark.parametrize(
    ("before", "after", "said", "breaks"),
    [
        (parameter(schema=LISTED), parameter(schema=LISTED, explode=True), "", ()),
        (
            parameter(schema=LISTED),
            parameter(schema=LISTED, explode=False),
            "query a is serialized differently now",
            (True, True),
        ),
        (
            parameter(schema=LISTED),
            parameter(schema=LISTED, style="pipeDelimited", explode=True),
            "query a is serialized differently now",
            (True, True),
        ),
        (
            parameter(content=IN_JSON),
            parameter(content={"application/json": {"schema": {"type": "integer"}}}),
            "query a: the root is no longer string",
            (True, True),
        ),
        (parameter(name="A"), parameter(), "query A is gone", (True, True)),
        (
            parameter(name="X-A", **{"in": "header"}),
            parameter(name="x-a", **{"in": "header"}),
            "",
            (),
        ),
        (headers(required=True), e.where_applicable(), "header X-Id is gone", (True, False)),
        (headers(), e.where_applicable(), "header X-Id is gone", (False, False)),
        (headers(required=True), headers(), "header X-Id is optional now", (True, False)),
        (headers(), headers(schema=LISTED), "header X-Id: the root is no longer", (True, True)),
        (address("a"), e.document(servers=[{"url": "https://a.ai/"}]), "", ()),
        (address("a"), address("b"), "the address is https://b.ai now", (True, True)),
    ],
)
def test_parameters_and_headers_are_compared(
    before: Edit, after: Edit, said: str, breaks: tuple[bool, ...]
) -> None:
    """Location, serialization and `required` are compared in both directions."""
    sides = [side_of(edited(MODERN, e.reword, edit)) for edit in (before, after)]
    there, back = compare(*sides), compare(*reversed(sides))
    assert [c.text for c in there if c.text.startswith(said)] == [c.text for c in there][:1]
    assert bool(said) == bool(there)
    if said:
        assert tuple(any(c.breaks for c in changes) for changes in (there, back)) == breaks


def optional_edition(name: str) -> Side:
    """Return a real edition, or skip the test if it is not at hand."""
    if name not in BASES:
        pytest.skip(f"{name} is not beside this checkout")
    return real(name)


def test_two_page_formats_of_one_edition_break_nothing() -> None:
    """The page of 2026-04-18 in the old and the current format differs by format only."""
    printed, other = optional_edition("openrouter-embeddings.md"), optional_edition("2026-04-18.md")
    assert (printed.old_format, other.old_format) == (True, False)
    for changes in (compare(printed, other), compare(other, printed)):
        assert {c.effect for c in changes} == {"format"}


def test_the_newest_edition_has_four_breaking_changes() -> None:
    """Compared with the edition of 2026-04-18, all additions are listed as well."""
    changes = compare(
        optional_edition("openrouter-embeddings.md"), optional_edition("2026-08-21.md")
    )
    assert [c.text for c in changes if c.breaks] == [
        "input has minLength 1 now",
        "input[] has minLength 1 now",
        "input[].content has minItems 1 now",
        "input[].content[].text has minLength 1 now",
    ]
    new = {c.place for c in changes if c.kind == "new"}
    parts = {f"input[].content[].input_{kind}" for kind in ("audio", "file", "video")}
    assert new >= {"usage.is_byok", "usage.cost_details", "openrouter_metadata", *parts}


def test_omissions_of_old_pages_break_nobody() -> None:
    """Old pages omit the address, the key and error bodies; adding them is no breaking change."""
    old = side_of(edited(MODERN, e.to_old_format, e.to_2025_format))
    for newer in (FORMER, side_of(MODERN)):
        there, back = compare(old, newer), compare(newer, old)
        assert not any(change.breaks for change in (*there, *back))
        said = {change.text for change in there if change.group != "request"}
        assert said >= {
            "the address is https://openrouter.ai/api/v1 now",
            "the key is sent as http bearer now",
            "429: may be application/json now",
        }
        assert "the address is no longer documented" in {change.text for change in back}
    silent = side_of(edited(MODERN, e.to_2025_format))
    assert {c.text for c in compare(side_of(MODERN), silent) if c.breaks} >= {
        "the address is no longer documented",
        "the key is no longer documented",
        "429: is no longer application/json",
    }


@pytest.mark.parametrize("name", [name for name in BASES if name.startswith("2026-")])
def test_newer_pages_do_not_have_the_old_format(name: str) -> None:
    """Pages of 2026 are recognized as the current format before any rule runs."""
    assert not real(name).old_format


@pytest.mark.parametrize(
    "edits",
    [
        (e.operation(parameters=[{"name": "authorization", "in": "header"}]),),
        (e.add_alternative("request.user", {"description": "Any type"}),),
        (e.component("EmbeddingsPostRequestBodyContentApplicationJsonSchemaX"),),
        (e.component("EmbeddingsPostResponsesX"),),
    ],
)
def test_the_old_format_is_recognized_by_any_trace_of_its_renderer(edits: tuple[Edit, ...]) -> None:
    """A single trace of the old renderer is enough."""
    assert not is_old_format(MODERN)
    assert is_old_format(edited(MODERN, *edits))


FILE_NAME = re.compile(r"(?<![\w/.:*])(?:[\w-]+/)*[\w-]+\.(?:py|toml|yaml|md)\b")
FOLDERS = [ROOT, ROOT / "wrapper/openrouter_embeddings", ROOT / "tools", ROOT / "docs"]
# fetch.py names files to download, not files of this repository
MODULES = [path for path in sorted((ROOT / "tools").rglob("*.py")) if path.name != "fetch.py"]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_messages_name_only_files_that_exist(module: Path) -> None:
    """Every file named in a string of tools/ exists, so no advice outlives a renamed module."""
    nodes = ast.walk(ast.parse(module.read_text()))
    texts = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    named = {name for text in texts for name in FILE_NAME.findall(text)}
    assert [n for n in named if not any((folder / n).is_file() for folder in FOLDERS)] == []


def test_the_summary_of_no_changes_says_so() -> None:
    """Without changes, the summary is a sentence that says so."""
    assert summarize([]) == NOTHING[0]


def test_a_change_has_a_machine_readable_place() -> None:
    """Place, kind and detail match those of the findings."""
    (change,) = compare(TODAY, side_of(EDITIONS["a limit on the request"].today()))
    assert (change.place, change.kind, change.detail) == ("input", "limit", ("maxItems", 64))
    assert isinstance(change, Change)
