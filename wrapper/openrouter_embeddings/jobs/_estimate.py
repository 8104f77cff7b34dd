"""What a job will take, before it is paid for."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openrouter_embeddings.client.job_session import resolve_options
from openrouter_embeddings.client.workers import Workers
from openrouter_embeddings.core.options import EmbedOptions, check_option_names, merge_options
from openrouter_embeddings.errors import InputError

from ._client import given_or_own
from ._formats import beside, columns_of, kind_of
from ._sources import open_source
from ._strata import Measured, Range, Sample, Stratum, extrapolated

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike
    from typing import Unpack

    from openrouter_embeddings.client import Client
    from openrouter_embeddings.result import Usage

    from ._rows import Row
    from ._sources import Source

_BYTES_PER_TOKEN = Range(1, 4, 6)  # of English text about 4; no text has more than a token a byte


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job will take.

    Attributes:
        rows: of the source.
        duplicates: rows whose input is another row's, too.
        unusable: rows that cannot be embedded: empty texts, images that cannot be read.
        requests: at least.
        tokens: about; from the probe, or four bytes each.
        tokens_range: the least and the most; from the probe, or six bytes and one byte each.
        cost: credits, about; None where neither a price nor a probe tells it.
        cost_range: the least and the most; None as `cost`.
        seconds_range: the least, if every request took as long as one with a single input; and the
            most, if it took as long as its inputs one after another. None without a probe.
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
    """Count a source, in memory for 100 bytes of each different input.

    Without a price, some 40 inputs of every length, from anywhere in the source, are embedded,
    each in a request of its own. What they cost tells what all inputs of their length cost. The
    ranges are what it were if all took as little, or as much, as the extreme ones of their length.

    Args:
        source: as for `embed_file`.
        target: what the job will write: a pattern for the source leaves it out, and whether it
            can have the source's columns is looked at.
        column: as for `embed_file`.
        template: as for `embed_file`.
        images: as for `embed_file`.
        key: as for `embed_file`.
        only_key: as for `embed_file`.
        delimiter: as for `embed_file`.
        price: credits for a million tokens of text; default: learned from the service.
        client: for that; default: `Client()`.
        **options: as for `embed_file`.

    Raises:
        As `embed_file`.
    """
    check_option_names(options, own=estimate.__kwdefaults__)
    rows = _opened(source, target, key, delimiter, only_key=only_key)
    reader = rows.reader(column, template, images)
    if reader.images and price is not None:
        raise InputError(
            "bytes of images tell no tokens; without a price, a few are embedded to learn the cost"
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
    with given_or_own(client) as asked:
        return _probed(counted, asked, options, sample.strata(), by_size=not reader.images)


def _opened(
    source: Any,
    target: str | PathLike[str] | None,
    key: str | None,
    delimiter: str | None,
    *,
    only_key: bool,
) -> Source:
    """The source, once it is known that the target can have its columns."""
    if target is None:
        return open_source(source, delimiter=delimiter)
    path = Path(target)
    rows = open_source(source, beside(path), delimiter)
    columns_of(kind_of(path), rows.schema, key, only_key=only_key)
    return rows


def _probed(
    counted: Estimate,
    client: Client,
    options: EmbedOptions,
    strata: list[Stratum],
    *,
    by_size: bool,
) -> Estimate:
    """With what some inputs cost, and how long that takes."""
    concurrency = resolve_options(client, options).concurrency
    asked = _asked(client, options, [row for one in strata for row in one.rows], concurrency)
    usages = [usage for usage, _ in asked]
    tokens = _measured(strata, [usage.prompt_tokens for usage in usages], by_size=by_size)
    found = replace(
        counted, tokens=round(tokens.about), tokens_range=(round(tokens.low), round(tokens.high))
    )
    costs = [usage.cost for usage in usages if usage.requests]
    if None not in costs:
        total = sum((usage.cost or Decimal(0) for usage in usages), Decimal(0))
        cost = _measured(strata, [float(usage.cost or 0) for usage in usages], by_size=by_size)
        shares = [Decimal(f"{one / float(total or 1):.6g}") for one in cost]
        low, about, high = (total * share for share in shares)
        found = replace(found, cost=about, cost_range=(low, high))
    # sorted, without the eighth at each end: the first requests wait for connections
    times = sorted(took for usage, took in asked if usage.requests) or [0.0]
    quick, slow = times[len(times) // 8], times[-1 - len(times) // 8]
    inputs = sum(one.count for one in strata)
    at_once = min(concurrency, counted.requests)
    seconds = (counted.requests * quick / at_once, inputs * slow / at_once)
    return replace(found, seconds_range=seconds)


def _measured(strata: list[Stratum], values: Sequence[float], *, by_size: bool) -> Range[float]:
    left = iter(values)
    measured = []
    for one in strata:
        sizes = [row.size for row in one.rows]
        measured.append(Measured(one.count, one.size, sizes, [*islice(left, len(sizes))]))
    return extrapolated(measured, by_size=by_size)


def _asked(
    client: Client, options: EmbedOptions, rows: list[Row], concurrency: int
) -> list[tuple[Usage, float]]:
    """What each input takes, and for how long, while others are under way as in the job."""
    asking: EmbedOptions = {**options, "on_error": "skip"}

    def ask(value: Any) -> tuple[Usage, float]:
        began = time.monotonic()
        usage = client.embed([value], **asking).usage
        return usage, time.monotonic() - began

    first, *others = [row.value for row in rows]  # while a model is loaded nobody else waits
    found = [ask(first)]
    workers: Workers[tuple[Usage, float]] = Workers(concurrency)
    try:
        futures = [workers.submit(ask, value) for value in others]
        return found + [future.result() for future in futures]
    finally:
        workers.stop()
