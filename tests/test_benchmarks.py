"""The server that `make bench` measures against, and how it compares rounds and days."""

import base64
import http.client
import json
import select
import shutil
import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from benchmarks import goals, report
from benchmarks.programs import Server, served
from benchmarks.vectors import PERIOD, Matrix, differences, distinct, text

WIDTH = 96
BODY = json.dumps({"input": ["document 7"], "dimensions": WIDTH}).encode()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A running server."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler here")
    with served() as running:
        yield running


def answered(server: Server, request: bytes) -> bytes:
    """All that the server sends to a client that sends these bytes and then ends."""
    with socket.create_connection(("127.0.0.1", int(server.url.split(":")[2]))) as line:
        line.sendall(request)
        line.shutdown(socket.SHUT_WR)
        received = list(iter(lambda: line.recv(65536), b""))
    return b"".join(received)


def post(server: Server, body: bytes, path: str = "/v1/embeddings") -> tuple[int, Any]:
    """The status and the parsed answer of a request."""
    line = http.client.HTTPConnection(server.url.removeprefix("http://"))
    line.request("POST", path, body)
    reply = line.getresponse()
    found = reply.status, json.loads(reply.read())
    line.close()
    return found


@pytest.mark.parametrize("encoding", ["base64", "float", None])
def test_the_server_sends_the_vectors_of_the_texts(server: Server, encoding: str | None) -> None:
    """To the bit, in either form, for a request that begins anywhere."""
    first, rows = PERIOD - 2, 5
    asked = {"input": [text(first + row) for row in range(rows)], "dimensions": WIDTH}
    status, answer = post(server, json.dumps({**asked, "encoding_format": encoding}).encode())
    assert status == 200
    assert [item["index"] for item in answer["data"]] == [*range(rows)]
    vectors: list[Any] = [item["embedding"] for item in answer["data"]]
    if encoding == "base64":
        vectors = [np.frombuffer(base64.b64decode(one), np.float32) for one in vectors]
    expected = distinct(WIDTH)[(first + np.arange(rows)) % PERIOD]
    assert np.array_equal(np.asarray(vectors, np.float32), expected)


@pytest.mark.parametrize(
    ("sent", "rows"),
    [
        ('"one"', 1),
        ('["a", "b\\"],[", "c"]', 3),
        ("[[1, 2], [3]]", 2),
        ('[{"content": [{"text": "a, b"}, {"x": "]"}]}]', 1),
    ],
)
def test_the_server_counts_inputs_of_every_kind(server: Server, sent: str, rows: int) -> None:
    """Brackets and commas inside of strings do not count."""
    status, answer = post(server, f'{{"other": {{"input": [1]}}, "input": {sent}}}'.encode())
    assert (status, len(answer["data"])) == (200, rows)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"input": []}', b'{"input": ["a"}', b'{"input": "\\', BODY + b"x"]
    + [BODY[:end] for end in range(len(BODY))],
)
def test_the_server_refuses_what_is_no_request(server: Server, body: bytes) -> None:
    """A body that is cut or is something else gets 400."""
    assert post(server, body)[0] == 400


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /v1/embeddings HTTP/1.1\r\ncOnTeNt-LENGTH: %d\r\n", 200),
        (b"POST /v1/embeddings HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", 501),
        (b"POST /v1/embeddings HTTP/1.1\r\n", 411),
        (b"POST /v1/embeddings HTTP/1.1\r\nContent-Length: -1\r\n", 400),
        (b"POST /v1/embeddings HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: %d\r\n", 400),
        (b"POST /v1/embeddings HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n", 413),
        (b"POST /v1/embeddings HTTP/1.1\r\nExpect: 100-continue\r\n", 417),
        (b"POST /v1/models HTTP/1.1\r\n", 404),
        (b"GET /v1/embeddings HTTP/1.1\r\n", 405),
        (b"POST" + b"x" * 70_000, 431),
        (b"POST /v1/\0embeddings HTTP/1.1\r\n", 400),
    ],
)
def test_the_server_speaks_http(server: Server, head: bytes, status: int) -> None:
    """Header names are case-insensitive, and what it does not support gets a status."""
    head = head.replace(b"%d", b"%d" % len(BODY))
    assert answered(server, head + b"\r\n" + BODY)[:12] == b"HTTP/1.1 %d" % status


def test_an_answer_waits_for_its_own_latency_only(server: Server) -> None:
    """One that is due in a minute does not hold up those that are due earlier."""
    lines = {}
    started = time.monotonic()
    for latency in (60, 0.1, 0):
        line = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
        line.request("POST", f"/latency/{latency}/v1/embeddings", BODY)
        lines[latency] = line
    assert lines[0].getresponse().status == 200
    assert lines[0.1].getresponse().status == 200
    assert time.monotonic() - started >= 0.1
    assert not select.select([lines[60].sock], [], [], 0)[0]
    for line in lines.values():
        line.close()


def test_differences_names_the_row() -> None:
    """A vector in another row than its own is found, and so are other shapes and types."""
    right = np.concatenate([distinct(4), distinct(4)])
    swapped: Matrix = right.copy()
    swapped[[9, 1009]] = swapped[[1009, 9]]
    assert differences(right, len(right), 4) == ""
    assert differences(swapped, len(right), 4).endswith("in row 9")
    assert differences(right, len(right), 8) == f"shape {right.shape} instead of {(len(right), 8)}"
    double: Any = right.astype(np.float64)
    assert differences(double, len(right), 4) == "vectors of float64"


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that slows down for a round slows both, and the ratio stays."""
    results = [
        {"case": "case", "contender": "ours", "rows": 2, "cpu": [2.0, 20.0, 2.0, 2.0]},
        {"case": "case", "contender": "theirs", "rows": 1, "cpu": [3.0, 30.0, 4.0]},
    ]
    assert goals.ratio(results, "case", "theirs", "ours") == pytest.approx(3.0)
    assert np.isnan(goals.ratio(results, "case", "theirs", "nobody"))


def test_the_latest_two_days_are_kept() -> None:
    """A run replaces one of its own day, and the older of two other days."""
    kept: dict[str, Any] = {"runs": []}
    seen = []
    for number, day in enumerate([1, 2, 2, 3]):
        kept = report.latest(kept, {"date": f"2026-01-{day:02}", "number": number})
        seen.append([run["number"] for run in kept["runs"]])
    assert seen == [[0], [0, 1], [0, 2], [2, 3]]
