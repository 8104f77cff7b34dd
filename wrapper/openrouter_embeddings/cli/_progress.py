"""The progress of `orembed run`: a bar in a terminal, lines elsewhere, JSON on request."""

from __future__ import annotations

import dataclasses
import os
import sys
import textwrap
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ._json import print_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from openrouter_embeddings.jobs import Progress

LINE_INTERVAL = 10.0  # seconds between two lines of progress, and between two about retries
_STOPPING = "finishing the requests already sent; Ctrl-C again drops them"


@contextmanager
def progress_listener(*, as_json: bool) -> Iterator[Callable[[Progress], None]]:
    """What to call with each `Progress`, until the job ends."""
    if as_json:
        yield lambda progress: print_json({"progress": dataclasses.asdict(progress)})
    elif sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        with _bar() as show:
            yield show
    else:
        yield _lines()


def _lines() -> Callable[[Progress], None]:
    last = time.monotonic()

    def show(progress: Progress) -> None:
        nonlocal last
        if progress.stage == "stopping":
            if progress.in_flight:
                print(f"orembed: {_STOPPING}", file=sys.stderr, flush=True)
        elif time.monotonic() - last >= LINE_INTERVAL:
            last = time.monotonic()
            print(line(progress), file=sys.stderr, flush=True)

    return show


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from openrouter_embeddings._extras import need

    console = need("rich.console", "jobs")
    rich = need("rich.progress", "jobs")
    rows = rich.TextColumn("{task.completed:,} of {task.total:,} rows")
    bar = rich.Progress(rich.TextColumn("{task.description}"), rich.BarColumn(), rows)
    task = bar.add_task("beginning", total=0)
    terminal = console.Console(stderr=True)

    def show(progress: Progress) -> None:
        bar.update(task, total=progress.total, completed=progress.rows, description=progress.stage)
        is_waiting = progress.stage == "stopping" and progress.in_flight
        text = _STOPPING if is_waiting else wrapped_details(progress, terminal.width)
        live.update(console.Group(bar, need("rich.text", "jobs").Text(text)))

    with need("rich.live", "jobs").Live(bar, console=terminal, transient=True) as live:
        yield show


def line(progress: Progress) -> str:
    """Stage, rows and details in one line."""
    rows = f"{progress.rows:,} of {progress.total:,} rows"
    return f"{progress.stage} {rows}: {details(progress)}"


def details(progress: Progress) -> str:
    """Rate, tokens, cost, requests in flight, retries and the time that is left."""
    done, left = progress.rows - progress.earlier, progress.total - progress.rows
    rate = done / max(progress.seconds, 1e-3)
    embedding = progress.stage == "embedding"
    parts = [f"{rate:,.0f} rows/s"] if embedding else []
    parts.append(f"{progress.usage.prompt_tokens:,} tokens")
    if (cost := progress.usage.cost) is not None:
        of = f" of about {cost + cost * left / done:.4f}" if embedding and done else ""
        parts.append(f"{cost:.4f}{of} credits")
    if embedding:
        parts.append(f"{progress.in_flight} of {progress.concurrency} in flight")
    if progress.usage.retries:
        parts.append(f"{progress.usage.retries} retries")
    if embedding and done:
        parts.append(f"{duration(left / rate)} to go")
    return ", ".join(parts)


def wrapped_details(progress: Progress, width: int) -> str:
    """The details on lines of at most `width` characters, broken only after a comma."""
    parts = details(progress).replace(" ", "\xa0").replace(",\xa0", ", ")
    return textwrap.fill(parts, width).replace("\xa0", " ")


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds: "1 h 05 min", "2 min 30 s"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
