"""What the wrapper lacks of the contract is said a line each, or accepted in tools/gaps.toml."""

import re
from functools import cache
from typing import Any

import pytest
from openrouter_embeddings.local.contract import contract as shipped

import tools.drift.__main__ as drift_command
from tests.tools import edits as e
from tests.tools import real_editions
from tests.tools.made_up_editions import EDITIONS, PUBLISHED
from tests.tools.published_document import NotApplicable, edited
from tools import ROOT
from tools.diff.contracts import Side, compare, is_old_format
from tools.drift.finding import Finding, values_at
from tools.drift.gaps import check_gaps, findings, findings_for, is_handled, read_accepted
from tools.openapi import SPEC
from tools.rules import apply, repair

TODAY = Side(apply(PUBLISHED, repair.RULES), is_old_format(PUBLISHED))


@cache
def today() -> list[Finding]:
    """What is found of the project's own edition."""
    return findings(TODAY.contract)


@cache
def findings_of(name: str) -> list[Finding]:
    """What is found of a made-up edition."""
    return findings(apply(EDITIONS[name].today(), repair.RULES))


def gap_keys(found: list[Finding]) -> set[str]:
    """The keys of the gaps among the findings."""
    return {finding.key for finding in found if not finding.is_offered}


@cache
def lacking(name: str) -> set[str]:
    """The gaps of a real edition, by their keys."""
    return gap_keys(findings(real_editions.edition(name).contract))


def test_every_gap_is_accepted_with_a_reason() -> None:
    """And nothing is accepted that the wrapper offers."""
    accepted = read_accepted()
    if lines := check_gaps(findings(shipped()), accepted).problems():
        pytest.fail("\n".join(lines), pytrace=False)
    assert all(len(reason) > 20 for reason in accepted.values())


@pytest.mark.parametrize("name", EDITIONS)
def test_what_a_new_edition_brings_is_said(name: str) -> None:
    """In a line for each gap, and nothing else."""
    assert gap_keys(findings_of(name)) - gap_keys(today()) == {*EDITIONS[name].gaps}


# One of each class, tried with every real edition as today's.
PLANTED = [
    *("an optional request field", "a required request field", "a request field removed"),
    *("a limit on the request", "a value added to a request", "null for a field"),
    *("a new preference", "a new content part", "a new response field", "a new status"),
    *("statuses of a kind", "a new operation", "another address", "components renamed"),
]


@pytest.mark.parametrize("base", [SPEC.name, *real_editions.PAGES])
def test_it_is_said_in_every_real_edition(base: str) -> None:
    """Whatever its form and the names in it."""
    document = real_editions.edition(base).document
    wrong = []
    for name in PLANTED:
        found = findings(apply(EDITIONS[name].of(document), repair.RULES))
        new = gap_keys(found) - lacking(base)
        wrong += [f"{name}: {new}"] * (new != {*EDITIONS[name].gaps})
    assert wrong == []


@pytest.mark.parametrize("base", [SPEC.name, *real_editions.PAGES])
def test_acceptances_serve_every_real_edition(base: str) -> None:
    """Some are moot in some of them; none is for what the wrapper offers."""
    drifted = check_gaps(findings(real_editions.edition(base).contract), read_accepted())
    assert drifted.obsolete == []
    # what is still open: values that a client generated from that edition would know
    assert [f.key for f in drifted.open if not f.key.startswith("request value provider.")] == []


@pytest.mark.parametrize("name", [n for n, e in EDITIONS.items() if e.breaks])
def test_what_breaks_and_the_wrapper_keeps_is_told_apart(name: str) -> None:
    """By trying it: a limit, a field that is always sent, an answer that is read all the same."""
    document = EDITIONS[name].today()
    repaired = apply(document, repair.RULES)
    changes = compare(TODAY, Side(repaired, is_old_format(document)))
    found = findings_of(name)
    breaking = [change for change in changes if change.breaks]
    assert all(is_handled(change, found) for change in breaking) == EDITIONS[name].kept


def test_a_type_that_the_wrapper_sends_anyway_is_kept() -> None:
    """Prices could be anything; the wrapper has always made texts of them."""
    priced = "request.provider.max_price.{}"
    kinds = {"audio": {"type": "string"}, "image": {"type": "integer"}}
    edits = [e.replace_schema(priced.format(name), kind) for name, kind in kinds.items()]
    old = edited(
        PUBLISHED, *(e.replace_schema(priced.format(name), {"title": "Any"}) for name in kinds)
    )
    new = apply(edited(PUBLISHED, *edits), repair.RULES)
    sides = [Side(side, old_format=False) for side in (apply(old, repair.RULES), new)]
    found = findings(new)
    kept = {
        c.place: is_handled(c, found) for c in compare(*sides) if c.breaks and c.kind == "typed"
    }
    assert kept == {"provider.max_price.audio": True, "provider.max_price.image": False}


def finding(key: str, *, is_offered: bool = False) -> Finding:
    """Something that was found."""
    return Finding(key, "request", "x", "because", "x.py", is_offered)


def test_a_gap_is_a_line_that_names_the_file() -> None:
    """And what the wrapper says of it."""
    (gap,) = [g for g in _gaps_of("a new preference") if g.key == "request field provider.region"]
    line = str(gap)
    assert line.startswith("request field provider.region: the wrapper rejects it: provider: ")
    assert line.endswith(f" → {gap.file}")
    assert "\n" not in line


def _gaps_of(name: str) -> list[Finding]:
    return [finding for finding in findings_of(name) if not finding.is_offered]


@pytest.mark.parametrize("name", [n for n, e in EDITIONS.items() if e.gaps])
def test_the_file_to_change_exists(name: str) -> None:
    """Of every gap."""
    for gap in _gaps_of(name):
        assert (ROOT / gap.file).is_file(), gap.file


def test_an_acceptance_may_stand_for_many() -> None:
    """`*` is anything; every other character is itself."""
    found = [finding("field a[].b"), finding("field a[].c"), finding("field ab")]
    drifted = check_gaps(found, {"field a[].*": "because"})
    assert [gap.key for gap in drifted.open] == ["field ab"]
    assert [gap.key for gap, _ in drifted.accepted] == ["field a[].b", "field a[].c"]


def test_an_acceptance_of_what_is_offered_is_a_problem() -> None:
    """One of what the edition does not have is not, nor one that is right for some."""
    found = [finding("a", is_offered=True), finding("b.x", is_offered=True), finding("b.y")]
    drifted = check_gaps(found, {"a": "because", "b.*": "because", "c": "because"})
    assert drifted.obsolete == ["a"]
    assert drifted.problems() == ["a: the wrapper offers it; remove the entry → tools/gaps.toml"]


def test_a_change_finds_what_concerns_it() -> None:
    """And what is in a field that is new."""
    repaired = apply(EDITIONS["a new preference"].today(), repair.RULES)
    (change,) = compare(TODAY, Side(repaired, TODAY.old_format))
    about = findings_for(change, findings(repaired))
    assert [(f.key, f.is_offered) for f in about] == [("request field provider.region", False)]


def test_of_two_limits_in_one_place_each_is_tried() -> None:
    """One that the wrapper keeps says nothing of another."""
    single = e.set_keys("request.input:string", minLength=2)  # which is sent as a list of one
    document = edited(PUBLISHED, single, *EDITIONS["a limit on the request"].edits)
    repaired = apply(document, repair.RULES)
    changes = compare(TODAY, Side(repaired, TODAY.old_format))
    found = findings(repaired)
    kept = {
        change.detail: is_handled(change, found) for change in changes if change.kind == "limit"
    }
    assert kept == {("minLength", 2): True, ("maxItems", 64): False}


def test_what_is_offered_is_found_by_calling() -> None:
    """Every option, part and value of the edition that there is, and where answers go."""
    keys = {finding.key for finding in today() if finding.is_offered}
    assert keys >= {
        *("request field dimensions", "request field user", "request field provider.sort.by"),
        *("request value encoding_format float", "request value provider.quantizations[] int8"),
        *("content part text", "content part image_url", "request required model"),
        *("response field usage.cost", "response type data[].embedding string", "status 429"),
    }


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("", [{"a": [{"b": 1}, {"b": 2}, 3], "c": [[4], [5, 6]]}]),
        ("a[].b", [1, 2]),
        ("c[][]", [4, 5, 6]),
        ("a.b", []),
        ("d", []),
    ],
)
def test_values_are_found_by_their_path(path: str, values: list[Any]) -> None:
    """Through lists of lists; where there is none, there is none."""
    message = {"a": [{"b": 1}, {"b": 2}, 3], "c": [[4], [5, 6]]}
    assert [*values_at(message, path)] == values


def test_the_command_says_what_is_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line each, and 1; or that nothing is, and 0."""
    assert drift_command.main([]) == 0
    assert re.fullmatch(r"0 open; \d+ gaps accepted in tools/gaps\.toml\n", _said(capsys))
    monkeypatch.setattr(drift_command, "read_accepted", dict)
    assert drift_command.main([]) == 1
    lines = _said(capsys).splitlines()
    (line,) = [line for line in lines if line.startswith("response field object: ")]
    assert line.endswith("→ wrapper/openrouter_embeddings/result.py")
    monkeypatch.undo()
    assert drift_command.main(["--accepted"]) == 0
    assert "  response field object: a tag that is always the same" in _said(capsys)


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_an_edition_that_an_edit_does_not_fit_says_why() -> None:
    """Editions in which there is nothing to edit are told from those that were forgotten."""
    limited = EDITIONS["a limit on the request"].today()
    with pytest.raises(NotApplicable, match="the edits change nothing"):
        EDITIONS["a limit on the request"].of(limited)
    with pytest.raises(NotApplicable, match=r"request\.user already allows null"):
        EDITIONS["null for a field"].of(EDITIONS["null for a field"].today())
    with pytest.raises(NotApplicable, match=r"there is no request\.user"):
        EDITIONS["null for a field"].of(EDITIONS["a request field removed"].today())
    with pytest.raises(NotApplicable, match="the request is not JSON"):
        EDITIONS["null for a field"].of(EDITIONS["another form of the request"].today())
