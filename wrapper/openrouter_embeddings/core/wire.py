"""What goes over the wire, as the transport hands it on: no HTTP library's types here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .streaming import ExtractedVectors


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, whole.

    Attributes:
        status: HTTP status.
        headers: with lower-case names.
        body: decompressed.
        received_at: seconds since the epoch, for a Retry-After that is a date.
        cut: the vectors that were cut out of the body, which has marks for them then.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: float = 0.0
    cut: ExtractedVectors | None = None
