"""One response, from the bytes that a connection receives; without I/O."""

import re
from collections.abc import Callable, Iterable, Iterator

import h11
import httpcore

_MAX_HEAD = 100 * 1024  # bytes, as in httpcore
_BLANK_LINE = re.compile(rb"\n\r?\n")
_PLAIN = {b"connection": b"keep-alive", b"content-encoding": b"identity"}  # if they are there
_POST = h11.Request(method="POST", target="/", headers=[("Host", "-")])  # as far as h11 cares


class ResponseReader:
    """The response to one request, fed with what arrives.

    h11 parses the head. It also reads the body, unless that is plain: all of it follows as it is,
    and the connection stays open. A plain body goes past h11, which would copy every byte three
    times, straight to the decoder.

    Args:
        take: gets each piece of a plain body; the piece is valid only until it returns.
        connection: of h11, which knows the request; None for a POST.

    Attributes:
        status: 0 until the head has arrived.
        reason: the reason phrase.
        headers: names and values.
        is_plain: whether the body is plain.
        is_complete: the whole body has arrived.
    """

    def __init__(
        self, take: Callable[[memoryview], object] | None, connection: h11.Connection | None = None
    ) -> None:
        self.status = 0
        self.reason = b""
        self.headers: Iterable[tuple[bytes, bytes]] = ()
        self.is_plain = self.is_complete = False
        self._take = take
        self._h11 = connection or encode_request(_POST)[0]
        self._length = self._missing = 0  # bytes of a plain body, and those that have not arrived
        self._has_surplus = False

    def receive(self, data: memoryview) -> None:
        """Take what has arrived. Raises h11's RemoteProtocolError, and what `take` raises."""
        while data and not self.status:
            blank_line = _BLANK_LINE.search(data)
            end = blank_line.end() if blank_line else len(data)
            self._h11.receive_data(bytes(data[:end]))
            data = data[end:]
            self._parse_head()
        if self.is_plain:
            self._receive_plain(data)
        elif data:
            self._h11.receive_data(bytes(data))

    def end(self) -> None:
        """The connection has ended. Raises RemoteProtocolError if the response has not."""
        if not self.status:
            raise httpcore.RemoteProtocolError("the connection was closed without a response")
        if self.is_plain:
            raise httpcore.RemoteProtocolError(
                f"the connection was closed after {self._length - self._missing} of "
                f"{self._length} bytes"
            )
        self._h11.receive_data(b"")

    def chunks(self) -> Iterator[bytes]:
        """What has arrived of a body that is not plain. Raises h11's RemoteProtocolError."""
        while not self.is_plain and not self.is_complete:
            event = self._h11.next_event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.is_complete = True
            else:
                return

    @property
    def has_surplus(self) -> bool:
        """Whether the end followed, or data that the next request would take for its response."""
        return self._has_surplus if self.is_plain else any(self._h11.trailing_data)

    @property
    def can_reuse(self) -> bool:
        """Whether the connection may serve another request."""
        stays_open = self.is_plain or self._h11.their_state is h11.DONE
        return self.is_complete and stays_open and not self.has_surplus

    def _parse_head(self) -> None:
        event = self._h11.next_event()
        while isinstance(event, h11.InformationalResponse):
            event = self._h11.next_event()
        if not isinstance(event, h11.Response):  # NEED_DATA
            return
        self.status, self.reason = event.status_code, bytes(event.reason)
        self.headers = event.headers.raw_items()
        length = None if self._take is None else _plain_length(event)
        if length is not None:
            self.is_plain, self._length, self._missing = True, length, length
            self._receive_plain(memoryview(self._h11.trailing_data[0]))

    def _receive_plain(self, data: memoryview) -> None:
        body = data[: self._missing]
        self._missing -= len(body)
        self._has_surplus |= len(data) > len(body)
        if body and self._take is not None:
            self._take(body)
        self.is_complete = not self._missing


def encode_request(request: h11.Request, content: bytes = b"") -> tuple[h11.Connection, bytes]:
    """The bytes of a request, and what reads its response. Raises LocalProtocolError."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
    parts = [connection.send(request)]
    if content:
        parts.append(connection.send(h11.Data(data=content)))
    parts.append(connection.send(h11.EndOfMessage()))
    return connection, b"".join(parts)


def _plain_length(head: h11.Response) -> int | None:
    """The length of a plain body; None for any other.

    h11 has checked it, and that there are no two different ones.
    """
    if head.status_code != 200 or head.http_version != b"1.1":
        return None
    length = None
    for name, value in head.headers:
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding" or value.lower() != _PLAIN.get(name, value.lower()):
            return None
    return length
