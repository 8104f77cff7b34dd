"""A target as points on a page, looked at in a browser."""

import io
import os
import shutil
from collections.abc import Iterator
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
from openrouter_embeddings.jobs._map import principal, shades
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

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
    with ore.Client.local() as client:
        jobs.embed_file(TABLE, path, client=client, column="text")
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
def page(browser: Browser) -> Iterator[Page]:
    """One that tells of every error, and may load nothing but itself."""
    page = browser.new_page(viewport={"width": 900, "height": 600})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text))
    page.on(
        "request", lambda asked: None if asked.url.startswith("file:") else wrong.append(asked.url)
    )
    yield page
    page.close()
    assert [what for what in wrong if not what.startswith("file:")] == []


def test_a_map_is_seen_in_a_browser(target: Path, tmp_path: Path, page: Page) -> None:
    """Points in the colours of the legend; pointing at one shows its row, whatever its text."""
    drawn = jobs.write_map(target, tmp_path / "map.html", color="kind")
    assert (drawn.points, drawn.rows) == (16, 16)
    page.goto((tmp_path / "map.html").as_uri())
    assert page.title() == "t.parquet"
    assert page.locator("h1").inner_text() == "t.parquet"
    said = page.locator("header p").first.inner_text()
    assert said.startswith("16 of 16 rows, 384 dimensions of local/minilm; the axes hold ")
    assert page.locator("#legend div").all_inner_texts() == ["kind", *KINDS, EVIL]
    assert len({*page.evaluate("data.colors")}) == 4
    page.locator("#legend").evaluate("it => it.remove()")  # which has the colours, too
    seen = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for number, colour in enumerate(page.evaluate("data.colors")):
        at = page.evaluate(f"place(data.places[{number}])")
        assert seen.getpixel((round(at[0]), round(at[1]))) == pytest.approx(_faded(colour), abs=3)
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


def _faded(colour: str) -> tuple[float, ...]:
    """On white, at the opacity of few points."""
    return tuple(0.9 * int(colour[at : at + 2], 16) + 0.1 * 255 for at in (1, 3, 5))


def test_a_map_can_be_moved(target: Path, tmp_path: Path, page: Page) -> None:
    """By dragging and with the wheel; a double click shows all again."""
    jobs.write_map(target, tmp_path / "map.html")
    page.goto((tmp_path / "map.html").as_uri())
    assert page.locator("#legend").is_hidden()
    first = page.evaluate("place(data.places[0])")
    page.mouse.move(450, 300)
    page.mouse.down()
    page.mouse.move(470, 330)
    page.mouse.up()
    assert page.evaluate("place(data.places[0])") == pytest.approx([first[0] + 20, first[1] + 30])
    page.mouse.wheel(0, -400)
    page.wait_for_function(f"place(data.places[0])[0] !== {first[0] + 20}")
    apart = np.subtract(page.evaluate("place(data.places[0])"), [470, 330])
    assert apart == pytest.approx(np.e * np.subtract(first, [450, 300]))
    page.mouse.dblclick(470, 330)
    assert page.evaluate("place(data.places[0])") == pytest.approx(first)


@pytest.mark.parametrize("name", ["t.npy", "t.jsonl"])
def test_every_kind_of_target_is_drawn(tmp_path: Path, name: str, page: Page) -> None:
    """Without columns, a point's number is shown; a row without a vector is no point."""
    table = pa.table({"text": [f"text {n}" for n in range(30)] + [""] + ["more"] * 9})
    with ore.Client.local(model="local/hash", dimensions=8) as client:
        jobs.embed_file(table, tmp_path / name, client=client)
    drawn = jobs.write_map(tmp_path / name, tmp_path / "map.html", points=20)
    assert (drawn.points, drawn.rows) == (19, 40)
    page.goto((tmp_path / "map.html").as_uri())
    numbers = page.evaluate("data.rows.map(row => row.row)")
    assert numbers == [n for n in range(0, 40, 2) if n != 30]
    page.mouse.move(*page.evaluate("place(data.places[4])"))
    assert page.locator("#row").inner_text().splitlines()[0] == "row8"


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(3, 8), st.integers(1, 6)),
        elements=st.floats(-9, 9, width=32),
    )
)
def test_the_axes_are_those_of_a_singular_value_decomposition(vectors: Any) -> None:
    """The places keep as much of the variance as any two axes can."""
    places, explained = principal(vectors)
    assert places.shape == (len(vectors), 2)
    values = np.linalg.svd(vectors - vectors.mean(axis=0, dtype=np.float64), compute_uv=False) ** 2
    most, whole = float(values[:2].sum()), float(values.sum())
    assert np.sum(places**2) == pytest.approx(most, rel=1e-6, abs=1e-6)
    assert explained == pytest.approx(most / whole if whole > 1e-6 else explained, abs=1e-6)
    again, _ = principal(vectors + np.float32(0))
    assert np.array_equal(places, again)


@pytest.mark.parametrize("weights", [[1, 3], [1, -3], [3, 1], [3, -1]])
def test_an_axis_points_to_where_its_largest_weight_is_positive(weights: list[int]) -> None:
    """So that a map is the same everywhere."""
    vectors = np.outer([0, 1, 2], weights).astype(np.float32)
    wanted = 1 if max(weights, key=abs) > 0 else -1
    assert np.sign(np.diff(principal(vectors)[0][:, 0])).tolist() == [wanted, wanted]


def test_colours_tell_values_apart() -> None:
    """Numbers by size, others by value; what is rare shares one."""
    colours, legend = shades([*range(10), None])
    assert (colours[0], colours[9], colours[10]) == ("#2c2a6b", "#f2d03b", "#888888")
    assert [text for _, text in legend] == ["0", "4.5", "9"]
    colours, legend = shades([*"aabbccddeeffgghi", None])
    assert len({*colours}) == 8
    assert legend[-1] == ("#888888", "others")
    assert shades([1, 2, 1])[1] == [("#0072b2", "1"), ("#e69f00", "2")]


def test_the_command_line_draws(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says how much of the vectors is seen."""
    assert cli.main(["map", str(target), "-o", str(tmp_path / "m.html"), "--color", "n"]) == 0
    assert "m.html: 16 of 16 rows, " in capsys.readouterr().err
    assert cli.main(["map", str(target), "-o", str(tmp_path / "n.html"), "--color", "raw"]) == 2
    assert "no column 'raw' that can be shown; there are kind, n, text" in capsys.readouterr().err
    assert not (tmp_path / "n.html").exists()


def test_a_map_needs_points(target: Path, tmp_path: Path) -> None:
    """Three, which is said."""
    with pytest.raises(ore.InputError, match="points is 2"):
        jobs.write_map(target, tmp_path / "m.html", points=2)
    with ore.Client.local(model="local/hash", dimensions=8) as client:
        jobs.embed_file(pa.table({"text": ["a", "b"]}), tmp_path / "t.npy", client=client)
    with pytest.raises(ore.InputError, match="has 2 vectors"):
        jobs.write_map(tmp_path / "t.npy", tmp_path / "m.html")
