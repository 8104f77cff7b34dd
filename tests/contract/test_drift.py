"""Every part of the contract that the wrapper lacks is reported or accepted in tools/gaps.toml."""

import re
from functools import cache
from typing import Any

import pytest
from openrouter_embeddings.local.contract import shipped

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
    """The findings for the project's own edition."""
    return findings(TODAY.contract)


@cache
def findings_of(name: str) -> list[Finding]:
    """The findings for a made-up edition."""
    return findings(apply(EDITIONS[name].today(), repair.RULES))


def gap_keys(found: list[Finding]) -> set[str]:
    """The keys of the gaps among the findings."""
    return {finding.key for finding in found if not finding.is_offered}


@cache
def lacking(name: str) -> set[str]:
    """The keys of the gaps of a real edition."""
    return gap_keys(findings(real_editions.edition(name).contract))


def test_every_gap_is_accepted_with_a_reason() -> None:
    """Nothing is accepted that the wrapper offers."""
    accepted = read_accepted()
    if lines := check_gaps(findings(shipped().document), accepted).problems():
        pytest.fail("\n".join(lines), pytrace=False)
    assert all(len(reason) > 20 for reason in accepted.values())


@pytest.mark.parametrize("name", EDITIONS)
def test_a_new_edition_reports_its_gaps(name: str) -> None:
    """One finding for each gap, and nothing else."""
    assert gap_keys(findings_of(name)) - gap_keys(today()) == {*EDITIONS[name].gaps}


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
        found = findings(apply(EDITIONS[name].of(document), repair.RULES))
        new = gap_keys(found) - lacking(base)
        wrong += [f"{name}: {new}"] * (new != {*EDITIONS[name].gaps})
    assert wrong == []


@pytest.mark.parametrize("base", [SPEC.name, *real_editions.PAGES])
def test_acceptances_apply_to_every_real_edition(base: str) -> None:
    """Some match nothing in an edition; none accepts what the wrapper offers."""
    drifted = check_gaps(findings(real_editions.edition(base).contract), read_accepted())
    assert drifted.obsolete == []
    # open gaps: values that a client generated from that edition would have
    assert [f.key for f in drifted.open if not f.key.startswith("request value provider.")] == []


@pytest.mark.parametrize("name", [n for n, e in EDITIONS.items() if e.breaks])
def test_breaking_changes_that_the_wrapper_already_handles_are_recognised(name: str) -> None:
    """They are tried out: a limit, a field that is always sent, a response that is read anyway."""
    document = EDITIONS[name].today()
    repaired = apply(document, repair.RULES)
    changes = compare(TODAY, Side(repaired, is_old_format(document)))
    found = findings_of(name)
    breaking = [change for change in changes if change.breaks]
    assert all(is_handled(change, found) for change in breaking) == EDITIONS[name].kept


def test_a_type_that_the_wrapper_sends_anyway_does_not_break() -> None:
    """Prices could be anything; the wrapper has always sent them as text."""
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
    """A finding."""
    return Finding(key, "request", "x", "because", "x.py", is_offered)


def test_a_gap_is_a_line_that_names_the_file() -> None:
    """The line also has the wrapper's own message."""
    (gap,) = [g for g in _gaps_of("a new preference") if g.key == "request field provider.region"]
    line = str(gap)
    assert line.startswith("request field provider.region: the wrapper rejects it: provider: ")
    assert line.endswith(f" → {gap.file}")
    assert "\n" not in line


def _gaps_of(name: str) -> list[Finding]:
    return [finding for finding in findings_of(name) if not finding.is_offered]


@pytest.mark.parametrize("name", [n for n, e in EDITIONS.items() if e.gaps])
def test_the_file_to_change_exists(name: str) -> None:
    """Every gap names an existing file."""
    for gap in _gaps_of(name):
        assert (ROOT / gap.file).is_file(), gap.file


def test_an_acceptance_may_match_many_gaps() -> None:
    """`*` matches anything; every other character matches itself."""
    found = [finding("field a[].b"), finding("field a[].c"), finding("field ab")]
    drifted = check_gaps(found, {"field a[].*": "because"})
    assert [gap.key for gap in drifted.open] == ["field ab"]
    assert [gap.key for gap, _ in drifted.accepted] == ["field a[].b", "field a[].c"]


def test_accepting_what_the_wrapper_offers_is_a_problem() -> None:
    """Unless the edition lacks it, or the acceptance is right for another finding."""
    found = [finding("a", is_offered=True), finding("b.x", is_offered=True), finding("b.y")]
    drifted = check_gaps(found, {"a": "because", "b.*": "because", "c": "because"})
    assert drifted.obsolete == ["a"]
    assert drifted.problems() == ["a: the wrapper offers it; remove the entry → tools/gaps.toml"]


def test_a_change_is_linked_to_its_findings() -> None:
    """This includes findings inside a new field."""
    repaired = apply(EDITIONS["a new preference"].today(), repair.RULES)
    (change,) = compare(TODAY, Side(repaired, TODAY.old_format))
    about = findings_for(change, findings(repaired))
    assert [(f.key, f.is_offered) for f in about] == [("request field provider.region", False)]


def test_two_limits_in_one_place_are_tried_separately() -> None:
    """Handling one does not imply handling the other."""
    single = e.set_keys("request.input:string", minLength=2)  # which is sent as a list of one
    document = edited(PUBLISHED, single, *EDITIONS["a limit on the request"].edits)
    repaired = apply(document, repair.RULES)
    changes = compare(TODAY, Side(repaired, TODAY.old_format))
    found = findings(repaired)
    kept = {
        change.detail: is_handled(change, found) for change in changes if change.kind == "limit"
    }
    assert kept == {("minLength", 2): True, ("maxItems", 64): False}


def test_offered_features_are_found_by_calling_the_wrapper() -> None:
    """Every option, part and value of the edition, and where responses end up."""
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
    """Paths lead through lists of lists; a path that does not exist gives nothing."""
    message = {"a": [{"b": 1}, {"b": 2}, 3], "c": [[4], [5, 6]]}
    assert [*values_at(message, path)] == values


def test_the_command_lists_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It exits with 1 and a line per gap, or with 0 if there is none."""
    assert drift_command.main([]) == 0
    assert re.fullmatch(r"0 open; \d+ gaps accepted in tools/gaps\.toml\n", _output(capsys))
    monkeypatch.setattr(drift_command, "read_accepted", dict)
    assert drift_command.main([]) == 1
    lines = _output(capsys).splitlines()
    (line,) = [line for line in lines if line.startswith("response field object: ")]
    assert line.endswith("→ wrapper/openrouter_embeddings/result.py")
    monkeypatch.undo()
    assert drift_command.main(["--accepted"]) == 0
    assert "  response field object: a tag that is always the same" in _output(capsys)


def _output(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_an_edit_that_does_not_apply_says_why() -> None:
    """So editions with nothing to edit differ from forgotten ones."""
    limited = EDITIONS["a limit on the request"].today()
    with pytest.raises(NotApplicable, match="the edits change nothing"):
        EDITIONS["a limit on the request"].of(limited)
    with pytest.raises(NotApplicable, match=r"request\.user already allows null"):
        EDITIONS["null for a field"].of(EDITIONS["null for a field"].today())
    with pytest.raises(NotApplicable, match=r"there is no request\.user"):
        EDITIONS["null for a field"].of(EDITIONS["a request field removed"].today())
    with pytest.raises(NotApplicable, match="the request is not JSON"):
        EDITIONS["null for a field"].of(EDITIONS["another form of the request"].today())
