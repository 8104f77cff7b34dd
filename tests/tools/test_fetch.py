"""Reading documents: from files, folders, URLs and standard input, within limits."""

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tools import fetch
from tools.fetch import Source, download, read_source
from tools.openapi import SpecError

PAGE = b"# Page\n```yaml\nopenapi: 3.1.0\npaths: {/embeddings: {}}\n```\n"


class Publisher(ThreadingHTTPServer):
    """A local publisher: `answers` has a status, a header Location and a body by path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, tuple[int, str, bytes]] = {}
        self.asked: list[str] = []
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Publisher)
        self.server.asked.append(self.path)
        if self.path == "/no-head.md":
            self.server.over.wait(60)
        status, location, body = self.server.answers.get(self.path, (404, "", b""))
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)
        if self.path == "/no-body.md":
            self.wfile.flush()
            self.server.over.wait(60)

    def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Silence."""


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    """Serve pages on localhost."""
    server = Publisher()
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_is_downloaded(publisher: Publisher) -> None:
    """The result has the bytes, and the URL as its name."""
    publisher.answers["/page.md"] = (200, "", PAGE)
    assert read_source(f"{publisher.url}/page.md") == Source(f"{publisher.url}/page.md", PAGE)


def test_the_next_address_is_tried_after_a_failure(publisher: Publisher) -> None:
    """The publisher has moved the page before."""
    publisher.answers["/former.md"] = (200, "", PAGE)
    found = download([f"{publisher.url}/today.md", f"{publisher.url}/former.md"])
    assert found.data == PAGE
    assert publisher.asked == ["/today.md", "/former.md"]


def test_an_empty_origin_means_the_published_page(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current address comes before the former one."""
    assert [page.rpartition("/")[2] for page in fetch.PUBLISHED] == [
        "submit-an-embedding-request.md",
        "create-embeddings.md",
    ]
    assert all(page.startswith("https://openrouter.ai/") for page in fetch.PUBLISHED)
    publisher.answers["/today.md"] = (200, "", PAGE)
    monkeypatch.setattr(fetch, "PUBLISHED", (f"{publisher.url}/today.md",))
    assert read_source("").data == PAGE


def test_redirects_within_a_host_are_followed(publisher: Publisher) -> None:
    """The former address redirects to the current one."""
    publisher.answers["/old.md"] = (308, "/new.md", b"")
    publisher.answers["/new.md"] = (200, "", PAGE)
    assert download([f"{publisher.url}/old.md"]).data == PAGE


@pytest.mark.parametrize(
    "elsewhere", ["http://127.0.0.2:1/page.md", "https://example.org/page.md", "http://[::1]:9/x"]
)
def test_redirects_to_another_host_are_rejected(publisher: Publisher, elsewhere: str) -> None:
    """Another host's document must not pass for the publisher's."""
    publisher.answers["/page.md"] = (302, elsewhere, b"")
    with pytest.raises(SpecError, match="redirects to another host"):
        download([f"{publisher.url}/page.md"])


def test_a_redirect_loop_ends(publisher: Publisher) -> None:
    """It ends after five redirects."""
    publisher.answers["/page.md"] = (302, "/page.md", b"")
    with pytest.raises(SpecError, match="redirects more than 5 times"):
        download([f"{publisher.url}/page.md"])
    assert len(publisher.asked) == 6


def test_a_download_has_a_maximum_size(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A huge page cannot fill the memory."""
    monkeypatch.setattr(fetch, "MAX_BYTES", 1 << 20)
    publisher.answers["/page.md"] = (200, "", b"x" * ((1 << 20) + 1))
    with pytest.raises(SpecError, match="more than 1 MB"):
        download([f"{publisher.url}/page.md"])


@pytest.mark.parametrize("path", ["/no-head.md", "/no-body.md"])
def test_a_download_has_a_timeout(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A page whose head or body never arrives is abandoned."""
    monkeypatch.setattr(fetch, "MAX_SECONDS", 0.2)
    publisher.answers[path] = (200, "", PAGE)
    with pytest.raises(SpecError, match=r"took longer than 0\.2 seconds"):
        download([f"{publisher.url}{path}"])


def test_the_error_lists_the_result_of_every_address(publisher: Publisher) -> None:
    """It also says what to do instead."""
    publisher.answers["/a.md"] = (500, "", b"")
    with pytest.raises(SpecError) as caught:
        download([f"{publisher.url}/a.md", f"{publisher.url}/b.md", "ftp://127.0.0.1/c.md"])
    said = str(caught.value)
    assert "/a.md: status 500; " in said
    assert "/b.md: status 404; " in said
    assert "only https addresses are allowed" in said
    assert "save the page in a browser" in said


def test_an_unreachable_host_is_named() -> None:
    """The error has the URL and the network's message."""
    with pytest.raises(SpecError, match=r"http://127\.0\.0\.1:1/x\.md: .*refused"):
        read_source("http://127.0.0.1:1/x.md")


def test_plain_http_is_rejected_except_on_localhost() -> None:
    """Anyone on the network could change the document."""
    with pytest.raises(SpecError, match="only https addresses are allowed"):
        read_source("http://openrouter.ai/docs/page.md")


def test_a_file_is_named_without_its_folder(tmp_path: Path) -> None:
    """The name goes into openapi.yaml, where local paths do not belong."""
    (tmp_path / "page.md").write_bytes(PAGE)
    assert read_source(str(tmp_path / "page.md")) == Source("page.md", PAGE)


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` reads from a pipe."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(PAGE)))
    assert read_source("-").data == PAGE


def test_a_missing_file_is_reported() -> None:
    """The error says what to do."""
    with pytest.raises(SpecError, match=r"^No such file.*FROM="):
        read_source("nowhere.md")


def test_a_file_has_a_maximum_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A larger file cannot be a specification."""
    monkeypatch.setattr(fetch, "MAX_BYTES", 10)
    (tmp_path / "page.md").write_bytes(PAGE)
    with pytest.raises(SpecError, match="too large for an OpenAPI document"):
        read_source(str(tmp_path / "page.md"))


@pytest.mark.parametrize("name", ["openapi.yaml", "in.openapi.yaml", "create-embeddings.md"])
def test_a_known_file_name_in_a_folder_wins(tmp_path: Path, name: str) -> None:
    """The names are those of the publisher's repositories."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / name).write_bytes(PAGE)
    (tmp_path / "other.md").write_bytes(PAGE)
    assert read_source(str(tmp_path)).name == name


def test_the_newest_dated_page_in_a_folder_wins(tmp_path: Path) -> None:
    """A page wins over a whole document of the same day."""
    for name in ("2026-04-18.md", "2026-08-21.md", "openapi-2026-08-21.yaml"):
        (tmp_path / name).write_bytes(PAGE)
    assert read_source(str(tmp_path)).name == "2026-08-21.md"


def test_the_only_document_in_a_folder_is_found(tmp_path: Path) -> None:
    """Its name does not matter if it contains the operation."""
    (tmp_path / "page.md").write_bytes(PAGE)
    (tmp_path / "readme.md").write_bytes(b"# Words")
    assert read_source(str(tmp_path)).name == "page.md"


def test_an_ambiguous_folder_is_rejected(tmp_path: Path) -> None:
    """The error lists the candidates."""
    (tmp_path / "a.md").write_bytes(PAGE)
    (tmp_path / "b.md").write_bytes(PAGE)
    with pytest.raises(SpecError, match=r"2 files could be the document: a\.md, b\.md.*FROM="):
        read_source(str(tmp_path))


def test_a_folder_without_a_document_is_rejected(tmp_path: Path) -> None:
    """The error says what it looked for."""
    (tmp_path / "a.md").write_bytes(b"# Words")
    with pytest.raises(SpecError, match="no file in this folder contains /embeddings"):
        read_source(str(tmp_path))
