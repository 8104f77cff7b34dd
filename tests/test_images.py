"""Images: Pillow's own, and those that are shrunk on request."""

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


def picture(width: int, height: int, kind: str = "PNG", **save: Any) -> bytes:
    """An image file whose left half is red and whose right half is blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    out = io.BytesIO()
    PIL.Image.fromarray(pixels).save(out, kind, **save)
    return out.getvalue()


def opened(image: LoadedMedia) -> PIL.Image.Image:
    """What a provider would see."""
    return PIL.Image.open(io.BytesIO(image.data)).convert("RGB")


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
    with pytest.raises(InputError, match=r"input 0: the image (has too many pixels|is damaged)"):
        load_content(Content(Image(bomb, max_side=5)), 0)


def test_a_decompression_bomb_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its header says how many pixels it would be; a PIL image of as many is refused too."""
    monkeypatch.setattr(images, "MAX_PIXELS", 1_000)
    bomb = picture(40, 40)
    with pytest.raises(ValueError, match="40 × 40 pixels"):
        load(Image(bomb, max_side=10))
    with pytest.raises(ValueError, match="40 × 40 pixels"):
        load(Image(PIL.Image.new("L", (40, 40))))


def test_a_warning_that_is_an_error_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns of many pixels before it refuses them; that is no damage."""
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1_000)
    with pytest.raises(ValueError, match=r"^the image has too many pixels: .* \(1600 pixels\)"):
        load(Image(picture(40, 40), max_side=10))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image(PIL.Image.new("F", (2, 2))), "cannot hold mode F exactly"),
        (Image(PIL.Image.new("I", (2, 2))), "cannot hold mode I exactly"),
        (Image(picture(2, 2), max_side=0), "max_side is 0"),
        (
            Image("https://example.org/a.png", max_side=5),
            "max_side cannot shrink an image at a",
        ),
        (Image(b"\x89PNG\r\n\x1a\njunk", max_side=5), "the image is damaged"),
        (Image(picture(64, 64, "JPEG")[:300], max_side=5), "the image is damaged"),
    ],
)
def test_an_image_that_cannot_be_sent_or_shrunk_is_refused(image: Image, words: str) -> None:
    """An InputError like any other, with the position."""
    with pytest.raises(InputError, match=f"^input 7: .*{words}"):
        load_content(Content(image), 7)


def saved(image: PIL.Image.Image, kind: str = "PNG", **save: Any) -> bytes:
    """An image as a file."""
    out = io.BytesIO()
    image.save(out, kind, **save)
    return out.getvalue()


def shrunk(data: bytes, max_side: int = 40) -> PIL.Image.Image:
    """What a provider would open of a file that `max_side` shrinks."""
    return PIL.Image.open(io.BytesIO(load(Image(data, max_side)).data))


# every second pixel is white, the others black
BOARD = PIL.Image.fromarray((np.indices((400, 400)).sum(axis=0) % 2 * 255).astype(np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA"])
def test_shrinking_takes_all_pixels_into_account(mode: str, kind: str) -> None:
    """A fine pattern becomes grey, and is not thinned out to the pixels that happen to be hit."""
    small = shrunk(saved(BOARD.convert(mode), kind)).convert("L")
    assert np.abs(np.asarray(small, int) - 128).max() <= 10


@pytest.mark.parametrize("level", [0, 1_000, 40_000, 65_535])
def test_images_of_16_bits_keep_them(level: int) -> None:
    """A scan or depth map with `max_side` has the levels it had, and is not clipped to 8 bits."""
    small = shrunk(saved(PIL.Image.fromarray(np.full((80, 400), level, np.uint16))))
    assert (small.mode, small.size) == ("I;16", (40, 8))
    assert np.unique(np.asarray(small)).tolist() == [level]


@pytest.mark.parametrize(
    ("mode", "key"), [("1", 0), ("L", 0), ("P", 0), ("RGB", (0, 0, 0))], ids=str
)
def test_a_transparent_colour_becomes_an_alpha_channel(mode: str, key: Any) -> None:
    """Shrinking mixes colours, so that one of them can no longer stand for transparency."""
    halves = PIL.Image.new("L", (400, 100))
    halves.paste(255, (200, 0, 400, 100))
    data = saved(halves.convert(mode), transparency=key)
    transparent = PIL.Image.open(io.BytesIO(data)).convert("RGBA").getchannel("A").getpixel((0, 0))
    small = shrunk(data)
    assert small.mode == ("LA" if mode in ("1", "L") else "RGBA")
    alpha = small.getchannel("A")
    assert (transparent, alpha.getpixel((1, 5)), alpha.getpixel((38, 5))) == (0, 0, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_colour_profile_survives_shrinking(kind: str) -> None:
    """Without it, colours of a wide gamut look pale."""
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    data = saved(BOARD.convert("RGB"), kind, icc_profile=profile)
    assert shrunk(data).info["icc_profile"] == profile


def test_a_colour_profile_goes_with_its_colour_space() -> None:
    """A profile of CMYK says nothing of the RGB that is sent instead."""
    cmyk = PIL.Image.open(io.BytesIO(saved(BOARD.convert("CMYK"), "JPEG", icc_profile=b"of CMYK")))
    for image in (shrunk(saved(cmyk, "JPEG", icc_profile=b"of CMYK")), load(Image(cmyk))):
        data = image.data if isinstance(image, LoadedMedia) else saved(image)
        assert "icc_profile" not in PIL.Image.open(io.BytesIO(data)).info


def test_a_palette_image_is_turned_by_its_exif() -> None:
    """Its orientation holds after its colours are converted."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    assert shrunk(saved(BOARD.crop((0, 0, 400, 100)).convert("P"), exif=exif)).size == (10, 40)


def test_a_damaged_pil_image_is_refused() -> None:
    """Pillow reads the pixels when they are needed, and may raise a SyntaxError then."""
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    data = saved(PIL.Image.fromarray(noise))
    second = data.index(b"IDAT", data.index(b"IDAT") + 4)
    for damaged in (data[:200], data[:second] + b"I\0\0T" + data[second + 4 :]):
        image = PIL.Image.open(io.BytesIO(damaged))
        with pytest.raises(InputError, match=r"^input 3: the image is damaged, ") as caught:
            load_content(Content(Image(image)), 3)
        assert caught.value.inputs == (3,)
