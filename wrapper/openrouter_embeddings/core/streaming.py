"""Extracts base64 vectors from a response while it arrives; the rest is left for a JSON parser.

Joining and parsing a response of 2048 × 1536 as a whole costs several times as much: chunks are
copied, vectors become Python strings, and each touches memory again. A vector is extracted only
where that cannot change what the response means. Anything unexpected stays in the text, and
`decode` then restores and parses the whole response.
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

# In valid JSON this matches a key, or the end of one, and the first character of its value: inside
# a string the quotes would be escaped. White space is bounded so that a key can be recognised
# across the end of a chunk.
_KEY = re.compile(rb'"embedding"[ \t\r\n]{0,4}:[ \t\r\n]{0,4}(.)', re.DOTALL)
_LONGEST_KEY = 21
_QUOTE, _ANY_QUOTE = ord('"'), re.compile(b'"')
_LONGEST_VECTOR = 1 << 19  # characters; a longer string is not a vector
_FLOAT = 4  # bytes
# A placeholder stands for a vector in the text. It is a number: the server could write the same
# string in several ways, with escapes, but not this number. Spaces keep it apart from other digits.
_PLACEHOLDER = 7_318_349_394_000_000_000
_DIGITS = str(_PLACEHOLDER)[:10].encode()
_PLACEHOLDERS = re.compile(rb" (%b\d{9}) " % _DIGITS)
# Zeros, NaN and infinities have sums of squares outside this range; so do a few valid vectors.
_SMALLEST, _LARGEST = 1e-30, 1e30
# The last character before padding, if the bits that padding leaves unused are zero.
_CANONICAL = {2: b"AQgw", 1: b"AEIMQUYcgkosw048"}


@dataclass(frozen=True, slots=True)
class ExtractedVectors:
    """The vectors extracted from a response.

    Attributes:
        matrix: one row per vector, in the order of arrival.
        doubtful: whether a row may be zero or not finite.
    """

    matrix: Matrix
    doubtful: bool

    def rows(self, placeholders: list[int]) -> list[int]:
        """The row of each placeholder. Any other number gives a number that is no row."""
        return [placeholder - _PLACEHOLDER for placeholder in placeholders]

    def restore(self, body: bytes) -> bytes:
        """The response as it arrived."""
        return _PLACEHOLDERS.sub(lambda found: self.encoded(int(found[1]) - _PLACEHOLDER), body)

    def encoded(self, row: int) -> bytes:
        """A row as it arrived."""
        return f'"{encode_base64(self.matrix[row])}"'.encode()


class StreamDecoder:
    """Takes the chunks of one response.

    Args:
        rows: the number of vectors requested; no more are extracted.
        max_bytes: the maximum size of the response.
        reserve: given the width of the vectors, returns the matrix of shape (rows, width) to decode
            into, or None to have one allocated.
    """

    def __init__(
        self, rows: int, max_bytes: int, reserve: Callable[[int], Matrix | None] = lambda _: None
    ) -> None:
        self._rows = rows
        self._max_bytes = self._remaining = max_bytes
        self._reserve = reserve
        self._done = not rows or sys.byteorder != "little"  # nothing (more) to extract
        # as this server writes it, with the opening quote of the vector
        self._key: re.Pattern[bytes] | None = None
        self._length = self._bytes = 0  # of a vector: base64 characters, float32 bytes
        self._tail = b""  # may be the beginning of a key
        self._partial: list[bytes] = []  # an incomplete vector, with its opening quote
        self._missing = 0  # characters of that vector still to come
        self._between: list[bytes] = []  # text since the last vector
        self._texts: list[bytes] = []  # the text before each vector

    def add(self, chunk: bytes | memoryview) -> bool:
        """Take a chunk; its memory may be used for other data afterwards.

        Raises ResponseError if the response exceeds its maximum size.

        Returns:
            Always False: more chunks are welcome (`_ErrorBody.add` returns True when it is full).
        """
        self._remaining -= len(chunk)
        if self._remaining < 0:
            raise ResponseError(
                f"the response exceeds {self._max_bytes:,} bytes, the maximum for its inputs"
            )
        data = memoryview(chunk)
        if self._done:
            self._between.append(bytes(data))
        elif self._partial:
            self._continue_vector(data)
        else:
            self._extract(memoryview(self._tail + data) if self._tail else data)
        return False

    def end(self) -> tuple[bytes, ExtractedVectors | None]:
        """The response with placeholders for the vectors, and the vectors; None if there are none.

        Call it once, after the last chunk.
        """
        self._texts.append(b"".join([*self._between, *self._partial, self._tail]))
        count = len(self._texts) - 1
        if not count:
            return self._texts[0], None
        extracted = ExtractedVectors(self._matrix[:count], self._doubtful)
        body = self._joined(b" %d " % (_PLACEHOLDER + row) for row in range(count))
        if body.count(_DIGITS) != count:  # the server's own text looks like a placeholder
            return self._joined(map(extracted.encoded, range(count))), None
        return body, extracted

    def _joined(self, vectors: Iterable[bytes]) -> bytes:
        whole = [b""] * (2 * len(self._texts) - 1)
        whole[::2] = self._texts
        whole[1::2] = vectors
        return b"".join(whole)

    def _continue_vector(self, data: memoryview) -> None:
        end = self._missing
        if end >= len(data):
            self._partial.append(bytes(data))
            self._missing -= len(data)
            return
        vector = b"".join([*self._partial, data[:end]])
        self._partial = []
        if data[end] == _QUOTE:
            self._extract(data, end + 1, memoryview(vector)[1:])
        else:
            self._stop(vector + data[end:])

    def _extract(self, data: memoryview, start: int = 0, first: memoryview | None = None) -> None:
        """Extract the complete vectors from `start` on, after a `first` one that ends there."""
        key = self._key or self._learn_key(data)
        if key is None:
            return
        length, last = self._length, len(data) - self._length - 1
        remaining = self._rows - len(self._texts)
        vectors = [] if first is None else [first]
        texts = [] if first is None else [b""]
        position = start
        while len(vectors) < remaining and (match := key.search(data, position)):
            begin = match.end()
            if begin > last or data[begin + length] != _QUOTE:
                break
            vectors.append(data[begin : begin + length])
            texts.append(bytes(data[position : begin - 1]))
            position = begin + length + 1
        if vectors and not self._decode(vectors, texts):
            pairs = zip(texts, vectors, strict=True)
            pieces = [piece for text, vector in pairs for piece in (text, b'"', vector, b'"')]
            self._stop(b"".join([*pieces, data[position:]]))
        else:
            self._keep(data, position)

    def _keep(self, data: memoryview, position: int) -> None:
        """Keep what follows the last complete vector, which may begin another one."""
        self._tail = b""
        if self._done or self._key is None:
            self._between.append(bytes(data[position:]))
        elif (match := self._key.search(data, position)) is None:
            kept = max(position, len(data) - _LONGEST_KEY)
            self._between.append(bytes(data[position:kept]))
            self._tail = bytes(data[kept:])
        elif match.end() + self._length < len(data):
            self._stop(data[position:])
        else:
            quote = match.end() - 1
            self._between.append(bytes(data[position:quote]))
            self._partial = [bytes(data[quote:])]
            self._missing = match.end() + self._length - len(data)

    def _stop(self, data: bytes | memoryview) -> None:
        """Extract nothing more: the response is not as expected from here on."""
        self._done = True
        self._tail = b""
        self._between.append(bytes(data))

    def _learn_key(self, data: memoryview) -> re.Pattern[bytes] | None:
        """Learn from the first vector how this server writes the key and how long a vector is.

        Returns:
            The key; None if the vector is incomplete or not base64.
        """
        match = _KEY.search(data)
        end = _ANY_QUOTE.search(data, match.end()) if match else None
        if match and match[1] != b'"':
            self._stop(data)  # a list of numbers, for example
        elif match and end:
            try:
                self._allocate(data[match.end() : end.start()])
            except ValueError:
                self._stop(data)
            else:
                self._key = re.compile(re.escape(match[0]))
        elif match and len(data) - match.start() > _LONGEST_VECTOR:
            self._stop(data)
        else:
            kept = match.start() if match else max(0, len(data) - _LONGEST_KEY)
            self._between.append(bytes(data[:kept]))
            self._tail = bytes(data[kept:])
        return self._key

    def _allocate(self, encoded: memoryview) -> None:
        width, rest = divmod(len(pybase64.b64decode(encoded, validate=True)), _FLOAT)
        if rest or not width or len(encoded) > _LONGEST_VECTOR:
            raise ValueError("not a vector of float32 values")
        self._length, self._bytes = len(encoded), width * _FLOAT
        self._padding = -self._bytes % 3
        matrix = self._reserve(width)
        self._matrix = np.empty((self._rows, width), np.float32) if matrix is None else matrix
        self._out = self._matrix.data.cast("B")
        self._doubtful = False

    def _decode(self, vectors: list[memoryview], texts: list[bytes]) -> bool:
        """Decode vectors into the next rows; False if encoding them again could differ."""
        first = len(self._texts)
        after = first + len(vectors)
        try:
            # One call for all if no padding separates them: each call releases the GIL, and with
            # 32 threads each release costs more than the decoding.
            raw = (
                b"".join([self._decode_padded(vector) for vector in vectors])
                if self._padding
                else pybase64.b64decode(b"".join(vectors), validate=True)
            )
            self._out[first * self._bytes : after * self._bytes] = raw
        except ValueError:  # not base64, or of another length
            return False
        texts[0] = b"".join([*self._between, texts[0]])
        self._between.clear()
        self._texts += texts
        self._done = after == self._rows
        # Check the rows while they are in the cache, at a tenth of the cost of checking at the end.
        rows = self._matrix[first:after]
        with np.errstate(all="ignore"):
            sums = np.vecdot(rows, rows)
        self._doubtful |= not _SMALLEST < sums.min() <= sums.max() < _LARGEST  # true for NaN too
        return True

    def _decode_padded(self, vector: memoryview) -> bytes:
        if vector[-1 - self._padding] not in _CANONICAL[self._padding]:
            raise ValueError("bits that the padding leaves unused are set")
        return pybase64.b64decode(vector, validate=True)
