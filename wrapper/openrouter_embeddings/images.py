"""Images of Pillow, and images that are shrunk by it."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ._extras import need

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """As PNG, which loses nothing; turned by EXIF, which PNG readers may overlook.

    Raises ValueError where the image has no exact PNG, or cannot be decoded.
    """
    ops = need("PIL.ImageOps", "images")
    _few_pixels(picture)
    with _naming_damage():  # of a file that Pillow has opened, and reads only now
        picture = ops.exif_transpose(picture)
    if (target := _PNG_MODES.get(picture.mode)) is None:
        raise ValueError(f"a PIL image of mode {picture.mode} has no exact PNG; convert it first")
    return _save(picture if target == picture.mode else _converted(picture, target), "PNG")


def shrink(data: bytes, name: str, max_side: int) -> bytes:
    """The image with no side longer than `max_side` pixels; as it is where it fits.

    Raises ValueError where it cannot be decoded.
    """
    saved_as = _SAVED_AS[name]
    pil, ops = need("PIL.Image", "images"), need("PIL.ImageOps", "images")
    with _naming_damage(), pil.open(io.BytesIO(data)) as opened:
        if max(opened.size) <= max_side:
            return data
        _few_pixels(opened)
        picture = _averageable(opened)
        # max_side bounds a square, so turning after shrinking is the same and far cheaper
        picture.thumbnail((max_side, max_side))
        turned = ops.exif_transpose(picture)
        if turned.mode == "I":
            turned = _converted(turned, "I;16")
        elif saved_as == "JPEG" and turned.mode not in {"L", "RGB"}:
            turned = _converted(turned, "RGB")
        return _save(turned, saved_as, quality=90)


def _averageable(picture: Any) -> Any:
    """The image in a mode that Pillow can shrink by averaging pixels.

    Of palettes and single bits it takes every nth pixel instead, and 16 bits it does not shrink. A
    colour that stands for transparency is lost when it is mixed with its neighbours.
    """
    if picture.mode == "I;16":
        return picture.convert("I")
    if picture.mode not in {"1", "P", "PA"} and "transparency" not in picture.info:
        return picture
    colours = "L" if picture.mode in {"1", "L"} else "RGB"
    return picture.convert(colours + "A" * picture.has_transparency_data)


def _converted(picture: Any, mode: str) -> Any:
    """The image in another mode; without a profile of CMYK, which says nothing of RGB."""
    converted = picture.convert(mode)
    if picture.mode == "CMYK":
        converted.info.pop("icc_profile", None)
    return converted


@contextmanager
def _naming_damage() -> Iterator[None]:
    """Whatever Pillow's parsers raise, a ValueError comes out."""
    pil = need("PIL.Image", "images")
    try:
        yield
    except (pil.DecompressionBombError, pil.DecompressionBombWarning) as error:
        raise ValueError(f"too many pixels: {error}") from None
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001 - SyntaxError, struct.error, EOFError and so on
        raise ValueError(f"the image is damaged: {error}") from None


def _few_pixels(picture: Any) -> None:
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width} × {height} pixels; {MOST_PIXELS // 10**6} million are taken")


def _save(picture: Any, saved_as: str, **options: int) -> bytes:
    out = io.BytesIO()
    # PNG alone keeps the profile by itself; without it, colours of a wide gamut look pale
    picture.save(out, saved_as, icc_profile=picture.info.get("icc_profile"), **options)
    return out.getvalue()
