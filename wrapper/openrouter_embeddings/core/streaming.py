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

from .vectors import encode_base64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from openrouter_embeddings.result import Matrix

# What this finds in valid JSON is a key, or the end of one, and the beginning of its value: within
# a text, the quotes would be escaped. White space has a bound, so that a key which a chunk's end
# has cut in two can be recognised.
_KEY = re.compile(rb'"embedding"[ \t\r\n]{0,4}:[ \t\r\n]{0,4}(.)', re.DOTALL)
_LONGEST_KEY = 21
_QUOTE = ord('"')
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
_CANONICAL = {2: b"AQgw", 1: b"AEIMQUYcgkosw048"}


@dataclass(frozen=True, slots=True)
class ExtractedVectors:
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
        return f'"{encode_base64(self.matrix[row])}"'.encode()


class StreamDecoder:
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
        self._bound = self._reserve = longest
        self._place = place
        self._done = not rows or sys.byteorder != "little"  # there is nothing (more) to cut out
        self._key = b""  # as this server writes it, with the quote that begins the vector
        self._length = self._bytes = 0  # of a vector in base64 and as float32
        self._tail = b""  # may be a key's beginning
        self._begun: list[bytes] = []  # a vector's beginning, with its quote
        self._missing = 0  # characters of it
        self._between: list[bytes] = []  # text since the last vector
        self._pieces: list[bytes] = []  # text before each vector

    def add(self, chunk: bytes) -> bool:
        """Take a chunk. Raises ResponseError where the answer is longer than it may be.

        Returns:
            False: more is wanted, always.
        """
        self._reserve -= len(chunk)
        if self._reserve < 0:
            raise ResponseError(f"an answer of more than {self._bound:,} bytes, the most expected")
        if self._done:
            self._between.append(chunk)
        elif self._begun:
            self._go_on(chunk)
        else:
            self._scan(self._tail + chunk if self._tail else chunk, 0)
        return False

    def end(self) -> tuple[bytes, ExtractedVectors | None]:
        """The answer with a mark for each vector, and the vectors; as it came where there is none.

        Called once, after the last chunk.
        """
        self._pieces.append(b"".join([*self._between, *self._begun, self._tail]))
        count = len(self._pieces) - 1
        if not count:
            return self._pieces[0], None
        cut = ExtractedVectors(self._matrix[:count], self._doubtful)
        body = self._joined(b" %d " % (_MARK + row) for row in range(count))
        if body.count(_DIGITS) != count:  # the server's own text has something like a mark
            return self._joined(map(cut.encoded, range(count))), None
        return body, cut

    def _joined(self, vectors: Iterable[bytes]) -> bytes:
        whole = [b""] * (2 * len(self._pieces) - 1)
        whole[::2] = self._pieces
        whole[1::2] = vectors
        return b"".join(whole)

    def _go_on(self, chunk: bytes) -> None:
        """The vector that was begun goes on in this chunk."""
        end = self._missing
        if end >= len(chunk):
            self._begun.append(chunk)
            self._missing -= len(chunk)
            return
        vector = b"".join([*self._begun, chunk[:end]])
        self._begun = []
        if chunk[end] == _QUOTE and self._take([memoryview(vector)[1:]], [b""]):
            self._scan(chunk, end + 1)
        else:
            self._give_up(vector + chunk[end:])

    def _scan(self, data: bytes, start: int) -> None:
        """Cut out the vectors from `start` on; what is before is a vector, and taken."""
        if not self._key and not self._learn(data):
            return
        find, key, length, view = data.find, self._key, self._length, memoryview(data)
        ahead, last = len(key), len(data) - length - 1
        wanted = self._rows - len(self._pieces)
        vectors: list[memoryview] = []
        texts: list[bytes] = []
        position = start
        while len(vectors) < wanted and (at := find(key, position)) >= 0:
            begin = at + ahead
            if begin > last or data[begin + length] != _QUOTE:
                break
            vectors.append(view[begin : begin + length])
            texts.append(data[position : begin - 1])
            position = begin + length + 1
        if vectors and not self._take(vectors, texts):
            self._give_up(data[start:])
        else:
            self._keep(data, position)

    def _keep(self, data: bytes, position: int) -> None:
        """What follows the last vector that has come whole."""
        self._tail = b""
        if self._done:
            self._between.append(data[position:])
            return
        at = data.find(self._key, position)
        if at < 0:
            kept = max(position, len(data) - _LONGEST_KEY)
            self._between.append(data[position:kept])
            self._tail = data[kept:]
            return
        quote = at + len(self._key) - 1
        if quote + self._length + 1 < len(data):
            self._give_up(data[position:])
            return
        self._between.append(data[position:quote])
        self._begun = [data[quote:]]
        self._missing = quote + 1 + self._length - len(data)

    def _give_up(self, data: bytes) -> None:
        """The answer is not as expected: what follows stays as it is."""
        self._done = True
        self._tail = b""
        self._between.append(data)

    def _learn(self, data: bytes) -> bool:
        """From the first vector: how this server writes the key, and how long a vector is.

        False where it has not come, or is none.
        """
        match = _KEY.search(data)
        end = data.find(b'"', match.end()) if match else -1
        if match and match[1] != b'"':
            self._give_up(data)  # numbers, say
        elif match and end >= 0:
            try:
                self._begin(data[match.end() : end])
            except ValueError:
                self._give_up(data)
            else:
                self._key = match[0]
                return True
        elif match and len(data) - match.start() > _LONGEST_VECTOR:
            self._give_up(data)
        else:
            kept = match.start() if match else max(0, len(data) - _LONGEST_KEY)
            self._between.append(data[:kept])
            self._tail = data[kept:]
        return False

    def _begin(self, encoded: bytes) -> None:
        width, rest = divmod(len(pybase64.b64decode(encoded, validate=True)), _FLOAT)
        if rest or not width or len(encoded) > _LONGEST_VECTOR:
            raise ValueError("no vector of float32 values")
        self._length, self._bytes = len(encoded), width * _FLOAT
        self._padding = -self._bytes % 3
        matrix = self._place(width)
        self._matrix = np.empty((self._rows, width), np.float32) if matrix is None else matrix
        self._out = self._matrix.data.cast("B")
        self._doubtful = False

    def _take(self, vectors: list[memoryview], texts: list[bytes]) -> bool:
        """Decode vectors into the next rows; False where that could not be undone exactly."""
        first = len(self._pieces)
        after = first + len(vectors)
        try:
            # one call for all where no padding is between them: a thread that decodes lets others
            # run, and at 32 threads each such change costs more than the decoding
            raw = (
                b"".join([self._decoded(vector) for vector in vectors])
                if self._padding
                else pybase64.b64decode(b"".join(vectors), validate=True)
            )
            self._out[first * self._bytes : after * self._bytes] = raw
        except ValueError:  # not base64, or of another length
            return False
        texts[0] = b"".join([*self._between, texts[0]])
        self._between.clear()
        self._pieces += texts
        self._done = after == self._rows
        # while the rows are in the cache: a tenth of what it costs at the end
        rows = self._matrix[first:after]
        with np.errstate(all="ignore"):
            sums = np.vecdot(rows, rows)
        self._doubtful |= not _SMALLEST < sums.min() <= sums.max() < _LARGEST  # nor where NaN
        return True

    def _decoded(self, vector: memoryview) -> bytes:
        if vector[-1 - self._padding] not in _CANONICAL[self._padding]:
            raise ValueError("bits that the padding leaves unused are set")
        return pybase64.b64decode(vector, validate=True)
