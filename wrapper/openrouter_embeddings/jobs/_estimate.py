"""What a job will take, before it is paid for."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openrouter_embeddings.core.options import EmbedOptions, merged
from openrouter_embeddings.errors import InputError

from ._client import given_or_own
from ._sources import open_source
from ._targets import beside, columns_of, kind_of

if TYPE_CHECKING:
    from os import PathLike
    from typing import Unpack

    from openrouter_embeddings.client import Client

    from ._rows import Row
    from ._sources import Source

_BYTES_PER_TOKEN = 4  # of English text; other scripts take up to a token a byte
_PROBE = 16


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job will take.

    Attributes:
        rows: of the source.
        duplicates: rows whose input is another row's, too.
        unusable: rows that cannot be embedded: empty texts, images that cannot be read.
        requests: at least.
        tokens: about; by the probe's share, or four bytes each.
        cost: credits, about; None where neither a price nor a probe tells it.
        seconds: about; None without a probe.
    """

    rows: int
    duplicates: int
    unusable: int
    requests: int
    tokens: int
    cost: Decimal | None
    seconds: float | None


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
        price: credits for a million tokens of text. Without it, the first 16 inputs are embedded
            to learn what they cost and how long that takes.
        client: for that; default: `Client()`.
        **options: as for `embed_file`.

    Raises:
        As `embed_file`.
    """
    rows = _opened(source, target, key, delimiter, only_key=only_key)
    reader = rows.reader(column, template, images)
    if reader.images and price is not None:
        raise InputError(
            "bytes of images tell no tokens; without a price, a few are embedded to learn the cost"
        )
    seen: set[bytes] = set()
    first: list[Row] = []
    total = unusable = size = 0
    for batch in rows.batches(reader.rows, reader.columns):
        for row in reader.read(batch):
            total += 1
            if row.value is None:
                unusable += 1
            elif row.digest not in seen:
                seen.add(row.digest)
                size += row.size
                if len(first) < _PROBE:
                    first.append(row)
    counted = Estimate(
        rows=total,
        duplicates=total - unusable - len(seen),
        unusable=unusable,
        requests=-(-len(seen) // merged(EmbedOptions(), options).batch_size),
        tokens=math.ceil(size / _BYTES_PER_TOKEN),
        cost=None,
        seconds=None,
    )
    if price is not None:
        return replace(counted, cost=price * counted.tokens / 1_000_000)
    if not first:
        return counted
    share = len(seen) / len(first) if reader.images else size / sum(row.size for row in first)
    with given_or_own(client) as asked:
        return _probed(counted, asked, options, first, share)


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
    counted: Estimate, client: Client, options: EmbedOptions, first: list[Row], share: float
) -> Estimate:
    """With what some inputs cost, and how long that takes."""
    concurrency = client._settings.options(options).concurrency  # noqa: SLF001 - one package
    began = time.monotonic()
    values: Any = [row.value for row in first]
    asking: EmbedOptions = {**options, "on_error": "skip"}
    usage = client.embed(values, **asking).usage
    took = time.monotonic() - began
    return replace(
        counted,
        tokens=math.ceil(usage.prompt_tokens * share),
        cost=None if usage.cost is None else usage.cost * Decimal(f"{share:.6g}"),
        seconds=counted.requests / concurrency * took,
    )
