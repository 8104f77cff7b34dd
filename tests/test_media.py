"""Loading media: sources, limits, and errors."""

import base64
import io
import json
import os
import socket
import tracemalloc
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings import Audio, Content, File, Image, InputError, Video, media
from openrouter_embeddings._data_urls import read_data_url
from openrouter_embeddings.core.validate import validate_inputs
from openrouter_embeddings.inputs import Kind, LoadedMedia
from openrouter_embeddings.media import load, load_content

from tests.support import PNG
from tests.test_file_types import BEGINNINGS, CLASSES

each_kind = pytest.mark.parametrize("kind", CLASSES)


def sample(kind: Kind) -> tuple[bytes, LoadedMedia]:
    """A file of this kind, and what `load` returns for it."""
    type_, beginnings = next((f, b) for f, b in BEGINNINGS.items() if f[0] == kind)
    data = beginnings[0] + b" and so on"
    return data, LoadedMedia(kind, data, type_[2], type_[1])


@each_kind
@pytest.mark.parametrize(
    "source",
    [
        str,
        lambda path: path,
        lambda path: path.read_bytes(),
        lambda path: bytearray(path.read_bytes()),
        lambda path: memoryview(path.read_bytes()),
        lambda path: io.BytesIO(path.read_bytes()),
        lambda p: "data:text/html;base64," + base64.b64encode(p.read_bytes()).decode(),
        lambda p: "DATA:," + "".join(f"%{byte:02x}" for byte in p.read_bytes()),
    ],
)
def test_every_kind_of_source_is_supported(kind: Kind, source: Any, tmp_path: Path) -> None:
    """Each gives the same bytes, and the bytes determine the type, not the file's name."""
    data, expected = sample(kind)
    path = tmp_path / "cat.jpg"
    path.write_bytes(data)
    assert load(CLASSES[kind](source(path))) == expected


def test_an_open_file_is_read(tmp_path: Path) -> None:
    """A binary file is read; a text file is an error that says how to open it."""
    path = tmp_path / "x"
    path.write_bytes(PNG)
    with path.open("rb") as file:
        assert load(Image(file)).data == PNG
    with path.open("r", encoding="latin-1") as text, pytest.raises(ValueError, match='"rb"'):
        load(Image(text))  # type: ignore[arg-type]


@each_kind
@pytest.mark.parametrize("url", ["https://example.org/a.png", "HTTP://example.org/a"])
def test_urls_are_passed_on_and_never_fetched(kind: Kind, url: str) -> None:
    """The provider fetches them, so their type stays unknown."""
    assert load(CLASSES[kind](url)) == LoadedMedia(kind, url=url)


def released() -> memoryview:
    """A released memoryview."""
    view = memoryview(b"abc")
    view.release()
    return view


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (Image(""), "the path of the image is empty"),
        (File(""), "the path of the document is empty"),
        (Audio(io.BytesIO()), r"nothing is left to read in the file; call its seek\(0\) first"),
        (Video("https://example.org/\ud800.mp4"), "characters that URLs do not allow"),
        (Image("https://example.org/a b.png"), "characters that URLs do not allow"),
        (Image("x" * 100_000), "cannot read x{200}:"),
        (Audio("nowhere.mp3"), "cannot read nowhere.mp3: No such file"),
        (Video("s3://bucket/cat.mp4"), "s3:// URLs are not supported"),
        (Image("data:image/png;base64"), "has no comma"),
        (Audio("data:audio/wav;base64,%%%"), "not valid base64"),
        (Audio("data:audio/wav;base64,AAAAA"), "not valid base64"),
        (Audio("data:audio/wav;base64,AAA=="), "not valid base64"),
        (Audio("data:audio/wav;base64,AA=A"), "not valid base64"),
        (Audio("data:audio/wav;base64,AA-_"), "not valid base64"),
        (Audio("data:audio/wav;base64,AAAA#x"), "not valid base64"),
        (Audio("data:audio/wav,\ud800"), "the data: URL contains a lone surrogate"),
        (Audio("a\0b"), "null (byte|character)"),
        (Audio(released()), "released"),
        (Image(5), "type int is not supported; .* a PIL image"),  # type: ignore[arg-type]
        (File(5), "type int is not supported; pass a path, bytes, a binary file, or"),  # type: ignore[arg-type]
    ],
)
def test_an_unreadable_source_is_an_input_error_with_position_and_part(
    part: Image | Audio | Video | File, words: str
) -> None:
    """The message names the part only if the input has several."""
    with pytest.raises(InputError, match=words) as caught:
        load_content(Content("text", part), 7)
    assert str(caught.value).startswith("input 7, part 1: ")
    assert caught.value.inputs == (7,)
    with pytest.raises(InputError, match=r"^input 7: "):
        load_content(Content(part), 7)


@each_kind
def test_reprs_are_short(kind: Kind) -> None:
    """A repr contains no file contents and no base64."""
    made = CLASSES[kind]
    name = made.__name__
    assert repr(made(b"abc")) == f"{name}(<3 bytes>)"
    assert repr(made("data:x;base64," + "A" * 99)) == f"{name}(<data URL of 113 characters>)"
    assert repr(made("DATA:x;base64," + "A" * 99)) == f"{name}(<data URL of 113 characters>)"
    assert repr(made(released())) == f"{name}(<released memoryview>)"
    assert repr(made(np.zeros(()).data)) == f"{name}(<8 bytes>)"
    assert repr(made("cat.x")) == f"{name}('cat.x')"
    part = {"type": "input_audio", "input_audio": {"data": "A" * 999}}
    whole = Content("a", made("cat.x"), part)
    assert repr(whole) == f"Content('a', {name}('cat.x'), <mapping of type 'input_audio'>)"
    assert "AAA" not in repr(validate_inputs(Content(part)))
    assert repr(Image("cat.png", max_side=5)) == "Image('cat.png', 5)"


class Unread(io.RawIOBase):
    """A file whose `read` returns more than it was asked for."""

    def read(self, size: int = -1) -> bytes:
        """Return too much."""
        return bytes(max(size, 0) + 10**6)


@each_kind
def test_a_file_above_the_limit_is_an_error(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its source, it is refused before it fills memory."""
    data, _ = sample(kind)
    monkeypatch.setattr(media, "MAX_FILE_SIZE", len(data) - 1)
    path = tmp_path / "large"
    path.write_bytes(data)
    url = "data:;base64," + base64.b64encode(data).decode()
    unread: Any = Unread()
    for source in (path, data, bytearray(data), io.BytesIO(data), url, url.rstrip("="), unread):
        with pytest.raises(ValueError, match="more than 0 MB is not supported; make the"):
            load(CLASSES[kind](source))


def test_a_pipe_is_read_to_its_end() -> None:
    """A pipe returns a part at a time."""

    class Pipe(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return whole.read(min(size, 10))

    whole = io.BytesIO(PNG)
    assert load(Image(cast("Any", Pipe()))).data == PNG


class Reads:
    """A file whose `read` returns or raises the next of these."""

    def __init__(self, *results: Any) -> None:
        self.results = [*results]

    def read(self, size: int) -> Any:
        """Return or raise the next."""
        result = self.results.pop(0) if self.results else b""
        if isinstance(result, Exception):
            raise result
        return result


class Unsized:
    """A file whose `read` takes no size."""

    def read(self) -> bytes:
        """Return everything."""
        return PNG


class Awaited:
    """A file with an asynchronous `read`."""

    async def read(self, size: int) -> bytes:
        """Return everything, when awaited."""
        return PNG


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (Unsized(), r"the file's read\(size\) raised TypeError: .*; pass its bytes"),
        (Reads(RuntimeError("boom")), r"read\(size\) raised RuntimeError: boom; pass its bytes"),
        (Reads(PNG[:9], None, PNG[9:]), "the file is non-blocking and has no more bytes yet"),
        (Reads("text"), 'open it with mode "rb"'),
        (Reads(5), "the file's read returned a int; it must return bytes"),
        (Awaited(), "the file's read is asynchronous; await it"),
    ],
)
def test_a_file_with_an_unusual_read_is_an_error(file: Any, words: str) -> None:
    """The error says what is wrong with `read`; no part of the file is sent."""
    with pytest.raises(InputError, match=words):
        load_content(Content(Image(file)), 0)


def test_a_file_may_give_bytearrays() -> None:
    """Some libraries return them from `read`."""
    file: Any = Reads(bytearray(PNG[:9]), PNG[9:])
    assert load(Image(file)).data == PNG


class BytesPath:
    """A path in bytes, like those of `os.scandir(b".")`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> bytes:
        """Return the path in bytes."""
        return bytes(self.path)


class NoPath:
    """A path object with an invalid path."""

    def __fspath__(self) -> Any:
        """Return a number."""
        return 5


def test_a_path_may_be_bytes(tmp_path: Path) -> None:
    """It is decoded as the system does; any other type is an error."""
    (tmp_path / "é.png").write_bytes(PNG)
    path: Any = BytesPath(tmp_path / "é.png")
    assert load(Image(path)).data == PNG
    (entry,) = os.scandir(os.fsencode(tmp_path))
    assert load(Image(cast("Any", entry))).data == PNG
    with pytest.raises(InputError, match="the path of a NoPath must be str or bytes"):
        load_content(Content(Image(NoPath())), 0)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """Reading a pipe could block, and a device has no end."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(tmp_path / "socket"))
        for path, what in (
            (tmp_path / "pipe", "a named pipe"),
            (tmp_path / "socket", "a socket"),
            (Path("/dev/zero"), "a device"),
            (tmp_path, "a directory"),
        ):
            with pytest.raises(InputError, match=f"{path} is {what}; pass a regular file"):
                load_content(Content(Audio(path)), 0)


@pytest.mark.parametrize(
    "head", ["data:x;base64,", "data:;BASE64,", "data:x; base64,", "DATA:x;y=z;base64 ,"]
)
@given(st.binary(max_size=9), st.booleans(), st.booleans(), st.lists(st.integers(0, 9)))
def test_data_urls_are_read_as_browsers_do(
    head: str, data: bytes, padded: bool, escaped: bool, breaks: list[int]
) -> None:
    """In any case, with spaces and line breaks, with or without (percent-encoded) padding."""
    text = base64.b64encode(data).decode()
    if not padded:
        text = text.rstrip("=")
    if escaped:
        text = text.replace("=", "%3D").replace("A", "%41")
    else:
        for place in breaks:
            text = f"{text[:place]}\n{text[place:]}"
    assert read_data_url(head + text, len(data)) == data
    if data:
        with pytest.raises(ValueError, match="more than 0 MB"):
            read_data_url(head + text, len(data) - 1)


@pytest.mark.parametrize(
    "source",
    ["data:audio/wav;base64," + "A" * (60 << 20), bytearray(60 << 20), b"x" * (60 << 20)],
    ids=lambda source: type(source).__name__,
)
def test_a_source_above_the_limit_is_not_copied(source: Any) -> None:
    """The error is raised before the source takes up memory twice."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than 32 MB is not supported"):
            load(Audio(source))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://a b", "characters that URLs do not allow"),
        ("data:junk", "has no comma"),
        ("data:image/png;base64,UklGRgAAAABXQVZF", "this is wav: use Audio"),
    ],
)
@pytest.mark.parametrize("more", [{}, {"detail": "low"}])
def test_an_image_with_further_fields_is_checked_as_an_image(
    url: str, words: str, more: dict[str, str]
) -> None:
    """Fields such as `detail` do not change the checks of its URL."""
    (content,) = validate_inputs(Content({"type": "image_url", "image_url": {"url": url, **more}}))
    with pytest.raises(InputError, match=words):
        load_content(content, 0)
    part = {"type": "image_url", "image_url": {"url": DATA_URL, "detail": "low"}}
    (content,) = validate_inputs(Content(part))
    (loaded,) = cast("tuple[Any]", load_content(content, 0))
    assert json.loads(loaded.json) == part


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "input_video", "input_file", "new"])
def test_a_raw_part_has_the_size_limit_of_a_file(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit applies to the base64 in the part, whatever its type."""
    monkeypatch.setattr(media, "MAX_FILE_SIZE", len(PNG) + 1000)
    large = "data:;base64," + base64.b64encode(PNG + bytes(100_000)).decode()
    for url, is_fine in ((DATA_URL, True), (large, False)):
        part = {"type": kind, kind: {"url": url, "data": url, "more": 1}}
        (content,) = validate_inputs(Content(part))
        if is_fine:
            assert load_content(content, 0)
            continue
        with pytest.raises(InputError, match="more than 0 MB is not supported"):
            load_content(content, 0)
