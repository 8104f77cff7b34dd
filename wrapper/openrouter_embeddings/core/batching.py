"""Which inputs travel together in one request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from openrouter_embeddings.inputs import RawPart

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from openrouter_embeddings.inputs import Loaded, LoadedMedia, LoadedPart

# Providers cap a request at 300,000 tokens or less; half a megabyte of text stays below that.
MAX_TEXT_BYTES = 512 * 1024
# No cap is documented; 16 MiB of base64 passes the proxies in front of most services.
MAX_MEDIA_BYTES = 12 * 1024 * 1024
_BYTES_PER_TOKEN = 4
_BYTES_PER_CHARACTER = 2
_ENVELOPE = 1 << 20
_LONGEST_VECTOR = 400_000
FRAME_TOKENS = 8  # tokens that a model sets around an input
IMAGE_TOKENS = 8192  # more than any model documents for one image
# For audio, video, files and parts that are not known here: the longest context of any model.
MEDIA_TOKENS = 131_072


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs of one request, and where each stands in what the caller gave."""

    positions: Sequence[int]
    items: Sequence[Loaded]

    def cut(self, start: int, stop: int) -> Batch:
        """The inputs from `start` up to `stop`, counted in this batch."""
        return Batch(self.positions[start:stop], self.items[start:stop])

    def pick(self, rows: Sequence[int]) -> Batch:
        """Only these, counted in this batch."""
        return Batch([self.positions[row] for row in rows], [self.items[row] for row in rows])

    @property
    def weight(self) -> int:
        """Bytes of text and of images, audio, video and files."""
        return sum(map(sum, map(_weigh, self.items)))

    @property
    def most_tokens(self) -> int:
        """Never less than the tokens of the inputs: a byte is one at most, a few frame each."""
        return sum(map(_most_tokens, self.items))


class Batcher:
    """Collects inputs and hands them out in batches, bounded by count and by size.

    An input is never cut: one that is larger than the bounds travels alone.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._start = 0
        self._items: list[Loaded] = []
        self._text = self._media = 0

    def add(self, item: Loaded) -> list[Batch]:
        """Take one more input; gives the batches that are full now."""
        text, media = _weigh(item)
        full: list[Batch] = []
        if self._text + text > MAX_TEXT_BYTES or self._media + media > MAX_MEDIA_BYTES:
            full = self.rest()
        self._items.append(item)
        self._text += text
        self._media += media
        return full + self.rest() if len(self._items) == self._batch_size else full

    def extend(self, items: list[Loaded]) -> list[Batch]:
        """Take as many as a batch may hold; together, where that is the same."""
        alone = not self._items and len(items) == self._batch_size and {*map(type, items)} == {str}
        if alone and _BYTES_PER_CHARACTER * sum(map(len, items)) <= MAX_TEXT_BYTES:
            self._items = items
            return self.rest()
        return [batch for item in items for batch in self.add(item)]

    def rest(self) -> list[Batch]:
        """The batch that is not full yet, if there is one."""
        if not self._items:
            return []
        batch = Batch(range(self._start, self._start + len(self._items)), self._items)
        self._start += len(self._items)
        self._items = []
        self._text = self._media = 0
        return [batch]


def longest_reply(inputs: int) -> int:
    """Bytes that an answer may have: 16,384 dimensions printed as text are 400 KB a vector."""
    return _ENVELOPE + inputs * _LONGEST_VECTOR


def split(items: Iterable[Loaded], batch_size: int) -> Iterator[Batch]:
    """All batches, in order."""
    planner = Batcher(batch_size)
    if isinstance(items, list):
        for start in range(0, len(items), batch_size):
            yield from planner.extend(items[start : start + batch_size])
    else:  # in a stream, where one more image is memory
        for item in items:
            yield from planner.add(item)
    yield from planner.rest()


def _weigh(item: Loaded) -> tuple[int, int]:
    """Bytes of text (tokens count as some) and bytes of images, audio, video and files."""
    if isinstance(item, str):
        # right for most scripts, and need not encode the text
        return len(item) if item.isascii() else _BYTES_PER_CHARACTER * len(item), 0
    if isinstance(item, list):
        return _BYTES_PER_TOKEN * len(item), 0
    texts = [_weigh(part)[0] for part in item if isinstance(part, str)]
    return sum(texts), sum(_media_bytes(part) for part in item if not isinstance(part, str))


def _media_bytes(part: LoadedMedia | RawPart) -> int:
    return len(part.json if isinstance(part, RawPart) else part.data)


def _most_tokens(item: Loaded) -> int:
    if isinstance(item, str):
        return len(item.encode()) + FRAME_TOKENS
    if isinstance(item, list):
        return len(item) + FRAME_TOKENS
    return sum(map(_most_part_tokens, item)) + FRAME_TOKENS


def _most_part_tokens(part: LoadedPart) -> int:
    if isinstance(part, str):
        return _most_tokens(part)
    if isinstance(part, RawPart):
        beside = len(part.json) - len(part.source)
        return beside if part.kind == "text" else beside + _media_tokens(part.kind)
    return _media_tokens(part.kind)


def _media_tokens(kind: str) -> int:
    return IMAGE_TOKENS if kind == "image" else MEDIA_TOKENS
