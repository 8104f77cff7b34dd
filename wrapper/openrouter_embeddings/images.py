"""Reading images: where they are, what they really are, and how large they may be."""

from __future__ import annotations

import io
import re
from os import PathLike, fspath
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pybase64

from ._extras import need
from .errors import InputError
from .inputs import Content, Image, Loaded, LoadedImage, is_pil

_SAVED_AS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP", "image/gif": "PNG"}
_MAGIC: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
)
_OTHERS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"BM"), "a BMP image"),
    (re.compile(rb"II\*\0|MM\0\*"), "a TIFF image"),
    (re.compile(rb"....ftypavif", re.DOTALL), "an AVIF image"),
    (re.compile(rb"....ftyp(hei|mif)", re.DOTALL), "a HEIC image"),
    (re.compile(rb"....ftyp", re.DOTALL), "a video"),
    (re.compile(rb"%PDF"), "a PDF"),
    (re.compile(rb"PK\x03\x04"), "a zip archive"),
    (re.compile(rb"\s*<(\?xml|svg|!DOCTYPE|html)", re.IGNORECASE), "XML, SVG or HTML text"),
)
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")
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
RIGHT = "png, jpeg, webp and gif are taken"
# No service documents more; what is larger is a mistake, and would fill memory several times over.
LARGEST_FILE = 32 << 20
# A small file can hold an image that fills memory when it is decoded.
MOST_PIXELS = 100_000_000


def load_content(item: str | list[int] | Content, position: int) -> Loaded:
    """Replace every `Image` of an input by what it holds; InputError names position and part."""
    if not isinstance(item, Content):
        return item
    loaded: list[str | LoadedImage] = []
    for number, part in enumerate(item.parts):
        try:
            loaded.append(part if isinstance(part, str) else load(part))
        except (ValueError, OSError) as error:
            place = f"input {position}" + (f", part {number}" if len(item.parts) > 1 else "")
            raise InputError(f"{place}: {_plain(error)}", inputs=[position]) from None
    return tuple(loaded)


def load(image: Image) -> LoadedImage:
    """Read one image. Raises ValueError or OSError, with what was found and what is taken."""
    source = image.source
    if image.max_side is not None and (type(image.max_side) is not int or image.max_side < 1):
        raise ValueError(f"max_side is {image.max_side!r}, a number of pixels ≥ 1 is needed")
    if isinstance(source, str) and source.lower().startswith(("http://", "https://")):
        if not source.isascii() or not source.isprintable() or " " in source:
            raise ValueError("the URL has characters that no URL has; percent-encode them")
        if image.max_side is not None:
            raise ValueError("max_side needs the image itself: a URL is fetched by the provider")
        return LoadedImage(url=source)
    data = _read(source)
    media_type = sniff(data)
    if image.max_side is not None:
        data = _shrink(data, _SAVED_AS[media_type], image.max_side)
        media_type = sniff(data)
    return LoadedImage(data, media_type)


def sniff(data: bytes) -> str:
    """The media type that the first bytes tell; ValueError names what else was found."""
    for pattern, media_type in _MAGIC:
        if pattern.match(data):
            return media_type
    if not data:
        raise ValueError(f"the image is empty (0 bytes); {RIGHT}")
    for pattern, found in _OTHERS:
        if pattern.match(data):
            raise ValueError(f"found {found}, by its first bytes; {RIGHT}")
    raise ValueError(f"found no image (the first bytes are {data[:8].hex(' ')}); {RIGHT}")


def _read(source: Any) -> bytes:
    if isinstance(source, str) and source[:5].lower() == "data:":
        return _from_data_url(source)
    if isinstance(source, str) and (scheme := _SCHEME.match(source)):
        raise ValueError(
            f"{scheme[1]}:// is not taken as an image; give a path, bytes, an https or a data: URL"
        )
    if isinstance(source, str | PathLike):
        if not fspath(source):
            raise ValueError("the path of the image is empty")
        with Path(fspath(source)).open("rb") as file:
            return _bounded(file.read(LARGEST_FILE + 1))
    if isinstance(source, bytes | bytearray | memoryview):
        return _bounded(bytes(source))
    if is_pil(source):
        return _from_pil(source)
    if hasattr(source, "read"):
        return _from_file(source)
    raise ValueError(
        f"an image of type {type(source).__name__} is not taken; give a path, bytes, a binary "
        "file, a PIL image, or an https or data: URL"
    )


def _from_file(file: Any) -> bytes:
    data = bytearray()
    while piece := file.read(LARGEST_FILE + 1 - len(data)):  # a pipe gives what it has
        if not isinstance(piece, bytes):
            raise ValueError('the file is open as text; open it with mode "rb"')
        data += piece
    if not data:
        raise ValueError("nothing is left to read in the file; seek(0) rewinds it")
    return _bounded(bytes(data))


def _bounded(data: bytes) -> bytes:
    if len(data) > LARGEST_FILE:
        raise ValueError(f"more than {LARGEST_FILE >> 20} MB; shrink it before")
    return data


def _from_data_url(url: str) -> bytes:
    head, comma, payload = url.partition(",")
    _bounded(payload.encode(errors="replace"))
    if not comma:
        raise ValueError("the data: URL has no comma; data:image/png;base64,… is right")
    if not head.endswith(";base64"):
        return unquote_to_bytes(payload)
    try:
        return pybase64.b64decode(payload, validate=True)
    except ValueError:
        raise ValueError("the data: URL is not valid base64") from None


def _from_pil(picture: Any) -> bytes:
    """As PNG, which loses nothing; turned by EXIF, which PNG readers may overlook."""
    _few_pixels(picture)
    picture = need("PIL.ImageOps", "images").exif_transpose(picture)
    if (target := _PNG_MODES.get(picture.mode)) is None:
        raise ValueError(f"a PIL image of mode {picture.mode} has no exact PNG; convert it first")
    return _save(picture if target == picture.mode else picture.convert(target), "PNG")


def _shrink(data: bytes, saved_as: str, max_side: int) -> bytes:
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


def _plain(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot read the image {error.filename!s:.200}: {error.strerror}"
    return str(error)
