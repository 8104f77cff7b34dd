"""`local/visual`: images by how they look (colours, edges, a thumbnail), not by their meaning.

It finds near-duplicates, crops and brighter or smaller copies. It does not know what a cat is.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from openrouter_embeddings._data_urls import is_data_url, read_data_url
from openrouter_embeddings._extras import need

from .base import TOKENS_PER_MEDIA, Embedded, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .parts import Part

_SIDE = 64  # pixels per side of the image that everything is computed from
_COLOURS = 4  # levels per channel: 64 colours
_ANGLES = 8
_THUMB = 4
_WEIGHTS = (1.0, 0.5, 0.35)  # a crop changes the colours least and the thumbnail most
_MAX_PIXELS = 50_000_000
_MAX_BYTES = 64 << 20
_WIDTH = _COLOURS**3 + _ANGLES * 4 + _THUMB**2 * 3


class VisualModel:
    """A vector of three descriptors, each of unit length times its weight."""

    name = "local/visual"
    description: str = "Images by how they look: colours, edges, a thumbnail."
    context_length: int | None = None
    modalities: frozenset[str] = frozenset({"image"})
    dimensions: range = range(_WIDTH, _WIDTH + 1)

    def embed(self, inputs: Sequence[Sequence[Part]], dimensions: int | None) -> Embedded:
        """One unit vector for each input; several images in an input are averaged."""
        del dimensions  # there is only one length
        vectors = np.empty((len(inputs), _WIDTH), np.float32)
        for row, parts in enumerate(inputs):
            if not parts:
                raise Unsupported(row, "the input has no image")
            seen = np.mean([_describe(_pixels(part.url, row)) for part in parts], axis=0)
            vectors[row] = seen / np.linalg.norm(seen)
        images = sum(map(len, inputs))
        return Embedded(vectors, {"image": images * TOKENS_PER_MEDIA})


def _pixels(url: str, row: int) -> NDArray[np.float64]:
    if not is_data_url(url):
        raise Unsupported(row, "image_url: the stand-in fetches nothing; use a data: URL")
    pil = need("PIL.Image", "local")
    try:
        data = read_data_url(url, _MAX_BYTES)
        picture: Any
        with pil.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "GIF")) as picture:
            if picture.width * picture.height > _MAX_PIXELS:
                raise Unsupported(row, "image_url: more than 50 million pixels")
            upright = need("PIL.ImageOps", "local").exif_transpose(picture)
            if upright.mode == "I;16":  # `convert` would clip levels above 255 to white
                upright = upright.convert("I").point(lambda level: level * (1 / 257)).convert("L")
            elif upright.mode == "P":  # avoids a warning of Pillow about transparency
                upright = upright.convert("RGBA")
            small = upright.convert("RGB").resize((_SIDE, _SIDE), pil.Resampling.BOX)
    except Unsupported:
        raise
    except Exception:  # noqa: BLE001 - Pillow's parsers raise anything
        raise Unsupported(row, "image_url: not a readable png, jpeg, webp or gif") from None
    return np.asarray(small, np.float64) / 255.0


def _describe(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    parts = (_colours(pixels), _edges(pixels.mean(axis=2)), _thumbnail(pixels))
    weighted = [weight * _unit(part) for weight, part in zip(_WEIGHTS, parts, strict=True)]
    return np.concatenate(weighted)


def _colours(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of each of 64 colours; the square root gives large plain areas less weight."""
    levels = np.minimum((pixels * _COLOURS).astype(int), _COLOURS - 1)
    codes = levels @ np.array([_COLOURS**2, _COLOURS, 1])
    counts = np.bincount(codes.ravel(), minlength=_COLOURS**3)
    return np.sqrt(counts.astype(np.float64))


def _edges(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """The strength of edges by direction, in each quarter of the image."""
    down, across = np.gradient(grey)
    strength = np.hypot(down, across)
    angle = ((np.arctan2(down, across) % np.pi) / np.pi * _ANGLES).astype(int) % _ANGLES
    half = _SIDE // 2
    quarters = [(slice(a, a + half), slice(b, b + half)) for a in (0, half) for b in (0, half)]
    histograms = [
        np.bincount(angle[q].ravel(), strength[q].ravel(), minlength=_ANGLES) for q in quarters
    ]
    return np.concatenate(histograms).astype(np.float64)


def _thumbnail(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    cell = _SIDE // _THUMB
    means: NDArray[np.float64] = pixels.reshape(_THUMB, cell, _THUMB, cell, 3).mean(axis=(1, 3))
    return means.ravel()


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    norm = float(np.linalg.norm(vector))
    return vector / norm if norm else vector
