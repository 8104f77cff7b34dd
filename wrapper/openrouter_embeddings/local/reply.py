"""An answer of the stand-in, independent of any HTTP library."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class LocalReply:
    """An HTTP answer: status, body, and headers besides Content-Type (default: JSON)."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """Ends a request with an error status; `error_reply` makes the contract's error body of it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        metadata: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.metadata = metadata
        self.headers: dict[str, str] = dict(headers or {})
