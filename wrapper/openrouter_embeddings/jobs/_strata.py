"""A sample of inputs by length, and what it tells of all of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ._rows import Row

_PROBES = 32
_MOST = 16  # of a stratum
_LEAST = 3

T = TypeVar("T", int, float)


class Range(NamedTuple, Generic[T]):
    """A number that is not known exactly."""

    low: T
    about: T
    high: T


@dataclass
class Stratum:
    """Different inputs of about one length: from one power of two bytes to the next.

    Attributes:
        count: how many there are.
        size: bytes of all of them.
        rows: some of them. Those with the smallest digests are as good as drawn by lot, and are
            the same every time.
    """

    count: int = 0
    size: int = 0
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """One more input."""
        self.count += 1
        self.size += row.size
        if len(self.rows) < _MOST or row.digest < self.rows[-1].digest:
            self.rows = sorted([*self.rows, row], key=lambda one: one.digest)[:_MOST]


class Sample:
    """Every input goes in once; a few come out, of every length."""

    def __init__(self) -> None:
        self._strata: dict[int, Stratum] = {}

    def add(self, row: Row) -> None:
        """One more input, which no earlier one equals."""
        self._strata.setdefault(row.size.bit_length(), Stratum()).add(row)

    def strata(self) -> list[Stratum]:
        """The shortest inputs first; more where more of the bytes are."""
        found = [stratum for _, stratum in sorted(self._strata.items())]
        size = sum(one.size for one in found)
        shares = [max(_LEAST, round(_PROBES * one.size / size)) for one in found]
        return [
            Stratum(one.count, one.size, one.rows[:share])
            for one, share in zip(found, shares, strict=True)
        ]


@dataclass(frozen=True)
class Measured:
    """A stratum, and what its sample came to, input by input.

    Attributes:
        count: inputs of the stratum.
        size: bytes of all of them.
        sizes: bytes of each one in the sample.
        values: what each one took: tokens, or credits.
    """

    count: int
    size: int
    sizes: Sequence[int]
    values: Sequence[float]


def extrapolated(strata: Sequence[Measured], *, by_size: bool) -> Range[float]:
    """What all inputs take: the sum of what the strata take, each by its own sample.

    The range is what it were if every input took as little, or as much, as the extreme one of its
    sample.

    Args:
        strata: all of them.
        by_size: whether longer inputs take more. Even so they do not where the model has cut them
            at its longest input.
    """
    cap = _cap(strata) if by_size else None
    parts = [_part(one, cap, by_size=by_size) for one in strata]
    return Range(*(sum(part[n] for part in parts) for n in range(3)))


def _part(stratum: Measured, cap: float | None, *, by_size: bool) -> Range[float]:
    count, sizes, values = stratum.count, stratum.sizes, stratum.values
    known = sum(values)
    by_count = not by_size or cap in values
    weights = [1] * len(sizes) if by_count else sizes
    rest = count - len(sizes) if by_count else stratum.size - sum(sizes)
    rates = [value / weight for value, weight in zip(values, weights, strict=True)]
    most = known + (count - len(sizes)) * cap if cap is not None else float("inf")
    about = known + rest * known / sum(weights)
    return Range(known + rest * min(rates), min(about, most), min(known + rest * max(rates), most))


def _cap(strata: Iterable[Measured]) -> float | None:
    """What inputs of different length have alike, and none has more: the model reads no further."""
    pairs = [pair for one in strata for pair in zip(one.sizes, one.values, strict=True)]
    most = max(value for _, value in pairs)
    longest = [size for size, value in pairs if value == most]
    return most if max(longest) > 1.2 * min(longest) else None
