"""Converts Pillow images, and shrinks images with Pillow."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ._extras import need

# A GIF is saved as PNG, because only its first frame is kept.
_SAVED_AS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "PNG"}
# The mode in which PNG holds each of Pillow's modes without loss, or its nearest.
_PNG_MODES = {mode: mode for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")} | {
    "PA": "RGBA",
    "RGBa": "RGBA",
    "La": "LA",
    "RGBX": "RGB",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
}
# A small file may decode to an image that fills memory.
MAX_PIXELS = 100_000_000


def from_pil(picture: Any) -> bytes:
    """The image as PNG, without loss, rotated as its EXIF says: PNG readers may ignore EXIF.

    Raises ValueError if PNG cannot hold the image exactly, or Pillow cannot decode it.
    """
    ops = need("PIL.ImageOps", "images")
    _check_pixels(picture)
    with _decoding():  # Pillow reads an opened file only now
        picture = ops.exif_transpose(picture)
    if (target := _PNG_MODES.get(picture.mode)) is None:
        raise ValueError(f"PNG cannot hold mode {picture.mode} exactly; convert the image first")
    return _save(picture if target == picture.mode else _converted(picture, target), "PNG")


def shrink(data: bytes, name: str, max_side: int) -> bytes:
    """The image with no side longer than `max_side` pixels; unchanged if it fits already.

    Raises ValueError if Pillow cannot decode it.
    """
    saved_as = _SAVED_AS[name]
    pil, ops = need("PIL.Image", "images"), need("PIL.ImageOps", "images")
    with _decoding(), pil.open(io.BytesIO(data)) as opened:
        if max(opened.size) <= max_side:
            return data
        _check_pixels(opened)
        picture = _to_averageable(opened)
        # max_side bounds both sides, so rotating after shrinking gives the same and is cheaper
        picture.thumbnail((max_side, max_side))
        rotated = ops.exif_transpose(picture)
        if rotated.mode == "I":
            rotated = _converted(rotated, "I;16")
        elif saved_as == "JPEG" and rotated.mode not in {"L", "RGB"}:
            rotated = _converted(rotated, "RGB")
        return _save(rotated, saved_as, quality=90)


def _to_averageable(picture: Any) -> Any:
    """The image in a mode in which Pillow shrinks by averaging pixels.

    In palette and 1-bit modes Pillow picks every nth pixel instead, and it does not shrink 16-bit
    images. A transparent colour becomes an alpha channel: averaging would mix the colour away.
    """
    if picture.mode == "I;16":
        return picture.convert("I")
    if picture.mode not in {"1", "P", "PA"} and "transparency" not in picture.info:
        return picture
    colours = "L" if picture.mode in {"1", "L"} else "RGB"
    return picture.convert(colours + "A" * picture.has_transparency_data)


def _converted(picture: Any, mode: str) -> Any:
    """The image in another mode, without a CMYK profile, which does not apply to RGB."""
    converted = picture.convert(mode)
    if picture.mode == "CMYK":
        converted.info.pop("icc_profile", None)
    return converted


@contextmanager
def _decoding() -> Iterator[None]:
    """Turn whatever Pillow's parsers raise into a ValueError."""
    pil = need("PIL.Image", "images")
    try:
        yield
    except (pil.DecompressionBombError, pil.DecompressionBombWarning) as error:
        raise ValueError(f"the image has too many pixels: {error}") from None
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001 - SyntaxError, struct.error, EOFError and so on
        raise ValueError(f"the image is damaged, Pillow cannot decode it: {error}") from None


def _check_pixels(picture: Any) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width} × {height} pixels; the limit is {MAX_PIXELS // 10**6} million")


def _save(picture: Any, saved_as: str, **options: int) -> bytes:
    out = io.BytesIO()
    # Pillow keeps the profile by itself only in PNG; without it, wide-gamut colours look pale
    picture.save(out, saved_as, icc_profile=picture.info.get("icc_profile"), **options)
    return out.getvalue()
