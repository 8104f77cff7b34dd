"""A set of weak references that threads can share."""

import weakref
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class LiveSet(Generic[T]):
    """Holds objects for as long as something else does. Any thread may add and iterate.

    Before Python 3.14, iterating over a WeakSet fails if another thread drops an object meanwhile.
    Here, each step is one operation of a set, which no other thread can interrupt.
    """

    def __init__(self) -> None:
        self._references: set[weakref.ref[T]] = set()
        self._discard = self._references.discard  # one method for all references

    def add(self, item: T) -> None:
        """Add an object; it leaves the set when it is collected."""
        self._references.add(weakref.ref(item, self._discard))

    def __iter__(self) -> Iterator[T]:
        """The objects that are in the set now."""
        found = (reference() for reference in self._references.copy())
        return (item for item in found if item is not None)
