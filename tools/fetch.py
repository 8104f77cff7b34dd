"""Where a document comes from: a file, a folder, an address, standard input, or the publisher."""

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

# Since July 2026, and before: https://openrouter.ai/docs/llms.txt lists the pages.
_PAGES = "https://openrouter.ai/docs/api/api-reference/embeddings/"
PUBLISHED = (f"{_PAGES}submit-an-embedding-request.md", f"{_PAGES}create-embeddings.md")
MAX_BYTES = 32 << 20  # bytes; the whole document has 1.4 million
MAX_SECONDS = 60.0  # seconds for a download as a whole
_REDIRECTS = 5

_DOCUMENTS = ("openapi.yaml", "openapi.yml", "openapi.json", "in.openapi.yaml")
_NAMED = (*_DOCUMENTS, *(Path(page).name for page in PUBLISHED))
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
SAVE_PAGE_REMEDY = (
    "save the page in a browser (append .md to its address) and name the file: FROM=page.md"
)


@dataclass(frozen=True)
class Source:
    """What was read, and from where."""

    name: str  # a file's name without its folder, or an address
    data: bytes


def read_source(origin: str) -> Source:
    """Read `origin`: a file, a folder, an address, `-` for standard input, "" for the publisher.

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
    except (OSError, ValueError) as error:  # a ValueError of a NUL in the name
        raise SpecError(
            str(getattr(error, "strerror", None) or error),
            remedy="name a file, a folder or an address: FROM=…",
        ) from None


def _checked_size(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise SpecError(
            f"more than {MAX_BYTES >> 20} MB, which is no OpenAPI document of this publisher",
            remedy="name the page or the document itself",
        )
    return data


def _in_folder(folder: Path) -> Path:
    """The document in a folder: by its name, or the newest where names hold dates."""
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
        # a page is taken byte for byte, a whole document is cut
        found = [path for path in found if path.suffix == ".md"] or found
    return _single(folder, found)


def _single(folder: Path, found: list[Path]) -> Path:
    if len(found) == 1:
        return found[0]
    if not found:
        raise SpecError(
            "no file in this folder holds /embeddings",
            remedy="name the page, or the whole document as YAML or JSON",
        )
    names = ", ".join(str(path.relative_to(folder)) for path in found[:6])
    raise SpecError(
        f"{len(found)} files could be the document: {names}",
        remedy="name one of them: FROM=…",
    )


def download(addresses: tuple[str, ...] | list[str]) -> Source:
    """The first of these pages that can be had. Raises SpecError with what each answered."""
    problems = []
    for address in addresses:
        try:
            return Source(address, _within(MAX_SECONDS, partial(_fetch, address)))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = f"it cannot be reached ({str(error) or type(error).__name__})"
            problems.append(f"{address}: {reason}")
        except SpecError as error:
            problems.append(f"{address}: {error.problem}")
    raise SpecError("; ".join(problems), remedy=SAVE_PAGE_REMEDY)


def _within(seconds: float, read: Callable[[], bytes]) -> bytes:
    """What `read` gives, if it does so in time; httpx bounds each step, and not all of them."""
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
        raise SpecError(f"not read within {seconds:g} seconds") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _fetch(address: str) -> bytes:
    """One page; redirects are followed within its host alone."""
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
        raise SpecError("only https is downloaded")


def _body(response: httpx.Response) -> bytes:
    if response.status_code != httpx.codes.OK:
        raise SpecError(f"status {response.status_code}")
    data = bytearray()
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > MAX_BYTES:
            raise SpecError(f"more than {MAX_BYTES >> 20} MB")
    return bytes(data)
