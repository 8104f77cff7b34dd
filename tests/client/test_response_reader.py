"""The response reader: a plain body passes by h11 unchanged; h11 decides about everything else."""

from collections.abc import Iterator

import h11
import httpcore
import pytest
from openrouter_embeddings.transport._response_reader import ResponseReader, encode_request

OK = b"HTTP/1.1 200 OK\r\n"
BODY = b'{"data": []}'
LENGTH = b"Content-Length: 12\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b'5\r\n{"dat\r\n7;x=y\r\na": []}\r\n0\r\n\r\n'

PLAIN = [
    OK + LENGTH + b"\r\n" + BODY,
    b"HTTP/1.1 200\ncontent-LENGTH:12\n\n" + BODY,
    OK + LENGTH + b"Connection: Keep-Alive\r\nContent-Encoding: identity\r\n\r\n" + BODY,
    OK + LENGTH + LENGTH + b"X-Folded: a\r\n b\r\n\r\n" + BODY,
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
    + OK
    + LENGTH
    + b"\r\n"
    + BODY,
]
REUSABLE = [
    OK + CHUNKED + b"\r\n" + CHUNKS,
    OK + CHUNKED + LENGTH + b"\r\n" + CHUNKS,
    b"HTTP/1.1 201 Made\r\n" + LENGTH + b"\r\n" + BODY,
    OK + LENGTH + b"Content-Encoding: gzip\r\n\r\n" + BODY,
]
CLOSING = [
    OK + LENGTH + b"Connection: close\r\n\r\n" + BODY,
    OK + LENGTH + b"Connection: keep-alive\r\nConnection: close\r\n\r\n" + BODY,
    OK + LENGTH + b"Connection: keep-alive, close\r\n\r\n" + BODY,
    b"HTTP/1.0 200 OK\r\n" + LENGTH + b"\r\n" + BODY,
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + LENGTH + b"\r\n" + BODY,
    OK + b"\r\n" + BODY,
]
INVALID = [
    b"junk\r\n\r\n",
    OK + LENGTH + b"Content-Length: 13\r\n\r\n" + BODY,
    OK + b"Content-Length: 12, 13\r\n\r\n" + BODY,
    OK + b"Content-Length: +12\r\n\r\n" + BODY,
    OK + b"Content-Length: -1\r\n\r\n",
    OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    OK + b" folded: into nothing\r\n\r\n",
    b"\r\n" + OK + LENGTH + b"\r\n" + BODY,
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    OK + CHUNKED + b"\r\nx\r\n",
]


def pieces(raw: bytes) -> Iterator[list[bytes]]:
    """The response whole, in two pieces divided anywhere, and byte by byte."""
    yield [raw]
    for end in range(1, len(raw)):
        yield [raw[:end], raw[end:]]
    yield [bytes([byte]) for byte in raw]


def read(parts: list[bytes], *, ended: bool = False) -> tuple[ResponseReader, bytes]:
    """The reader after these parts have arrived in the same memory, and the body."""
    body = bytearray()
    reader = ResponseReader(body.extend)
    for part in parts:
        memory = bytearray(part)
        reader.receive(memoryview(memory))
        memory[:] = bytes(len(memory))
        if reader.status:
            body += b"".join(reader.chunks())
    if ended:
        reader.end()
        body += b"".join(reader.chunks())
    return reader, bytes(body)


@pytest.mark.parametrize("raw", [*PLAIN, *REUSABLE, *CLOSING])
def test_a_response_is_read_wherever_its_pieces_end(raw: bytes) -> None:
    """Only plain ones pass by h11, and only where the connection stays open is it used again."""
    for parts in pieces(raw):
        reader, body = read(parts, ended=raw == CLOSING[-1])
        assert body == BODY
        assert reader.is_complete
        assert reader.is_plain == (raw in PLAIN)
        assert reader.can_reuse == (raw not in CLOSING)
        assert reader.status == (201 if b"201" in raw else 200)
        assert (b"X-Folded", b"a b") in reader.headers or b"Folded" not in raw


@pytest.mark.parametrize("raw", [*PLAIN, *REUSABLE])
def test_a_connection_with_surplus_data_is_not_reused(raw: bytes) -> None:
    """It could be read as the response to the next request; the body does not get it."""
    for parts in pieces(raw + b"H"):
        reader, body = read(parts)
        assert body == BODY
        assert reader.is_complete
        assert reader.has_surplus
        assert not reader.can_reuse


@pytest.mark.parametrize("raw", INVALID)
def test_an_invalid_response_is_a_protocol_error(raw: bytes) -> None:
    """Whatever h11 rejects."""
    for parts in pieces(raw):
        with pytest.raises(h11.RemoteProtocolError):
            read(parts, ended=True)


@pytest.mark.parametrize("raw", [*PLAIN, *REUSABLE, *CLOSING[:-1]])
def test_a_response_that_ends_early_is_a_protocol_error(raw: bytes) -> None:
    """Wherever the connection ends."""
    for end in range(len(raw)):
        with pytest.raises((h11.RemoteProtocolError, httpcore.RemoteProtocolError)):
            read([raw[:end]], ended=True)


def test_a_head_is_read_though_nothing_follows_it() -> None:
    """An informational response before it may end in the same piece."""
    for parts in pieces(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n"):
        reader, body = read(parts)
        assert (reader.status, reader.is_complete, body) == (200, True, b"")


def test_a_head_without_end_is_a_protocol_error() -> None:
    """H11 holds at most 100 KB of it."""
    with pytest.raises(h11.RemoteProtocolError, match="too long"):
        read([OK, b"X: " + b"x" * 50_000, b"x" * 60_000])


def test_the_response_to_connect_has_no_plain_body() -> None:
    """The tunnel begins after its head."""
    request = h11.Request(method="CONNECT", target="a:1", headers=[("Host", "a:1")])
    connection, encoded = encode_request(request)
    assert encoded == b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"
    reader = ResponseReader(None, connection)
    reader.receive(memoryview(OK + b"Content-Length: 0\r\n\r\n"))
    assert (reader.status, reader.reason, reader.has_surplus) == (200, b"OK", False)
    reader.receive(memoryview(b"x"))
    assert reader.has_surplus
