"""The comparison in docs/frameworks.md: how it judges, and that the page has its figures."""

import json
import re
import subprocess
from typing import Any

import numpy as np
import pytest

from tests.adapters import side_by_side
from tests.adapters.routes import FRAMEWORKS, Embed, tried
from tests.compat.loopback import KEY, ROOT

RIGHT = np.array([[0.6, 0.8], [0.8, -0.6], [1.0, 0.0]], np.float32)
ROWS: list[Any] = RIGHT.tolist()


@pytest.mark.parametrize(
    ("answer", "judged"),
    [
        ({"vectors": ROWS}, "right"),
        ({"vectors": [ROWS[1], ROWS[0], ROWS[2]]}, "**WRONG**: order"),
        ({"vectors": [*ROWS[:2], [1.0, 0.01]]}, "**WRONG**: other vectors"),
        ({"vectors": [*ROWS[:2], [1.0]]}, "**WRONG**: other vectors"),
        ({"vectors": ROWS[:2]}, "**WRONG**: 2 of 3"),
        ({"vectors": [*ROWS, ROWS[0]]}, "**WRONG**: 4 of 3"),
        ({"vectors": []}, "**WRONG**: 0 of 3"),
        ({"vectors": [ROWS[0], None, ROWS[2]]}, "**WRONG**: 2 of 3"),
        ({"error": "ValueError"}, "raised ValueError"),
    ],
)
def test_an_answer_is_right_or_wrong_or_an_error(answer: Any, judged: str) -> None:
    """Right means all vectors, in order; an error is never wrong."""
    assert side_by_side.outcome(answer, RIGHT) == judged


@pytest.mark.parametrize(
    ("known", "judged"), [(None, "no"), (0.5, "yes"), (0.125, "25% of it"), (0.0, "0% of it")]
)
def test_a_cost_is_known_if_it_is_what_was_billed(known: float | None, judged: str) -> None:
    """A part of it is not the cost."""
    assert side_by_side.cost({"cost": known}, 0.5) == judged


def test_a_call_gives_vectors_or_the_name_of_an_error() -> None:
    """The route gets the base URL and the texts; a missing vector stays one."""

    def make(url: str) -> Embed:
        return lambda texts: ([None if text == "b" else [len(url)] for text in texts], 0.5)

    def fail(url: str) -> Embed:
        def call(texts: list[str]) -> Any:
            raise KeyError(KEY)

        return call

    answer = tried(make, "http:", ["a", "b"])
    assert (answer["vectors"], answer["cost"]) == ([[5.0], None], 0.5)
    assert answer["seconds"] >= 0
    assert tried(fail, "http:", ["a"]) == {"error": "KeyError"}


def test_the_page_has_the_figures_of_the_command() -> None:
    """Its table matches docs/frameworks.json, which `make adapters COMPARE=1` writes."""
    made = "".join(f"{line}\n" for line in side_by_side.lines(figures()))
    page = side_by_side.PAGE.read_text("utf-8")
    assert page.count(side_by_side.BEGIN) == 1
    assert made == page.split(f"{side_by_side.BEGIN}\n")[1].split(side_by_side.END)[0]


def test_every_framework_is_compared_with_its_version() -> None:
    """All that `make adapters` knows, each with a row for our adapter; ours is never wrong."""
    modules = (ROOT / "wrapper" / "openrouter_embeddings" / "adapters").glob("*.py")
    locked = (ROOT / "requirements" / "adapters").glob("*.txt")
    names = {path.stem for path in modules} & {path.stem for path in locked}
    assert {*FRAMEWORKS} == {*figures()} == names
    for name, found in figures().items():
        ours = found["ours"]
        assert (ours["faults"], ours["load"], ours["cost"]) == (["right"] * 4, "right", "yes")
        if FRAMEWORKS[name].existing:
            assert re.search(r"^[\w-]+ \d+\.\d+", found["existing"]["package"])


def test_make_compares_every_framework_that_it_can_install() -> None:
    """All but MTEB, which has to be named; what is no framework is an error."""
    command = ["make", "-n", "adapters", "COMPARE=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (found,) = re.findall(r"-m tests\.adapters\.side_by_side (.*)", done.stdout)
    assert {*found.split()} == {*FRAMEWORKS} - {"mteb"}
    with pytest.raises(SystemExit, match="stores: use one of langchain, "):
        side_by_side.main(["stores"])


def figures() -> Any:
    """What the command has measured."""
    return json.loads(side_by_side.FIGURES.read_text("utf-8"))
