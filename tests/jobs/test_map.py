"""A map draws a target on a page, which these tests open in a browser."""

import io
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from openrouter_embeddings import cli, jobs
from openrouter_embeddings.jobs._formats import target_format
from openrouter_embeddings.jobs._map import (
    DARK_PAGE,
    LIGHT_PAGE,
    OTHERS,
    marks,
    near,
    principal,
    sampled,
)
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.job_support import run

KINDS = {
    "animals": ["a cat sleeps", "a kitten naps", "the dog barks", "horses run", "a bird sings"],
    "money": ["stocks fell", "the bank lent money", "prices rise", "a tax on income", "bonds"],
    "weather": ["rain is coming", "snow fell", "a storm at sea", "sunny and warm", "thick fog"],
}

EVIL = "</script><script>document.title = 'broken'</script><img src=x onerror='broken()'>"
TEXTS = [text for texts in KINDS.values() for text in texts] + [EVIL]
NAMES = [kind for kind, texts in KINDS.items() for _ in texts] + [EVIL]
TABLE = pa.table(
    {"text": TEXTS, "kind": NAMES, "n": range(16), "raw": pa.array([b"\0"] * 16, pa.binary())}
)

# a browser that looks nowhere else
_QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors with meaning."""
    path = tmp_path_factory.mktemp("map") / "t.parquet"
    run(TABLE, path, column="text", model="local/minilm", dimensions=None)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium: the machine's, or Playwright's own."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        if not found and not Path(playwright.chromium.executable_path).exists():
            missing = pytest.fail if "CI" in os.environ else pytest.skip
            missing("no browser to look at maps with: install Chromium, or run `make browser`")
        browser = playwright.chromium.launch(executable_path=found, args=_QUIET)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Pages that tell of every error, and may load nothing but themselves."""
    pages: list[Page] = []
    wrong: list[str] = []

    def opened(path: Path, width: int = 900, height: int = 600, **options: Any) -> Page:
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        pages.append(page)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text))
        page.on("request", lambda asked: wrong.append(asked.url))
        page.goto(path.as_uri())
        return page

    yield opened
    for page in pages:
        page.close()
    assert [what for what in wrong if not what.startswith("file:")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_map_is_drawn_in_a_browser(
    target: Path, tmp_path: Path, open_page: Callable[..., Page], scheme: Any
) -> None:
    """Points have the colours of the legend, and pointing at one shows its row as plain text."""
    drawn = jobs.write_map(target, tmp_path / "map.html", color="kind")
    assert (drawn.points, drawn.rows) == (16, 16)
    page = open_page(tmp_path / "map.html", color_scheme=scheme)
    assert page.title() == "t.parquet"
    assert page.locator("h1").inner_text() == "t.parquet"
    said = page.locator("header p").first.inner_text()
    assert said.startswith("16 of 16 rows, 384 dimensions of local/minilm; the axes explain ")
    assert page.locator("#outside").is_hidden()
    assert page.locator("#legend div").all_inner_texts() == ["kind", *KINDS, EVIL]
    colours = page.evaluate("colors")
    assert {*colours} == {*(LIGHT_PAGE if scheme == "light" else DARK_PAGE)[:4]}
    seen = _seen(page)
    ground = (255, 255, 255) if scheme == "light" else (0x17, 0x18, 0x1A)
    assert seen.getpixel((5, 595)) == ground
    for number, colour in enumerate(colours):
        at = page.evaluate(f"place(data.places[{number}])")
        faded = [0.9 * part + 0.1 * below for part, below in zip(_rgb(colour), ground, strict=True)]
        assert seen.getpixel((round(at[0]), round(at[1]))) == pytest.approx(faded, abs=3)
    assert not page.locator("#row").is_visible()
    for number in (0, 7, 15):
        page.mouse.move(*page.evaluate(f"place(data.places[{number}])"))
        shown = page.locator("#row").inner_text().splitlines()
        assert shown == [
            f"row{number}",
            f"text{TEXTS[number]}",
            f"kind{NAMES[number]}",
            f"n{number}",
        ]
    page.mouse.move(2, 598)
    assert not page.locator("#row").is_visible()


@contextmanager
def _heard(page: Page, target: str, event: str) -> Iterator[None]:
    """Ends when the page has heard of an event. (`wait_for_function` needs eval, which is off.)"""
    listen = f"{target}.addEventListener('{event}', () => done(), {{ once: true }})"
    page.evaluate(f"() => {{ window.heard = new Promise(done => {listen}) }}")
    yield
    page.evaluate("() => window.heard")


def _seen(page: Page) -> Any:
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def _rgb(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


def test_a_map_follows_the_system_from_light_to_dark(
    target: Path, tmp_path: Path, open_page: Callable[..., Page]
) -> None:
    """Also while the page is open; a scale of numbers has other colours in each."""
    jobs.write_map(target, tmp_path / "map.html", color="kind")
    page = open_page(tmp_path / "map.html", color_scheme="light")
    assert {*page.evaluate("colors")} == {*LIGHT_PAGE[:4]}
    with _heard(page, "dark", "change"):
        page.emulate_media(color_scheme="dark")
    assert {*page.evaluate("colors")} == {*DARK_PAGE[:4]}
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(232, 232, 232)"
    table = pa.table({"text": [f"text {n}" for n in range(41)], "n": [*range(40), None]})
    run(table, tmp_path / "n.parquet", column="text")
    jobs.write_map(tmp_path / "n.parquet", tmp_path / "n.html", color="n")
    page = open_page(tmp_path / "n.html", color_scheme="light")
    assert page.evaluate("[colors[0], colors[39], colors[40]]") == [
        "rgb(44, 42, 107)",
        "rgb(197, 132, 0)",
        "#8a8a8a",
    ]
    with _heard(page, "dark", "change"):
        page.emulate_media(color_scheme="dark")
    assert page.evaluate("colors[0]") == "rgb(130, 120, 230)"


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map of 30 categories with long names, of which 2 rows have none, and 3 far points."""
    folder = tmp_path_factory.mktemp("crowd")
    start = "a name that begins like those of all other categories, number"
    names = [f"{start} {n % 30}" for n in range(298)] + [None, None]
    schema = pa.schema([("kind", pa.string()), ("story", pa.string())])
    stories = [f"\u202eevil \u2066{n}" for n in range(300)]
    rows = pa.record_batch([pa.array(names), pa.array(stories)], schema=schema)
    vectors = np.random.default_rng(1).normal(size=(300, 8)).astype(np.float32) * 1e-6
    vectors[[7, 8]] *= 30
    vectors[9] *= -40
    path = folder / "a target with a long name, for small screens, and \u202eevil.parquet"
    target = target_format(path)(path, schema, 8, "float32")
    target.write(rows, vectors, np.ones(300, bool))
    said = {"rows": 300, "dimensions": 8, "asked_dimensions": 8, "model": "acme/embed-1"}
    target.finish({**said, "provider": None, "input_type": None})
    jobs.write_map(path, folder / "map.html", color="kind")
    return folder / "map.html"


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overlaps(
    crowd: Path, open_page: Callable[..., Page], width: int, scheme: Any
) -> None:
    """Heading, legend and points have room on a phone and on a large screen."""
    page = open_page(crowd, width, 844, color_scheme=scheme)
    boxes = [page.locator(name).bounding_box() for name in ("header", "#legend", "canvas")]
    for number, one in enumerate(boxes):
        assert one is not None
        assert one["x"] >= 0
        assert one["x"] + one["width"] <= width
        assert one["y"] + one["height"] <= 844
        for other in boxes[:number]:
            assert other is not None
            beside = _after(one, other, "x", "width") or _after(other, one, "x", "width")
            assert beside or _after(one, other, "y", "height") or _after(other, one, "y", "height")
    canvas = boxes[2]
    assert canvas is not None
    assert canvas["height"] > 844 / 2.5
    marked = page.locator("#legend div").all_inner_texts()
    assert len(marked) == 1 + 24 + 2
    assert marked[-2:] == ["6 others", "(none)"]
    clipped = "[...document.querySelectorAll('#legend, #legend div')].filter(item => "
    assert page.evaluate(clipped + "item.scrollWidth > item.clientWidth).length") == 0
    for number in (20, 200):
        page.mouse.move(*page.evaluate(f"place(data.places[{number}])"))
        shown = page.locator("#row").bounding_box()
        assert shown is not None
        assert shown["y"] >= canvas["y"]
        assert 0 <= shown["x"] <= width - shown["width"]
        assert shown["y"] + shown["height"] <= 844


def _after(one: Any, other: Any, at: str, size: str) -> bool:
    return bool(one[at] >= other[at] + other[size])


def test_far_points_do_not_squeeze_the_others(crowd: Path, open_page: Callable[..., Page]) -> None:
    """They are out of view until the user shows all; a note says how many."""
    page = open_page(crowd)
    outside = "data.places.map(place).filter(([x, y]) => !inside(x, y)).length"
    page.evaluate(
        "area = canvas.getBoundingClientRect(); inside = (x, y) => "
        "x >= area.left && x <= area.right && y >= area.top && y <= area.bottom"
    )
    assert page.evaluate(outside) == 3
    xs = np.array(page.evaluate("data.places.map(place)"))
    middle = np.ptp(np.delete(xs, [7, 8, 9], axis=0), axis=0)
    assert (middle > [300, 300]).any()
    note = page.locator("#outside").inner_text()
    assert note == "3 points are out of view, far from the others show all"
    page.get_by_role("button", name="show all").click()
    assert page.evaluate(outside) == 0
    page.get_by_role("button", name="hide them").click()
    assert page.evaluate(outside) == 3


def test_a_text_cannot_reverse_its_neighbours(crowd: Path, open_page: Callable[..., Page]) -> None:
    """Characters that change the direction of text are shown as escapes everywhere."""
    page = open_page(crowd)
    page.mouse.move(*page.evaluate("place(data.places[20])"))
    assert page.locator("#row").inner_text().splitlines()[-1] == r"story\u202eevil \u206620"
    assert page.title() == r"a target with a long name, for small screens, and \u202eevil.parquet"
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", page.evaluate("document.body.innerText"))
    left = page.evaluate(
        "[...document.querySelectorAll('#row bdi')].at(-1).firstChild"
        ".splitText(3).parentNode.childNodes.values().toArray().map(part => {"
        " const range = document.createRange(); range.selectNode(part);"
        " return range.getBoundingClientRect().left })"
    )
    assert left == sorted(left)
    assert page.locator("#row bdi").count() == 2 * 3


def test_a_map_can_be_moved(target: Path, tmp_path: Path, open_page: Callable[..., Page]) -> None:
    """Dragging and the wheel move and zoom it; a double click shows all again."""
    jobs.write_map(target, tmp_path / "map.html")
    page = open_page(tmp_path / "map.html")
    assert page.locator("#legend").is_hidden()
    first = page.evaluate("place(data.places[0])")
    page.mouse.move(450, 300)
    page.mouse.down()
    page.mouse.move(470, 330)
    page.mouse.up()
    assert page.evaluate("place(data.places[0])") == pytest.approx([first[0] + 20, first[1] + 30])
    with _heard(page, "canvas", "wheel"):
        page.mouse.wheel(0, -400)
    apart = np.subtract(page.evaluate("place(data.places[0])"), [470, 330])
    assert apart == pytest.approx(np.e * np.subtract(first, [450, 300]))
    page.mouse.dblclick(470, 330)
    assert page.evaluate("place(data.places[0])") == pytest.approx(first)


def test_a_map_is_moved_with_fingers(
    target: Path, tmp_path: Path, open_page: Callable[..., Page]
) -> None:
    """A tap shows a row and the next hides it; one finger drags, two pinch."""
    jobs.write_map(target, tmp_path / "map.html")
    page = open_page(tmp_path / "map.html", 390, 844, has_touch=True, is_mobile=True)
    x, y = page.evaluate("place(data.places[3])")
    page.touchscreen.tap(x, y)
    assert page.locator("#row").inner_text().splitlines()[1] == f"text{TEXTS[3]}"
    page.touchscreen.tap(5, 839)
    assert page.locator("#row").is_hidden()
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    fingers("touchStart", (200, 500))
    fingers("touchMove", (240, 530))
    fingers("touchEnd")
    assert page.evaluate("place(data.places[3])") == pytest.approx([x + 40, y + 30])
    assert page.locator("#row").is_hidden()
    fingers("touchStart", (150, 500), (250, 500))
    fingers("touchMove", (100, 500), (300, 500))
    fingers("touchEnd")
    twice = np.array([200, 500]) + 2 * np.subtract([x + 40, y + 30], [200, 500])
    assert page.evaluate("place(data.places[3])") == pytest.approx(twice.tolist())
    assert page.evaluate("visualViewport.scale") == 1  # the page itself is not zoomed


@pytest.mark.parametrize("name", ["t.parquet", "t.npy", "t.jsonl"])
def test_every_format_of_target_is_drawn(
    tmp_path: Path, name: str, open_page: Callable[..., Page]
) -> None:
    """Without columns, a point shows its row number; a row without a vector has no point."""
    table = pa.table({"text": [f"text {n}" for n in range(30)] + [""] + ["more"] * 9})
    run(table, tmp_path / name)
    drawn = jobs.write_map(tmp_path / name, tmp_path / "map.html")
    assert (drawn.points, drawn.rows) == (39, 40)
    page = open_page(tmp_path / "map.html")
    numbers = page.evaluate("data.rows.map(row => row.row)")
    assert numbers == [n for n in range(40) if n != 30]
    page.mouse.move(*page.evaluate("place(data.places[8])"))
    assert page.locator("#row").inner_text().splitlines()[0] == "row8"


def test_a_sample_does_not_follow_a_pattern_in_the_file(tmp_path: Path) -> None:
    """No value is missing, and the map is the same every time."""
    table = pa.table({"text": [f"text {n}" for n in range(800)], "kind": ["even", "odd"] * 400})
    run(table, tmp_path / "t.parquet", column="text")
    drawn = [
        jobs.write_map(tmp_path / "t.parquet", tmp_path / name, color="kind", points=200)
        for name in ("a.html", "b.html")
    ]
    assert [one.points for one in drawn] == [200, 200]
    page = (tmp_path / "a.html").read_text()
    assert all(page.count(f'"kind":"{kind}"') > 70 for kind in ("even", "odd"))
    assert page == (tmp_path / "b.html").read_text()


@given(st.integers(0, 3000), st.integers(3, 3000))
def test_a_sample_has_a_row_of_each_part_of_the_target(rows: int, points: int) -> None:
    """In order, without duplicates, and with no large gaps."""
    drawn = sampled(rows, points)
    assert len(drawn) == min(rows, points)
    steps = np.diff([-1, *drawn, rows])
    assert steps.min() >= 1
    assert steps.max() <= 2 * max(1, -(-rows // points))


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(3, 60), st.just(2)), elements=st.floats(-1e3, 1e3))
)
def test_most_points_are_in_view_at_first(places: Any) -> None:
    """Nine of ten along each axis, however far away others are."""
    inside = near(places)
    assert inside.mean() >= 0.8
    assert near(places[inside][:1].repeat(3, axis=0)).all()


def test_only_outliers_are_out_of_view_at_first() -> None:
    """A cluster stays in view as a whole, as does an axis along which few points differ."""
    rng = np.random.default_rng(2)
    blob = rng.uniform(-1, 1, (500, 2))
    assert near(blob).all()
    far = np.vstack([blob, [[50, 0], [0, -50]]])
    assert np.flatnonzero(~near(far)).tolist() == [500, 501]
    assert near(np.array([[0.0, n] for n in range(40)] + [[9.0, 3]])).all()


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(3, 8), st.integers(1, 6)),
        elements=st.floats(-9, 9, width=32),
    )
)
def test_the_axes_are_those_of_a_singular_value_decomposition(vectors: Any) -> None:
    """They explain as much of the variance as any two axes can."""
    places, explained = principal(vectors)
    assert places.shape == (len(vectors), 2)
    values = np.linalg.svd(vectors - vectors.mean(axis=0, dtype=np.float64), compute_uv=False) ** 2
    most, whole = float(values[:2].sum()), float(values.sum())
    assert np.sum(places**2) == pytest.approx(most, rel=1e-6, abs=1e-6)
    assert explained == pytest.approx(most / whole if whole > 1e-6 else explained, abs=1e-6)
    again, _ = principal(vectors + np.float32(0))
    assert np.array_equal(places, again)


@pytest.mark.parametrize("weights", [[1, 3], [1, -3], [3, 1], [3, -1]])
def test_the_largest_weight_of_an_axis_is_positive(weights: list[int]) -> None:
    """This makes a map the same on every machine."""
    vectors = np.outer([0, 1, 2], weights).astype(np.float32)
    wanted = 1 if max(weights, key=abs) > 0 else -1
    assert np.sign(np.diff(principal(vectors)[0][:, 0])).tolist() == [wanted, wanted]


def test_marks_distinguish_values() -> None:
    """Numbers by size, others by value; rare values share a mark, and null has its own."""
    found, legend, is_scale = marks([*range(30), None, math.nan, math.inf])
    assert (found[:30], found[30:]) == ([n / 29 for n in range(30)], [None] * 3)
    assert is_scale
    assert legend == [(0, "0"), (0.5, "14.5"), (1, "29"), (None, "(none)")]
    values = [f"v{n}" for n in range(26)]
    found, legend, is_scale = marks([*values[:24], *values[:24], *values, None, "(none)", "none"])
    assert (found[:24], found[24:48], is_scale) == ([*range(24)], [*range(24)], False)
    assert found[72:] == [OTHERS, OTHERS, None, OTHERS, OTHERS]
    assert legend == [*enumerate(values[:24]), (OTHERS, "4 others"), (None, "(none)")]
    assert marks([2, 1, 2]) == ([0, 1, 0], [(0, "2"), (1, "1")], False)
    assert marks([None, None, None]) == ([None] * 3, [(None, "(none)")], False)


def test_values_with_the_same_beginning_are_distinguished() -> None:
    """Each has its own colour, and the legend shortens the middle of a long one."""
    values = ["long " * 100 + name for name in ("cats", "dogs")]
    found, legend, _ = marks(values)
    assert found == [0, 1]
    texts = [text for _, text in legend]
    assert [text[-9:] for text in texts] == ["long cats", "long dogs"]
    assert all(len(text) == 120 and text[:5] == "long " and "…" in text for text in texts)
    same_ends = ["long " * 100 + name + "long " * 100 for name in ("cats", "dogs")]
    assert marks(same_ends)[0] == [0, 1]


def test_the_command_line_draws_a_map(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints how much of the variance the map shows."""
    assert cli.main(["map", str(target), "-o", str(tmp_path / "m.html"), "--color", "n"]) == 0
    assert "m.html: 16 of 16 rows, " in capsys.readouterr().err
    assert cli.main(["map", str(target), "-o", str(tmp_path / "n.html"), "--color", "raw"]) == 2
    assert "no column 'raw' to show; the columns are kind, n, text" in capsys.readouterr().err
    assert not (tmp_path / "n.html").exists()


def test_a_map_needs_three_points(target: Path, tmp_path: Path) -> None:
    """The error says so."""
    with pytest.raises(ore.InputError, match="points is 2"):
        jobs.write_map(target, tmp_path / "m.html", points=2)
    run(pa.table({"text": ["a", "b"]}), tmp_path / "t.npy")
    with pytest.raises(ore.InputError, match="has 2 vectors"):
        jobs.write_map(tmp_path / "t.npy", tmp_path / "m.html")
