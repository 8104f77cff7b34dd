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
    """What `Image`, `Audio`, `Video` and `File` have in common."""

    __slots__ = ()
    kind: ClassVar[Kind]
    source: Any

    def __repr__(self) -> str:
        """The source, without the bytes."""
        return f"{type(self).__name__}({self._described()})"

    def _described(self) -> str:
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
            image, a `data:` URL, or an http(s) URL. A URL is passed on and fetched by the
            provider, never here. Files are read when the image is embedded; 32 MB at most.
        max_side: shrink so that no side is longer than this many pixels (needs the extra
            `images`). An image that already fits is sent as it is, byte for byte. One that does
            not is turned by its EXIF orientation first, since that mark is lost on the way. It
            keeps its transparency, its colour profile, and 16 bits of grey.

    The type is told by the first bytes, not by the name: png, jpeg, webp and gif are taken.
    """

    kind: ClassVar[Kind] = "image"
    source: ImageSource
    max_side: int | None = None

    def __repr__(self) -> str:
        """The source, without the bytes."""
        described = self._described()
        shown = described if self.max_side is None else f"{described}, {self.max_side}"
        return f"Image({shown})"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Audio(Media):
    """A sound to embed, with a model that takes audio.

    Args:
        source: a path (str or `pathlib.Path`), the bytes of a file, an open binary file, a `data:`
            URL, or an http(s) URL. A URL is passed on and fetched by the provider, never here.
            Files are read when the sound is embedded; 32 MB at most.

    The type is told by the first bytes: wav, mp3, flac, ogg, m4a and aac are taken. An mp4 file is
    sent as m4a, because its first bytes do not tell whether it holds a film.
    """

    kind: ClassVar[Kind] = "audio"
    source: MediaSource


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Video(Media):
    """A film to embed, with a model that takes video.

    Args:
        source: as for `Audio`.

    The type is told by the first bytes: mp4, mov, webm and mpeg are taken.
    """

    kind: ClassVar[Kind] = "video"
    source: MediaSource


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class File(Media):
    """A document to embed, with a model that takes files.

    Args:
        source: as for `Audio`.

    The type is told by the first bytes: pdf is taken.
    """

    kind: ClassVar[Kind] = "file"
    source: MediaSource


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Content:
    """Several parts that make one input and so one vector: `Content("red shoe", Image(p))`.

    Args:
        parts: str, `Image`, `Audio`, `Video` and `File`, in the order in which the model shall see
            them. A mapping is a part in the API's own form, `{"type": …, …}`: it is checked to be
            JSON and sent as it is, so that parts which this package does not know can be sent.
            The image of an `image_url` is checked as an `Image` is. With a mapping, a Content has
            no hash.
    """

    parts: tuple[ContentPart | RawPart, ...]

    def __init__(self, *parts: ContentPart | RawPart) -> None:
        object.__setattr__(self, "parts", parts)

    def __repr__(self) -> str:
        """The parts, mappings by their type alone."""
        return f"Content({', '.join(map(_described_part, self.parts))})"


# Where a list of inputs has no value. It loads as (), and is never sent: `on_error` says what
# becomes of it. Nobody else's Content is empty, which is an InputError.
MISSING = Content()


def _described_part(part: Any) -> str:
    if isinstance(part, Mapping):
        return f"<mapping of type {part.get('type')!r:.60}>"
    return repr(part)


@dataclass(frozen=True, slots=True)
class RawPart:
    """A part in the API's own form, checked and serialised.

    Attributes:
        json: the whole part.
        kind: "text", or what media it is; empty where nobody here knows.
        source: of media, the URL or the data that is in `json`.
    """

    json: bytes = field(repr=False)
    kind: Literal["text", "", Kind] = ""
    source: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class LoadedMedia:
    """An image, sound, film or document, ready to be sent.

    Attributes:
        kind: which of them.
        data: the bytes; empty where there is a URL.
        media_type: of the bytes, e.g. "audio/mpeg".
        format: the name of that type in the API, e.g. "mp3".
        url: for the provider to fetch; empty where there are bytes.
    """

    kind: Kind
    data: bytes = field(default=b"", repr=False)
    media_type: str = ""
    format: str = ""
    url: str = ""


def is_pil(value: object) -> bool:
    """Whether a value is one of Pillow's, told without importing it."""
    return type(value).__module__.partition(".")[0] == "PIL"


ContentPart: TypeAlias = str | Image | Audio | Video | File | Mapping[str, Any]
LoadedPart: TypeAlias = str | LoadedMedia | RawPart
Loaded = str | list[int] | tuple[LoadedPart, ...]  # an input, ready to be sent

# The wire's own form of a multimodal input, {"content": [part, …]}, is taken as well.
EmbedInput: TypeAlias = (
    str | Sequence[int] | Image | Audio | Video | File | Content | Mapping[str, Any]
)
# One Sequence, so that type checkers can tell what the items of a mixed list literal may be. That a
# call's integers are all tokens of one input is checked when they are embedded.
EmbedInputs: TypeAlias = (
    str | Image | Audio | Video | File | Content | Mapping[str, Any] | Sequence[int | EmbedInput]
)
