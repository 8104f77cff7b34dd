"""What can be embedded: text, tokens, `Image`, and `Content` that mixes text and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

if TYPE_CHECKING:
    from os import PathLike

    import PIL.Image

ImageSource: TypeAlias = (
    "str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO | PIL.Image.Image"
)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Image:
    """An image to embed.

    Args:
        source: a path (str or `pathlib.Path`), the bytes of a file, an open binary file, a PIL
            image, a `data:` URL, or an http(s) URL. A URL is passed on and fetched by the
            provider, never here. Files are read when the image is embedded.
        max_side: shrink so that no side is longer than this many pixels (needs the extra
            `images`). An image that already fits is sent as it is, byte for byte. One that does
            not is turned by its EXIF orientation first, since that mark is lost on the way.

    The type is told by the first bytes, not by the name: png, jpeg, webp and gif are taken.
    """

    source: ImageSource
    max_side: int | None = None

    def __repr__(self) -> str:
        """The source, without the bytes."""
        source = self.source
        if isinstance(source, bytes | bytearray | memoryview):
            said = f"<{len(source)} bytes>"
        elif isinstance(source, str) and source.startswith("data:"):
            said = f"<data URL of {len(source)} characters>"
        else:
            said = repr(source)
        return f"Image({said})" if self.max_side is None else f"Image({said}, {self.max_side})"


@dataclass(frozen=True, slots=True, init=False)
class Content:
    """Several parts that make one input and so one vector: `Content("red shoe", Image(p))`.

    Args:
        parts: str and `Image`, in the order in which the model shall see them.
    """

    parts: tuple[str | Image, ...]

    def __init__(self, *parts: str | Image) -> None:
        object.__setattr__(self, "parts", parts)


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image ready to be sent: its bytes and their type, or a URL for the provider to fetch."""

    data: bytes = b""
    media_type: str = ""
    url: str = ""


def is_pil(value: object) -> bool:
    """Whether a value is one of Pillow's, told without importing it."""
    return type(value).__module__.partition(".")[0] == "PIL"


Loaded = str | list[int] | tuple[str | LoadedImage, ...]  # an input, ready to be sent

# The wire's own form of a multimodal input, {"content": [part, …]}, is taken as well.
EmbedInput: TypeAlias = str | Sequence[int] | Image | Content | Mapping[str, Any]
# One Sequence, so that type checkers can tell what the items of a mixed list literal may be. That a
# call's integers are all tokens of one input is checked when they are embedded.
EmbedInputs: TypeAlias = str | Image | Content | Mapping[str, Any] | Sequence[int | EmbedInput]
