"""Search a folder of Markdown and assemble the prompt for a chat model, on a page in the browser.

pip install ".[local]" fastapi lancedb uvicorn pyarrow

python examples/notes_search.py docs             with the local stand-in: no key, no network
python examples/notes_search.py docs --remote    with the service; needs OPENROUTER_API_KEY
"""

# pyright: reportMissingImports=false
import argparse
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import lancedb
import openrouter_embeddings as ore
import pyarrow as pa
import uvicorn
from fastapi import FastAPI
from fastapi.responses import HTMLResponse

LENGTH = 1000  # characters per passage; the local model reads only 256 tokens
PASSAGES = 4  # how many go into the prompt
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Notes</title>
<style>
  body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: auto; padding: 1rem }}
  input {{ font: inherit; width: 100%; padding: .5rem; box-sizing: border-box }}
  article {{ border-top: 1px solid #ccc }} article, details {{ margin-top: 1rem }}
  h2 {{ font-size: 1rem }} small {{ color: #666; font-weight: normal }}
  p, pre {{ white-space: pre-wrap }} pre {{ background: #f4f4f4; padding: 1rem }}
</style>
<h1>Notes</h1>
<form><input name="q" aria-label="Ask your notes" value="{question}" autofocus></form>
{answer}</html>"""


class Passage(NamedTuple):
    """A piece of a file, under its heading."""

    file: str
    heading: str
    text: str


def read_notes(folder: Path) -> Iterator[Passage]:
    """The lines of each section of each file, as many together as fit into LENGTH."""
    for path in sorted(folder.rglob("*.md")):
        file, heading, text, in_code = str(path.relative_to(folder)), path.stem, "", False
        for line in path.read_text("utf-8").splitlines():
            in_code ^= line.startswith("```")
            is_heading = line.startswith("#") and not in_code
            if text.strip() and (is_heading or len(text) + len(line) > LENGTH):
                yield Passage(file, heading, text.strip())
                text = ""
            if is_heading:
                heading = line.strip("# ") or heading
            else:
                text += f"{line}\n"
        if text.strip():
            yield Passage(file, heading, text.strip())


class Notes:
    """The passages of a folder in a table of LanceDB, which is written anew."""

    def __init__(self, folder: Path, store: Path, client: ore.Client) -> None:
        self.client = client
        passages = list(read_notes(folder))
        if not passages:
            raise SystemExit(f"notes_search: no text in {folder}/**/*.md")
        result = client.embed_documents([f"{one.heading}\n{one.text}" for one in passages])
        columns = dict(zip(Passage._fields, zip(*passages, strict=True), strict=True))
        table = pa.table({**columns, "vector": result})
        self.table = lancedb.connect(store).create_table("notes", table, mode="overwrite")
        print(f"{len(passages)} passages, {result.usage.prompt_tokens} tokens, {result.model}")

    def search(self, question: str) -> list[dict[str, Any]]:
        """The passages that are nearest to a question, the nearest first."""
        query = self.client.embed_query(question).vectors[0]
        found = self.table.search(query).distance_type("cosine").limit(PASSAGES)
        return list(found.to_list())


def prompt(question: str, passages: list[dict[str, Any]]) -> str:
    """What a chat model is asked."""
    notes = "\n\n".join(
        f"[{number}] {one['file']}, {one['heading']}:\n{one['text']}"
        for number, one in enumerate(passages, 1)
    )
    return (
        "Answer the question from these notes only, and name the notes that you used, as [1]. "
        f"If they do not answer it, say so.\n\n{notes}\n\nQuestion: {question}"
    )


def page(notes: Notes, question: str) -> str:
    """The HTML of the page, with the passages and the prompt if there is a question."""
    if not question.strip():
        return PAGE.format(question="", answer="")
    passages = notes.search(question)
    asked = prompt(question, passages)
    # To have it answered, send `asked` to a chat model here, for example with the package openai
    # and base_url="https://openrouter.ai/api/v1", and show the answer above the passages.
    articles = "".join(
        f"<article><h2>{escape(one['heading'])} <small>{escape(one['file'])}, "
        f"{1 - one['_distance']:.2f}</small></h2><p>{escape(one['text'])}</p></article>"
        for one in passages
    )
    shown = (
        f"<details><summary>Prompt for a chat model</summary><pre>{escape(asked)}</pre></details>"
    )
    return PAGE.format(question=escape(question), answer=shown + articles)


def make_app(notes: Notes) -> FastAPI:
    """The page as an application."""
    app = FastAPI()

    def search(q: str = "") -> str:  # not async, so FastAPI runs it in a thread
        return page(notes, q)

    app.add_api_route("/", search, response_class=HTMLResponse)
    return app


def main() -> None:
    """Embed the notes, then serve the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="Markdown files, also in folders of it")
    parser.add_argument(
        "--store", type=Path, default=Path("notes.lance"), help="default: %(default)s"
    )
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--remote", action="store_true", help="use the service, not the stand-in")
    parser.add_argument("--model", help="default: local/minilm or openai/text-embedding-3-small")
    args = parser.parse_args()
    model = args.model or ("openai/text-embedding-3-small" if args.remote else "local/minilm")
    make_client = ore.Client if args.remote else ore.Client.local
    with make_client(model=model) as client:
        uvicorn.run(make_app(Notes(args.folder, args.store, client)), port=args.port)


if __name__ == "__main__":
    try:
        main()
    except ore.EmbeddingsError as error:
        sys.exit(f"notes_search: {error}")
