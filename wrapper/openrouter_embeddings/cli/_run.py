"""`orembed run`: a corpus from file to file."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openrouter_embeddings._extras import JOBS, LOCAL, need_all

from ._client import CREDITS, NUMBER, add_options, make_client, request_options
from ._json import print_json
from ._progress import LINE_INTERVAL, duration, progress_listener
from ._signals import signals_as_interrupts

if TYPE_CHECKING:
    from collections.abc import Callable

    from openrouter_embeddings.jobs import Estimate, JobReport

_DESCRIPTION = """\
Embed every row of SOURCE and write the rows with their vectors to TARGET. If
the job stops, for whatever reason, run the same command again: it continues
where it stopped and pays again only for requests that were in flight. Equal
inputs are embedded once.

SOURCE is a .parquet, .jsonl or .csv file, a .txt file with one text per line,
several files of one kind, or a directory of images. TARGET is a .parquet or
.jsonl file with the columns of SOURCE and `embedding`, or a .npy matrix. Until
TARGET is complete, TARGET.job keeps the vectors. TARGET.errors.jsonl lists the
rows that cannot be embedded, with the reason."""

_EXAMPLES = """\
examples:
  orembed run titles.txt -o titles.npy --local
  orembed run books.parquet -o vectors.parquet --budget 2.50 \\
      --template "{title}: {abstract}" --model openai/text-embedding-3-small
  orembed run books.parquet -o vectors.parquet --input-type search_document \\
      --provider zdr=true --provider max_price.prompt=0.05 --model …
  orembed run books.parquet -o vectors.parquet --dry-run --price 0.02 --model …

Ctrl-C waits for the requests in flight, which cost money anyway, and keeps
their vectors; a second Ctrl-C stops at once. SIGTERM and SIGHUP do the same.

exit status:
  0    success
  1    the service, the network, this machine or the job failed
  2    an option or the input is invalid
  3    the credits or the budget are used up
  130  interrupted by Ctrl-C (143 by SIGTERM, 129 by SIGHUP)
If the job can continue, an error message says how."""


def add(commands: Any) -> None:
    """Add the command and its options."""
    run = commands.add_parser(
        "run",
        help="embed all rows of a file; can be resumed",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = run.add_argument
    option("source", nargs="+", metavar="SOURCE", help="the file, files or directory to embed")
    option("-o", "--output", required=True, type=Path, metavar="TARGET", help="output file")
    option("--column", metavar="C", help='text column; default: the only one, or "text"')
    option("--template", metavar="T", help='text from several columns: "{title}: {body}"')
    option("--images", metavar="C", help="image column, with bytes, paths or URLs")
    option("--key", metavar="C", help="column used as row ID in the errors file")
    option("--only-key", action="store_true", help="copy only the --key column to TARGET")
    option("--delimiter", metavar="CHAR", help="column separator of .csv files")
    types = {"choices": ("float32", "float16"), "default": "float32"}
    option("--precision", **types, help="number type of the vectors in TARGET; default: float32")
    option("--cache", type=Path, metavar="DIR", help="directory of vectors to share between jobs")
    option("--max-errors", **NUMBER, help="stop if more than N rows have no vector")
    option("--retry-errors", action="store_true", help="retry the rows that have no vector")
    option("--dry-run", action="store_true", help="only estimate tokens, cost and time")
    option(
        "--price",
        **CREDITS,
        help="price of a million text tokens, for an estimate (--dry-run) that sends nothing; "
        "without a price, the estimate embeds about 40 inputs",
    )
    option("--json", action="store_true", help="print progress and report as JSON lines")
    add_options(run, leave_out=["deadline"])  # it limits one call, and a job makes many
    run.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from openrouter_embeddings import jobs
    from openrouter_embeddings.errors import EmbeddingsError, InputError
    from openrouter_embeddings.jobs._spec import job_file

    need_all(JOBS | (LOCAL if args.local else {}))
    names = ("column", "template", "images", "key", "only_key", "delimiter")
    reading: Any = {name: getattr(args, name) for name in names}
    options: Any = request_options(args)
    budget = options.pop("budget", None)  # limits the job, not the requests of --dry-run
    estimate = partial(jobs.estimate, args.source, args.output, **reading, **options)
    if args.price is not None and not args.dry_run:
        args.parser.error("--price needs --dry-run; to limit the cost of a job, use --budget")
    if args.dry_run and args.price is not None:  # needs no client
        _print_estimate(estimate(price=args.price), args)
        return
    with (
        signals_as_interrupts(),
        make_client(options, local=args.local, retry_interval=LINE_INTERVAL) as client,
    ):
        if args.dry_run:
            _print_estimate(estimate(client=client), args)
            return
        try:
            with progress_listener(as_json=args.json) as listener:
                report = jobs.embed_file(
                    args.source,
                    args.output,
                    **reading,
                    precision=args.precision,
                    client=client,
                    cache=args.cache,
                    max_errors=args.max_errors,
                    retry_errors=args.retry_errors,
                    on_progress=listener,
                    budget=budget,
                    **options,
                )
        except (EmbeddingsError, OSError, KeyboardInterrupt) as error:
            if not isinstance(error, InputError | jobs.JobError):  # their messages say what to do
                error.add_note(_how_to_continue(error, has_begun=job_file(args.output).exists()))
            raise
    _print_report(report, args)


def _how_to_continue(error: BaseException, *, has_begun: bool) -> str:
    from openrouter_embeddings import errors

    how = "run the same command again to continue"
    if isinstance(error, errors.PaymentRequiredError):
        how = "add credits, then run the same command again"
    elif isinstance(error, errors.BudgetExceededError):
        how = "to continue, run the same command with a larger --budget, or without one"
    elif isinstance(error, errors.APIStatusError) and not isinstance(error, errors.ServerError):
        how = "fix that, then run the same command again"
    kept = "the vectors so far are kept" if has_begun else "nothing has been embedded"
    return f"{kept}; {how}"


def _print_estimate(estimate: Estimate, args: argparse.Namespace) -> None:
    if args.json:
        print_json({"estimate": dataclasses.asdict(estimate)})
        return
    print(f"rows        {estimate.rows:,}")
    print(f"duplicates  {estimate.duplicates:,}")
    print(f"unusable    {estimate.unusable:,}")
    print(f"requests    {estimate.requests:,}")
    print(f"tokens      {_range(estimate.tokens, estimate.tokens_range, '{:,}'.format)}")
    cost = "unknown"
    if estimate.cost is not None and estimate.cost_range is not None:
        cost = f"{_range(estimate.cost, estimate.cost_range, _two_digits)} credits"
    print(f"cost        {cost}")
    if estimate.seconds_range is not None:
        least, most = map(duration, estimate.seconds_range)
        print(f"time        at least {least}, at most {most}")


def _range(number: Any, limits: tuple[Any, Any], to_text: Callable[[Any], str]) -> str:
    about, low, high = map(to_text, (number, *limits))
    return about if low == high else f"about {about} ({low} to {high})"


def _two_digits(amount: Decimal) -> str:
    """The amount rounded to two significant digits, without an exponent."""
    return f"{Decimal(f'{amount:.2g}'):f}"


def _print_report(report: JobReport, args: argparse.Namespace) -> None:
    if args.json:
        print_json({"report": dataclasses.asdict(report)})
        return
    cost = "an unknown number of" if report.usage.cost is None else f"{report.usage.cost:f}"
    spent = f"{report.usage.prompt_tokens:,} tokens, {cost} credits, {duration(report.seconds)}"
    print(
        f"{report.target}: {report.rows:,} rows, vectors of {report.dimensions} dimensions; "
        f"{report.duplicates:,} duplicates, {report.reused:,} from the cache; "
        f"{f'this run: {spent}' if report.usage.requests else 'this run sent no request'}",
        file=sys.stderr,
    )
    if report.damaged:
        vectors = "1 vector was" if report.damaged == 1 else f"{report.damaged:,} vectors were"
        print(f"{vectors} damaged on disk; this run embedded the inputs again", file=sys.stderr)
    if report.errors_file:
        rows = "1 row has" if report.errors == 1 else f"{report.errors:,} rows have"
        hint = "to send refused inputs again, use --retry-errors"
        print(f"{rows} no vector: {report.errors_file} says why; {hint}", file=sys.stderr)
