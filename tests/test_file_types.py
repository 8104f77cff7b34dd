"""File types are detected by the first bytes."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings import Audio, File, Image, Video
from openrouter_embeddings.file_types import FILE_TYPES, sniff
from openrouter_embeddings.inputs import Kind
from openrouter_embeddings.media import load

# The shortest beginning of each file type that `sniff` needs.
WEBM = bytes.fromhex("1a45dfa39f4286810142f7810142f2810442f381084282847765626d")
ID3 = b"ID3\x04\0\0\0\0\0\x14" + bytes(20)
ID3_ENDED = b"ID3\x04\0\x10\0\0\1\1" + bytes(129) + b"3DI\x04\0\x10\0\0\1\1"  # with a footer
BEGINNINGS: dict[tuple[Kind, str, str], list[bytes]] = {
    ("image", "png", "image/png"): [b"\x89PNG\r\n\x1a\n"],
    ("image", "jpeg", "image/jpeg"): [b"\xff\xd8\xff\xe0"],
    ("image", "gif", "image/gif"): [b"GIF89a", b"GIF87a"],
    ("image", "webp", "image/webp"): [b"RIFF\x10\x00\x00\x00WEBP"],
    ("audio", "wav", "audio/wav"): [
        b"RIFF\x24\x00\x00\x00WAVEfmt ",
        b"RF64\xff\xff\xff\xffWAVEds64",
    ],
    ("audio", "mp3", "audio/mpeg"): [
        ID3 + b"\xff\xfb",
        b"\xff\xfb\x90\x64",
        b"\xff\xf3\x48\xc4",
        bytes(50) + b"\xff\xfb",
    ],
    ("audio", "flac", "audio/flac"): [b"fLaC\x00\x00\x00\x22", ID3 + b"fLaC", ID3_ENDED + b"fLaC"],
    ("audio", "ogg", "audio/ogg"): [b"OggS\x00\x02"],
    ("audio", "m4a", "audio/mp4"): [
        b"\0\0\0\x1cftypM4A \0\0\0\0",
        b"\0\0\0\x1cftypM4B \0\0\0\0",
        b"\0\0\0\x1cftypF4A ",
    ],
    ("audio", "aac", "audio/aac"): [
        b"\xff\xf1\x50\x80",
        b"\xff\xf9\x50\x80",
        ID3 + ID3 + bytes(7) + b"\xff\xf1",
    ],
    ("video", "mp4", "video/mp4"): [
        b"\0\0\0\x20ftypisom\0\0\2\0",
        b"\0\0\0\x18ftypmp42",
        b"\0\0\0\x1cftypM4V ",
        b"\0\0\0\x08free\0\0\0\x18ftypisom",
    ],
    ("video", "mov", "video/quicktime"): [
        b"\0\0\0\x14ftypqt  ",
        b"\0\0\x10\0moov",
        b"\0\0\0\x08wide\0\0\0\0mdat",
        b"\0\0\0\x0cfree\0\0\0\0\0\0\0\x08skip\0\0\0\x14ftypqt  ",
    ],
    ("video", "webm", "video/webm"): [WEBM, WEBM.replace(b"\x84webm", b"\x40\x04webm")],
    ("video", "mpeg", "video/mpeg"): [b"\x00\x00\x01\xba\x44", b"\x00\x00\x01\xb3\x14"],
    ("file", "pdf", "application/pdf"): [
        b"%PDF-1.7\n",
        b"\xef\xbb\xbf%PDF-1.4",
        b"\n%PDF-2.0",
        b"x" * 1024 + b"%PDF-1.4",
    ],
}
CLASSES: dict[Kind, type[Any]] = {"image": Image, "audio": Audio, "video": Video, "file": File}
SUPPORTED: dict[Kind, str] = {
    "image": "supported: png, jpeg, webp, gif",
    "audio": "supported: wav, mp3, flac, ogg, m4a, aac",
    "video": "supported: mov, webm, mpeg, mp4",
    "file": "supported: pdf",
}

ALL = [(type_, data) for type_, beginnings in BEGINNINGS.items() for data in beginnings]


@given(st.sampled_from(ALL), st.binary())
def test_the_first_bytes_determine_the_type(
    known: tuple[tuple[Kind, str, str], bytes], rest: bytes
) -> None:
    """Whatever follows; every other class raises an error that names the right class."""
    (kind, name, media_type), beginning = known
    found = sniff(beginning + rest, kind)
    assert (found.kind, found.name, found.media_type) == (kind, name, media_type)
    for other in CLASSES:
        if other != kind and (other, name) != ("audio", "mp4"):
            words = rf"this is {name}: use {CLASSES[kind].__name__}\(…\)"
            with pytest.raises(ValueError, match=words):
                sniff(beginning + rest, other)


@given(st.sampled_from(sorted(CLASSES)), st.binary())
def test_any_bytes_have_a_supported_type_or_raise(kind: Kind, data: bytes) -> None:
    """The error lists the supported types."""
    try:
        found = sniff(data, kind).kind
    except ValueError as error:
        found = kind if SUPPORTED[kind] in str(error) else None
    assert found == kind


def test_an_mp4_file_is_supported_as_audio() -> None:
    """Recorders write audio into plain mp4 files, which the first bytes do not show."""
    found = load(Audio(b"\0\0\0\x20ftypisom\0\0\2\0"))
    assert (found.format, found.media_type) == ("m4a", "audio/mp4")


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("image", b"", "the image is empty"),
        ("audio", b"", "the audio is empty"),
        ("file", b"", "the document is empty"),
        ("image", b"BM6\0", "a BMP image"),
        ("image", b"II*\0", "a TIFF image"),
        ("image", b"\0\0\0\x1cftypavif", "an AVIF image"),
        ("video", b"\0\0\0\x1cftypheic", "a HEIC image"),
        ("video", b"\0\0\0\x1cftyp3gp4", "a 3GP video"),
        ("video", b"\0\0\0\x18ftypcrx ", "a file of the brand 'crx ', neither video nor audio"),
        ("video", b"\0\0\0\x14ftypjp2 ", "a file of the brand 'jp2 '"),
        ("audio", b"\0\0\0\x14ftyp\xff{} ", r"a file of the brand '.xff{} '"),
        ("video", b"\0\0\0\x18stypmsdh", "a fragment of an MP4 video without its initialization"),
        ("video", b"\0\0\0\x2csidx", "a fragment of an MP4"),
        ("video", b"\0\0\0\x2cmoof", "a fragment of an MP4"),
        ("video", b"you free", "not a known video"),
        ("video", b"are freedom and more of it" * 9, "not a known video"),
        ("video", b"\0\0\0\x08free and more of it", "not a known video"),
        ("file", b"x" * 1025 + b"%PDF-1.4", "not a known document"),
        ("video", b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska\x42\x82_webm", "a Matroska video"),
        ("video", WEBM.replace(b"webm", b"matr"), "a Matroska video"),
        ("video", b"RIFF\0\0\0\0AVI LIST", "an AVI video"),
        ("audio", b"FORM\0\0\0\0AIFF", "an AIFF audio"),
        ("file", b"PK\x03\x04", "a zip archive"),
        ("file", b"  <!doctype html", "XML, SVG or HTML"),
        ("image", b"hello", "not a known image .it begins with 68 65 6c 6c 6f"),
        ("file", b"hello", "not a known document .it begins with 68 65 6c 6c 6f"),
    ],
)
def test_an_unsupported_file_is_named(kind: Kind, data: bytes, words: str) -> None:
    """The error says what the file is and lists the supported types."""
    with pytest.raises(ValueError, match=words) as caught:
        load(CLASSES[kind](data))
    assert SUPPORTED[kind] in str(caught.value)


def test_the_docstrings_list_every_supported_type() -> None:
    """Each class documents the types that it supports."""
    for kind, made in CLASSES.items():
        doc = made.__doc__ or ""
        names = [each.name for each in FILE_TYPES if each.kind == kind]
        assert names
        assert all(re.search(rf"\b{name}\b", doc) for name in names), kind
