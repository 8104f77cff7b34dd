"""`orembed serve`: the stand-in as a server."""

from __future__ import annotations

import argparse
import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openrouter_embeddings.local.faults import Faults

_DESCRIPTION = """\
Run the stand-in for the service on this machine. It prints its address and key
as environment variables that this package's client reads; pass them to any
other client. Requests name one of these models:
  local/minilm   text and tokens, English; 384 dimensions, `dimensions` from 32;
                 reads the first 256 tokens, within the first 65,536 characters,
                 of each input; `usage` counts only the tokens it read
  local/visual   images as data: URLs, compared by how they look; 144 dimensions
  local/hash     every kind of input, any `dimensions`; not semantic, for tests

--alias lets a model answer to the name of one of the service's models, so that
an application runs unchanged. Its vectors have N dimensions; a request can
shorten them with `dimensions`, as it can at the service, but not ask for more
than N. The response repeats the model name of the request. GET /models and GET
/embeddings/models list all names.

To get an error response, send the header X-Local-Status with a status from 400
to 599, or request the model local/status-429 (or another status). The body is
the one in the API specification. --faults reads a script of faults, for some
requests or at random: error statuses, connection resets, stalls, corrupted
responses, size limits and rate limits. docs/reliability.md lists all faults.

The stand-in rejects what the API specification rejects. The providers behind
the service reject more, such as empty texts. The cost in its responses is made
up: 0.02 credits per million tokens."""


def add(commands: Any) -> None:
    """Add the command and its options."""
    serve = commands.add_parser(
        "serve",
        help="run the stand-in for the service",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
    serve.add_argument("--port", type=_port, default=8900, help="default: 8900; 0: any free port")
    serve.add_argument("--faults", type=_faults, metavar="FILE.toml", help="script of faults")
    serve.add_argument(
        "--alias",
        type=_alias,
        action="append",
        default=[],
        metavar="NAME=MODEL[:N]",
        help="also answer to NAME, with vectors of N dimensions; repeatable: "
        "openai/text-embedding-3-small=local/hash:1536",
    )
    serve.set_defaults(run=_serve)


def _faults(text: str) -> Faults:
    from openrouter_embeddings.local.faults import Faults

    try:
        return Faults.from_toml(Path(text).read_text("utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def _alias(text: str) -> tuple[str, str]:
    from openrouter_embeddings.local.models import with_aliases

    name, equals, target = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} names no model; write NAME=MODEL[:N]")
    try:
        with_aliases({name: target})
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name, target


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port; use a number from 0 to 65535")


def _serve(args: argparse.Namespace) -> None:
    from openrouter_embeddings.local.servers.serve import serve

    try:
        serve(args.host, args.port, args.faults, dict(args.alias))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OSError(error.errno, f"{error.strerror}; --port 0 takes a free one") from None
        raise
