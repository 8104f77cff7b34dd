"""Images of Pillow, and images that are shrunk by it."""

from __future__ import annotations

import io
from typing import Any

from ._extras import need

# Pillow saves one frame, so what moved is saved as PNG.
_SAVED_AS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "PNG"}
# What PNG holds as it is, and what becomes of colour spaces that it does not have.
_PNG_MODES = {mode: mode for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")} | {
    "PA": "RGBA",
    "RGBa": "RGBA",
    "La": "LA",
    "RGBX": "RGB",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
}
# A small file can hold an image that fills memory when it is decoded.
MOST_PIXELS = 100_000_000


def from_pil(picture: Any) -> bytes:
    """As PNG, which loses nothing; turned by EXIF, which PNG readers may overlook."""
    _few_pixels(picture)
    picture = need("PIL.ImageOps", "images").exif_transpose(picture)
    if (target := _PNG_MODES.get(picture.mode)) is None:
        raise ValueError(f"a PIL image of mode {picture.mode} has no exact PNG; convert it first")
    return _save(picture if target == picture.mode else picture.convert(target), "PNG")


def shrink(data: bytes, name: str, max_side: int) -> bytes:
    """The image with no side longer than `max_side` pixels; as it is where it fits.

    Raises ValueError where it cannot be decoded.
    """
    saved_as = _SAVED_AS[name]
    pil, ops = need("PIL.Image", "images"), need("PIL.ImageOps", "images")
    try:
        with pil.open(io.BytesIO(data)) as picture:
            if max(picture.size) <= max_side:
                return data
            _few_pixels(picture)
            # max_side bounds a square, so turning after shrinking is the same and far cheaper
            picture.thumbnail((max_side, max_side))
            turned = ops.exif_transpose(picture)
            if saved_as == "JPEG" and turned.mode not in {"L", "RGB"}:
                turned = turned.convert("RGB")
            return _save(turned, saved_as, quality=90)
    except pil.DecompressionBombError as error:
        raise ValueError(f"too many pixels: {error}") from None
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001 - Pillow raises whatever its parsers do
        raise ValueError(f"the image is damaged: {error}") from None


def _few_pixels(picture: Any) -> None:
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width} × {height} pixels; {MOST_PIXELS // 10**6} million are taken")


def _save(picture: Any, saved_as: str, **options: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, saved_as, **options)
    return out.getvalue()
