"""Loads images, audio, video and files: reads them, detects their type, limits their size."""

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
from .file_types import NOUNS, sniff
from .inputs import Content, Image, Kind, Loaded, LoadedMedia, LoadedPart, Media, RawPart, is_pil

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")
# No service documents a higher limit. A larger file is a mistake, and its copies fill memory.
MAX_FILE_SIZE = 32 << 20
_RAW_OVERHEAD = 1 << 16  # bytes of a raw part beside the base64 of its file
_NONBLOCKING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
# Reading these could block, or never end.
_IRREGULAR = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def load_all(items: list[str | list[int] | Content]) -> list[Loaded]:
    """Load every file of the inputs of one call. Raises InputError as `load_content`."""
    if Content in {*map(type, items)}:
        return [load_content(item, position) for position, item in enumerate(items)]
    return cast("list[Loaded]", items)


def load_content(item: str | list[int] | Content, position: int) -> Loaded:
    """Load every file of an input. Raises InputError with the position and the part."""
    if not isinstance(item, Content):
        return item
    loaded: list[LoadedPart] = []
    for number, part in enumerate(item.parts):
        try:
            if isinstance(part, RawPart):
                _check_raw(part)
            # `accept` has turned every mapping into a RawPart
            loaded.append(load(part) if isinstance(part, Media) else cast(LoadedPart, part))
        except (ValueError, OSError) as error:
            place = f"input {position}" + (f", part {number}" if len(item.parts) > 1 else "")
            raise InputError(f"{place}: {_message(error)}", inputs=[position]) from None
    return tuple(loaded)


def load(media: Media) -> LoadedMedia:
    """Load one. Raises ValueError or OSError with what was found and what is supported."""
    source, kind = media.source, media.kind
    max_side = media.max_side if isinstance(media, Image) else None
    if max_side is not None and (type(max_side) is not int or max_side < 1):
        raise ValueError(f"max_side is {short_repr(max_side)}; pass a number of pixels ≥ 1")
    if isinstance(source, str) and source[:8].lower().startswith(("http://", "https://")):
        if not source.isascii() or not source.isprintable() or " " in source:
            raise ValueError("the URL has characters that URLs do not allow; percent-encode them")
        if max_side is not None:
            raise ValueError("max_side cannot shrink an image at a URL; pass the image itself")
        return LoadedMedia(kind, url=source)
    data = _read(source, kind)
    found = sniff(data, kind)
    if max_side is not None:
        data = images.shrink(data, found.name, max_side)
        found = sniff(data, kind)
    return LoadedMedia(kind, data, found.media_type, found.name)


def _check_raw(part: RawPart) -> None:
    """Check the size of a part, and its image as an `Image`."""
    if part.kind == "image":
        load(Image(part.source))
    check_size((len(part.json) - _RAW_OVERHEAD) // 4 * 3, MAX_FILE_SIZE)


def _read(source: Any, kind: Kind) -> bytes:
    if isinstance(source, str) and is_data_url(source):
        return read_data_url(source, MAX_FILE_SIZE)
    if isinstance(source, str) and (scheme := _SCHEME.match(source)):
        raise ValueError(
            f"{scheme[1]:.60}:// URLs are not supported; pass a path, bytes, an https or data: URL"
        )
    if isinstance(source, str | PathLike):
        return _read_path(source, kind)
    if isinstance(source, bytes | bytearray | memoryview):
        check_size(memoryview(source).nbytes, MAX_FILE_SIZE)
        return bytes(source)
    if kind == "image" and is_pil(source):
        return images.from_pil(source)
    if hasattr(source, "read"):
        return _read_file(source)
    pil = " a PIL image," if kind == "image" else ""
    raise ValueError(
        f"a source of type {type(source).__name__} is not supported; pass a path, bytes, a binary "
        f"file,{pil} or an https or data: URL"
    )


def _read_path(source: str | PathLike[Any], kind: Kind) -> bytes:
    try:
        path = Path(os.fsdecode(source))
    except TypeError:
        raise ValueError(f"the path of a {type(source).__name__} must be str or bytes") from None
    if path == Path() and not os.fsdecode(source):
        raise ValueError(f"the path of the {NOUNS[kind]} is empty; pass a path to a file")
    found = path.stat()
    for is_type, description in _IRREGULAR:
        if is_type(found.st_mode):
            raise ValueError(f"{path!s:.200} is {description}; pass a regular file")
    check_size(found.st_size, MAX_FILE_SIZE)
    with open(path, "rb", opener=_open_nonblocking) as file:
        data = file.read(MAX_FILE_SIZE + 1)  # st_size is 0 for files in /proc
    check_size(len(data), MAX_FILE_SIZE)
    return data


def _open_nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | _NONBLOCKING)


def _read_file(file: Any) -> bytes:
    data = bytearray()
    while chunk := _read_chunk(file, MAX_FILE_SIZE + 1 - len(data)):  # a pipe returns what it has
        check_size(len(data) + len(chunk), MAX_FILE_SIZE)
        data += chunk
    if not data:
        raise ValueError("nothing is left to read in the file; call its seek(0) first")
    return bytes(data)


def _read_chunk(file: Any, max_bytes: int) -> bytes | bytearray:
    try:
        chunk = file.read(max_bytes)
    except (ValueError, OSError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error!s:.200}"
        raise ValueError(f"the file's read(size) raised {reason}; pass its bytes") from error
    if isinstance(chunk, bytes | bytearray):
        return chunk
    if isinstance(chunk, str):
        raise ValueError('the file is open as text; open it with mode "rb"')
    if chunk is None:
        raise ValueError(
            "the file is non-blocking and has no more bytes yet; read all of it, and pass the bytes"
        )
    if inspect.isawaitable(chunk):
        if inspect.iscoroutine(chunk):
            chunk.close()
        raise ValueError("the file's read is asynchronous; await it, and pass the bytes")
    raise ValueError(f"the file's read returned a {type(chunk).__name__}; it must return bytes")


def _message(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        name = "the file" if error.filename is None else error.filename
        return f"cannot read {name!s:.200}: {error.strerror}"
    return str(error)
