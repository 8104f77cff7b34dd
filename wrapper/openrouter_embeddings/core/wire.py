"""A response as the transport hands it over, without types of an HTTP library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .streaming import ExtractedVectors


@dataclass(frozen=True, slots=True)
class Reply:
    """One complete response.

    Attributes:
        status: HTTP status.
        headers: with lower-case names.
        body: decompressed.
        received_at: seconds since the epoch, to interpret a Retry-After that is a date.
        extracted: vectors extracted from the body, which has placeholders in their place.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: float = 0.0
    extracted: ExtractedVectors | None = None
