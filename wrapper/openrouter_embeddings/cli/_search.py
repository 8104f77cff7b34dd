"""`orembed search`, `orembed info` and `orembed map`: what a target holds."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openrouter_embeddings._extras import LOCAL, need_all

from ._client import client_of
from ._json import as_text, for_output, print_json

if TYPE_CHECKING:
    import argparse


def add(commands: Any) -> None:
    """The commands and their options."""
    search = commands.add_parser(
        "search",
        help="the rows of a target that are nearest to a text",
        description="Print the rows of what `orembed run` made that are nearest to QUERY, as JSON "
        "lines. The query is embedded as they were.",
    )
    search.add_argument("target", type=Path, metavar="TARGET", help="a .parquet, .jsonl or .npy")
    search.add_argument("query", metavar="QUERY", help="a text")
    search.add_argument("-k", type=int, default=10, metavar="N", help="rows at most; default: 10")
    search.add_argument("--local", action="store_true", help="use the stand-in, in this process")
    search.set_defaults(run=_search)

    info = commands.add_parser(
        "info",
        help="where a target's vectors come from",
        description="Print where the vectors of what `orembed run` made come from, or how far its "
        "job has come.",
    )
    info.add_argument("target", type=Path, metavar="TARGET", help="a .parquet, .jsonl or .npy")
    info.add_argument("--json", action="store_true", help="all of it as one JSON object")
    info.set_defaults(run=_info)

    page = commands.add_parser(
        "map",
        help="draw the vectors of a target on a page",
        description="Draw what `orembed run` made as points on an HTML page that needs nothing "
        "else, along the two axes on which the vectors differ most. Pointing at a point shows its "
        "row.",
    )
    page.add_argument("target", type=Path, metavar="TARGET", help="a .parquet, .jsonl or .npy")
    page.add_argument("-o", "--output", required=True, type=Path, metavar="PAGE", help="a .html")
    page.add_argument("--color", metavar="C", help="the column that gives points their colours")
    page.add_argument(
        "--points", type=int, default=10_000, metavar="N", help="rows at most; default: 10000"
    )
    page.set_defaults(run=_map)


def _search(given: argparse.Namespace) -> None:
    import orjson  # noqa: PLC0415 - --help needs no imports

    from openrouter_embeddings import jobs  # noqa: PLC0415 - behind an extra
    from openrouter_embeddings.errors import InputError  # noqa: PLC0415 - as above
    from openrouter_embeddings.jobs._formats import target_format  # noqa: PLC0415 - as above
    from openrouter_embeddings.jobs._search import finished  # noqa: PLC0415 - as above

    need_all({**target_format(given.target).needs, **(LOCAL if given.local else {})})
    model = finished(given.target).parameters.model
    if model.startswith("local/") and not (given.local or os.environ.get("OPENROUTER_BASE_URL")):
        raise InputError(f"{given.target} was made with {model}; search it with --local")
    with client_of({"model": model}, local=given.local) as client:
        for match in jobs.search(given.target, given.query, k=given.k, client=client):
            line = {"score": round(match.score, 4), "row": match.row, "columns": match.columns}
            print(for_output(orjson.dumps(line, default=as_text).decode()))


def _info(given: argparse.Namespace) -> None:
    from openrouter_embeddings import jobs  # noqa: PLC0415 - behind an extra

    found = jobs.info(given.target)
    if given.json:
        print_json(found)
        return
    for name, value in found.items():
        if value not in (None, [], "") and name != "source":  # whose digest is for machines
            print(f"{name:18}{_shown(value)}{' credits' if name == 'spent' else ''}")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return json.dumps(value, ensure_ascii=False)


def _map(given: argparse.Namespace) -> None:
    from openrouter_embeddings import jobs  # noqa: PLC0415 - behind an extra

    drawn = jobs.write_map(given.target, given.output, color=given.color, points=given.points)
    print(
        f"{given.output}: {drawn.points:,} of {drawn.rows:,} rows, {drawn.explained:.0%} of the "
        "variance",
        file=sys.stderr,
    )
