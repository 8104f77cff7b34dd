"""Estimates what a job will cost and how long it will take."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, Unpack

from openrouter_embeddings.client import Client
from openrouter_embeddings.client.job_session import resolve_options
from openrouter_embeddings.client.workers import Workers
from openrouter_embeddings.core.options import EmbedOptions, check_option_names, merge_options
from openrouter_embeddings.errors import InputError
from openrouter_embeddings.result import Usage

from ._formats import target_columns, target_format
from ._rows import Row
from ._sources import Source, open_source
from ._spec import InputSpec, client_or_default, sidecar_paths

T = TypeVar("T", int, float)


class Range(NamedTuple, Generic[T]):
    """A number that is not known exactly: the lowest, the likely and the highest value."""

    low: T
    about: T
    high: T


_BYTES_PER_TOKEN = Range(1, 4, 6)  # English text has about 4; no text has less than 1
_SAMPLE = 32  # inputs, about
_MAX_PER_STRATUM = 16
_MIN_PER_STRATUM = 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job is expected to take.

    Attributes:
        rows: rows of the source.
        duplicates: rows whose input equals that of another row.
        unusable: rows that cannot be embedded: empty texts, images that cannot be read.
        requests: how many requests the job needs at least.
        tokens: the likely number, from the sample or from four bytes per token.
        tokens_range: the lowest and the highest number, from the sample or from six bytes and one
            byte per token.
        cost: the likely cost in credits; None if neither a price nor the sample gives one.
        cost_range: the lowest and the highest cost; None like `cost`.
        seconds_range: the time if a request took as long as one with a single input, and if it took
            as long as its inputs one after another; None without a sample.
    """

    rows: int
    duplicates: int
    unusable: int
    requests: int
    tokens: int
    tokens_range: tuple[int, int]
    cost: Decimal | None = None
    cost_range: tuple[Decimal, Decimal] | None = None
    seconds_range: tuple[float, float] | None = None


def estimate(
    source: Any,
    target: str | PathLike[str] | None = None,
    *,
    column: str | None = None,
    template: str | None = None,
    images: str | None = None,
    key: str | None = None,
    only_key: bool = False,
    delimiter: str | None = None,
    price: Decimal | None = None,
    client: Client | None = None,
    **options: Unpack[EmbedOptions],
) -> Estimate:
    """Count the rows and inputs of a source, and estimate the tokens and the cost of a job.

    Without a price, this embeds about 40 inputs, chosen from all lengths and all parts of the
    source, each in a request of its own, and extrapolates their cost by length. The ranges assume
    that every input costs as little, or as much, as the extreme ones of its length in the sample.
    Memory: 100 bytes for each different input.

    Args:
        source: as for `embed_file`.
        target: what the job will write: a pattern for the source leaves it out, and its format must
            be able to hold the columns of the source.
        column: as for `embed_file`.
        template: as for `embed_file`.
        images: as for `embed_file`.
        key: as for `embed_file`.
        only_key: as for `embed_file`.
        delimiter: as for `embed_file`.
        price: credits per million tokens of text; default: learned from the sample.
        client: embeds the sample; default: `Client()`.
        **options: as for `embed_file`.

    Raises:
        As `embed_file`.
    """
    check_option_names(options, own=estimate.__kwdefaults__)
    rows = _open_source(source, target, key, delimiter, only_key=only_key)
    reader = rows.reader(InputSpec(column, template, images))
    if reader.spec.images and price is not None:
        raise InputError(
            "the size of an image does not determine its tokens; leave out the price, and some "
            "images are embedded to learn the cost"
        )
    seen: set[bytes] = set()
    sample = Sample()
    total = unusable = size = 0
    for batch in rows.batches(reader.rows, reader.columns):
        for row in reader.read(batch):
            total += 1
            if row.value is None:
                unusable += 1
            elif row.digest not in seen:
                seen.add(row.digest)
                size += row.size
                sample.add(row)
    least, about, most = (math.ceil(size / one) for one in reversed(_BYTES_PER_TOKEN))
    counted = Estimate(
        rows=total,
        duplicates=total - unusable - len(seen),
        unusable=unusable,
        requests=-(-len(seen) // merge_options(EmbedOptions(), options).batch_size),
        tokens=about,
        tokens_range=(least, most),
    )
    if price is not None:
        low, cost, high = (price * tokens / 1_000_000 for tokens in (least, about, most))
        return replace(counted, cost=cost, cost_range=(low, high))
    if not seen:
        return counted
    by_size = not reader.spec.images
    with client_or_default(client) as opened:
        return _with_sample(counted, opened, options, sample.strata(), by_size=by_size)


def _open_source(
    source: Any,
    target: str | PathLike[str] | None,
    key: str | None,
    delimiter: str | None,
    *,
    only_key: bool,
) -> Source:
    """Open the source. Raises InputError if the target cannot hold its columns."""
    if target is None:
        return open_source(source, delimiter=delimiter)
    path = Path(target)
    rows = open_source(source, sidecar_paths(path), delimiter)
    target_columns(target_format(path), rows.schema, key, only_key=only_key)
    return rows


def _with_sample(
    counted: Estimate,
    client: Client,
    options: EmbedOptions,
    strata: "list[Stratum]",
    *,
    by_size: bool,
) -> Estimate:
    """The estimate, with the tokens, the cost and the time of a sample extrapolated."""
    concurrency = resolve_options(client, options).concurrency
    sampled = _embed_each(client, options, [row for one in strata for row in one.rows], concurrency)
    usages = [usage for usage, _ in sampled]
    tokens = extrapolated(strata, [usage.prompt_tokens for usage in usages], by_size=by_size)
    found = replace(
        counted, tokens=round(tokens.about), tokens_range=(round(tokens.low), round(tokens.high))
    )
    costs = [usage.cost for usage in usages if usage.requests]
    if None not in costs:
        total = sum((usage.cost or Decimal(0) for usage in usages), Decimal(0))
        costs_of = [float(usage.cost or 0) for usage in usages]
        cost = extrapolated(strata, costs_of, by_size=by_size)
        shares = [Decimal(f"{one / float(total or 1):.6g}") for one in cost]
        low, about, high = (total * share for share in shares)
        found = replace(found, cost=about, cost_range=(low, high))
    # drop an eighth at each end: the first requests wait for connections
    times = sorted(seconds for usage, seconds in sampled if usage.requests) or [0.0]
    quick, slow = times[len(times) // 8], times[-1 - len(times) // 8]
    inputs = sum(one.count for one in strata)
    in_flight = min(concurrency, counted.requests)
    seconds_range = (counted.requests * quick / in_flight, inputs * slow / in_flight)
    return replace(found, seconds_range=seconds_range)


def _embed_each(
    client: Client, options: EmbedOptions, rows: list[Row], concurrency: int
) -> list[tuple[Usage, float]]:
    """The usage and the seconds of each input, embedded with the concurrency of the job."""
    # a sample from the service's cache would cost nothing
    uncached: EmbedOptions = {"on_error": "skip", "headers": {"X-OpenRouter-Cache": "false"}}
    client = client.with_options(**options)

    def embed(value: Any) -> tuple[Usage, float]:
        began = time.monotonic()
        usage = client.embed([value], **uncached).usage
        return usage, time.monotonic() - began

    first, *others = [row.value for row in rows]  # alone, because the service may load the model
    found = [embed(first)]
    workers: Workers[tuple[Usage, float]] = Workers(concurrency)
    try:
        futures = [workers.submit(embed, value) for value in others]
        return found + [future.result() for future in futures]
    finally:
        workers.stop()


@dataclass
class Stratum:
    """Different inputs of similar length: from one power of two bytes to the next.

    `size` is their bytes in total. `rows` is a sample: those with the smallest digests, which is as
    good as a random choice, and the same every time.
    """

    count: int = 0
    size: int = 0
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Add an input."""
        self.count += 1
        self.size += row.size
        if len(self.rows) < _MAX_PER_STRATUM or row.digest < self.rows[-1].digest:
            self.rows = sorted([*self.rows, row], key=lambda one: one.digest)[:_MAX_PER_STRATUM]


class Sample:
    """A sample of inputs of every length."""

    def __init__(self) -> None:
        self._strata: dict[int, Stratum] = {}

    def add(self, row: Row) -> None:
        """Add an input that differs from all earlier ones."""
        self._strata.setdefault(row.size.bit_length(), Stratum()).add(row)

    def strata(self) -> list[Stratum]:
        """The strata, shortest inputs first; the larger their share of bytes, the more rows."""
        found = [stratum for _, stratum in sorted(self._strata.items())]
        size = sum(one.size for one in found)
        shares = [max(_MIN_PER_STRATUM, round(_SAMPLE * one.size / size)) for one in found]
        return [
            Stratum(one.count, one.size, one.rows[:share])
            for one, share in zip(found, shares, strict=True)
        ]


def extrapolated(
    strata: Sequence[Stratum], values: Sequence[float], *, by_size: bool
) -> Range[float]:
    """What all inputs take: the sum over the strata, each extrapolated from its own sample.

    The range assumes that every input takes as little, or as much, as the extreme one of its
    sample.

    Args:
        strata: all strata.
        values: the tokens, or the credits, of each sampled input, in the order of the strata.
        by_size: whether longer inputs take more, until the model truncates them.
    """
    left = iter(values)
    samples = [[(row.size, next(left)) for row in one.rows] for one in strata]
    cap = _cap([pair for sample in samples for pair in sample]) if by_size else None
    parts = [
        _part(one, sample, cap, by_size=by_size)
        for one, sample in zip(strata, samples, strict=True)
    ]
    return Range(*(sum(part[n] for part in parts) for n in range(3)))


def _part(
    stratum: Stratum, sample: list[tuple[int, float]], cap: float | None, *, by_size: bool
) -> Range[float]:
    sizes, values = zip(*sample, strict=True)
    others = stratum.count - len(sizes)
    known = sum(values)
    by_count = not by_size or cap in values
    weights = [1] * len(sizes) if by_count else sizes
    rest = others if by_count else stratum.size - sum(sizes)
    rates = [value / weight for value, weight in zip(values, weights, strict=True)]
    most = known + others * cap if cap is not None else float("inf")
    about = known + rest * known / sum(weights)
    return Range(known + rest * min(rates), min(about, most), min(known + rest * max(rates), most))


def _cap(pairs: list[tuple[int, float]]) -> float | None:
    """What truncated inputs take: the highest value, if inputs of different lengths share it."""
    most = max(value for _, value in pairs)
    longest = [size for size, value in pairs if value == most]
    return most if max(longest) > 1.2 * min(longest) else None
