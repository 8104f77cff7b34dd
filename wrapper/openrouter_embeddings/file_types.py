"""The file types that can be embedded, and `sniff`, which detects one by its first bytes."""

import re
from typing import NamedTuple

from .inputs import Kind


class FileType(NamedTuple):
    """A file type and its signature.

    Attributes:
        pattern: matches the first bytes.
        description: for error messages.
        kind: which class supports it; None if it is unsupported.
        name: `format` in the API.
        media_type: in a `data:` URL.
    """

    pattern: re.Pattern[bytes]
    description: str
    kind: Kind | None = None
    name: str = ""
    media_type: str = ""


def _supported(kind: Kind, name: str, media_type: str, pattern: bytes) -> FileType:
    return FileType(re.compile(pattern, re.DOTALL), name, kind, name, media_type)


def _unsupported(description: str, pattern: bytes) -> FileType:
    return FileType(re.compile(pattern, re.DOTALL), description)


# a frame of MPEG 1, 2 or 2.5, layer III; some encoders put zeros before it
_MP3 = _supported("audio", "mp3", "audio/mpeg", rb"ID3|\0{0,4096}\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")
_FLAC = _supported("audio", "flac", "audio/flac", rb"fLaC")
_M4A = _supported("audio", "m4a", "audio/mp4", rb"....ftyp(?:M4[ABP]|F4[AB]) ")
_AAC = _supported("audio", "aac", "audio/aac", rb"\xff[\xf0\xf1\xf8\xf9]")  # an ADTS frame
# The brands of video files in https://mp4ra.org/registered-types/brands.
_MP4 = _supported(
    "video",
    "mp4",
    "video/mp4",
    rb"....ftyp(?:iso[m0-9abc]|mp4[12v]|mp71|avc1|av01|M4V[ HP]|[Ff]4[Vv] |MSNV|mmp4|XAVC|"
    rb"dash|dby1|cmf[2cfs]|piff|ND[SX][CHMPS]|ns[dh][cm])",
)
_OTHER_BRAND = _unsupported("a file of the brand {brand}, neither video nor audio", rb"....ftyp")
# The first match counts, so more specific patterns come before general ones.
FILE_TYPES = (
    _supported("image", "png", "image/png", rb"\x89PNG\r\n\x1a\n"),
    _supported("image", "jpeg", "image/jpeg", rb"\xff\xd8\xff"),
    _supported("image", "webp", "image/webp", rb"RIFF....WEBP"),
    _supported("image", "gif", "image/gif", rb"GIF8[79]a"),
    _supported("audio", "wav", "audio/wav", rb"(?:RIFF|RF64)....WAVE"),
    _MP3,
    _FLAC,
    _supported("audio", "ogg", "audio/ogg", rb"OggS"),
    _M4A,
    _AAC,
    # QuickTime's brand, or one of its boxes (under 256 MB) in a file without `ftyp`
    _supported("video", "mov", "video/quicktime", rb"....ftypqt  |[\0-\x0f]...(?:moov|mdat)"),
    # a Matroska header with the DocType webm
    _supported(
        "video",
        "webm",
        "video/webm",
        rb"\x1a\x45\xdf\xa3.{1,60}?\x42\x82(?:\x84|\x40\x04|\x01\0{6}\x04)webm",
    ),
    _supported("video", "mpeg", "video/mpeg", rb"\x00\x00\x01[\xb3\xba]"),
    _unsupported("a BMP image", rb"BM"),
    _unsupported("a TIFF image", rb"II\*\0|MM\0\*"),
    _unsupported("an AVIF image", rb"....ftypavi[fs]"),
    _unsupported("a HEIC image", rb"....ftyp(?:hei|hev|mif|msf)"),
    _unsupported("a 3GP video", rb"....ftyp3g"),
    _MP4,
    _OTHER_BRAND,
    _unsupported(
        "a fragment of an MP4 video without its initialization segment",
        rb"[\0-\x0f]...(?:styp|sidx|moof|emsg|prft)",
    ),
    _unsupported("a Matroska video", rb"\x1a\x45\xdf\xa3"),
    _unsupported("an AVI video", rb"RIFF....AVI "),
    _unsupported("an AIFF audio file", rb"FORM....AIF"),
    _unsupported("a zip archive", rb"PK\x03\x04"),
    _unsupported("XML, SVG or HTML text", rb"(?i:\s*<(?:\?xml|svg|!DOCTYPE|html))"),
    # last: PDF readers accept the mark anywhere in the first 1024 bytes
    _supported("file", "pdf", "application/pdf", rb".{0,1024}?%PDF-"),
)
NOUNS: dict[Kind, str] = {"image": "image", "audio": "audio", "video": "video", "file": "document"}
_PADDING = re.compile(rb"[\0-\x0f]...(?:free|skip|wide)", re.DOTALL)  # an empty box
_BOX = re.compile(rb"[\0-\x0f]...(?:ftyp|moov|mdat|free|skip|wide)", re.DOTALL)
_MAX_PADDING_BOXES = 8
_ZEROS = re.compile(rb"\0{0,4096}")


def sniff(data: bytes, kind: Kind) -> FileType:
    """The file type of `data`. Raises ValueError with what it is, unless `kind` supports it."""
    start = _skip_padding(data)
    found = _behind_id3(data)
    if found is None:
        found = next((each for each in FILE_TYPES if each.pattern.match(data, start)), None)
    if found is not None and found.kind == kind:
        return found
    if found is _MP4 and kind == "audio":
        return _M4A
    supported = f"supported: {', '.join(each.name for each in FILE_TYPES if each.kind == kind)}"
    if not data:
        raise ValueError(f"the {NOUNS[kind]} is empty (0 bytes); {supported}")
    if found is None:
        shown = data[:8].hex(" ")
        raise ValueError(f"this is not a known {NOUNS[kind]} (it begins with {shown}); {supported}")
    description = found.description.format(brand=repr(data[start + 8 : start + 12])[1:])
    hint = f": use {found.kind.title()}(…)" if found.kind else ""
    raise ValueError(f"this is {description}{hint}; {supported}")


def _behind_id3(data: bytes) -> FileType | None:
    """The type behind an ID3 tag, which also precedes flac and aac; None without a tag."""
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


def _skip_padding(data: bytes) -> int:
    """The offset of the first box that is not padding."""
    start = 0
    for _ in range(_MAX_PADDING_BOXES):
        size = int.from_bytes(data[start : start + 4])
        if size < 8 or not _PADDING.match(data, start) or not _BOX.match(data, start + size):
            break
        start += size
    return start
