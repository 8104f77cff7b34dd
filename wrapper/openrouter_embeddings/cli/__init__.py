"""The command `orembed`."""

import argparse
import io
import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from openrouter_embeddings._version import __version__

from . import _embed, _run, _search, _serve, _signals
from ._json import JSON_ESCAPES, print_json

EXIT_FAILED = 1  # the service, the network or this machine failed
EXIT_USAGE = 2  # invalid options or input; argparse uses the same status
EXIT_SPENT = 3  # the credits or the budget are used up
EXIT_INTERRUPTED = 130

_DESCRIPTION = """\
Turn text into embedding vectors through OpenRouter.

Set the API key in the environment variable OPENROUTER_API_KEY. To use another
address than OpenRouter's, set OPENROUTER_BASE_URL. With --local, a stand-in on
this machine computes the vectors: no key, no network."""


def parser() -> argparse.ArgumentParser:
    """The parser of `orembed` and all its commands."""
    top = argparse.ArgumentParser(
        "orembed", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"orembed {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (_embed, _run, _search, _serve):
        module.add(commands)
    for command in commands.choices.values():
        command.allow_abbrev = False
        command.set_defaults(parser=command)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `orembed` and return its exit status. Errors are a line or two on standard error."""
    _replace_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=JSON_ESCAPES)
    args, unknown = parser().parse_known_args(arguments)
    if unknown:
        _reject(args.parser, unknown)
    try:
        status = _run_command(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # `orembed … | head` closed the pipe; keep Python from complaining when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    return status


def _reject(command: argparse.ArgumentParser, unknown: list[str]) -> NoReturn:
    """Exit with the command's own usage and the closest option; argparse offers neither."""
    options = re.findall(r"--[a-z-]+", command.format_usage())
    near = get_close_matches(unknown[0].partition("=")[0], options, 1, 0.8)
    hint = f"; did you mean {near[0]}?" if near else ""
    command.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")


def _replace_closed_streams() -> None:
    """Replace streams that the shell closed (`2>&-`): other files would get their descriptors."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - stays open


def _run_command(args: argparse.Namespace) -> int:
    from openrouter_embeddings import errors

    try:
        args.run(args)
    except errors.InputError as error:
        return _report_error(args, error, EXIT_USAGE)
    except (errors.BudgetExceededError, errors.PaymentRequiredError) as error:
        return _report_error(args, error, EXIT_SPENT)
    except BrokenPipeError:
        raise
    except (errors.EmbeddingsError, ImportError, OSError) as error:
        return _report_error(args, error, EXIT_FAILED)
    except _signals.Ended as error:
        return _report_error(args, error, 128 + error.number)
    except KeyboardInterrupt as error:
        return _report_error(args, error, EXIT_INTERRUPTED)
    return 0


def _report_error(args: argparse.Namespace, error: BaseException, status: int) -> int:
    """Print the error to standard error and, with --json, as JSON. Returns `status`."""
    message, notes = str(error) or "interrupted", getattr(error, "__notes__", [])
    for line in (message, *notes):
        print(f"orembed: {line}", file=sys.stderr)
    if getattr(args, "json", False):
        record = {"type": type(error).__name__, "message": message, "exit_status": status}
        print_json({"error": {**record, "hint": " ".join(notes) or None}})
    return status
