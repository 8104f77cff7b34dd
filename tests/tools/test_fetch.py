"""Where a document comes from, and what is refused on the way."""

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
    """A publisher on this machine."""
    server = Publisher()
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_is_downloaded_and_named_by_its_address(publisher: Publisher) -> None:
    """An address gives the bytes that stand there."""
    publisher.answers["/page.md"] = (200, "", PAGE)
    assert read_source(f"{publisher.url}/page.md") == Source(f"{publisher.url}/page.md", PAGE)


def test_the_former_address_is_asked_when_todays_has_nothing(publisher: Publisher) -> None:
    """The publisher has moved the page before."""
    publisher.answers["/former.md"] = (200, "", PAGE)
    found = download([f"{publisher.url}/today.md", f"{publisher.url}/former.md"])
    assert found.data == PAGE
    assert publisher.asked == ["/today.md", "/former.md"]


def test_without_an_origin_the_published_pages_are_asked(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Today's address comes first, then the former one."""
    assert [page.rpartition("/")[2] for page in fetch.PUBLISHED] == [
        "submit-an-embedding-request.md",
        "create-embeddings.md",
    ]
    assert all(page.startswith("https://openrouter.ai/") for page in fetch.PUBLISHED)
    publisher.answers["/today.md"] = (200, "", PAGE)
    monkeypatch.setattr(fetch, "PUBLISHED", (f"{publisher.url}/today.md",))
    assert read_source("").data == PAGE


def test_redirects_are_followed_within_the_host(publisher: Publisher) -> None:
    """The former address redirects to today's."""
    publisher.answers["/old.md"] = (308, "/new.md", b"")
    publisher.answers["/new.md"] = (200, "", PAGE)
    assert download([f"{publisher.url}/old.md"]).data == PAGE


@pytest.mark.parametrize(
    "elsewhere", ["http://127.0.0.2:1/page.md", "https://example.org/page.md", "http://[::1]:9/x"]
)
def test_redirects_to_another_host_are_refused(publisher: Publisher, elsewhere: str) -> None:
    """Nobody else's document is taken for the publisher's."""
    publisher.answers["/page.md"] = (302, elsewhere, b"")
    with pytest.raises(SpecError, match="redirects to another host"):
        download([f"{publisher.url}/page.md"])


def test_a_circle_of_redirects_ends(publisher: Publisher) -> None:
    """After a few of them."""
    publisher.answers["/page.md"] = (302, "/page.md", b"")
    with pytest.raises(SpecError, match="redirects more than 5 times"):
        download([f"{publisher.url}/page.md"])
    assert len(publisher.asked) == 6


def test_a_download_is_bounded_in_size(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody fills this machine's memory."""
    monkeypatch.setattr(fetch, "MAX_BYTES", 1 << 20)
    publisher.answers["/page.md"] = (200, "", b"x" * ((1 << 20) + 1))
    with pytest.raises(SpecError, match="more than 1 MB"):
        download([f"{publisher.url}/page.md"])


@pytest.mark.parametrize("path", ["/no-head.md", "/no-body.md"])
def test_a_download_is_bounded_in_time(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A page that does not come, or not to its end, is given up."""
    monkeypatch.setattr(fetch, "MAX_SECONDS", 0.2)
    publisher.answers[path] = (200, "", PAGE)
    with pytest.raises(SpecError, match=r"took longer than 0\.2 seconds"):
        download([f"{publisher.url}{path}"])


def test_what_each_address_answered_is_said(publisher: Publisher) -> None:
    """With what to do instead."""
    publisher.answers["/a.md"] = (500, "", b"")
    with pytest.raises(SpecError) as caught:
        download([f"{publisher.url}/a.md", f"{publisher.url}/b.md", "ftp://127.0.0.1/c.md"])
    said = str(caught.value)
    assert "/a.md: status 500; " in said
    assert "/b.md: status 404; " in said
    assert "only https addresses are allowed" in said
    assert "save the page in a browser" in said


def test_a_host_that_does_not_answer_is_named() -> None:
    """In the words of the network."""
    with pytest.raises(SpecError, match=r"http://127\.0\.0\.1:1/x\.md: .*refused"):
        read_source("http://127.0.0.1:1/x.md")


def test_plain_http_is_for_this_machine_alone() -> None:
    """Whoever sits on the line could write the document."""
    with pytest.raises(SpecError, match="only https addresses are allowed"):
        read_source("http://openrouter.ai/docs/page.md")


def test_a_file_is_named_without_its_folder(tmp_path: Path) -> None:
    """The name goes into openapi.yaml, where no machine's paths belong."""
    (tmp_path / "page.md").write_bytes(PAGE)
    assert read_source(str(tmp_path / "page.md")) == Source("page.md", PAGE)


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a pipe."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(PAGE)))
    assert read_source("-").data == PAGE


def test_a_file_that_is_not_there_is_named() -> None:
    """With what to do."""
    with pytest.raises(SpecError, match=r"^No such file.*FROM="):
        read_source("nowhere.md")


def test_a_file_is_bounded_in_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is larger is no document of this publisher."""
    monkeypatch.setattr(fetch, "MAX_BYTES", 10)
    (tmp_path / "page.md").write_bytes(PAGE)
    with pytest.raises(SpecError, match="too large for an OpenAPI document"):
        read_source(str(tmp_path / "page.md"))


@pytest.mark.parametrize("name", ["openapi.yaml", "in.openapi.yaml", "create-embeddings.md"])
def test_a_folder_gives_the_document_with_a_known_name(tmp_path: Path, name: str) -> None:
    """As in the publisher's repositories."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / name).write_bytes(PAGE)
    (tmp_path / "other.md").write_bytes(PAGE)
    assert read_source(str(tmp_path)).name == name


def test_a_folder_of_dated_editions_gives_the_newest_page(tmp_path: Path) -> None:
    """A page before a whole document of the same day."""
    for name in ("2026-04-18.md", "2026-08-21.md", "openapi-2026-08-21.yaml"):
        (tmp_path / name).write_bytes(PAGE)
    assert read_source(str(tmp_path)).name == "2026-08-21.md"


def test_a_folder_with_one_page_gives_it(tmp_path: Path) -> None:
    """Whatever its name is, if it holds the operation."""
    (tmp_path / "page.md").write_bytes(PAGE)
    (tmp_path / "readme.md").write_bytes(b"# Words")
    assert read_source(str(tmp_path)).name == "page.md"


def test_a_folder_that_leaves_a_choice_is_refused(tmp_path: Path) -> None:
    """With the names that are left."""
    (tmp_path / "a.md").write_bytes(PAGE)
    (tmp_path / "b.md").write_bytes(PAGE)
    with pytest.raises(SpecError, match=r"2 files could be the document: a\.md, b\.md.*FROM="):
        read_source(str(tmp_path))


def test_a_folder_without_a_document_is_refused(tmp_path: Path) -> None:
    """With what was looked for."""
    (tmp_path / "a.md").write_bytes(b"# Words")
    with pytest.raises(SpecError, match="no file in this folder contains /embeddings"):
        read_source(str(tmp_path))
