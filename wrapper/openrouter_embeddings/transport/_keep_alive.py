"""A connection that is kept for the next request: what its end means for the request on it."""

from __future__ import annotations

import math
import time

import httpcore

# Seconds in which a connection that was dead says so; one that ends later is a failed attempt.
_AT_ONCE = 1.0


class KeptConnectionError(httpcore.ReadError):
    """A connection that was kept is of no use, and no byte of an answer came.

    Attributes:
        maybe_billed: the request was sent, and the service had the time to serve it.
        was_dead: that was so before the request came there, as far as time can tell.
    """

    def __init__(self, reason: str, *, maybe_billed: bool = False, was_dead: bool = True) -> None:
        super().__init__(reason)
        self.maybe_billed = maybe_billed
        self.was_dead = was_dead


class Answers:
    """Those of all connections of a client.

    Attributes:
        quickest: seconds from a request to the first byte of its answer.
    """

    quickest = math.inf


class Kept:
    """What the requests of one connection have told about it.

    A service closes an idle connection when it likes, also while a request is on its way there, and
    a router forgets one without a word. Such a request was not read; it is sent again at once. But
    a service may also have read it, and died: it would be billed, though nobody sees an answer. TCP
    does not tell the two apart. The time does: a dead connection says so within a round trip, and
    an answer takes that and the work. What ends in less than a quarter of the time of the client's
    quickest answer was not served. Any other request counts as one that may have been billed.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._sent_at = 0.0
        self._is_kept = False  # an answer came on it
        self._is_waiting = False  # for the first byte of an answer

    def send(self, *, is_quiet: bool) -> None:
        """A request is about to be sent.

        Args:
            is_quiet: nothing has come since the last answer: no byte, no end, no error.

        Raises:
            KeptConnectionError: the connection may not be used again.
        """
        if self._is_kept and not is_quiet:
            raise KeptConnectionError("something came on an idle connection")
        self._is_waiting = True
        self._sent_at = time.monotonic()

    def receive(self) -> None:
        """Bytes came."""
        if self._is_waiting:
            self._is_waiting = False
            self._is_kept = True
            took = time.monotonic() - self._sent_at
            self._answers.quickest = min(took, self._answers.quickest)

    def end(self, reason: str) -> None:
        """The other side has ended the connection. Raises KeptConnectionError where it was kept."""
        if self._is_waiting and self._is_kept:
            took = time.monotonic() - self._sent_at
            raise KeptConnectionError(
                reason, maybe_billed=4 * took >= self._answers.quickest, was_dead=took < _AT_ONCE
            )
