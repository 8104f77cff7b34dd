"""The options of a request on the command line, and the client that they make."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from copy import copy
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from openrouter_embeddings.client import Client
    from openrouter_embeddings.core.options import EmbedOptions


def credits_(text: str) -> Decimal:
    """An amount of credits, as argparse takes it from an argument."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if amount.is_finite() and amount >= 0:
        return amount
    raise argparse.ArgumentTypeError(f"{text!r} is no amount of credits; 2.50, say, is right")


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from None


def fields(text: str) -> dict[str, Any]:
    """A JSON object, or one field as key=value, as argparse takes it from an argument.

    The value is JSON where it can be read as JSON, and text otherwise; dots in the key lead into
    an object: `max_price.prompt=0.1` is `{"max_price": {"prompt": 0.1}}`.
    """
    if text.lstrip().startswith("{"):
        try:
            whole: dict[str, Any] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no JSON object: {error}") from None
        return whole
    key, equals, value = text.partition("=")
    names = key.split(".")
    if not equals or not all(names):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither KEY=VALUE nor a JSON object; zdr=true, for example, is right"
        )
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = value
    *outer, last = names
    made: dict[str, Any] = {last: found}
    for name in reversed(outer):
        made = {name: made}
    return made


class _Merge(argparse.Action):
    """Puts the objects of a repeated option together."""

    def __call__(self, _parser: Any, given: Any, values: Any, _flag: Any = None) -> None:
        setattr(given, self.dest, _merged(getattr(given, self.dest) or {}, values))


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    made = {**one, **other}
    for name in one.keys() & other.keys():
        if isinstance(one[name], dict) and isinstance(other[name], dict):
            made[name] = _merged(one[name], other[name])
    return made


# Every option of `EmbedOptions` that a command has, by its name there. `on_error` is not one of
# them: a job goes on without bad inputs, and `embed` prints a line for each text.
_OPTIONS: dict[str, dict[str, Any]] = {
    "model": {"help": "the model; default with --local: local/minilm"},
    "dimensions": {"type": int, "metavar": "N", "help": "shorter vectors"},
    "input_type": {
        "metavar": "TYPE",
        "help": "what the texts are for: search_document, search_query, …",
    },
    "provider": {
        "type": fields,
        "action": _Merge,
        "metavar": "KEY=VALUE",
        "help": "who may serve it: zdr=true, max_price.prompt=0.1, 'only=[\"azure\"]', or a JSON "
        "object; may be repeated",
    },
    "user": {"metavar": "ID", "help": "your end-user, for the service's abuse detection"},
    "extra_body": {
        "type": fields,
        "action": _Merge,
        "metavar": "KEY=VALUE",
        "help": "a further field of the requests, in the same forms",
    },
    "encoding_format": {
        "choices": ("base64", "float"),
        "help": "how vectors travel; default: base64",
    },
    "batch_size": {"type": int, "metavar": "N", "help": "inputs in a request; default: 128"},
    "concurrency": {"type": int, "metavar": "N", "help": "requests at a time; default: 8"},
    "timeout": {"type": _seconds, "metavar": "SECONDS", "help": "for one attempt; default: 180"},
    "deadline": {
        "type": _seconds,
        "metavar": "SECONDS",
        "help": "for all of it; default: no limit",
    },
    "max_retries": {"type": int, "metavar": "N", "help": "of one request; default: 4"},
    "budget": {
        "type": credits_,
        "metavar": "CREDITS",
        "help": "what it may cost; of a job: all its runs together",
    },
}


def add_options(parser: argparse.ArgumentParser, leave_out: Collection[str] = ()) -> None:
    """Add the options of a request, and --local."""
    for name, settings in _OPTIONS.items():
        if name not in leave_out:
            parser.add_argument(f"--{name.replace('_', '-')}", **settings)
    parser.add_argument("--local", action="store_true", help="use the stand-in, in this process")


def options_of(given: argparse.Namespace) -> EmbedOptions:
    """The options of a request that the command line has set."""
    found: Any = {n: v for n in _OPTIONS if (v := getattr(given, n, None)) is not None}
    options: EmbedOptions = found
    return options


def client_of(options: EmbedOptions, *, local: bool, seldom: float = 0.0) -> Client:
    """The client that a command asks for, which says on standard error what it waits for.

    Where there are many requests, not for each of them: after a line, `seldom` seconds have none.
    """
    from openrouter_embeddings.client import Client  # noqa: PLC0415 - --help needs no imports
    from openrouter_embeddings.errors import InputError  # noqa: PLC0415 - as above

    _say_retries(seldom)
    if local:
        return Client.local(**options)
    if not os.environ.get("OPENROUTER_API_KEY"):
        raise InputError("no API key: set OPENROUTER_API_KEY, or use --local, which needs none")
    if "model" not in options:
        raise InputError("no model: add --model openai/text-embedding-3-small, for example")
    return Client(**options)


def _say_retries(seldom: float) -> None:
    """A line on standard error for a wait, in place of stamina's log record."""
    from stamina import instrumentation  # noqa: PLC0415 - --help needs no imports

    from openrouter_embeddings.errors import EmbeddingsError  # noqa: PLC0415 - as above

    last = -math.inf

    def say(details: instrumentation.RetryDetails) -> None:
        nonlocal last
        if time.monotonic() - last < seldom:
            return
        last = time.monotonic()
        wait = f"{details.wait_for:.1f} s"
        error = copy(details.caused_by)
        if seldom and isinstance(error, EmbeddingsError):
            error.inputs = ()  # positions in one of many requests
        print(f"orembed: {error}; trying again in {wait}", file=sys.stderr)

    instrumentation.set_on_retry_hooks([say])
