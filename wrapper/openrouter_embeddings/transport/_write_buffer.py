"""What goes out at once on a connection, blocking or asyncio's."""

from __future__ import annotations

_COPIED = 1 << 16  # bytes; a larger body is not copied to stand behind its head


class Writes:
    """What httpcore writes, with the head of a request kept back until its body comes.

    Together they are one call of the system, one packet and one TLS record. After the body
    httpcore writes nothing, literally, so that a head without one goes out, too.
    """

    def __init__(self) -> None:
        self._head = b""

    def take(self, buffer: bytes) -> tuple[bytes, ...]:
        """What is to be written now."""
        head, self._head = self._head, b""
        if not head:
            self._head = buffer
            return ()
        return (head + buffer,) if len(buffer) < _COPIED else (head, buffer)
