"""State of one connection that the blocking and the asyncio stream both keep."""

import math
import threading
import time
from collections.abc import Callable

import httpcore

READ_SIZE = 1 << 18  # bytes; it stays in the processor's cache, with the decoder's copies
_DEAD_WITHIN = 1.0  # seconds; a connection that ends later was alive when the request was sent


def extension(late: float) -> float:
    """Seconds that an attempt may still read, if its timeout is noticed `late` seconds too late.

    In that case the process stood still: it was stopped or frozen, or its program blocked the event
    loop. A response may have arrived meanwhile. It is billed, so there is time to read it.
    """
    return 1.0 if late > 1.0 else 0.0


class ReusedConnectionError(httpcore.ReadError):
    """A reused connection ended before the first byte of the response.

    Attributes:
        maybe_billed: the request was sent, and the service had time to serve it.
        was_dead: judging by the time, the connection was dead before the request was sent.
    """

    def __init__(self, reason: str, *, maybe_billed: bool = False, was_dead: bool = True) -> None:
        super().__init__(reason)
        self.maybe_billed = maybe_billed
        self.was_dead = was_dead


class ResponseTimes:
    """Response times over all connections of a client.

    Attributes:
        fastest: seconds from a request to the first byte of its response.
    """

    def __init__(self) -> None:
        self.fastest = math.inf
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """Count a response. Any thread may call this."""
        with self._lock:
            self.fastest = min(seconds, self.fastest)


class KeepAlive:
    """Tracks whether a connection is reused, and what its end means for the current request.

    Either the connection was dead, because the service or a router had dropped it while it was
    idle: nobody read the request, so it can be sent again at once. Or the service read it and
    crashed: it is billed. Time tells: a dead connection fails within one round trip, and a response
    takes the round trip and the work. So a connection that ends within a quarter of the client's
    fastest response time did not serve the request; any later end counts as maybe billed.

    Attributes:
        is_waiting: for the first byte of a response.
    """

    def __init__(self, times: ResponseTimes) -> None:
        self._times = times
        self._sent_at = 0.0
        self._is_reused = False  # a response has arrived on it
        self.is_waiting = False

    def before_request(self, has_unread: Callable[[], bool]) -> None:
        """Note that a request is about to be sent.

        Args:
            has_unread: tells whether data, an end or an error has arrived since the last response.

        Raises:
            ReusedConnectionError: the connection must not be used again.
        """
        if self._is_reused and has_unread():
            raise ReusedConnectionError("unexpected data on an idle connection, or its end")
        self.is_waiting = True
        self._sent_at = time.monotonic()

    def received(self) -> None:
        """Note that bytes have arrived."""
        if self.is_waiting:
            self.is_waiting = False
            self._is_reused = True
            self._times.add(time.monotonic() - self._sent_at)

    def ended(self, reason: str) -> None:
        """Note that the peer ended it. Raises ReusedConnectionError if a reused one was waiting."""
        if self.is_waiting and self._is_reused:
            elapsed = time.monotonic() - self._sent_at
            raise ReusedConnectionError(
                reason,
                maybe_billed=4 * elapsed >= self._times.fastest,
                was_dead=elapsed < _DEAD_WITHIN,
            )
