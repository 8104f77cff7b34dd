"""The colours of a map are distinguishable from each other and from the page."""

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from openrouter_embeddings.jobs._map import DARK_PAGE, LIGHT_PAGE

# What linear RGB becomes for the colour-blind: Machado, Oliveira and Fernandes (2009), severity 1.0
_SIGHTS = {
    "all colours": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}

_GREYS: dict[tuple[str, ...], list[str]] = {  # the page, what is rare, what is null
    LIGHT_PAGE: ["#ffffff", "#c8c8c8", "#8a8a8a"],
    DARK_PAGE: ["#17181a", "#55585c", "#8a8a8a"],
}


def _style(palette: tuple[str, ...]) -> str:
    """The part of the page's style for light or dark."""
    style = files("openrouter_embeddings.jobs").joinpath("map.html").read_text()
    return style.split("@media (prefers-color-scheme: dark)")[palette is DARK_PAGE]


def _linear(colours: Sequence[str]) -> Any:
    rgb = np.array([list(bytes.fromhex(colour[1:])) for colour in colours]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _lab(linear: Any) -> Any:
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = linear @ np.array(to_xyz).T / [0.95047, 1, 1.08883]
    bent = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack(
        [116 * bent[:, 1], 500 * (bent[:, 0] - bent[:, 1]), 200 * (bent[:, 1] - bent[:, 2])], axis=1
    )


def _least_apart(colours: Sequence[str], sight: str = "all colours") -> float:
    """The distance in CIELAB of the two colours that are most alike."""
    lab = _lab(np.clip(_linear(colours) @ np.array(_SIGHTS[sight]).T, 0, 1))
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    return float(apart[~np.eye(len(lab), dtype=bool)].min())


@pytest.mark.parametrize("palette", [LIGHT_PAGE, DARK_PAGE])
def test_colours_are_distinguishable(palette: tuple[str, ...]) -> None:
    """From each other, from the greys, and from the page."""
    assert len(palette) == 24
    style = _style(palette)
    assert all(f": {grey.replace('#ffffff', '#fff')};" in style for grey in _GREYS[palette])
    assert _least_apart([*palette, *_GREYS[palette]]) > 17


@pytest.mark.parametrize("sight", ["protanopia", "deuteranopia"])
@pytest.mark.parametrize("palette", [LIGHT_PAGE, DARK_PAGE])
def test_the_first_colours_are_distinguishable_for_the_colour_blind(
    palette: tuple[str, ...], sight: str
) -> None:
    """The first two most of all; the first eight also from the page and the greys."""
    assert _least_apart(palette[:2], sight) > 100
    assert _least_apart(palette[:8], sight) > 19
    assert _least_apart([*palette[:8], *_GREYS[palette]], sight) > 13


@pytest.mark.parametrize(("palette", "least"), [(LIGHT_PAGE, 3), (DARK_PAGE, 4.5)])
def test_colours_contrast_with_the_page(palette: tuple[str, ...], least: float) -> None:
    """As WCAG requires of graphics, and on a dark page of text; this includes the scales."""
    others = re.findall("--(?:plain|low|middle|high): (#[0-9a-f]{6});", _style(palette))
    assert len(others) == 4
    light = _linear([*palette, *others, _GREYS[palette][0]]) @ [0.2126, 0.7152, 0.0722] + 0.05
    contrast = np.maximum(light[:-1] / light[-1], light[-1] / light[:-1])
    assert contrast.min() >= least


def test_a_value_keeps_its_hue_when_the_page_becomes_dark() -> None:
    """Each colour differs between the palettes only in lightness and saturation."""
    hues = [np.arctan2(*_lab(_linear(palette)).T[:0:-1]) for palette in (LIGHT_PAGE, DARK_PAGE)]
    turned = np.degrees(np.abs(np.angle(np.exp(1j * (hues[0] - hues[1])))))
    assert turned.max() < 20
