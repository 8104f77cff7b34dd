"""Which inputs travel together in one request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from openrouter_embeddings.inputs import Loaded

# Providers cap a request at 300,000 tokens or less; half a megabyte of text stays below that.
MAX_TEXT_BYTES = 512 * 1024
# No cap is documented; 16 MiB of base64 passes the proxies in front of most services.
MAX_IMAGE_BYTES = 12 * 1024 * 1024
_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs of one request; `start` is the position of the first in what the caller gave."""

    start: int
    items: Sequence[Loaded]

    @property
    def positions(self) -> range:
        """Where the inputs stand in what the caller gave."""
        return range(self.start, self.start + len(self.items))


class Planner:
    """Collects inputs and hands them out in batches, bounded by count and by size.

    An input is never cut: one that is larger than the bounds travels alone.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._start = 0
        self._items: list[Loaded] = []
        self._text = self._images = 0

    def add(self, item: Loaded) -> Iterator[Batch]:
        """Take one more input; gives the batches that are full now."""
        text, images = _weigh(item)
        if self._text + text > MAX_TEXT_BYTES or self._images + images > MAX_IMAGE_BYTES:
            yield from self.rest()
        self._items.append(item)
        self._text += text
        self._images += images
        if len(self._items) == self._batch_size:
            yield from self.rest()

    def rest(self) -> Iterator[Batch]:
        """The batch that is not full yet, if there is one."""
        if self._items:
            yield Batch(self._start, self._items)
            self._start += len(self._items)
            self._items = []
            self._text = self._images = 0


def split(items: Iterable[Loaded], batch_size: int) -> Iterator[Batch]:
    """All batches, in order."""
    planner = Planner(batch_size)
    for item in items:
        yield from planner.add(item)
    yield from planner.rest()


def _weigh(item: Loaded) -> tuple[int, int]:
    """Bytes of text (tokens count as some) and bytes of images."""
    if isinstance(item, str):
        # two bytes a character is right for most scripts, and need not encode the text
        return len(item) if item.isascii() else 2 * len(item), 0
    if isinstance(item, list):
        return _BYTES_PER_TOKEN * len(item), 0
    texts = [_weigh(part)[0] for part in item if isinstance(part, str)]
    return sum(texts), sum(len(part.data) for part in item if not isinstance(part, str))
