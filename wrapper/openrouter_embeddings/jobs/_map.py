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

from ._search import info, pieces, rows_as_dicts

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

# Okabe and Ito's colours, which people who see colours otherwise can tell apart, too.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800")
_OTHER = "#888888"
_SCALE = ((0x2C, 0x2A, 0x6B), (0x1F, 0x8A, 0x8C), (0xF2, 0xD0, 0x3B))  # from low to high
_LONGEST = 300  # characters of a value that are shown


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
    are shown). Pointing at a point shows its row.

    Args:
        target: made by `embed_file`.
        page: the .html file, which is overwritten.
        color: a column that gives the points their colours: numbers by size, others by value.
        points: rows to be shown at most, from all over the target. They are held in memory.

    Raises:
        InputError: no such target or column, or fewer than three vectors.
    """
    said = info(target)
    if Path(page).suffix.lower() not in (".html", ".htm"):
        raise InputError(f"the page {page} is no .html file")
    if points < 3:
        raise InputError(f"points is {points}; 3 are needed at least")
    vectors, numbers, rows = _sample(Path(target), said, points)
    if color is not None and not any(color in row for row in rows):
        names = ", ".join(sorted({name for row in rows for name in row})) or "none"
        raise InputError(f"there is no column {color!r} that can be shown; there are {names}")
    if len(vectors) < 3:
        raise InputError(f"{target} has {len(vectors)} vectors; a map needs 3 at least")
    places, explained = principal(vectors)
    shade, legend = shades([row.get(color) for row in rows]) if color else ([_COLOURS[0]], [])
    data = {
        "title": Path(target).name,
        "said": f"{len(rows):,} of {said['rows']:,} rows, {said['dimensions']} dimensions of "
        f"{said['model']}; the axes hold {explained:.0%} of the variance",
        "places": np.round(places, 4).tolist(),
        "colors": shade,
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
    every = -(-said["rows"] // points)
    vectors: list[NDArray[np.float32]] = []
    numbers: list[int] = []
    rows: list[dict[str, Any]] = []
    for first, matrix, batch in pieces(path, said["dimensions"]):
        chosen = np.arange(-first % every, len(matrix), every)
        chosen = chosen[~np.isnan(matrix[chosen]).any(axis=1)]
        vectors.append(matrix[chosen])
        numbers += (first + chosen).tolist()
        rows += rows_as_dicts(batch, chosen.tolist())
    return np.concatenate(vectors), numbers, [_shown(row) for row in rows]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not isinstance(value, bytes)}


def _short(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


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


def shades(values: list[Any]) -> tuple[list[str], list[tuple[str, str]]]:
    """A colour for each value, and what the colours mean: pairs of a colour and a text."""
    values = [None if isinstance(v, float) and not math.isfinite(v) else v for v in values]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len({*numbers}) > len(_COLOURS) and len(numbers) == sum(v is not None for v in values):
        low, high = min(numbers), max(numbers)
        middle = low + (high - low) / 2
        colours = [_OTHER if v is None else _between((v - low) / (high - low)) for v in values]
        return colours, [
            (_between(at), f"{v:g}") for at, v in zip((0, 0.5, 1), (low, middle, high), strict=True)
        ]
    texts = [str(_short(value)) if value is not None else "none" for value in values]
    common = [text for text, _ in Counter(texts).most_common(len(_COLOURS))]
    colour = dict(zip(common, _COLOURS, strict=False))
    legend = [(shade, text) for text, shade in colour.items()]
    if len({*texts}) > len(common):
        legend.append((_OTHER, "others"))
    return [colour.get(text, _OTHER) for text in texts], legend


def _between(at: float) -> str:
    """A colour of the scale, from 0 to 1."""
    step = min(int(at * 2), 1)
    low, high = _SCALE[step], _SCALE[step + 1]
    share = at * 2 - step
    mixed = (round(a + (b - a) * share) for a, b in zip(low, high, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)
