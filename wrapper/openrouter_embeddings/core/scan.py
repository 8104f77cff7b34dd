"""An answer taken apart while it comes: base64 vectors into a matrix, the rest for a JSON parser.

Read whole and parsed, an answer of 2048 × 1536 costs several times as much: joining its chunks,
making texts of the vectors, and touching the memory for both. A vector is cut out only where that
cannot change what the answer means; whatever looks otherwise than expected stays as it is, and
`decode` then reads the whole answer the plain way.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pybase64

from openrouter_embeddings.errors import ResponseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from openrouter_embeddings.result import Matrix

# White space has a bound, so that a key which a chunk's end has cut in two can be recognised.
_KEY = re.compile(rb'"embedding"[ \t\r\n]{0,4}:[ \t\r\n]{0,4}(.)', re.DOTALL)
_LONGEST_KEY = 21
_QUOTE, _BACKSLASH = b'"\\'
_LONGEST_VECTOR = 1 << 19  # characters; whatever is longer is no vector
_FLOAT = 4  # bytes
# Stands for a vector in what is left of the answer: a number, since numbers, unlike texts, cannot
# be spelt otherwise by escapes; with spaces, so that no digit beside it becomes part of it.
_MARK = 7_318_349_394_000_000_000
_DIGITS = str(_MARK)[:10].encode()
_MARKED = re.compile(rb" (%b\d{9}) " % _DIGITS)
# Zeros, NaN and infinities have sums of squares outside of this; others there need a closer look.
_SMALLEST, _LARGEST = 1e-30, 1e30
# The last character before padding, where the bits that the padding leaves unused are zero.
_CANONICAL = {1: b"AQgw", 2: b"AEIMQUYcgkosw048"}


@dataclass(frozen=True, slots=True)
class Cut:
    """The vectors that were cut out of an answer.

    Attributes:
        matrix: one row each, in the order in which they came.
        doubtful: whether a row may be zero or not finite.
    """

    matrix: Matrix
    doubtful: bool

    def order(self, marks: list[int]) -> list[int]:
        """The rows that marks stand for; numbers of no row where they are no marks."""
        return [mark - _MARK for mark in marks]

    def restore(self, body: bytes) -> bytes:
        """The answer as it came."""
        return _MARKED.sub(lambda mark: self.encoded(int(mark[1]) - _MARK), body)

    def encoded(self, row: int) -> bytes:
        """A row as it came."""
        return b'"%b"' % pybase64.b64encode(self.matrix[row].data)


class Scan:
    """Takes the chunks of one answer.

    Args:
        rows: vectors that were asked for; no more are cut out.
        longest: bytes that the answer may have.
        place: gives the matrix that vectors of a width belong into, of shape (rows, width); None
            where there is none, and one is made.
    """

    def __init__(
        self, rows: int, longest: int, place: Callable[[int], Matrix | None] = lambda _: None
    ) -> None:
        self._rows = rows
        self._bound = self._room = longest
        self._place = place
        self._done = not rows or sys.byteorder != "little"  # there is nothing (more) to cut out
        self._key = b""  # as this server writes it, with the quote that begins the vector
        self._length = self._bytes = 0  # of a vector in base64 and as float32, as the first had it
        self._tail = b""  # may be a key's beginning
        self._begun: list[bytes] | None = None  # a vector's beginning, after the quote
        self._have = 0  # characters of it
        self._between: list[bytes] = []  # text since the last vector
        self._pieces: list[bytes] = []  # text before each vector

    def add(self, chunk: bytes) -> bool:
        """Take a chunk. Raises ResponseError where the answer is longer than it may be.

        Returns:
            False: more is wanted, always.
        """
        self._room -= len(chunk)
        if self._room < 0:
            raise ResponseError(f"an answer of more than {self._bound:,} bytes, the most expected")
        if self._done:
            self._between.append(chunk)
            return False
        before = len(self._pieces)
        if self._begun is None:
            self._scan(self._tail + chunk if self._tail else chunk, 0)
        else:
            self._go_on(self._begun, chunk)
        if len(self._pieces) > before:
            self._check(before)
        return False

    def end(self) -> tuple[bytes, Cut | None]:
        """The answer with a mark for each vector, and the vectors; as it came where there is none.

        Called once, after the last chunk.
        """
        rest = [*self._between, self._tail]
        if self._begun is not None:
            rest += [b'"', *self._begun]
        self._pieces.append(b"".join(rest))
        count = len(self._pieces) - 1
        if not count:
            return self._pieces[0], None
        cut = Cut(self._matrix[:count], self._doubtful)
        body = self._joined(b" %d " % (_MARK + row) for row in range(count))
        if body.count(_DIGITS) != count:  # the server's own text has something like a mark
            return self._joined(map(cut.encoded, range(count))), None
        return body, cut

    def _joined(self, vectors: Iterable[bytes]) -> bytes:
        whole = [b""] * (2 * len(self._pieces) - 1)
        whole[::2] = self._pieces
        whole[1::2] = vectors
        return b"".join(whole)

    def _scan(self, data: bytes, position: int) -> None:
        """Cut out the vectors from `position` on; what is before is a vector, and taken."""
        find, view, take = data.find, memoryview(data), self._take
        searched, size = position, len(data)
        while not self._done:
            key = find(self._key, searched) if self._key else self._first(data)
            if key < 0:
                if self._done:
                    break
                kept = max(position, size - _LONGEST_KEY - 1)  # and the byte before a key
                self._between.append(data[position:kept])
                self._tail = data[kept:]
                return
            start = searched = key + len(self._key)
            # An unescaped quote before `embedding` can end no text in valid JSON: this is a key.
            if key > position and data[key - 1] == _BACKSLASH:
                continue
            end = start + self._length if self._length else find(b'"', start)
            if not 0 <= end < size:
                self._between.append(data[position : start - 1])
                self._tail, self._begun, self._have = b"", [data[start:]], size - start
                return
            if data[end] == _QUOTE and take(view[start:end], data[position : start - 1]):
                position = searched = end + 1
        self._between.append(data[position:])
        self._tail = b""

    def _go_on(self, begun: list[bytes], chunk: bytes) -> None:
        """The vector that was begun goes on in this chunk."""
        end = self._length - self._have if self._length else chunk.find(b'"')
        if not 0 <= end < len(chunk) and self._have < _LONGEST_VECTOR:
            begun.append(chunk)
            self._have += len(chunk)
            return
        self._begun = None
        if 0 <= end < len(chunk) and chunk[end] == _QUOTE:
            vector = b"".join([*begun, chunk[:end]])
            if self._take(memoryview(vector), b""):
                self._scan(chunk, end + 1)
                return
        self._between.append(b'"')
        self._scan(b"".join([*begun, chunk]), 0)

    def _first(self, data: bytes) -> int:
        """Learn from the first key how this server writes it."""
        for match in _KEY.finditer(data):
            if match.start() and data[match.start() - 1] == _BACKSLASH:
                continue
            if match[1] == b'"':
                self._key = match[0]
                return match.start()
            self._done = True  # numbers, say
            break
        return -1

    def _take(self, encoded: memoryview, before: bytes) -> bool:
        """Decode a vector into the next row; False where that could not be undone exactly."""
        try:
            if not self._length:
                self._begin(encoded)
            if self._padding and encoded[-1 - self._padding] not in self._canonical:
                return False
            start = len(self._pieces) * self._bytes
            self._out[start : start + self._bytes] = pybase64.b64decode(encoded, validate=True)
        except ValueError:  # not base64, or of another length
            self._done = not self._pieces
            return False
        if self._between:
            before = b"".join([*self._between, before])
            self._between.clear()
        self._pieces.append(before)
        self._done = len(self._pieces) == self._rows
        return True

    def _begin(self, encoded: memoryview) -> None:
        """Learn from the first vector how long they are. Raises ValueError where it is none."""
        width, rest = divmod(len(pybase64.b64decode(encoded, validate=True)), _FLOAT)
        if rest or not width:
            raise ValueError("no whole number of float32 values")
        self._length, self._bytes = len(encoded), width * _FLOAT
        self._padding = -self._bytes % 3
        self._canonical = _CANONICAL.get(3 - self._padding, b"")
        matrix = self._place(width)
        self._matrix = np.empty((self._rows, width), np.float32) if matrix is None else matrix
        self._out = self._matrix.data.cast("B")
        self._doubtful = False

    def _check(self, before: int) -> None:
        """Look at rows while they are in the cache."""
        rows = self._matrix[before : len(self._pieces)]
        with np.errstate(all="ignore"):
            sums = np.vecdot(rows, rows).tolist()
        self._doubtful |= not all(_SMALLEST < total < _LARGEST for total in sums)
