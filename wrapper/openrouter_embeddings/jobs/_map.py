"""A page that shows the vectors of a target in two dimensions."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from openrouter_embeddings.errors import InputError

from ._errors import refuse_address
from ._search import columns_of_rows, finished, pieces

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

# Found by annealing, for no published palette has 24 colours for both pages: a value keeps its hue
# when the page becomes dark, all colours stand out from the page and from each other, and the first
# eight do so for the colour-blind. tests/jobs/test_map_colours.py holds this.
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
OTHERS = -1  # in place of a number of a colour
_LONGEST = 300  # characters of a value that are shown
_IN_LEGEND = 120  # characters, so that one value does not fill a phone


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a map shows.

    Attributes:
        points: rows that it shows.
        rows: rows of the target.
        explained: the share of the variance that the two axes hold, from 0 to 1.
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
    """Draw the vectors of a target as points on an HTML page, which needs nothing else.

    The axes are the two along which the vectors differ most (principal components of the rows that
    are shown). Pointing at a point, or tapping it, shows its row. Points far from the others lie
    outside at first, so that they do not squeeze the rest; the page says how many they are.

    Args:
        target: made by `embed_file`.
        page: the .html file, which is overwritten.
        color: a column that gives the points their colours: more than 24 different numbers by
            size, all else by value. The 24 most frequent values have colours of their own; null is
            grey.
        points: rows to be shown at most, one drawn at random from each of as many equal parts of
            the target, the same every time. They are held in memory.

    Raises:
        InputError: no such target or column, or fewer than three vectors.
    """
    said = finished(Path(target))
    if Path(page).suffix.lower() not in (".html", ".htm"):
        raise InputError(f"the page {page} is no .html file")
    refuse_address(page)
    if points < 3:
        raise InputError(f"points is {points}; 3 are needed at least")
    vectors, numbers, rows = _sample(Path(target), said, points)
    if color is not None and not any(color in row for row in rows):
        names = ", ".join(sorted({name for row in rows for name in row})) or "none"
        raise InputError(f"there is no column {color!r} that can be shown; there are {names}")
    if len(vectors) < 3:
        raise InputError(f"{target} has {len(vectors)} vectors; a map needs 3 at least")
    places, explained = principal(vectors)
    inside = near(places)
    low, high = places[inside].min(axis=0), places[inside].max(axis=0)
    size = float((high - low).max()) or 1.0  # the axes have no unit
    shades, legend, is_scale = marks([row.get(color) for row in rows]) if color else ([], [], False)
    data = {
        "title": Path(target).name,
        "said": f"{len(rows):,} of {said['rows']:,} rows, {said['dimensions']} dimensions of "
        f"{said['model']}; the axes hold {explained:.0%} of the variance",
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
    # "<" could end the script that holds it
    embedded = orjson.dumps(data).decode().replace("<", "\\u003c")
    frame = files("openrouter_embeddings.jobs").joinpath("map.html").read_text(encoding="utf-8")
    Path(page).write_text(frame.replace("@DATA@", embedded), encoding="utf-8")
    return Drawn(len(rows), said["rows"], explained)


def _sample(
    path: Path, said: dict[str, Any], points: int
) -> tuple[NDArray[np.float32], list[int], list[dict[str, Any]]]:
    """Vectors from all over a target, the numbers of their rows, and the rows."""
    drawn = sampled(said["rows"], points)
    vectors = [np.empty((0, said["dimensions"]), np.float32)]
    numbers: list[int] = []
    for first, matrix in pieces(path, said["dimensions"]):
        inside = np.searchsorted(drawn, (first, first + len(matrix)))
        chosen = drawn[slice(*inside)] - first
        chosen = chosen[~np.isnan(matrix[chosen]).any(axis=1)]
        vectors.append(matrix[chosen])
        numbers += (first + chosen).tolist()
    rows = [_shown(row) for row in columns_of_rows(path, numbers)]
    return np.concatenate(vectors), numbers, rows


def sampled(rows: int, points: int) -> NDArray[np.int64]:
    """Numbers of rows, in order: one at random from each of `points` equal parts of all rows.

    Every n-th row instead would lose a value where the rows of a file follow a pattern.

    Returns:
        Of shape (min(rows, points),), the same every time.
    """
    parts = np.linspace(0, rows, min(rows, points) + 1, dtype=np.int64)
    return np.random.default_rng(0).integers(parts[:-1], parts[1:])


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not isinstance(value, bytes)}


def _short(value: Any, longest: int = _LONGEST) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    half = longest // 2  # the middle goes, for many texts begin alike
    return text if len(text) <= longest else f"{text[:half]}…{text[1 - half :]}"


def principal(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """The first two principal components.

    Args:
        vectors: of shape (rows, dimensions).

    Returns:
        Coordinates of shape (rows, 2), zeros where all vectors are the same, and the share of the
        variance that they hold. An axis points to where its largest weight is positive.
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
    """Which points the page shows at first: all but those that would squeeze the others.

    Along each axis these are the points up to 1.5 times the span of the middle 90 % away from it.

    Args:
        places: of shape (points, 2).

    Returns:
        Of shape (points,).
    """
    low, high = np.quantile(places, (0.05, 0.95), axis=0)
    reach = np.where(high > low, 1.5 * (high - low), np.inf)
    near: NDArray[np.bool_] = ((places >= low - reach) & (places <= high + reach)).all(axis=1)
    return near


def marks(
    values: list[Any],
) -> tuple[list[float | None], list[tuple[float | None, str]], bool]:
    """What gives each point its colour, and what the colours mean.

    Returns:
        A mark for each value; pairs of a mark and a text for the legend; and whether the marks are
        places on a scale, from 0 to 1, rather than numbers of colours. A value that is null or no
        finite number has the mark None, one that is too rare for a colour of its own `OTHERS`.
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
        legend = [(n, _short(text, _IN_LEGEND)) for text, n in number.items()]
        if len(counts) > len(number):
            legend.append((OTHERS, f"{len(counts) - len(number)} others"))
    if None in found:
        legend.append((None, "(none)"))
    return found, legend, is_scale
