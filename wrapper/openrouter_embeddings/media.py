"""Reading images, audio, video and files: where they are, what they are, how large they may be."""

from __future__ import annotations

import inspect
import os
import re
import stat
from os import PathLike
from pathlib import Path
from typing import Any, cast

from . import images
from ._data_urls import check_size, is_data_url, read_data_url
from .core.plain_json import short_repr
from .errors import InputError
from .formats import NOUNS, sniff
from .inputs import Content, Image, Kind, Loaded, LoadedMedia, LoadedPart, Media, RawPart, is_pil

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")
# No service documents more; what is larger is a mistake, and would fill memory several times over.
LARGEST_FILE = 32 << 20
_SLACK = 1 << 16  # of a part in the API's own form, around the base64 of a file
_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
# Reading these would wait for somebody, or never end.
_IRREGULAR = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def load_content(item: str | list[int] | Content, position: int) -> Loaded:
    """Replace every file of an input by what it holds; InputError names position and part."""
    if not isinstance(item, Content):
        return item
    loaded: list[LoadedPart] = []
    for number, part in enumerate(item.parts):
        try:
            if isinstance(part, RawPart):
                _check_raw(part)
            # `accept` has made a RawPart of every mapping
            loaded.append(load(part) if isinstance(part, Media) else cast(LoadedPart, part))
        except (ValueError, OSError) as error:
            place = f"input {position}" + (f", part {number}" if len(item.parts) > 1 else "")
            raise InputError(f"{place}: {_plain(error)}", inputs=[position]) from None
    return tuple(loaded)


def load(media: Media) -> LoadedMedia:
    """Read one. Raises ValueError or OSError, with what was found and what is taken."""
    source, kind = media.source, media.kind
    max_side = media.max_side if isinstance(media, Image) else None
    if max_side is not None and (type(max_side) is not int or max_side < 1):
        raise ValueError(f"max_side is {short_repr(max_side)}, a number of pixels ≥ 1 is needed")
    if isinstance(source, str) and source[:8].lower().startswith(("http://", "https://")):
        if not source.isascii() or not source.isprintable() or " " in source:
            raise ValueError("the URL has characters that no URL has; percent-encode them")
        if max_side is not None:
            raise ValueError("max_side needs the image itself: a URL is fetched by the provider")
        return LoadedMedia(kind, url=source)
    data = _read(source, kind)
    found = sniff(data, kind)
    if max_side is not None:
        data = images.shrink(data, found.name, max_side)
        found = sniff(data, kind)
    return LoadedMedia(kind, data, found.media_type, found.name)


def _check_raw(part: RawPart) -> None:
    """Hold an image with further fields to what an `Image` is held to, and any part to a size."""
    if part.kind == "image":
        load(Image(part.source))
    check_size((len(part.json) - _SLACK) // 4 * 3, LARGEST_FILE)


def _read(source: Any, kind: Kind) -> bytes:
    if isinstance(source, str) and is_data_url(source):
        return read_data_url(source, LARGEST_FILE)
    if isinstance(source, str) and (scheme := _SCHEME.match(source)):
        raise ValueError(
            f"{scheme[1]:.60}:// is not taken; give a path, bytes, an https or a data: URL"
        )
    if isinstance(source, str | PathLike):
        return _from_path(source, kind)
    if isinstance(source, bytes | bytearray | memoryview):
        check_size(memoryview(source).nbytes, LARGEST_FILE)
        return bytes(source)
    if kind == "image" and is_pil(source):
        return images.from_pil(source)
    if hasattr(source, "read"):
        return _from_file(source)
    pil = " a PIL image," if kind == "image" else ""
    raise ValueError(
        f"a source of type {type(source).__name__} is not taken; give a path, bytes, a binary "
        f"file,{pil} or an https or data: URL"
    )


def _from_path(source: str | PathLike[Any], kind: Kind) -> bytes:
    try:
        path = Path(os.fsdecode(source))
    except TypeError:
        raise ValueError(f"a {type(source).__name__} whose path is no str or bytes") from None
    if path == Path() and not os.fsdecode(source):
        raise ValueError(f"the path of the {NOUNS[kind]} is empty")
    found = path.stat()
    for is_such, what in _IRREGULAR:
        if is_such(found.st_mode):
            raise ValueError(f"{path!s:.200} is {what}; only regular files are read")
    check_size(found.st_size, LARGEST_FILE)
    with open(path, "rb", opener=_open_without_waiting) as file:
        data = file.read(LARGEST_FILE + 1)  # of files in /proc the size is 0
    check_size(len(data), LARGEST_FILE)
    return data


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | _NO_WAITING)


def _from_file(file: Any) -> bytes:
    data = bytearray()
    while piece := _piece(file, LARGEST_FILE + 1 - len(data)):  # a pipe gives what it has
        check_size(len(data) + len(piece), LARGEST_FILE)
        data += piece
    if not data:
        raise ValueError("nothing is left to read in the file; seek(0) rewinds it")
    return bytes(data)


def _piece(file: Any, most: int) -> bytes | bytearray:
    try:
        piece = file.read(most)
    except (ValueError, OSError):
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error!s:.200}"
        raise ValueError(f"the file's read(size) raised {said}; give its bytes") from error
    if isinstance(piece, bytes | bytearray):
        return piece
    if isinstance(piece, str):
        raise ValueError('the file is open as text; open it with mode "rb"')
    if piece is None:
        raise ValueError(
            "the file has no more bytes yet, as it does not wait for them; "
            "read all of it, and give the bytes"
        )
    if inspect.isawaitable(piece):
        if inspect.iscoroutine(piece):
            piece.close()
        raise ValueError("the file's read is asynchronous; await it, and give the bytes")
    raise ValueError(f"the file's read gave a {type(piece).__name__}; bytes are needed")


def _plain(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        name = "the file" if error.filename is None else error.filename
        return f"cannot read {name!s:.200}: {error.strerror}"
    return str(error)
