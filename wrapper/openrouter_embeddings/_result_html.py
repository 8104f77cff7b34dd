"""How notebooks show a result: two lines of facts, and the first values as strips of colours.

The HTML has no script, no style sheet and nothing to load. It takes the notebook's own text colour,
and colours that stand out from white as well as from black, so dark themes need no second set.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .usage import Usage

_ROWS, _COLUMNS = 5, 64  # as many values as are shown
_WIDTH, _HEIGHT, _ROW = 9, 14, 17  # pixels: a value, and a row with its gap
_LEFT = 30  # pixels for the row numbers
_POSITIVE, _NEGATIVE = "#e8590c", "#1c7ed6"
_SHADES = 5  # of either colour; zero is transparent


def result_html(
    vectors: NDArray[np.float32],
    usage: Usage,
    model: str,
    providers: tuple[str, ...],
    missing: str,
) -> str:
    """One block of HTML. Names, which come from a server, are escaped.

    Args:
        vectors: shape (rows, dimensions).
        usage: its tokens and cost are shown.
        model: the model's name.
        providers: the providers' names.
        missing: the positions of inputs without a row; may be empty.
    """
    rows, width = vectors.shape
    facts = [
        model,
        f"served by {', '.join(providers)}" if providers else None,
        f"{usage.prompt_tokens:,} token{'' if usage.prompt_tokens == 1 else 's'}",
        "cost unknown" if usage.cost is None else f"${usage.cost:f}",
    ]
    lost = f" (missing inputs: {escape(missing)})" if missing else ""
    return (
        f"<div><div><b>EmbeddingResult</b> {rows:,} × {width:,} float32{lost}</div>"
        '<div style="overflow-wrap:anywhere">'
        f"{escape(' · '.join(fact for fact in facts if fact))}</div>{_strips(vectors)}</div>"
    )


def _strips(vectors: NDArray[np.float32]) -> str:
    shown = np.nan_to_num(vectors[:_ROWS, :_COLUMNS].astype(np.float64), posinf=0, neginf=0)
    rows, columns = shown.shape
    if not shown.size:
        return ""
    full = float(np.quantile(np.abs(shown), 0.95)) or 1.0  # one outlier must not fade the others
    shades = np.rint(np.clip(shown / full, -1, 1) * _SHADES).astype(int)
    paths = "".join(
        f'<path fill="{_POSITIVE if shade > 0 else _NEGATIVE}" '
        f'fill-opacity="{abs(shade) / _SHADES:g}" d="{_squares(shades == shade)}"/>'
        for shade in sorted({*shades.ravel().tolist()} - {0})
    )
    labels = "".join(
        f'<text x="{_LEFT - 6}" y="{row * _ROW + 11}">{row}</text>' for row in range(rows)
    )
    size = f'width="{_LEFT + columns * _WIDTH}" height="{rows * _ROW}"'
    return (
        f'<svg {size} viewBox="0 0 {_LEFT + columns * _WIDTH} {rows * _ROW}" role="img" '
        'aria-label="the first values as colours" '
        'style="display:block;margin:6px 0 2px;max-width:100%;height:auto">'
        f'<g fill="currentColor" fill-opacity=".7" font-size="11" text-anchor="end">{labels}</g>'
        f'<g shape-rendering="crispEdges">{paths}</g></svg>'
        f'<div style="font-size:90%">{_range("row", rows, len(vectors))}, '
        f"{_range('dimension', columns, vectors.shape[1])}: "
        f'<span style="color:{_POSITIVE}">■</span> positive, '
        f'<span style="color:{_NEGATIVE}">■</span> negative, full colour from ±{full:.2g}</div>'
    )


def _squares(where: NDArray[np.bool_]) -> str:
    return "".join(
        f"M{_LEFT + x * _WIDTH} {y * _ROW}h{_WIDTH}v{_HEIGHT}h-{_WIDTH}"
        for y, x in np.argwhere(where).tolist()
    )


def _range(noun: str, shown: int, whole: int) -> str:
    some = f"the first {shown} of {whole:,} {noun}s"
    return some if shown < whole else f"all {whole} {noun}s" if whole > 1 else f"one {noun}"
