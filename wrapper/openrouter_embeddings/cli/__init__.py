"""The command `orembed`."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from openrouter_embeddings._version import __version__

from . import _run, _search, _signals
from ._client import add_options, client_of, options_of
from ._json import ESCAPED, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from openrouter_embeddings.client import Client
    from openrouter_embeddings.result import EmbeddingResult

EXIT_FAILED = 1  # the service, the connection or the machine
EXIT_USAGE = 2  # what was asked for cannot be right; argparse's own status, too
EXIT_SPENT = 3  # the credits or the budget
EXIT_INTERRUPTED = 130

_DESCRIPTION = """\
Turn text into embedding vectors through OpenRouter.

The service and the key come from the environment: OPENROUTER_API_KEY, and OPENROUTER_BASE_URL
for another address. With --local nothing leaves this machine and no key is needed."""

_EMBED = """\
Embed texts and print a JSON line for each: {"index":0,"embedding":[…]}.
With --output, save all vectors as one float32 matrix in a .npy file instead.
Tokens and cost go to standard error."""

_EMBED_EXAMPLES = """\
examples:
  orembed embed --local "a cat" "a dog"
  orembed embed --model openai/text-embedding-3-small --dimensions 256 "a cat"
  cat titles.txt | orembed embed --local --output titles.npy -

exit status: 0 done, 1 the service or the machine failed, 2 the request cannot be right, 3 the
credits or the budget are used up."""

_SERVE = """\
Run the stand-in for the service on this machine. It prints the address and the key, as
this package's client takes them from the environment; pass them to any other. A request has to
name one of its models:
  local/minilm   text and tokens, English, 384 dimensions, 32 or more by `dimensions`;
                 reads the first 256 tokens of an input, in its first 65,536 characters;
                 `usage` counts these
  local/visual   images as data: URLs, by how they look; 144 dimensions
  local/hash     every kind of input, any `dimensions`, not semantic: for tests

--alias gives one of them the name of a service's model, so that an application runs unchanged. Its
vectors have N dimensions; `dimensions` in a request shortens them, as it does at the service, and
more than N are refused. The answer names the model as the request did. GET /models and
GET /embeddings/models list every name.

To see an error, send the header X-Local-Status with a status from 400 to 599, or ask for the model
local/status-429 (or any other status): the answer has the body that the specification gives.
--faults reads a script of what goes wrong (error statuses, resets, stalls, corrupted answers, size
and rate limits) for which requests or how often; docs/reliability.md lists all faults.
It refuses what the specification refuses; the providers behind the service refuse more, empty
texts for one. The cost in its answers is a pretence: 0.02 credits per million tokens."""


def parser() -> argparse.ArgumentParser:
    """Everything `orembed` understands."""
    top = argparse.ArgumentParser(
        "orembed", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"orembed {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    embed = commands.add_parser(
        "embed",
        help="embed texts",
        description=_EMBED,
        epilog=_EMBED_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    embed.add_argument("texts", nargs="+", metavar="TEXT", help="a text; - reads lines from stdin")
    embed.add_argument("--output", type=_npy, metavar="FILE.npy", help="save, not print")
    add_options(embed)
    embed.set_defaults(run=_embed)

    _run.add(commands)
    _search.add(commands)

    serve = commands.add_parser(
        "serve",
        help="run the stand-in for the service",
        description=_SERVE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
    serve.add_argument("--port", type=_port, default=8900, help="default: 8900; 0 takes a free one")
    serve.add_argument("--faults", type=_faults, metavar="FILE.toml", help="script of faults")
    serve.add_argument(
        "--alias",
        type=_alias,
        action="append",
        default=[],
        metavar="NAME=MODEL[:N]",
        help="also answer to NAME, with vectors of N dimensions; can be given several times: "
        "openai/text-embedding-3-small=local/hash:1536",
    )
    serve.set_defaults(run=_serve)
    for command in commands.choices.values():
        command.set_defaults(parser=command)
    return top


def _faults(text: str) -> Any:
    from openrouter_embeddings.local.faults import Faults  # noqa: PLC0415 - behind an extra

    try:
        return Faults.from_toml(Path(text).read_text("utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def _alias(text: str) -> tuple[str, str]:
    from openrouter_embeddings.local.models import with_aliases  # noqa: PLC0415 - behind an extra

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
    raise argparse.ArgumentTypeError(f"{text!r} is no port; 0 to 65535 is right")


def _npy(text: str) -> Path:
    if text.endswith(".npy"):
        if Path(text).is_dir():
            raise argparse.ArgumentTypeError(f"{text!r} is a directory")
        return Path(text)
    raise argparse.ArgumentTypeError(f"{text!r} does not end in .npy, which is what is written")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `orembed`; returns the exit status. Errors go to standard error in a sentence or two."""
    _open_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=ESCAPED)
    given, unknown = parser().parse_known_args(arguments)
    if unknown:
        _refuse(given.parser, unknown)
    try:
        status = _run_command(given)
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader has seen enough; without this Python complains while it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    return status


def _refuse(command: argparse.ArgumentParser, unknown: list[str]) -> NoReturn:
    """With the usage of the command; argparse has that of `orembed` alone, and no suggestions."""
    options = re.findall(r"--[a-z-]+", command.format_usage())
    near = get_close_matches(unknown[0].partition("=")[0], options, 1, 0.8)
    hint = f"; did you mean {near[0]}?" if near else ""
    command.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")


def _open_streams() -> None:
    """What the shell has closed (`2>&-`) goes nowhere; otherwise the next file would get it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - for good


def _run_command(given: argparse.Namespace) -> int:
    from openrouter_embeddings import errors  # noqa: PLC0415 - --help needs no imports

    try:
        given.run(given)
    except errors.InputError as error:
        return _fail(given, error, EXIT_USAGE)
    except (errors.BudgetExceededError, errors.PaymentRequiredError) as error:
        return _fail(given, error, EXIT_SPENT)
    except BrokenPipeError:
        raise
    except (errors.EmbeddingsError, ImportError, OSError) as error:
        return _fail(given, error, EXIT_FAILED)
    except _signals.Ended as error:
        return _fail(given, error, 128 + error.number)
    except KeyboardInterrupt as error:
        return _fail(given, error, EXIT_INTERRUPTED)
    return 0


def _fail(given: argparse.Namespace, error: BaseException, status: int) -> int:
    """Say what went wrong, as JSON too where a command prints JSON."""
    message, notes = str(error) or "interrupted", getattr(error, "__notes__", [])
    for line in (message, *notes):
        print(f"orembed: {line}", file=sys.stderr)
    if getattr(given, "json", False):
        record = {"type": type(error).__name__, "message": message, "exit_status": status}
        print_json({"error": {**record, "hint": " ".join(notes) or None}})
    return status


def _embed(given: argparse.Namespace) -> None:
    from openrouter_embeddings.errors import InputError  # noqa: PLC0415 - --help needs no imports

    if given.texts.count("-") > 1:
        raise InputError("standard input can be read once, so - stands once")
    with client_of(options_of(given), local=given.local) as client:
        usage = _save(client, given) if given.output else _print(client, given)
    cost = "unknown" if usage.cost is None else f"{usage.cost:f}"
    print(f"{usage.prompt_tokens} tokens, cost {cost} credits", file=sys.stderr)


def _texts(given: argparse.Namespace) -> Iterator[str]:
    for text in given.texts:
        if text == "-":
            yield from _lines()
        else:
            yield text


def _lines() -> Iterator[str]:
    """The lines of standard input, every one a text. Raises InputError with the line's number."""
    from openrouter_embeddings.errors import InputError  # noqa: PLC0415 - --help needs no imports

    number = 0
    for number, raw in enumerate(sys.stdin.buffer, 1):
        try:
            line = raw.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise InputError(f"line {number} of standard input is not UTF-8") from None
        if not line:
            raise InputError(f"line {number} of standard input is empty; leave such lines out")
        yield line
    if not number:
        raise InputError("standard input is empty; a text on each line is needed")


def _print(client: Client, given: argparse.Namespace) -> Any:
    import orjson  # noqa: PLC0415 - --help needs no imports

    from openrouter_embeddings.result import Usage  # noqa: PLC0415 - --help needs no imports

    usage = Usage()
    for part in client.embed_stream(_texts(given)):
        for row, vector in enumerate(part.vectors):
            line = {"index": part.start + row, "embedding": vector}
            print(orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY).decode())
        usage += part.usage
    return usage


def _save(client: Client, given: argparse.Namespace) -> Any:
    import numpy as np  # noqa: PLC0415 - --help needs no imports

    beside = given.output.with_suffix(".npy.part")
    with beside.open("wb") as file:  # before anything is paid for
        try:
            result: EmbeddingResult = client.embed([*_texts(given)])
            np.save(file, result.vectors)
        except BaseException:
            beside.unlink()
            raise
    beside.replace(given.output)
    rows, width = result.vectors.shape
    vectors = "1 vector" if rows == 1 else f"{rows} vectors"
    print(f"{given.output}: {vectors} of {width} dimensions", file=sys.stderr)
    return result.usage


def _serve(given: argparse.Namespace) -> None:
    from openrouter_embeddings.local.servers.serve import serve  # noqa: PLC0415 - behind an extra

    serve(given.host, given.port, given.faults, dict(given.alias))
