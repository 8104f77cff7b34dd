"""What a block of the store consists of: one record for each vector, with a checksum."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ._index import DIGEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_CHECKSUM_BYTES = 8
_HEAD = _CHECKSUM_BYTES + DIGEST_BYTES

Records = Any  # a structured array with the fields checksum, input and vector


def pack(digests: Sequence[bytes], vectors: NDArray[np.float32]) -> Records:
    """The records of some inputs, with their checksums."""
    records = np.empty(len(digests), _record_type(vectors.shape[1]))
    records["input"] = np.frombuffer(b"".join(digests), f"V{DIGEST_BYTES}")
    records["vector"] = vectors
    records["checksum"] = _checksums(records)
    return records


def parse(contents: bytes, count: int) -> Records | None:
    """`count` records, unchecked; None if this many cannot have such a size."""
    size, rest = divmod(len(contents), count) if count else (0, 1)
    width, odd = divmod(size - _HEAD, 4)
    if rest or odd or width < 1:
        return None
    return np.frombuffer(contents, _record_type(width))


def intact(records: Records) -> NDArray[np.bool_]:
    """Whether the checksum of each record is right.

    The checksum is over the digest of the input and the vector, so that a vector under the digest
    of another input counts as damaged.
    """
    found: NDArray[np.bool_] = records["checksum"] == _checksums(records)
    return found


def intact_records(inputs: object, contents: object) -> Records:
    """The intact ones of a block's records; `inputs` are their digests."""
    count = len(inputs) // DIGEST_BYTES if isinstance(inputs, bytes) else 0
    records = parse(contents, count) if isinstance(contents, bytes) else None
    if records is None:
        return np.empty(0, _record_type(1))
    return records[intact(records)]


def _record_type(width: int) -> np.dtype[Any]:
    return np.dtype(
        [("checksum", "<u8"), ("input", f"V{DIGEST_BYTES}"), ("vector", "<f4", (width,))]
    )


def _checksums(records: Records) -> NDArray[np.uint64]:
    """64 bits of each record, over all of it but its checksum.

    The CRC finds every flipped bit, but alone would accept one wrong record in four billion. A
    cryptographic digest of 64 bits takes three times as long as the CRC and the sum.
    """
    contents = records.view(np.uint8).reshape(len(records), -1)[:, _CHECKSUM_BYTES:]
    crcs = np.fromiter(map(zlib.crc32, contents), np.uint64, len(contents))
    sums = contents.view("<u4").sum(axis=1, dtype=np.uint32)
    found: NDArray[np.uint64] = (crcs << np.uint64(32)) | sums
    return found
