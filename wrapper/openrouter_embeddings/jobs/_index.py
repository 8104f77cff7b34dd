"""Finds the place of a vector by the digest of its input, in little memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

DIGEST_BYTES = 16
_RECENT = 65_536  # digests in the dict, which takes 150 bytes for each


class _Run(NamedTuple):
    """Digests in ascending order, in two halves, each with its place."""

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)


class Index:
    """Maps digests to places, which are integers of 0 or more; the highest place of each counts.

    A dict of all digests would take 150 bytes for each. Here, a dict has only the latest ones; all
    others are in sorted arrays of 24 bytes a digest. As in a log-structured merge tree, two arrays
    of similar length become one, so that there are few.
    """

    def __init__(self) -> None:
        self._recent: dict[bytes, int] = {}
        self._runs: list[_Run] = []

    def __len__(self) -> int:
        """How many digests there are; more if some were added twice."""
        return len(self._recent) + sum(map(len, self._runs))

    def update(self, places: Mapping[bytes, int]) -> None:
        """Add the places of digests, which are higher than all that the index has."""
        self._recent.update(places)
        if len(self._recent) >= _RECENT:
            self._sort_recent()

    def _sort_recent(self) -> None:
        places = np.fromiter(self._recent.values(), np.int64, len(self._recent))
        self._runs.append(_sorted(*_halves([*self._recent]), places))
        self._recent = {}
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            pair = [self._runs.pop(), self._runs.pop()]
            self._runs.append(
                _sorted(
                    np.concatenate([run.high for run in pair]),
                    np.concatenate([run.low for run in pair]),
                    np.concatenate([run.places for run in pair]),
                )
            )

    def find(self, digests: Sequence[bytes]) -> NDArray[np.int64]:
        """The place of each digest; -1 for those that are not in the index."""
        recent = self._recent
        found = np.fromiter((recent.get(one, -1) for one in digests), np.int64, len(digests))
        if self._runs:
            high, low = _halves(digests)
            order = np.argsort(high)  # a search for sorted values misses the processor's cache less
            for run in self._runs:
                found[order] = np.maximum(found[order], _search(run, high[order], low[order]))
        return found


def _halves(digests: Sequence[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    both = np.frombuffer(b"".join(digests), "<u8").reshape(len(digests), 2)
    return both[:, 0], both[:, 1]


def _sorted(high: NDArray[np.uint64], low: NDArray[np.uint64], places: NDArray[np.int64]) -> _Run:
    order = np.argsort(high)
    return _Run(high[order], low[order], places[order])


def _search(run: _Run, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The place of each digest in a run, or -1."""
    found = np.full(len(high), -1, np.int64)
    at = np.searchsorted(run.high, high)
    left = np.arange(len(high))  # several digests may have the same first half
    while True:
        left = left[at[left] < len(run)]
        left = left[run.high[at[left]] == high[left]]
        if not len(left):
            return found
        same = left[run.low[at[left]] == low[left]]
        found[same] = np.maximum(found[same], run.places[at[same]])
        at[left] += 1
