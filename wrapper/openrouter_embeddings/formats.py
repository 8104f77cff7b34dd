"""What a file is, told by its first bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .inputs import Kind


class Format(NamedTuple):
    """A type of file, told by its first bytes.

    Attributes:
        pattern: what the bytes begin with.
        description: for a message.
        kind: which class takes it; None where none does.
        name: in the API.
        media_type: in a `data:` URL.
    """

    pattern: re.Pattern[bytes]
    description: str
    kind: Kind | None = None
    name: str = ""
    media_type: str = ""


def _taken(kind: Kind, name: str, media_type: str, pattern: bytes) -> Format:
    return Format(re.compile(pattern, re.DOTALL), name, kind, name, media_type)


def _refused(description: str, pattern: bytes) -> Format:
    return Format(re.compile(pattern, re.DOTALL), description)


# a frame of MPEG 1, 2 or 2.5, layer III; some encoders pad its beginning
_MP3 = _taken("audio", "mp3", "audio/mpeg", rb"ID3|\0{0,4096}\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")
_FLAC = _taken("audio", "flac", "audio/flac", rb"fLaC")
_M4A = _taken("audio", "m4a", "audio/mp4", rb"....ftyp(?:M4[ABP]|F4[AB]) ")
_AAC = _taken("audio", "aac", "audio/aac", rb"\xff[\xf0\xf1\xf8\xf9]")  # a frame of ADTS
# The brands of https://mp4ra.org/registered-types/brands that films have.
_MP4 = _taken(
    "video",
    "mp4",
    "video/mp4",
    rb"....ftyp(?:iso[m0-9abc]|mp4[12v]|mp71|avc1|av01|M4V[ HP]|[Ff]4[Vv] |MSNV|mmp4|XAVC|"
    rb"dash|dby1|cmf[2cfs]|piff|ND[SX][CHMPS]|ns[dh][cm])",
)
_OTHER_BRAND = _refused("a file of the brand {brand}, which is no film and no sound", rb"....ftyp")
# The first that matches counts, so the more special ones stand before the others.
FORMATS = (
    _taken("image", "png", "image/png", rb"\x89PNG\r\n\x1a\n"),
    _taken("image", "jpeg", "image/jpeg", rb"\xff\xd8\xff"),
    _taken("image", "webp", "image/webp", rb"RIFF....WEBP"),
    _taken("image", "gif", "image/gif", rb"GIF8[79]a"),
    _taken("audio", "wav", "audio/wav", rb"(?:RIFF|RF64)....WAVE"),
    _MP3,
    _FLAC,
    _taken("audio", "ogg", "audio/ogg", rb"OggS"),
    _M4A,
    _AAC,
    # QuickTime's own brand, or one of its boxes (shorter than 256 MB) where there is no `ftyp`
    _taken("video", "mov", "video/quicktime", rb"....ftypqt  |[\0-\x0f]...(?:moov|mdat)"),
    # Matroska's header, whose DocType is webm
    _taken(
        "video",
        "webm",
        "video/webm",
        rb"\x1a\x45\xdf\xa3.{1,60}?\x42\x82(?:\x84|\x40\x04|\x01\0{6}\x04)webm",
    ),
    _taken("video", "mpeg", "video/mpeg", rb"\x00\x00\x01[\xb3\xba]"),
    _refused("a BMP image", rb"BM"),
    _refused("a TIFF image", rb"II\*\0|MM\0\*"),
    _refused("an AVIF image", rb"....ftypavi[fs]"),
    _refused("a HEIC image", rb"....ftyp(?:hei|hev|mif|msf)"),
    _refused("a 3GP video", rb"....ftyp3g"),
    _MP4,
    _OTHER_BRAND,
    _refused(
        "a fragment of an MP4 video without its beginning, the initialization segment",
        rb"[\0-\x0f]...(?:styp|sidx|moof|emsg|prft)",
    ),
    _refused("a Matroska video", rb"\x1a\x45\xdf\xa3"),
    _refused("an AVI video", rb"RIFF....AVI "),
    _refused("an AIFF audio file", rb"FORM....AIF"),
    _refused("a zip archive", rb"PK\x03\x04"),
    _refused("XML, SVG or HTML text", rb"(?i:\s*<(?:\?xml|svg|!DOCTYPE|html))"),
    # last, for readers of PDF look for its mark in the first 1024 bytes
    _taken("file", "pdf", "application/pdf", rb".{0,1024}?%PDF-"),
)
NOUNS: dict[Kind, str] = {"image": "image", "audio": "audio", "video": "video", "file": "document"}
_PADDING = re.compile(rb"[\0-\x0f]...(?:free|skip|wide)", re.DOTALL)  # a box that says nothing
_BOX = re.compile(rb"[\0-\x0f]...(?:ftyp|moov|mdat|free|skip|wide)", re.DOTALL)
_MOST_BOXES = 8
_ZEROS = re.compile(rb"\0{0,4096}")


def sniff(data: bytes, kind: Kind) -> Format:
    """The format that the first bytes tell; ValueError names what else was found."""
    start = _behind_padding(data)
    found = _under_a_tag(data)
    if found is None:
        found = next((each for each in FORMATS if each.pattern.match(data, start)), None)
    if found is not None and found.kind == kind:
        return found
    if found is _MP4 and kind == "audio":
        return _M4A
    names = [each.name for each in FORMATS if each.kind == kind]
    right = f"{', '.join(names[:-1])} and {names[-1]} are" if len(names) > 1 else f"{names[0]} is"
    if not data:
        raise ValueError(f"the {NOUNS[kind]} is empty (0 bytes); {right} taken")
    if found is None:
        shown = data[:8].hex(" ")
        raise ValueError(f"found no {NOUNS[kind]} (the first bytes are {shown}); {right} taken")
    description = found.description.format(brand=repr(data[start + 8 : start + 12])[1:])
    other = f": use {found.kind.title()}(…)" if found.kind else ""
    raise ValueError(f"this is {description}{other}; {right} taken")


def _under_a_tag(data: bytes) -> Format | None:
    """What stands behind an ID3 tag, which writers set before other sounds than mp3, too."""
    start = 0
    while data[start : start + 3] == b"ID3" and len(data) >= start + 10:
        size = 0
        for byte in data[start + 6 : start + 10]:  # seven bits each
            size = size << 7 | byte & 0x7F
        footer = 10 if data[start + 5] & 0x10 else 0
        start += 10 + size + footer
    if not start:
        return None
    zeros = _ZEROS.match(data, start)
    start = zeros.end() if zeros else start
    return next((each for each in (_FLAC, _AAC) if each.pattern.match(data, start)), _MP3)


def _behind_padding(data: bytes) -> int:
    """Where the first box stands that says something; 0 where there is no padding."""
    start = 0
    for _ in range(_MOST_BOXES):
        size = int.from_bytes(data[start : start + 4])
        if size < 8 or not _PADDING.match(data, start) or not _BOX.match(data, start + size):
            break
        start += size
    return start
