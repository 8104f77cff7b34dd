"""Images: from anywhere, told by their bytes, shrunk on request, never re-encoded."""

import base64
import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings import Content, Image, InputError, images
from openrouter_embeddings.images import load, load_content, sniff
from openrouter_embeddings.inputs import LoadedImage

from tests.support import PNG

MAGIC = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff\xe0",
    "image/gif": b"GIF89a",
    "image/webp": b"RIFF\x10\x00\x00\x00WEBP",
}


def picture(width: int, height: int, kind: str = "PNG", **save: Any) -> bytes:
    """An image file whose left half is red and whose right half is blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    out = io.BytesIO()
    PIL.Image.fromarray(pixels).save(out, kind, **save)
    return out.getvalue()


def opened(image: LoadedImage) -> PIL.Image.Image:
    """What a provider would see."""
    return PIL.Image.open(io.BytesIO(image.data)).convert("RGB")


@pytest.mark.parametrize(
    "source",
    [
        str,
        lambda path: path,
        lambda path: path.read_bytes(),
        lambda path: bytearray(path.read_bytes()),
        lambda path: memoryview(path.read_bytes()),
        lambda path: io.BytesIO(path.read_bytes()),
        lambda _: "data:image/gif;base64," + base64.b64encode(PNG).decode(),
        lambda _: "data:," + "".join(f"%{byte:02x}" for byte in PNG),
    ],
)
def test_images_come_from_anywhere(source: Any, tmp_path: Path) -> None:
    """Whatever the origin and whatever the name says: the same bytes, the type from the bytes."""
    path = tmp_path / "cat.jpg"
    path.write_bytes(PNG)
    assert load(Image(source(path))) == LoadedImage(PNG, "image/png")


def test_an_open_file_is_read(tmp_path: Path) -> None:
    """A binary file; one opened as text is refused in words."""
    path = tmp_path / "x"
    path.write_bytes(PNG)
    with path.open("rb") as file:
        assert load(Image(file)).data == PNG
    with path.open("r", encoding="latin-1") as text, pytest.raises(ValueError, match='"rb"'):
        load(Image(text))  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["https://example.org/a.png", "HTTP://example.org/a"])
def test_urls_are_passed_on_and_never_fetched(url: str) -> None:
    """The provider fetches them."""
    assert load(Image(url)) == LoadedImage(url=url)


def test_pil_images_lose_nothing() -> None:
    """They are sent as PNG, turned by their EXIF orientation."""
    image = PIL.Image.open(io.BytesIO(picture(8, 4)))
    assert opened(load(Image(image))).tobytes() == image.convert("RGB").tobytes()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to be upright
    turned = PIL.Image.open(io.BytesIO(picture(8, 4, "JPEG", exif=exif)))
    assert opened(load(Image(turned))).size == (4, 8)
    cmyk = PIL.Image.new("CMYK", (2, 2))
    assert load(Image(cmyk)).media_type == "image/png"


@given(st.sampled_from(sorted(MAGIC)), st.binary())
def test_the_type_is_told_by_the_first_bytes(media_type: str, rest: bytes) -> None:
    """png, jpeg, gif and webp."""
    assert sniff(MAGIC[media_type] + rest) == media_type


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"BM6\0", "a BMP image"),
        (b"II*\0", "a TIFF image"),
        (b"\0\0\0\x1cftypavif", "an AVIF image"),
        (b"\0\0\0\x1cftypheic", "a HEIC image"),
        (b"\0\0\0\x1cftypisom", "a video"),
        (b"%PDF-1.7", "a PDF"),
        (b"PK\x03\x04", "a zip archive"),
        (b"  <svg xmlns", "XML, SVG or HTML"),
        (b"RIFF\0\0\0\0WAVE", "no image .the first bytes are 52 49 46 46"),
        (b"hello", "no image"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, words: str) -> None:
    """The error says what was found and what is taken."""
    with pytest.raises(ValueError, match=words) as caught:
        load(Image(data))
    assert "png, jpeg, webp and gif are taken" in str(caught.value)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image(""), "the path of the image is empty"),
        (Image(io.BytesIO()), r"nothing is left to read in the file; seek\(0\)"),
        (Image("https://example.org/\ud800.png"), "characters that no URL has"),
        (Image("https://example.org/a b.png"), "characters that no URL has"),
        (Image("x" * 100_000), "cannot read the image x{200}:"),
        (Image(PIL.Image.new("F", (2, 2))), "mode F has no exact PNG"),
        (Image(PIL.Image.new("I", (2, 2))), "mode I has no exact PNG"),
        (Image("nowhere.png"), "cannot read the image nowhere.png: No such file"),
        (Image("s3://bucket/cat.png"), "s3:// is not taken"),
        (Image("data:image/png;base64"), "has no comma"),
        (Image("data:image/png;base64,%%%"), "not valid base64"),
        (Image(5), "type int is not taken"),  # type: ignore[arg-type]
        (Image(PNG, max_side=0), "max_side is 0"),
        (Image("https://example.org/a.png", max_side=5), "max_side needs the image itself"),
        (Image(b"\x89PNG\r\n\x1a\njunk", max_side=5), "the image is damaged"),
        (Image(picture(64, 64, "JPEG")[:300], max_side=5), "the image is damaged"),
    ],
)
def test_an_image_that_cannot_be_read_is_named_by_position_and_part(
    image: Image, words: str
) -> None:
    """An InputError like any other."""
    with pytest.raises(InputError, match=words) as caught:
        load_content(Content("text", image), 7)
    assert str(caught.value).startswith("input 7, part 1: ")
    assert caught.value.inputs == (7,)
    with pytest.raises(InputError, match=r"^input 7: "):
        load_content(Content(image), 7)


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp"), ("GIF", "image/png")],
)
def test_a_large_image_is_shrunk_on_request(kind: str, media_type: str) -> None:
    """No side longer than asked, proportions and colours kept."""
    small = load(Image(picture(400, 100, kind), max_side=40))
    assert small.media_type == media_type
    assert opened(small).size == (40, 10)
    red, _, blue = opened(small).getpixel((3, 5))  # type: ignore[misc]
    assert red > 200
    assert blue < 60


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30))
def test_no_side_is_longer_than_max_side_and_good_images_stay(w: int, h: int, most: int) -> None:
    """An image that fits is sent byte for byte."""
    data = picture(w, h, "JPEG", quality=20)
    image = load(Image(data, max_side=most))
    assert max(opened(image).size) <= most
    assert (image.data == data) == (max(w, h) <= most)


def test_exif_is_applied_before_it_is_lost() -> None:
    """A photograph taken upright is sent upright."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    data = picture(400, 100, "JPEG", exif=exif)
    upright = opened(load(Image(data, max_side=40)))
    assert upright.size == (10, 40)
    red, _, _ = upright.getpixel((5, 3))  # type: ignore[misc]
    assert red > 200
    assert load(Image(data)).data == data


@given(st.binary(min_size=8, max_size=60), st.integers(0, 400))
def test_damaged_photographs_are_shrunk_or_refused(noise: bytes, at: int) -> None:
    """Whatever Pillow's parsers raise, the outcome is an image or an InputError."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    data = picture(40, 20, "JPEG", exif=exif)
    damaged = data[:4] + data[4:][:at] + noise + data[4 + at + len(noise) :]
    try:
        load_content(Content(Image(damaged, max_side=10)), 0)
    except InputError:
        return


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "La", "I;16"])
def test_pil_images_keep_their_transparency(mode: str) -> None:
    """Every mode that has an exact PNG."""
    image = PIL.Image.new(mode, (3, 2))
    saved = PIL.Image.open(io.BytesIO(load(Image(image)).data))
    assert saved.size == (3, 2)
    assert ("A" in saved.getbands()) == ("A" in mode.upper())


def test_too_many_pixels_are_refused() -> None:
    """A decompression bomb is no image to shrink."""
    bomb = picture(1, 1).replace(b"IHDR\0\0\0\x01\0\0\0\x01", b"IHDR\0\1\0\0\0\1\0\0")
    with pytest.raises(InputError, match=r"input 0: (too many pixels|the image is damaged)"):
        load_content(Content(Image(bomb, max_side=5)), 0)


def test_reprs_are_short() -> None:
    """No megabyte of base64 in a log."""
    assert repr(Image(b"abc")) == "Image(<3 bytes>)"
    assert repr(Image("data:image/png;base64," + "A" * 99)) == (
        "Image(<data URL of 121 characters>)"
    )
    assert repr(Image("cat.png", max_side=5)) == "Image('cat.png', 5)"


def test_a_file_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From wherever it comes, before it fills memory."""
    monkeypatch.setattr(images, "LARGEST_FILE", len(PNG) - 1)
    path = tmp_path / "large.png"
    path.write_bytes(PNG)
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    for source in (path, PNG, io.BytesIO(PNG), url):
        with pytest.raises(ValueError, match="more than 0 MB; shrink it before"):
            load(Image(source))


def test_a_decompression_bomb_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its header says how many pixels it would be; a PIL image of as many is refused too."""
    monkeypatch.setattr(images, "MOST_PIXELS", 1_000)
    bomb = picture(40, 40)
    with pytest.raises(ValueError, match="40 × 40 pixels"):
        load(Image(bomb, max_side=10))
    with pytest.raises(ValueError, match="40 × 40 pixels"):
        load(Image(PIL.Image.new("L", (40, 40))))


def test_a_pipe_is_read_to_its_end() -> None:
    """It gives what it has, and the rest later."""

    class Pipe(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return whole.read(min(size, 10))

    whole = io.BytesIO(PNG)
    assert load(Image(cast("Any", Pipe()))).data == PNG
