"""Pillow images as inputs, and shrinking with `max_side`."""

import io
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings import Content, Image, InputError, images
from openrouter_embeddings.inputs import LoadedMedia
from openrouter_embeddings.media import load, load_content

# Rotated by 90 degrees.
EXIF = PIL.Image.Exif()
EXIF[0x0112] = 6


def saved(image: PIL.Image.Image, kind: str = "PNG", **save: Any) -> bytes:
    """The bytes of an image file."""
    out = io.BytesIO()
    image.save(out, kind, **save)
    return out.getvalue()


def picture(width: int, height: int, kind: str = "PNG", **save: Any) -> bytes:
    """An image file whose left half is red and whose right half is blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    return saved(PIL.Image.fromarray(pixels), kind, **save)


def opened(image: LoadedMedia) -> PIL.Image.Image:
    """The image that a provider sees."""
    return PIL.Image.open(io.BytesIO(image.data)).convert("RGB")


def test_pil_images_are_sent_without_loss() -> None:
    """They are sent as PNG with their EXIF orientation applied."""
    image = PIL.Image.open(io.BytesIO(picture(8, 4)))
    assert opened(load(Image(image))).tobytes() == image.convert("RGB").tobytes()
    turned = PIL.Image.open(io.BytesIO(picture(8, 4, "JPEG", exif=EXIF)))
    assert opened(load(Image(turned))).size == (4, 8)
    cmyk = PIL.Image.new("CMYK", (2, 2))
    assert load(Image(cmyk)).media_type == "image/png"


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp"), ("GIF", "image/png")],
)
def test_max_side_shrinks_a_large_image(kind: str, media_type: str) -> None:
    """It keeps proportions and colours."""
    small = load(Image(picture(400, 100, kind), max_side=40))
    assert small.media_type == media_type
    assert opened(small).size == (40, 10)
    red, _, blue = opened(small).getpixel((3, 5))  # type: ignore[misc]
    assert red > 200
    assert blue < 60


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30))
def test_an_image_within_max_side_is_sent_unchanged(w: int, h: int, most: int) -> None:
    """Any other image gets no side longer than `max_side`."""
    data = picture(w, h, "JPEG", quality=20)
    image = load(Image(data, max_side=most))
    assert max(opened(image).size) <= most
    assert (image.data == data) == (max(w, h) <= most)


def test_shrinking_applies_the_exif_orientation() -> None:
    """An unshrunk image is sent with its EXIF, byte for byte."""
    data = picture(400, 100, "JPEG", exif=EXIF)
    upright = opened(load(Image(data, max_side=40)))
    assert upright.size == (10, 40)
    red, _, _ = upright.getpixel((5, 3))  # type: ignore[misc]
    assert red > 200
    assert load(Image(data)).data == data


@given(st.binary(min_size=8, max_size=60), st.integers(0, 400))
def test_a_damaged_image_is_shrunk_or_an_input_error(noise: bytes, at: int) -> None:
    """Whatever Pillow's parsers raise."""
    data = picture(40, 20, "JPEG", exif=EXIF)
    damaged = data[:4] + data[4:][:at] + noise + data[4 + at + len(noise) :]
    try:
        load_content(Content(Image(damaged, max_side=10)), 0)
    except InputError:
        return


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "La", "I;16"])
def test_pil_images_keep_their_transparency(mode: str) -> None:
    """In every mode that PNG can hold exactly."""
    image = PIL.Image.new(mode, (3, 2))
    sent = PIL.Image.open(io.BytesIO(load(Image(image)).data))
    assert sent.size == (3, 2)
    assert ("A" in sent.getbands()) == ("A" in mode.upper())


def test_too_many_pixels_are_an_input_error() -> None:
    """Pillow refuses a decompression bomb."""
    bomb = picture(1, 1).replace(b"IHDR\0\0\0\x01\0\0\0\x01", b"IHDR\0\1\0\0\0\1\0\0")
    with pytest.raises(InputError, match=r"input 0: the image (has too many pixels|is damaged)"):
        load_content(Content(Image(bomb, max_side=5)), 0)


def test_a_decompression_bomb_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The header says how many pixels it has; the limit also applies to PIL images."""
    monkeypatch.setattr(images, "MAX_PIXELS", 1_000)
    bomb = picture(40, 40)
    with pytest.raises(ValueError, match="40 × 40 pixels"):
        load(Image(bomb, max_side=10))
    with pytest.raises(ValueError, match="40 × 40 pixels"):
        load(Image(PIL.Image.new("L", (40, 40))))


def test_too_many_pixels_are_not_reported_as_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings may be errors in the caller's program."""
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1_000)
    with pytest.raises(ValueError, match=r"^the image has too many pixels: .* \(1600 pixels\)"):
        load(Image(picture(40, 40), max_side=10))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image(PIL.Image.new("F", (2, 2))), "cannot hold mode F exactly"),
        (Image(PIL.Image.new("I", (2, 2))), "cannot hold mode I exactly"),
        (Image(picture(2, 2), max_side=0), "max_side is 0"),
        (Image("https://example.org/a.png", max_side=5), "max_side cannot shrink an image at a"),
        (Image(b"\x89PNG\r\n\x1a\njunk", max_side=5), "the image is damaged"),
        (Image(picture(64, 64, "JPEG")[:300], max_side=5), "the image is damaged"),
    ],
)
def test_an_image_that_cannot_be_sent_is_an_input_error(image: Image, words: str) -> None:
    """The message has the position and the reason."""
    with pytest.raises(InputError, match=f"^input 7: .*{words}"):
        load_content(Content(image), 7)


def shrunk(data: bytes, max_side: int = 40) -> PIL.Image.Image:
    """The image that a provider opens after `max_side` has shrunk the file."""
    return PIL.Image.open(io.BytesIO(load(Image(data, max_side)).data))


# every second pixel is white, the others black
BOARD = PIL.Image.fromarray((np.indices((400, 400)).sum(axis=0) % 2 * 255).astype(np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA"])
def test_shrinking_averages_all_pixels(mode: str, kind: str) -> None:
    """A fine pattern becomes grey; picking every nth pixel would not."""
    small = shrunk(saved(BOARD.convert(mode), kind)).convert("L")
    assert np.abs(np.asarray(small, int) - 128).max() <= 10


@pytest.mark.parametrize("level", [0, 1_000, 40_000, 65_535])
def test_16_bit_images_keep_their_depth(level: int) -> None:
    """Shrinking a scan or depth map does not clip it to 8 bits."""
    small = shrunk(saved(PIL.Image.fromarray(np.full((80, 400), level, np.uint16))))
    assert (small.mode, small.size) == ("I;16", (40, 8))
    assert np.unique(np.asarray(small)).tolist() == [level]


@pytest.mark.parametrize(
    ("mode", "key"), [("1", 0), ("L", 0), ("P", 0), ("RGB", (0, 0, 0))], ids=str
)
def test_a_transparent_colour_becomes_an_alpha_channel(mode: str, key: Any) -> None:
    """Shrinking mixes colours, so a single colour can no longer mean transparency."""
    halves = PIL.Image.new("L", (400, 100))
    halves.paste(255, (200, 0, 400, 100))
    data = saved(halves.convert(mode), transparency=key)
    transparent = PIL.Image.open(io.BytesIO(data)).convert("RGBA").getchannel("A").getpixel((0, 0))
    small = shrunk(data)
    assert small.mode == ("LA" if mode in ("1", "L") else "RGBA")
    alpha = small.getchannel("A")
    assert (transparent, alpha.getpixel((1, 5)), alpha.getpixel((38, 5))) == (0, 0, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_shrinking_keeps_the_colour_profile(kind: str) -> None:
    """Without it, wide-gamut colours look pale."""
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    data = saved(BOARD.convert("RGB"), kind, icc_profile=profile)
    assert shrunk(data).info["icc_profile"] == profile


def test_converting_cmyk_drops_its_colour_profile() -> None:
    """A CMYK profile does not apply to the RGB image that is sent."""
    cmyk = PIL.Image.open(io.BytesIO(saved(BOARD.convert("CMYK"), "JPEG", icc_profile=b"of CMYK")))
    for image in (shrunk(saved(cmyk, "JPEG", icc_profile=b"of CMYK")), load(Image(cmyk))):
        data = image.data if isinstance(image, LoadedMedia) else saved(image)
        assert "icc_profile" not in PIL.Image.open(io.BytesIO(data)).info


def test_the_exif_orientation_applies_to_palette_images() -> None:
    """Converting the colours keeps the orientation."""
    assert shrunk(saved(BOARD.crop((0, 0, 400, 100)).convert("P"), exif=EXIF)).size == (10, 40)


def test_a_damaged_pil_image_is_an_input_error() -> None:
    """Pillow reads the pixels only when they are needed, and may then raise a SyntaxError."""
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    data = saved(PIL.Image.fromarray(noise))
    second = data.index(b"IDAT", data.index(b"IDAT") + 4)
    for damaged in (data[:200], data[:second] + b"I\0\0T" + data[second + 4 :]):
        image = PIL.Image.open(io.BytesIO(damaged))
        with pytest.raises(InputError, match=r"^input 3: the image is damaged, ") as caught:
            load_content(Content(Image(image)), 3)
        assert caught.value.inputs == (3,)
