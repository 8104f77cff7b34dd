"""`orembed run`: a corpus from file to file."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import textwrap
import time
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openrouter_embeddings._extras import JOBS, LOCAL, need_all

from ._client import add_options, client_of, credits_, options_of
from ._json import print_json
from ._signals import ended_as_by_ctrl_c

if TYPE_CHECKING:
    from collections.abc import Callable

    from openrouter_embeddings.jobs import Estimate, JobReport, Progress

_RUN = """\
Embed every row of a file, and write the rows with their vectors to another. Run the same command
again after it was stopped, however it was stopped: it goes on, and pays only for requests that
were in flight once more. Equal inputs are embedded once.

SOURCE is a .parquet, .jsonl or .csv file, a .txt file with a text a line, several of one kind, or
a directory of images. TARGET is a .parquet or .jsonl file with the columns of the source and
`embedding`, or a .npy matrix. Until it is whole, what has come is kept in TARGET.job; rows that
cannot be embedded stand in TARGET.errors.jsonl, with the reason."""

_EXAMPLES = """\
examples:
  orembed run titles.txt -o titles.npy --local
  orembed run books.parquet -o vectors.parquet --template "{title}: {abstract}" \\
      --model openai/text-embedding-3-small --budget 2.50
  orembed run books.parquet -o vectors.parquet --model … \\
      --input-type search_document --provider zdr=true --provider max_price.prompt=0.05
  orembed run books.parquet -o vectors.parquet --dry-run --price 0.02 --model …

Ctrl-C waits for the requests that are under way, which are being paid for, and keeps their vectors;
a second one stops at once. SIGTERM and SIGHUP do the same.

exit status: 0 done, 1 the service, the machine or the job failed, 2 what was asked for cannot be
right, 3 the credits or the budget are used up, 130 interrupted (143 by SIGTERM, 129 by SIGHUP).
When a job can go on where it was stopped, it says how."""

EVERY = 10.0  # seconds between lines about progress, and between those about failures


_STOPPING = "finishing the requests already sent; Ctrl-C again drops them"


def add(commands: Any) -> None:
    """The command and its options."""
    run = commands.add_parser(
        "run",
        help="embed a file into a file, resumably",
        description=_RUN,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    run.add_argument("source", nargs="+", metavar="SOURCE", help="what is embedded")
    run.add_argument("-o", "--output", required=True, type=Path, metavar="TARGET", help="written")
    run.add_argument("--column", metavar="C", help="with the text, where there are several")
    run.add_argument("--template", metavar="T", help='the text, as in "{title}: {body}"')
    run.add_argument("--images", metavar="C", help="a column with images: bytes, paths or URLs")
    run.add_argument("--key", metavar="C", help="the column that names a row among the errors")
    run.add_argument("--only-key", action="store_true", help="no other column in the target")
    run.add_argument("--delimiter", metavar="CHAR", help="between the columns of a .csv file")
    run.add_argument("--precision", choices=("float32", "float16"), default="float32")
    run.add_argument("--cache", type=Path, metavar="DIR", help="remembers vectors across jobs")
    run.add_argument(
        "--max-errors", type=int, metavar="N", help="stop when more rows have no vector"
    )
    run.add_argument(
        "--retry-errors", action="store_true", help="ask again for rows without a vector"
    )
    run.add_argument("--dry-run", action="store_true", help="say what it would take; see --price")
    run.add_argument(
        "--price", type=credits_, metavar="CREDITS",
        help="for a million tokens of text; without it --dry-run embeds some 40 inputs",
    )  # fmt: skip
    run.add_argument("--json", action="store_true", help="progress and report as JSON lines")
    add_options(run, leave_out=["deadline"])  # which would be that of a request
    run.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> None:
    from openrouter_embeddings import jobs  # noqa: PLC0415 - behind an extra
    from openrouter_embeddings.errors import EmbeddingsError, InputError  # noqa: PLC0415 - as above
    from openrouter_embeddings.jobs._spec import job_file  # noqa: PLC0415 - behind an extra

    need_all(JOBS | (LOCAL if given.local else {}))
    names = ("column", "template", "images", "key", "only_key", "delimiter")
    reading: Any = {name: getattr(given, name) for name in names}
    options: Any = options_of(given)
    budget = options.pop("budget", None)  # of the job, and not of what --dry-run asks
    estimate = partial(jobs.estimate, given.source, given.output, **reading, **options)
    if given.price is not None and not given.dry_run:
        given.parser.error("--price is for --dry-run; --budget is what a job may cost")
    if given.dry_run and given.price is not None:  # which needs no service
        _say(estimate(price=given.price), given)
        return
    with ended_as_by_ctrl_c(), client_of(options, local=given.local, seldom=EVERY) as client:
        if given.dry_run:
            _say(estimate(client=client), given)
            return
        listener, close = _listener(given)
        try:
            report = jobs.embed_file(
                given.source,
                given.output,
                **reading,
                precision=given.precision,
                client=client,
                cache=given.cache,
                max_errors=given.max_errors,
                retry_errors=given.retry_errors,
                on_progress=listener,
                budget=budget,
                **options,
            )
        except (EmbeddingsError, OSError, KeyboardInterrupt) as error:
            close()
            if not isinstance(error, InputError | jobs.JobError):  # which say it themselves
                error.add_note(_how_to_go_on(error, has_begun=job_file(given.output).exists()))
            raise
        finally:
            close()
    _report(report, given)


def _how_to_go_on(error: BaseException, *, has_begun: bool) -> str:
    from openrouter_embeddings import errors  # noqa: PLC0415 - as above

    when = ""
    if isinstance(error, errors.PaymentRequiredError):
        when = "when there are credits again, "
    elif isinstance(error, errors.BudgetExceededError):
        when = "with a larger --budget, or without one, "
    elif isinstance(error, errors.APIStatusError) and not isinstance(error, errors.ServerError):
        when = "when that is mended, "
    kept = "what came is kept" if has_begun else "nothing had come"
    return f"{kept}; {when}the same command goes on"


def _listener(given: argparse.Namespace) -> tuple[Callable[[Progress], None], Callable[[], None]]:
    if given.json:
        return _print_json, _nothing
    if sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        return _bar()
    last = time.monotonic()

    def say(progress: Progress) -> None:
        nonlocal last
        if progress.stage == "stopping":
            if progress.in_flight:
                print(f"orembed: {_STOPPING}", file=sys.stderr, flush=True)
        elif time.monotonic() - last >= EVERY:
            last = time.monotonic()
            print(line(progress), file=sys.stderr, flush=True)

    return say, _nothing


def _nothing() -> None:
    """There is nothing to close."""


def line(progress: Progress) -> str:
    """Where a job is, in a line."""
    rows = f"{progress.rows:,} of {progress.total:,} rows"
    return f"{progress.stage} {rows}: {details(progress)}"


def details(progress: Progress) -> str:
    """What it has taken, and will take."""
    done, left = progress.rows - progress.earlier, progress.total - progress.rows
    rate = done / max(progress.seconds, 1e-3)
    embedding = progress.stage == "embedding"
    said = [f"{rate:,.0f} rows/s"] if embedding else []
    said.append(f"{progress.usage.prompt_tokens:,} tokens")
    if (cost := progress.usage.cost) is not None:
        of = f" of about {cost + cost * left / done:.4f}" if embedding and done else ""
        said.append(f"{cost:.4f}{of} credits")
    if embedding:
        said.append(f"{progress.in_flight} of {progress.concurrency} under way")
    if progress.usage.retries:
        said.append(f"{progress.usage.retries} retries")
    if embedding and done:
        said.append(f"{_time(left / rate)} to go")
    return ", ".join(said)


def wrapped(progress: Progress, width: int) -> str:
    """The details, broken between two of them only."""
    parts = details(progress).replace(" ", "\xa0").replace(",\xa0", ", ")
    return textwrap.fill(parts, width).replace("\xa0", " ")


def _rounded(amount: Decimal) -> str:
    """Two digits, wherever they stand."""
    return f"{Decimal(f'{amount:.2g}'):f}"


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def _bar() -> tuple[Callable[[Progress], None], Callable[[], None]]:
    from openrouter_embeddings._extras import need  # noqa: PLC0415 - --help needs no imports

    console = need("rich.console", "jobs")
    rich = need("rich.progress", "jobs")
    rows = rich.TextColumn("{task.completed:,} of {task.total:,} rows")
    bar = rich.Progress(rich.TextColumn("{task.description}"), rich.BarColumn(), rows)
    task = bar.add_task("beginning", total=0)
    terminal = console.Console(stderr=True)
    live = need("rich.live", "jobs").Live(bar, console=terminal, transient=True)
    live.start()

    def show(progress: Progress) -> None:
        bar.update(task, total=progress.total, completed=progress.rows, description=progress.stage)
        is_waiting = progress.stage == "stopping" and progress.in_flight
        said = _STOPPING if is_waiting else wrapped(progress, terminal.width)
        live.update(console.Group(bar, need("rich.text", "jobs").Text(said)))

    return show, live.stop


def _print_json(progress: Progress) -> None:
    print_json({"progress": dataclasses.asdict(progress)})


def _say(estimate: Estimate, given: argparse.Namespace) -> None:
    if given.json:
        print_json({"estimate": dataclasses.asdict(estimate)})
        return
    print(f"rows        {estimate.rows:,}")
    print(f"duplicates  {estimate.duplicates:,}")
    print(f"unusable    {estimate.unusable:,}")
    print(f"requests    {estimate.requests:,}")
    print(f"tokens      {_about(estimate.tokens, estimate.tokens_range, '{:,}'.format)}")
    cost = "unknown"
    if estimate.cost is not None and estimate.cost_range is not None:
        cost = f"{_about(estimate.cost, estimate.cost_range, _rounded)} credits"
    print(f"cost        {cost}")
    if estimate.seconds_range is not None:
        least, most = map(_time, estimate.seconds_range)
        print(f"time        at least {least}, at most {most}")


def _about(number: Any, limits: tuple[Any, Any], written: Callable[[Any], str]) -> str:
    about, low, high = map(written, (number, *limits))
    return about if low == high else f"about {about} ({low} to {high})"


def _report(report: JobReport, given: argparse.Namespace) -> None:
    if given.json:
        print_json({"report": dataclasses.asdict(report)})
        return
    cost = "an unknown number of" if report.usage.cost is None else f"{report.usage.cost:f}"
    spent = f"{report.usage.prompt_tokens:,} tokens, {cost} credits, {_time(report.seconds)}"
    print(
        f"{report.target}: {report.rows:,} rows, vectors of {report.dimensions} dimensions; "
        f"{report.duplicates:,} duplicates, {report.reused:,} from the cache; "
        f"{f'this run: {spent}' if report.usage.requests else 'nothing was asked of the service'}",
        file=sys.stderr,
    )
    if report.damaged:
        what = "1 vector was" if report.damaged == 1 else f"{report.damaged:,} vectors were"
        print(f"{what} damaged on the disk; embedded again, and paid for again", file=sys.stderr)
    if report.unchecked:
        print(
            f"{report.unchecked:,} vectors were kept by an earlier edition without checksums; "
            "whether they are damaged is not known",
            file=sys.stderr,
        )
    if report.errors_file:
        rows = "1 row has" if report.errors == 1 else f"{report.errors:,} rows have"
        print(
            f"{rows} no vector: {report.errors_file} says why; --retry-errors asks again where the "
            "service refused",
            file=sys.stderr,
        )
