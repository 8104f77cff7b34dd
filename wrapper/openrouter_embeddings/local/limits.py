"""What a provider allows of a request, and says when it is too much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from .reply import Refusal

LIMITS = {
    "batch-cap": "400 for more inputs than `at_most`",
    "payload-cap": "413 for a body of more bytes than `at_most`",
    "token-cap": "400 for more words than `at_most`, which stand for tokens here",
    "poison": "400 for a request with an input that contains `text`",
    "no-base64": '400 for `"encoding_format": "base64"`',
    "rate-limit": "429 for more than `per_second` requests",
}


class Limits:
    """One request, to be held against limits. Raises Refusal."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            parsed = {}
        self._request: dict[str, Any] = parsed if isinstance(parsed, dict) else {}

    def check(self, kind: str, at_most: int, text: str) -> None:
        """Hold the request against one limit."""
        given = self._request.get("input", [])
        inputs = given if isinstance(given, list) else [given]
        if kind == "batch-cap" and len(inputs) > at_most:
            raise Refusal(
                400, f"batch size {len(inputs)} is too large: at most {at_most} inputs are allowed"
            )
        if kind == "payload-cap" and len(self._body) > at_most:
            raise Refusal(413, f"Payload Too Large: {len(self._body)} bytes, {at_most} are allowed")
        texts = [item if isinstance(item, str) else self._plain(item) for item in inputs]
        if kind == "token-cap" and (words := sum(len(item.split()) for item in texts)) > at_most:
            raise Refusal(
                400, f"Requested {words} tokens, max {at_most} tokens per request are allowed"
            )
        if kind == "poison" and any(text in item for item in texts):
            raise Refusal(400, "the provider could not process the request")
        if kind == "no-base64" and self._request.get("encoding_format") == "base64":
            raise Refusal(400, "encoding_format: base64 is not supported")

    @staticmethod
    def _plain(item: Any) -> str:
        try:
            return str(item)
        except RecursionError:  # nested so deeply, it is refused for that later
            return ""


@dataclass
class Bucket:
    """A token bucket: `rate` requests a second, `burst` of them at once."""

    rate: float
    burst: float
    at: float
    level: float = -1.0

    def take(self, now: float) -> bool:
        """Whether a request may pass now."""
        if self.level < 0:
            self.level = self.burst
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True
