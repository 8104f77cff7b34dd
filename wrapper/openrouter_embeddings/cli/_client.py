"""Request options on the command line, and the client made from them."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from copy import copy
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from openrouter_embeddings.client import Client
    from openrouter_embeddings.core.options import EmbedOptions

LOCAL_HELP = "use the stand-in: no key, no network"


def credit_amount(text: str) -> Decimal:
    """Parse an amount of credits, for argparse."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if amount.is_finite() and amount >= 0:
        return amount
    raise argparse.ArgumentTypeError(f"{text!r} is not an amount of credits; write 2.50, say")


def _number(convert: Callable[[str], float], kind: str, text: str) -> float:
    """Parse a number, for argparse."""
    try:
        return convert(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not {kind}") from None


def json_fields(text: str) -> dict[str, Any]:
    """Parse a JSON object, or one field as KEY=VALUE, for argparse.

    VALUE is parsed as JSON; if that fails, it is text. Dots in KEY lead into nested objects:
    `max_price.prompt=0.1` is `{"max_price": {"prompt": 0.1}}`.
    """
    if text.lstrip().startswith("{"):
        try:
            whole: dict[str, Any] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object: {error}") from None
        return whole
    key, equals, value = text.partition("=")
    names = key.split(".")
    if not equals or not all(names):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither KEY=VALUE nor a JSON object; write zdr=true, for example"
        )
    try:
        field: Any = json.loads(value)
    except (ValueError, RecursionError):
        field = value
    *outer, last = names
    fields = {last: field}
    for name in reversed(outer):
        fields = {name: fields}
    return fields


class _MergeFields(argparse.Action):
    """Merges the objects of a repeated option."""

    def __call__(self, _parser: Any, args: Any, values: Any, _flag: Any = None) -> None:
        setattr(args, self.dest, _merged(getattr(args, self.dest) or {}, values))


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Both objects in one, nested objects too; elsewhere the newer value replaces the older."""
    merged = {**old, **new}
    for name in old.keys() & new.keys():
        if isinstance(old[name], dict) and isinstance(new[name], dict):
            merged[name] = _merged(old[name], new[name])
    return merged


NUMBER = {"type": partial(_number, int, "a whole number"), "metavar": "N"}
_ENCODING = {"choices": ("base64", "float")}
_SECONDS = {"type": partial(_number, float, "a number of seconds"), "metavar": "SECONDS"}
CREDITS = {"type": credit_amount, "metavar": "CREDITS"}
_FIELDS = {"type": json_fields, "action": _MergeFields, "metavar": "KEY=VALUE"}

# The command-line form of every option in `EmbedOptions` but three. `on_error`: `run` always skips
# inputs that cannot be embedded, and `embed` prints a line for every text. `headers`: every user of
# the machine can read a command line, and a header may be a password. `trace_propagation`: the
# command uses no OpenTelemetry.
_OPTIONS: dict[str, dict[str, Any]] = {
    "model": {"help": "the model; default with --local: local/minilm"},
    "dimensions": {**NUMBER, "help": "length of the vectors; default: the model's own"},
    "input_type": {"metavar": "TYPE", "help": "role of texts: search_document, search_query, …"},
    "provider": {
        **_FIELDS,
        "help": "which providers may serve the request: zdr=true, max_price.prompt=0.1, "
        "'only=[\"azure\"]', or a JSON object; repeatable",
    },
    "user": {"metavar": "ID", "help": "ID of your end user, for the service's abuse detection"},
    "extra_body": {**_FIELDS, "help": "more request fields, as for --provider; repeatable"},
    "encoding_format": {**_ENCODING, "help": "how the service sends vectors; default: base64"},
    "batch_size": {**NUMBER, "help": "inputs per request; default: 128"},
    "concurrency": {**NUMBER, "help": "requests in flight; default: 8"},
    "timeout": {**_SECONDS, "help": "limit for one attempt; default: 180"},
    "deadline": {**_SECONDS, "help": "limit for the whole command; default: none"},
    "max_retries": {**NUMBER, "help": "retries per request; default: 4"},
    "budget": {**CREDITS, "help": "maximum cost; a job counts all its runs together"},
}


def add_options(parser: argparse.ArgumentParser, leave_out: Collection[str] = ()) -> None:
    """Add the request options, and --local."""
    for name, settings in _OPTIONS.items():
        if name not in leave_out:
            parser.add_argument(f"--{name.replace('_', '-')}", **settings)
    parser.add_argument("--local", action="store_true", help=LOCAL_HELP)


def request_options(args: argparse.Namespace) -> EmbedOptions:
    """The request options that the command line sets."""
    found: Any = {n: v for n in _OPTIONS if (v := getattr(args, n, None)) is not None}
    options: EmbedOptions = found
    return options


def make_client(options: EmbedOptions, *, local: bool, retry_interval: float = 0.0) -> Client:
    """A client for the service, or of the stand-in, that reports retries on standard error.

    After it has reported a retry, it reports no other for `retry_interval` seconds.
    """
    from openrouter_embeddings.client import Client
    from openrouter_embeddings.errors import InputError

    _report_retries(retry_interval)
    if local:
        return Client.local(**options)
    if not os.environ.get("OPENROUTER_API_KEY"):
        raise InputError("no API key: set OPENROUTER_API_KEY, or use --local, which needs none")
    if "model" not in options:
        raise InputError("no model: add --model openai/text-embedding-3-small, for example")
    return Client(**options)


def _report_retries(interval: float) -> None:
    """Print a line on standard error for a retry, in place of stamina's log record."""
    from stamina import instrumentation

    from openrouter_embeddings.errors import EmbeddingsError

    last = -math.inf

    def report(details: instrumentation.RetryDetails) -> None:
        nonlocal last
        if time.monotonic() - last < interval:
            return
        last = time.monotonic()
        error = copy(details.caused_by)
        if interval and isinstance(error, EmbeddingsError):
            error.inputs = ()  # positions within one of many requests would mislead
        print(f"orembed: {error}; trying again in {details.wait_for:.1f} s", file=sys.stderr)

    instrumentation.set_on_retry_hooks([report])
