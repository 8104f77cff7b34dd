"""Reads a document from a file, a folder, a URL, standard input, or the publisher's site."""

import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, Queue

import httpx

from tools.openapi import SpecError

# The page since July 2026, then the one before; https://openrouter.ai/docs/llms.txt lists both.
_PAGES = "https://openrouter.ai/docs/api/api-reference/embeddings/"
PUBLISHED = (f"{_PAGES}submit-an-embedding-request.md", f"{_PAGES}create-embeddings.md")
MAX_BYTES = 32 << 20  # the whole document has 1.4 million
MAX_SECONDS = 60.0  # for the whole download
_REDIRECTS = 5

_DOCUMENTS = ("openapi.yaml", "openapi.yml", "openapi.json", "in.openapi.yaml")
_NAMED = (*_DOCUMENTS, *(Path(page).name for page in PUBLISHED))
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
SAVE_PAGE_REMEDY = (
    "save the page in a browser (append .md to its address) and pass the file: FROM=page.md"
)


@dataclass(frozen=True)
class Source:
    """The bytes of a document and where they came from."""

    name: str  # a file name without its folder, or a URL
    data: bytes


def read_source(origin: str) -> Source:
    """Read a file, a folder, a URL, `-` (standard input), or "" (the publisher's page).

    Raises SpecError.
    """
    if not origin:
        return download(PUBLISHED)
    if origin == "-":
        return Source("standard input", _checked_size(sys.stdin.buffer.read(MAX_BYTES + 1)))
    if re.match(r"\w+://", origin):
        return download([origin])
    path = Path(origin)
    try:
        if path.is_dir():
            path = _in_folder(path)
        with path.open("rb") as file:
            return Source(path.name, _checked_size(file.read(MAX_BYTES + 1)))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise SpecError(
            str(getattr(error, "strerror", None) or error),
            remedy="pass a file, a folder or a URL: FROM=…",
        ) from None


def _checked_size(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise SpecError(
            f"larger than {MAX_BYTES >> 20} MB, which is too large for an OpenAPI document",
            remedy="pass the page or the document itself",
        )
    return data


def _in_folder(folder: Path) -> Path:
    """Find the document in a folder by its name, or the newest if the names have dates."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and ".git" not in p.parts)
    for name in _NAMED:
        if found := [path for path in files if path.name == name]:
            return _single(folder, found)
    found = [p for p in files if p.suffix in {".md", ".mdx", ".yaml", ".yml", ".json"}]
    found = [path for path in found if b"/embeddings" in path.read_bytes()[:MAX_BYTES]]
    dated = [(match[0], path) for path in found if (match := _DATE.search(path.name))]
    if found and len(dated) == len(found):
        newest = max(date for date, _ in dated)
        found = [path for date, path in dated if date == newest]
        # prefer a page: it is kept byte for byte
        found = [path for path in found if path.suffix == ".md"] or found
    return _single(folder, found)


def _single(folder: Path, found: list[Path]) -> Path:
    if len(found) == 1:
        return found[0]
    if not found:
        raise SpecError(
            "no file in this folder contains /embeddings",
            remedy="pass the page, or the whole document as YAML or JSON",
        )
    names = ", ".join(str(path.relative_to(folder)) for path in found[:6])
    raise SpecError(
        f"{len(found)} files could be the document: {names}", remedy="pass one of them: FROM=…"
    )


def download(addresses: tuple[str, ...] | list[str]) -> Source:
    """Download the first page that is available. Raises SpecError with the result of each."""
    problems = []
    for address in addresses:
        try:
            return Source(address, _with_timeout(MAX_SECONDS, partial(_fetch, address)))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = f"the request failed ({str(error) or type(error).__name__})"
            problems.append(f"{address}: {reason}")
        except SpecError as error:
            problems.append(f"{address}: {error.problem}")
    raise SpecError("; ".join(problems), remedy=SAVE_PAGE_REMEDY)


def _with_timeout(seconds: float, read: Callable[[], bytes]) -> bytes:
    """Call `read` with a timeout for the whole download; httpx only has one for each step."""
    answers: Queue[bytes | Exception] = Queue()

    def run() -> None:
        try:
            answers.put(read())
        except Exception as error:  # noqa: BLE001 - raised again below
            answers.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        raise SpecError(f"the download took longer than {seconds:g} seconds") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _fetch(address: str) -> bytes:
    """Download one page; follow redirects only within its host."""
    url = httpx.URL(address)
    with httpx.Client(timeout=10.0) as client:
        for _ in range(_REDIRECTS + 1):
            _check_scheme(url)
            with client.stream("GET", url, headers={"Accept": "text/markdown, */*"}) as response:
                if response.next_request is None:
                    return _body(response)
                there = response.next_request.url
            if (there.host, there.port) != (url.host, url.port) or there.scheme != url.scheme:
                raise SpecError(f"it redirects to another host, {there.scheme}://{there.host}")
            url = there
    raise SpecError(f"it redirects more than {_REDIRECTS} times")


def _check_scheme(url: httpx.URL) -> None:
    if url.scheme != "https" and not (url.scheme == "http" and url.host in {"127.0.0.1", "::1"}):
        raise SpecError("only https addresses are allowed")


def _body(response: httpx.Response) -> bytes:
    if response.status_code != httpx.codes.OK:
        raise SpecError(f"status {response.status_code}")
    data = bytearray()
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > MAX_BYTES:
            raise SpecError(f"more than {MAX_BYTES >> 20} MB")
    return bytes(data)
