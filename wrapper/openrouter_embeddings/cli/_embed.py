"""`orembed embed`: texts from the command line or standard input."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._client import add_options, make_client, request_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openrouter_embeddings.client import Client
    from openrouter_embeddings.result import Usage

_DESCRIPTION = """\
Embed texts and print one JSON line for each: {"index":0,"embedding":[…]}. With
--output, save all vectors as one float32 matrix in a .npy file instead. The
number of tokens and the cost go to standard error."""

_EXAMPLES = """\
examples:
  orembed embed --local "a cat" "a dog"
  orembed embed --model openai/text-embedding-3-small --dimensions 256 "a cat"
  cat titles.txt | orembed embed --local --output titles.npy -

exit status:
  0  success
  1  the service, the network or this machine failed
  2  an option or a text is invalid
  3  the credits or the budget are used up"""


def add(commands: Any) -> None:
    """Add the command and its options."""
    embed = commands.add_parser(
        "embed",
        help="embed texts",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    embed.add_argument("texts", nargs="+", metavar="TEXT", help="a text; - reads lines of stdin")
    embed.add_argument("--output", type=_npy, metavar="FILE.npy", help="where to save the vectors")
    add_options(embed)
    embed.set_defaults(run=_embed)


def _npy(text: str) -> Path:
    if not text.endswith(".npy"):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .npy, the only output format")
    if Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a directory; name a file")
    return Path(text)


def _embed(args: argparse.Namespace) -> None:
    from openrouter_embeddings.errors import InputError

    if args.texts.count("-") > 1:
        raise InputError("- is given more than once, but standard input can be read only once")
    with make_client(request_options(args), local=args.local) as client:
        usage = _save(client, args) if args.output else _print(client, args)
    cost = "unknown" if usage.cost is None else f"{usage.cost:f}"
    print(f"{usage.prompt_tokens} tokens, cost {cost} credits", file=sys.stderr)


def _texts(args: argparse.Namespace) -> Iterator[str]:
    for text in args.texts:
        yield from _lines() if text == "-" else [text]


def _lines() -> Iterator[str]:
    """The lines of standard input. Raises InputError with the number of a line that is invalid."""
    from openrouter_embeddings.errors import InputError

    number = 0
    for number, raw in enumerate(sys.stdin.buffer, 1):
        try:
            line = raw.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise InputError(f"line {number} of standard input is not UTF-8; convert it") from None
        if not line:
            raise InputError(f"line {number} of standard input is empty; remove empty lines")
        yield line
    if not number:
        raise InputError("standard input is empty; write one text per line to it")


def _print(client: Client, args: argparse.Namespace) -> Usage:
    from openrouter_embeddings._json import dumps
    from openrouter_embeddings.core.vectors import nine_digits
    from openrouter_embeddings.result import Usage

    usage = Usage()
    for part in client.embed_stream(_texts(args)):
        for row, vector in enumerate(nine_digits(part.vectors).tolist()):
            print(dumps({"index": part.start + row, "embedding": vector}).decode())
        usage += part.usage
    return usage


def _save(client: Client, args: argparse.Namespace) -> Usage:
    import numpy as np

    part_file = args.output.with_suffix(".npy.part")
    with part_file.open("wb") as file:  # fails here, before any request costs money
        try:
            result = client.embed([*_texts(args)])
            np.save(file, result.vectors)
        except BaseException:
            part_file.unlink()
            raise
    part_file.replace(args.output)
    rows, width = result.vectors.shape
    vectors = "1 vector" if rows == 1 else f"{rows} vectors"
    print(f"{args.output}: {vectors} of {width} dimensions", file=sys.stderr)
    return result.usage
