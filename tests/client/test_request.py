"""What threads of one call share."""

import threading
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.client._request import CallState, RequestState
from openrouter_embeddings.core.batching import batched
from openrouter_embeddings.core.result_builder import ResultBuilder
from openrouter_embeddings.errors import EmbeddingsError
from openrouter_embeddings.result import EmbeddingResult, Usage

ROWS = np.arange(8, dtype=np.float32).reshape(4, 2)


@pytest.fixture
def call() -> CallState:
    """One call of four inputs, in batches of two."""
    return ore.Client.local()._call({})


def exchanges(call: CallState) -> list[RequestState]:
    """A request for each batch."""
    return [RequestState(call, call.divide(batch), batch) for batch in batched([*"abcd"], 2)]


def test_a_part_is_put_to_its_place_while_another_thread_looks_for_its_own(
    call: CallState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The matrix is begun once, whichever of them comes first; neither loses its rows."""
    whole = call.gather(4)
    second = exchanges(call)[1]
    begins, go_on = threading.Event(), threading.Event()
    begin = ResultBuilder._allocate

    def slow(self: ResultBuilder, width: int) -> None:
        if threading.current_thread() is looking:
            begins.set()
            assert go_on.wait(20)
        begin(self, width)

    places: list[Any] = []

    def look() -> None:
        places.append(second._reserve(2))
        places[0][:] = ROWS[2:]

    monkeypatch.setattr(ResultBuilder, "_allocate", slow)
    looking = threading.Thread(target=look)
    first = EmbeddingResult(ROWS[:2].copy(), Usage(), "m", (), start=0)
    adding = threading.Thread(target=call.add, args=[whole, first])
    looking.start()
    assert begins.wait(20)
    adding.start()
    adding.join(0.1)  # it waits, or has gone wrong by now
    go_on.set()
    adding.join(20)
    looking.join(20)
    call.add(whole, EmbeddingResult(places[0], Usage(), "m", (), start=2))
    assert np.array_equal(whole.result("m").vectors, ROWS)


def test_what_a_failed_call_hands_over_is_written_to_by_nobody(call: CallState) -> None:
    """Not by a thread whose request could not be cut in time."""
    whole = call.gather(4)
    first, second = exchanges(call)
    places: Any = first._reserve(2), second._reserve(2)
    places[0][:] = ROWS[:2]
    call.add(whole, EmbeddingResult(places[0], Usage(), "m", (), start=0))
    with call.watched(second._piece):
        error = EmbeddingsError("it failed")
        call.conclude(error)
        for place in places:
            place[:] = -1
    assert error.partial is not None
    assert np.array_equal(error.partial.vectors, ROWS[:2])
    assert second._reserve(2) is None
