"""What can be embedded: text, tokens, `Image`, `Audio`, `Video`, `File`, and `Content`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Literal, TypeAlias

from ._data_urls import is_data_url

if TYPE_CHECKING:
    from os import PathLike

    import PIL.Image

Kind = Literal["image", "audio", "video", "file"]
MediaSource: TypeAlias = "str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO"
ImageSource: TypeAlias = "MediaSource | PIL.Image.Image"


class Media:
    """Base class of `Image`, `Audio`, `Video` and `File`."""

    __slots__ = ()
    kind: ClassVar[Kind]
    source: Any

    def __repr__(self) -> str:
        """Show the source, but no bytes."""
        return f"{type(self).__name__}({self._describe_source()})"

    def _describe_source(self) -> str:
        source = self.source
        if isinstance(source, bytes | bytearray | memoryview):
            try:
                return f"<{memoryview(source).nbytes} bytes>"
            except ValueError:
                return "<released memoryview>"
        if isinstance(source, str) and is_data_url(source):
            return f"<data URL of {len(source)} characters>"
        return repr(source)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Image(Media):
    """An image to embed.

    Args:
        source: a path (str or `pathlib.Path`), the bytes of a file, an open binary file, a PIL
            image, a `data:` URL, or an http(s) URL. The provider fetches the URL, this package
            never does. Files are read when the image is embedded; 32 MB at most.
        max_side: shrink the image so that no side is longer than this many pixels (needs the extra
            `images`). An image that already fits is sent unchanged, byte for byte. Shrinking
            applies the EXIF orientation, and keeps transparency, the colour profile and 16-bit
            grey.

    The first bytes determine the type, not the name. Supported: png, jpeg, webp and gif.
    """

    kind: ClassVar[Kind] = "image"
    source: ImageSource
    max_side: int | None = None

    def __repr__(self) -> str:
        """Show the source, but no bytes."""
        source = self._describe_source()
        shown = source if self.max_side is None else f"{source}, {self.max_side}"
        return f"Image({shown})"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Audio(Media):
    """An audio file to embed, with a model that supports audio.

    Args:
        source: a path (str or `pathlib.Path`), the bytes of a file, an open binary file, a `data:`
            URL, or an http(s) URL. The provider fetches the URL, this package never does. Files
            are read when the audio is embedded; 32 MB at most.

    The first bytes determine the type. Supported: wav, mp3, flac, ogg, m4a and aac. An mp4 file is
    sent as m4a, because its first bytes do not tell whether it holds video.
    """

    kind: ClassVar[Kind] = "audio"
    source: MediaSource


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Video(Media):
    """A video to embed, with a model that supports video.

    Args:
        source: as for `Audio`.

    The first bytes determine the type. Supported: mp4, mov, webm and mpeg.
    """

    kind: ClassVar[Kind] = "video"
    source: MediaSource


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class File(Media):
    """A document to embed, with a model that supports files.

    Args:
        source: as for `Audio`.

    The first bytes determine the type. Supported: pdf.
    """

    kind: ClassVar[Kind] = "file"
    source: MediaSource


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Content:
    """One input, and so one vector, made of several parts: `Content("red shoe", Image(p))`.

    Args:
        parts: str, `Image`, `Audio`, `Video` and `File`, in the order in which the model sees
            them. A mapping is a part in the API's own form, `{"type": …, …}`. It has to be JSON
            and is sent unchanged, so that you can send parts which this package does not know. The
            image of an `image_url` is checked as an `Image` is. A Content with a mapping is not
            hashable.
    """

    parts: tuple[ContentPart | RawPart, ...]

    def __init__(self, *parts: ContentPart | RawPart) -> None:
        object.__setattr__(self, "parts", parts)

    def __repr__(self) -> str:
        """Show the parts; of a mapping, only the type."""
        return f"Content({', '.join(map(_describe_part, self.parts))})"


# Stands for a missing value in a list of inputs. It loads as () and is never sent; `on_error`
# decides what happens instead. A caller's own empty Content is an InputError.
MISSING = Content()


def _describe_part(part: Any) -> str:
    if isinstance(part, Mapping):
        return f"<mapping of type {part.get('type')!r:.60}>"
    return repr(part)


@dataclass(frozen=True, slots=True)
class RawPart:
    """A part in the API's own form, checked and serialised.

    Attributes:
        json: the whole part.
        kind: "text" or the kind of media; "" for a part that this package does not know.
        source: the URL or the data of media, which is also in `json`.
    """

    json: bytes = field(repr=False)
    kind: Literal["text", "", Kind] = ""
    source: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class LoadedMedia:
    """An image, audio, video or document, ready to be sent: either bytes or a URL.

    Attributes:
        kind: which of them.
        data: the bytes, or b"".
        media_type: of the bytes, e.g. "audio/mpeg".
        format: the name of that type in the API, e.g. "mp3".
        url: for the provider to fetch, or "".
    """

    kind: Kind
    data: bytes = field(default=b"", repr=False)
    media_type: str = ""
    format: str = ""
    url: str = ""


def is_pil(value: object) -> bool:
    """Whether a value is a Pillow image; does not import Pillow."""
    return type(value).__module__.partition(".")[0] == "PIL"


ContentPart: TypeAlias = str | Image | Audio | Video | File | Mapping[str, Any]
LoadedPart: TypeAlias = str | LoadedMedia | RawPart
Loaded = str | list[int] | tuple[LoadedPart, ...]  # an input, ready to be sent

# A mapping is a multimodal input in the API's own form, {"content": [part, …]}.
EmbedInput: TypeAlias = (
    str | Sequence[int] | Image | Audio | Video | File | Content | Mapping[str, Any]
)
# One Sequence, so that type checkers can infer the items of a mixed list literal. `embed` checks
# that a call's integers are all tokens of one input.
EmbedInputs: TypeAlias = (
    str | Image | Audio | Video | File | Content | Mapping[str, Any] | Sequence[int | EmbedInput]
)
