"""`orembed search`, `orembed info` and `orembed map`: commands that read a target."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from openrouter_embeddings._extras import LOCAL, need_all

from ._client import LOCAL_HELP, NUMBER, make_client
from ._json import for_stdout, print_json

_TARGET: Any = {"type": Path, "metavar": "TARGET", "help": "a .parquet, .jsonl or .npy file"}


def add(commands: Any) -> None:
    """Add the commands and their options."""
    search = commands.add_parser(
        "search",
        help="find the rows nearest to a text",
        description="Print the rows of TARGET nearest to QUERY as JSON lines. TARGET is a file "
        "that `orembed run` wrote; the query is embedded with the model of its rows.",
    )
    search.add_argument("target", **_TARGET)
    search.add_argument("query", metavar="QUERY", help="a text")
    search.add_argument("-k", **NUMBER, default=10, help="rows to print; default: 10")
    search.add_argument("--local", action="store_true", help=LOCAL_HELP)
    search.set_defaults(run=_search)

    info = commands.add_parser(
        "info",
        help="show where the vectors of a file come from",
        description="Print the model, the dimensions and other facts about the vectors in TARGET, "
        "a file that `orembed run` wrote. If the job has not finished, print its progress.",
    )
    info.add_argument("target", **_TARGET)
    info.add_argument("--json", action="store_true", help="print everything as one JSON object")
    info.set_defaults(run=_info)

    page = commands.add_parser(
        "map",
        help="draw the vectors of a file as points on a page",
        description="Draw the rows of TARGET, a file that `orembed run` wrote, as points on one "
        "self-contained HTML page, along the two axes on which their vectors differ most. Move "
        "the mouse over a point, or tap it, to see its row.",
    )
    page.add_argument("target", **_TARGET)
    page.add_argument("-o", "--output", required=True, type=Path, metavar="PAGE", help="HTML file")
    page.add_argument("--color", metavar="C", help="colour the points by this column")
    page.add_argument("--points", **NUMBER, default=10_000, help="rows to draw; default: 10000")
    page.set_defaults(run=_map)


def _search(args: argparse.Namespace) -> None:
    from openrouter_embeddings import jobs
    from openrouter_embeddings._json import dumps
    from openrouter_embeddings.errors import InputError
    from openrouter_embeddings.jobs._formats import target_format
    from openrouter_embeddings.jobs._search import finished

    need_all({**target_format(args.target).needs, **(LOCAL if args.local else {})})
    model = finished(args.target).parameters.model
    if model.startswith("local/") and not (args.local or os.environ.get("OPENROUTER_BASE_URL")):
        raise InputError(f"{args.target} was made with {model}; search it with --local")
    with make_client({"model": model}, local=args.local) as client:
        for match in jobs.search(args.target, args.query, k=args.k, client=client):
            line = {"score": round(match.score, 4), "row": match.row, "columns": match.columns}
            print(for_stdout(dumps(line, default=str).decode()))


def _info(args: argparse.Namespace) -> None:
    from openrouter_embeddings import jobs

    facts = jobs.info(args.target)
    if args.json:
        print_json(facts)
        return
    for name, value in facts.items():
        if value not in (None, [], "") and name != "source":  # only digests
            print(f"{name:18}{_shown(value)}{' credits' if name == 'spent' else ''}")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return json.dumps(value, ensure_ascii=False)


def _map(args: argparse.Namespace) -> None:
    from openrouter_embeddings import jobs

    drawn = jobs.write_map(args.target, args.output, color=args.color, points=args.points)
    print(
        f"{args.output}: {drawn.points:,} of {drawn.rows:,} rows, on axes with "
        f"{drawn.explained:.0%} of the variance",
        file=sys.stderr,
    )
