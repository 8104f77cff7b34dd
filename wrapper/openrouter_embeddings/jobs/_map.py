"""Draws the vectors of a target in two dimensions on an HTML page."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openrouter_embeddings._json import dumps
from openrouter_embeddings.errors import InputError

from ._formats import target_format, vector_blocks
from ._search import finished
from ._spec import check_is_local

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

    from ._spec import Provenance

# Found by annealing, because no published palette has 24 colours for light and dark pages. A value
# has the same hue on both pages; all colours contrast with the page and with each other, the first
# eight also for colour-blind readers. tests/jobs/test_map_colours.py checks this.
LIGHT_PAGE = (
    "#2211ff", "#bb7700", "#cc77bb", "#117744", "#aa0088", "#aa2200", "#0077ee", "#00aa55",
    "#440077", "#887733", "#884455", "#662211", "#7777bb", "#335533", "#009988", "#cc3377",
    "#cc33ee", "#bb3344", "#779933", "#008899", "#336600", "#226688", "#dd7777", "#dd7744",
)  # fmt: skip
DARK_PAGE = (
    "#5577ff", "#ffaa00", "#ffbbee", "#119966", "#ee22aa", "#dd5511", "#44aaff", "#22ff99",
    "#9977bb", "#ddcc66", "#ee99aa", "#bb7766", "#bbbbff", "#88bb88", "#44ddcc", "#dd6688",
    "#ee77ff", "#ff0044", "#bbff22", "#55bbcc", "#119911", "#aaddff", "#ff8877", "#ff9955",
)  # fmt: skip
OTHERS = -1  # the mark of values without a colour of their own
_MAX_SHOWN = 300  # characters of a value
_MAX_LEGEND = 120  # characters of a value, so that it does not fill the screen of a phone


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a map shows.

    Attributes:
        points: how many rows the map shows.
        rows: how many rows the target has.
        explained: the share of the variance that the two axes explain, from 0 to 1.
    """

    points: int
    rows: int
    explained: float


def write_map(
    target: str | PathLike[str],
    page: str | PathLike[str],
    *,
    color: str | None = None,
    points: int = 10_000,
) -> Drawn:
    """Draw the vectors of a target as points on a self-contained HTML page.

    The axes are the first two principal components of the rows that the map shows. Pointing at or
    tapping a point shows its row. Points far away from the others are out of view at first, so that
    they do not squeeze the rest; the page says how many they are.

    Args:
        target: a target of `embed_file`.
        page: the .html file; an existing file is overwritten.
        color: the column that colours the points: on a scale if it has more than 24 different
            numbers, otherwise by value. The 24 most frequent values have a colour each; null is
            grey.
        points: how many rows to show at most: one random row from each of as many equal parts of
            the target, the same rows every time. They are held in memory.

    Raises:
        InputError: the target or the column does not exist, or there are fewer than three vectors.
    """
    path = Path(target)
    provenance = finished(path)
    if Path(page).suffix.lower() not in (".html", ".htm"):
        raise InputError(f"the page {page} is not an .html file; choose a name that ends in .html")
    check_is_local(page)
    if points < 3:
        raise InputError(f"points is {points}; a map needs at least 3")
    vectors, numbers, rows = _sample(path, provenance, points)
    if color is not None and not any(color in row for row in rows):
        names = ", ".join(sorted({name for row in rows for name in row})) or "none"
        raise InputError(f"there is no column {color!r} to show; the columns are {names}")
    if len(vectors) < 3:
        raise InputError(f"{target} has {len(vectors)} vectors; a map needs at least 3")
    places, explained = principal(vectors)
    inside = near(places)
    low, high = places[inside].min(axis=0), places[inside].max(axis=0)
    size = float(np.max(high - low)) or 1.0  # the axes have no unit
    shades, legend, is_scale = marks([row.get(color) for row in rows]) if color else ([], [], False)
    data = {
        "title": path.name,
        "summary": f"{len(rows):,} of {provenance.rows:,} rows, {provenance.dimensions} dimensions "
        f"of {provenance.parameters.model}; the axes explain {explained:.0%} of the variance",
        "places": np.round((places - low) / size, 5).tolist(),
        "frame": ((high - low) / size).tolist(),
        "outside": int((~inside).sum()),
        "palettes": {"light": LIGHT_PAGE, "dark": DARK_PAGE},
        "marks": shades,
        "scale": is_scale,
        "legend": legend,
        "color": color,
        "rows": [
            {"row": number, **{name: _short(value) for name, value in row.items()}}
            for number, row in zip(numbers, rows, strict=True)
        ],
    }
    # "<" could end the script element
    embedded = dumps(data).decode().replace("<", "\\u003c")
    frame = files("openrouter_embeddings.jobs").joinpath("map.html").read_text(encoding="utf-8")
    Path(page).write_text(frame.replace("@DATA@", embedded), encoding="utf-8")
    return Drawn(len(rows), provenance.rows, explained)


def _sample(
    path: Path, provenance: Provenance, points: int
) -> tuple[NDArray[np.float32], list[int], list[dict[str, Any]]]:
    """Vectors from all parts of a target, their row numbers, and their columns."""
    drawn = sampled(provenance.rows, points)
    vectors = [np.empty((0, provenance.dimensions), np.float32)]
    numbers: list[int] = []
    for first, matrix in vector_blocks(path, provenance.dimensions):
        inside = np.searchsorted(drawn, (first, first + len(matrix)))
        chosen = drawn[slice(*inside)] - first
        chosen = chosen[~np.isnan(matrix[chosen]).any(axis=1)]
        vectors.append(matrix[chosen])
        numbers += (first + chosen).tolist()
    rows = [_shown(row) for row in target_format(path).columns(path, numbers)]
    return np.concatenate(vectors), numbers, rows


def sampled(rows: int, points: int) -> NDArray[np.int64]:
    """Row numbers, in order: a random one from each of `points` equal parts of all rows.

    Every n-th row could miss a value if the rows of the file follow a pattern.

    Returns:
        Of shape (min(rows, points),), the same every time.
    """
    parts = np.linspace(0, rows, min(rows, points) + 1, dtype=np.int64)
    return np.random.default_rng(0).integers(parts[:-1], parts[1:])


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not isinstance(value, bytes)}


def _short(value: Any, longest: int = _MAX_SHOWN) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    half = longest // 2  # shorten the middle, because many texts begin alike
    return text if len(text) <= longest else f"{text[:half]}…{text[1 - half :]}"


def principal(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """The first two principal components.

    Args:
        vectors: of shape (rows, dimensions).

    Returns:
        Coordinates of shape (rows, 2), all zero if all vectors are equal, and the share of the
        variance that they explain. The largest weight of each axis is positive.
    """
    centred: NDArray[np.float64] = np.subtract(vectors, vectors.mean(axis=0, dtype=np.float64))
    values, axes = np.linalg.eigh(centred.T @ centred)
    first = axes[:, ::-1][:, :2]
    if first.shape[1] < 2:  # vectors of one dimension
        first = np.pad(first, ((0, 0), (0, 1)))
    first = first * np.sign(first[np.abs(first).argmax(axis=0), [0, 1]])
    whole = float(values.sum())
    return centred @ first, float(values[::-1][:2].sum()) / whole if whole > 0 else 1.0


def near(places: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points are in view at first: all but outliers, which would squeeze the others.

    A point is in view if, on each axis, its distance from the middle 90 % of the points is at most
    1.5 times their range.

    Args:
        places: of shape (points, 2).

    Returns:
        A mask of shape (points,).
    """
    low, high = np.quantile(places, (0.05, 0.95), axis=0)
    reach = np.where(high > low, 1.5 * (high - low), np.inf)
    near: NDArray[np.bool_] = ((places >= low - reach) & (places <= high + reach)).all(axis=1)
    return near


def marks(
    values: list[Any],
) -> tuple[list[float | None], list[tuple[float | None, str]], bool]:
    """The colour of each point, and the legend.

    Returns:
        A mark for each value; pairs of a mark and a text for the legend; and whether the marks are
        positions on a scale, from 0 to 1, rather than colour numbers. The mark of null, NaN and
        infinity is None; the mark of values too rare for a colour of their own is `OTHERS`.
    """
    values = [None if isinstance(v, float) and not math.isfinite(v) else v for v in values]
    known = [value for value in values if value is not None]
    legend: list[tuple[float | None, str]]
    found: list[float | None]
    are_numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in known)
    is_scale = are_numbers and len({*known}) > len(LIGHT_PAGE)
    if is_scale:
        low, high = min(known), max(known)
        found = [None if value is None else (value - low) / (high - low) for value in values]
        legend = [(at, f"{low + (high - low) * at:g}") for at in (0.0, 0.5, 1.0)]
    else:
        texts = [None if value is None else str(value) for value in values]
        counts = Counter(text for text in texts if text is not None).most_common()
        number = {text: n for n, (text, _) in enumerate(counts[: len(LIGHT_PAGE)])}
        found = [None if text is None else number.get(text, OTHERS) for text in texts]
        legend = [(n, _short(text, _MAX_LEGEND)) for text, n in number.items()]
        if len(counts) > len(number):
            legend.append((OTHERS, f"{len(counts) - len(number)} others"))
    if None in found:
        legend.append((None, "(none)"))
    return found, legend, is_scale
