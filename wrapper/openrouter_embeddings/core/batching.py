"""Groups inputs into batches, one per request, and bounds a batch's tokens and its response.

A batch is limited by the number of its inputs and by their bytes, because providers limit both. The
API documents no limits; the one for text stays below what providers document.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from openrouter_embeddings.inputs import Loaded, LoadedMedia, LoadedPart, RawPart

# Providers limit a request to 300,000 tokens or less; half a megabyte of text stays below that.
MAX_TEXT_BYTES = 512 * 1024
# No limit is documented; 16 MiB of base64 passes the proxies in front of most services.
MAX_MEDIA_BYTES = 12 * 1024 * 1024
MAX_JOB_IMAGE_BYTES = 4 << 20  # a job has several requests in memory, in several forms each
_BYTES_PER_TOKEN = 4
_BYTES_PER_CHARACTER = 2
_ENVELOPE = 1 << 20
_LONGEST_VECTOR = 400_000
FRAME_TOKENS = 8  # special tokens that a model adds to an input
IMAGE_TOKENS = 8192  # more than any model documents for one image
# For audio, video, files and unknown parts: the longest context of any model.
MEDIA_TOKENS = 131_072


@dataclass(frozen=True, slots=True)
class Batch:
    """The inputs of one request, with their positions in what the caller passed."""

    positions: Sequence[int]
    items: Sequence[Loaded]

    def slice(self, start: int, stop: int) -> "Batch":
        """The inputs in rows `start` to `stop` of this batch, as with a list."""
        return Batch(self.positions[start:stop], self.items[start:stop])

    def select(self, rows: Sequence[int]) -> "Batch":
        """The inputs in these rows of this batch."""
        return Batch([self.positions[row] for row in rows], [self.items[row] for row in rows])

    @property
    def size(self) -> int:
        """The approximate size in bytes of all texts, tokens and media."""
        return sum(map(sum, map(_weigh, self.items)))

    @property
    def max_tokens(self) -> int:
        """An upper bound of the tokens: one per byte of text, plus a few per input."""
        return sum(map(_max_tokens, self.items))


class Batcher:
    """Collects inputs into batches limited by count and by size.

    Inputs are never divided: one larger than the size limit gets a batch of its own.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._start = 0
        self._items: list[Loaded] = []
        self._text = self._media = 0

    def add(self, item: Loaded) -> list[Batch]:
        """Add an input. Returns the batches that this completes."""
        text, media = _weigh(item)
        full: list[Batch] = []
        if self._text + text > MAX_TEXT_BYTES or self._media + media > MAX_MEDIA_BYTES:
            full = self.flush()
        self._items.append(item)
        self._text += text
        self._media += media
        return full + self.flush() if len(self._items) == self._batch_size else full

    def extend(self, items: list[Loaded]) -> list[Batch]:
        """Add up to `batch_size` inputs, checking a full batch of texts as a whole for speed."""
        full = not self._items and len(items) == self._batch_size and {*map(type, items)} == {str}
        if full and _BYTES_PER_CHARACTER * sum(map(len, items)) <= MAX_TEXT_BYTES:
            self._items = items
            return self.flush()
        return [batch for item in items for batch in self.add(item)]

    def flush(self) -> list[Batch]:
        """The incomplete batch, if there is one."""
        if not self._items:
            return []
        batch = Batch(range(self._start, self._start + len(self._items)), self._items)
        self._start += len(self._items)
        self._items = []
        self._text = self._media = 0
        return [batch]


def max_reply_bytes(inputs: int) -> int:
    """The maximum size of a response: 16,384 dimensions as JSON numbers are 400 KB per vector."""
    return _ENVELOPE + inputs * _LONGEST_VECTOR


def batched(items: Iterable[Loaded], batch_size: int) -> Iterator[Batch]:
    """All batches of the inputs, in order."""
    batcher = Batcher(batch_size)
    if isinstance(items, list):
        for start in range(0, len(items), batch_size):
            yield from batcher.extend(items[start : start + batch_size])
    else:  # a stream: take one input at a time, because an image needs memory
        for item in items:
            yield from batcher.add(item)
    yield from batcher.flush()


def _weigh(item: Loaded) -> tuple[int, int]:
    """The bytes of text (with tokens converted to bytes) and the bytes of media."""
    if isinstance(item, str):
        # right for most scripts, without encoding the text
        return len(item) if item.isascii() else _BYTES_PER_CHARACTER * len(item), 0
    if isinstance(item, list):
        return _BYTES_PER_TOKEN * len(item), 0
    texts = [_weigh(part)[0] for part in item if isinstance(part, str)]
    return sum(texts), sum(_media_bytes(part) for part in item if not isinstance(part, str))


def _media_bytes(part: LoadedMedia | RawPart) -> int:
    return len(part.json if isinstance(part, RawPart) else part.data)


def _max_tokens(item: Loaded) -> int:
    if isinstance(item, str):
        return len(item.encode()) + FRAME_TOKENS
    if isinstance(item, list):
        return len(item) + FRAME_TOKENS
    return sum(map(_max_part_tokens, item)) + FRAME_TOKENS


def _max_part_tokens(part: LoadedPart) -> int:
    if isinstance(part, str):
        return _max_tokens(part)
    if isinstance(part, RawPart):
        text = len(part.json) - len(part.source)
        return text if part.kind == "text" else text + _media_tokens(part.kind)
    return _media_tokens(part.kind)


def _media_tokens(kind: str) -> int:
    return IMAGE_TOKENS if kind == "image" else MEDIA_TOKENS
