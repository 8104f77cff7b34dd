"""Every part of the contract that the wrapper lacks is reported or accepted in tools/gaps.toml."""

import re
from functools import cache
from typing import Any

import pytest
from openrouter_embeddings.local.contract import contract as shipped

from tests.tools import edits as e
from tests.tools import real_editions
from tests.tools.editions import EDITIONS, PUBLISHED
from tests.tools.places import Moot, edited
from tools import ROOT, contract, drift
from tools.changes import Side, compare, is_former_form
from tools.documents import SPEC
from tools.drift import concerning, findings, gaps, judge, keeps, offered, read_accepted
from tools.findings import Finding, values_at
from tools.rules import apply

TODAY = Side(apply(PUBLISHED, contract.RULES), is_former_form(PUBLISHED))


@cache
def today() -> list[Finding]:
    """The findings for the project's own edition."""
    return findings(TODAY.contract)


@cache
def lacking(name: str) -> frozenset[str]:
    """The keys of the gaps of a real edition."""
    return frozenset(gap.key for gap in gaps(real_editions.edition(name).contract))


def test_every_gap_is_accepted_with_a_reason() -> None:
    """Nothing is accepted that the wrapper offers."""
    accepted = read_accepted()
    if lines := judge(findings(shipped()), accepted).problems():
        pytest.fail("\n".join(lines), pytrace=False)
    assert all(len(reason) > 20 for reason in accepted.values())


@pytest.mark.parametrize("name", EDITIONS)
def test_a_new_edition_reports_its_gaps(name: str) -> None:
    """One finding for each gap, and nothing else."""
    before = {finding.key for finding in today() if not finding.is_offered}
    assert {gap.key for gap in _gaps_of(name)} - before == {*EDITIONS[name].gaps}


# One of each kind of change, applied to every real edition.
PLANTED = [
    *("an optional request field", "a required request field", "a request field removed"),
    *("a limit on the request", "a value added to a request", "null for a field"),
    *("a new preference", "a new content part", "a new response field", "a new status"),
    *("statuses of a kind", "a new operation", "another address", "components renamed"),
]


@pytest.mark.parametrize("base", [SPEC.name, *real_editions.PAGES])
def test_every_real_edition_reports_its_gaps(base: str) -> None:
    """Its form and its names do not matter."""
    document = real_editions.edition(base).document
    wrong = []
    for name in PLANTED:
        found = gaps(apply(EDITIONS[name].of(document), contract.RULES))
        new = {finding.key for finding in found} - lacking(base)
        wrong += [f"{name}: {new}"] * (new != {*EDITIONS[name].gaps})
    assert wrong == []


@pytest.mark.parametrize("base", [SPEC.name, *real_editions.PAGES])
def test_acceptances_apply_to_every_real_edition(base: str) -> None:
    """Some match nothing in an edition; none accepts what the wrapper offers."""
    drifted = judge(findings(real_editions.edition(base).contract), read_accepted())
    assert drifted.idle == []
    # open gaps: values that a client generated from that edition would have
    assert [f.key for f in drifted.open if not f.key.startswith("request value provider.")] == []


@pytest.mark.parametrize("name", [n for n, e in EDITIONS.items() if e.breaks])
def test_breaking_changes_that_the_wrapper_already_handles_are_recognised(name: str) -> None:
    """They are tried out: a limit, a field that is always sent, a response that is read anyway."""
    document = EDITIONS[name].today()
    repaired = apply(document, contract.RULES)
    changes = compare(TODAY, Side(repaired, is_former_form(document)))
    found = findings(repaired)
    breaking = [change for change in changes if change.breaks]
    assert all(keeps(change, found) for change in breaking) == EDITIONS[name].kept


def test_a_type_that_the_wrapper_sends_anyway_does_not_break() -> None:
    """Prices could be anything; the wrapper has always sent them as text."""
    priced = "request.provider.max_price.{}"
    kinds = {"audio": {"type": "string"}, "image": {"type": "integer"}}
    edits = [e.anew(priced.format(name), kind) for name, kind in kinds.items()]
    old = edited(PUBLISHED, *(e.anew(priced.format(name), {"title": "Any"}) for name in kinds))
    new = apply(edited(PUBLISHED, *edits), contract.RULES)
    sides = [Side(side, former=False) for side in (apply(old, contract.RULES), new)]
    found = findings(new)
    kept = {c.place: keeps(c, found) for c in compare(*sides) if c.breaks and c.kind == "typed"}
    assert kept == {"provider.max_price.audio": True, "provider.max_price.image": False}


def finding(key: str, *, is_offered: bool = False) -> Finding:
    """A finding."""
    return Finding(key, "request", "x", "because", "x.py", is_offered)


def test_a_gap_is_a_line_that_names_the_file() -> None:
    """The line also has the wrapper's own message."""
    (gap,) = [g for g in _gaps_of("a new preference") if g.key == "request field provider.region"]
    line = str(gap)
    assert line.startswith("request field provider.region: the wrapper refuses it: provider: ")
    assert line.endswith(f" → {gap.file}")
    assert "\n" not in line


def _gaps_of(name: str) -> list[Finding]:
    return gaps(apply(EDITIONS[name].today(), contract.RULES))


@pytest.mark.parametrize("name", [n for n, e in EDITIONS.items() if e.gaps])
def test_the_file_to_change_exists(name: str) -> None:
    """Every gap names an existing file."""
    for gap in _gaps_of(name):
        assert (ROOT / gap.file).is_file(), gap.file


def test_an_acceptance_may_match_many_gaps() -> None:
    """`*` matches anything; every other character matches itself."""
    found = [finding("field a[].b"), finding("field a[].c"), finding("field ab")]
    drifted = judge(found, {"field a[].*": "because"})
    assert [gap.key for gap in drifted.open] == ["field ab"]
    assert [gap.key for gap, _ in drifted.accepted] == ["field a[].b", "field a[].c"]


def test_accepting_what_the_wrapper_offers_is_a_problem() -> None:
    """Unless the edition lacks it, or the acceptance is right for another finding."""
    found = [finding("a", is_offered=True), finding("b.x", is_offered=True), finding("b.y")]
    drifted = judge(found, {"a": "because", "b.*": "because", "c": "because"})
    assert drifted.idle == ["a"]
    assert drifted.problems() == ["a: the wrapper offers it → tools/gaps.toml"]


def test_a_change_is_linked_to_its_findings() -> None:
    """This includes findings inside a new field."""
    repaired = apply(EDITIONS["a new preference"].today(), contract.RULES)
    (change,) = compare(TODAY, Side(repaired, TODAY.former))
    about = concerning(change, findings(repaired))
    assert [(f.key, f.is_offered) for f in about] == [("request field provider.region", False)]


def test_two_limits_in_one_place_are_tried_separately() -> None:
    """Handling one does not imply handling the other."""
    single = e.set_keys("request.input:string", minLength=2)  # which is sent as a list of one
    document = edited(PUBLISHED, single, *EDITIONS["a limit on the request"].edits)
    repaired = apply(document, contract.RULES)
    changes = compare(TODAY, Side(repaired, TODAY.former))
    found = findings(repaired)
    kept = {change.detail: keeps(change, found) for change in changes if change.kind == "limit"}
    assert kept == {("minLength", 2): True, ("maxItems", 64): False}


def test_offered_features_are_found_by_calling_the_wrapper() -> None:
    """Every option, part and value of the edition, and where responses end up."""
    keys = {finding.key for finding in offered(TODAY.contract)}
    assert keys >= {
        *("request field dimensions", "request field user", "request field provider.sort.by"),
        *("request value encoding_format float", "request value provider.quantizations[] int8"),
        *("content part text", "content part image_url", "request required model"),
        *("response field usage.cost", "response form data[].embedding string", "status 429"),
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
    """Paths lead through lists of lists; a path that does not exist gives nothing."""
    message = {"a": [{"b": 1}, {"b": 2}, 3], "c": [[4], [5, 6]]}
    assert [*values_at(message, path)] == values


def test_the_command_lists_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It exits with 1 and a line per gap, or with 0 if there is none."""
    assert drift.main([]) == 0
    assert re.fullmatch(r"0 to do; \d+ gaps are accepted in tools/gaps\.toml\n", _output(capsys))
    monkeypatch.setattr(drift, "read_accepted", dict)
    assert drift.main([]) == 1
    lines = _output(capsys).splitlines()
    (line,) = [line for line in lines if line.startswith("response field object: ")]
    assert line.endswith("→ wrapper/openrouter_embeddings/result.py")
    monkeypatch.undo()
    assert drift.main(["--accepted"]) == 0
    assert "  response field object: a tag that is always the same" in _output(capsys)


def _output(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_an_edit_that_does_not_apply_says_why() -> None:
    """So editions with nothing to edit differ from forgotten ones."""
    limited = EDITIONS["a limit on the request"].today()
    with pytest.raises(Moot, match="this edition is so already"):
        EDITIONS["a limit on the request"].of(limited)
    with pytest.raises(Moot, match=r"request\.user may be null already"):
        EDITIONS["null for a field"].of(EDITIONS["null for a field"].today())
    with pytest.raises(Moot, match=r"there is no request\.user"):
        EDITIONS["null for a field"].of(EDITIONS["a request field removed"].today())
    with pytest.raises(Moot, match="the request is not JSON"):
        EDITIONS["null for a field"].of(EDITIONS["another form of the request"].today())
