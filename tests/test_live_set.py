"""`LiveSet`: weak references that threads share."""

import sys
import threading
from types import FrameType
from typing import Any

import pytest
from openrouter_embeddings._live_set import LiveSet

from tests.support import in_threads


class Item:
    """Something to refer to."""


def fill(found: Any, items: list[Item]) -> None:
    """Add all items; nothing here refers to one afterwards."""
    for item in items:
        found.add(item)


def test_it_holds_what_something_else_holds() -> None:
    """An object leaves the set when the last other reference to it does."""
    found: LiveSet[Item] = LiveSet()
    kept, dropped = Item(), Item()
    fill(found, [kept, dropped, kept])
    assert {*found} == {kept, dropped}
    del dropped
    assert [*found] == [kept]


def test_objects_may_come_and_go_while_it_is_iterated() -> None:
    """The steps are over the objects that were there at the beginning and still are."""
    found: LiveSet[Item] = LiveSet()
    items = [Item() for _ in range(3)]
    fill(found, items)
    left = iter(found)
    first = next(left)
    items.remove(first)
    del items[0]
    found.add(Item())
    assert [*left] == items


def first_step_after_a_drop(found: Any) -> bool:
    """Whether a thread can go on iterating when another one has dropped an object meanwhile.

    The other thread stops at the last line of Python that removes the object, if there is any,
    until the first has begun to iterate.
    """
    items = [Item() for _ in range(3)]
    fill(found, items)
    began, at_the_end = threading.Event(), threading.Event()
    lines: list[int] = []

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_name == "_remove" and event == "line":
            lines.append(frame.f_lineno)
            if len(lines) == 4:  # in WeakSet, after the look whether somebody iterates
                at_the_end.set()
                began.wait(20)
        return trace

    def drop() -> None:
        sys.settrace(trace)
        del items[0]
        sys.settrace(None)
        at_the_end.set()

    dropping = threading.Thread(target=drop)
    dropping.start()
    assert at_the_end.wait(20)
    left = iter(found)
    next(left)
    began.set()
    dropping.join(20)
    try:
        next(left)
    except RuntimeError:
        return False
    return True


def test_iterating_goes_on_when_another_thread_drops_an_object() -> None:
    """No RuntimeError says that the set has changed."""
    assert first_step_after_a_drop(LiveSet())


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python 3.14 has mended WeakSet")
def test_a_weak_set_would_fail_there() -> None:
    """The test above finds the problem in the standard library's class."""
    import weakref

    assert not first_step_after_a_drop(weakref.WeakSet())


def test_many_threads_add_and_iterate() -> None:
    """No thread fails, and in the end nothing is left."""
    found: LiveSet[Item] = LiveSet()
    done = []

    def work() -> None:
        for _ in range(200):
            found.add(item := Item())
            assert item in [*found]
        done.append(True)

    in_threads(4, work)
    assert len(done) == 4
    assert not [*found]
