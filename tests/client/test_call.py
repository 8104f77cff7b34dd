"""`CallState` and `RequestState`, as the threads of one call share them."""

import json
import threading
from typing import Any, cast

import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.client._call import CallState, RequestState
from openrouter_embeddings.core.batching import batched
from openrouter_embeddings.core.result_builder import ResultBuilder
from openrouter_embeddings.errors import EmbeddingsError
from openrouter_embeddings.result import EmbeddingResult, Usage

ROWS = np.arange(8, dtype=np.float32).reshape(4, 2)


@pytest.fixture
def call() -> CallState:
    """A call of four inputs in batches of two."""
    return ore.Client.local(batch_size=2)._start_call({})


def requests(call: CallState) -> list[RequestState]:
    """One request per batch."""
    return [RequestState(call, call.splitter(batch), batch) for batch in batched([*"abcd"], 2)]


def test_one_thread_adds_a_part_while_another_reserves_rows(
    call: CallState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The matrix is allocated once, and neither thread loses its rows."""
    builder, _ = cast("Any", call.plan([*"abcd"]))
    second = requests(call)[1]
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
    adding = threading.Thread(target=call.add, args=[builder, first])
    looking.start()
    assert begins.wait(20)
    adding.start()
    adding.join(0.1)  # by now it waits, or the test fails
    go_on.set()
    adding.join(20)
    looking.join(20)
    call.add(builder, EmbeddingResult(places[0], Usage(), "m", (), start=2))
    assert np.array_equal(builder.result("m").vectors, ROWS)


def test_the_partial_result_of_a_failed_call_is_not_written_to(call: CallState) -> None:
    """A thread whose request could not be aborted in time does not change `error.partial`."""
    builder, _ = cast("Any", call.plan([*"abcd"]))
    first, second = requests(call)
    places: Any = first._reserve(2), second._reserve(2)
    places[0][:] = ROWS[:2]
    call.add(builder, EmbeddingResult(places[0], Usage(), "m", (), start=0))
    with call.active(second._piece):
        error = EmbeddingsError("it failed")
        call.attach_results(error)
        for place in places:
            place[:] = -1
    assert error.partial is not None
    assert np.array_equal(error.partial.vectors, ROWS[:2])
    assert second._reserve(2) is None


def test_a_request_that_waits_heeds_what_another_has_learned(call: CallState) -> None:
    """Its body is written when it starts: as floats if the model's providers reject base64."""
    first, second = requests(call)
    assert json.loads(first.body())["encoding_format"] == "base64"
    call.model_limits.float_only.add(call.options.model)
    assert json.loads(first.body())["encoding_format"] == "base64"
    assert json.loads(second.body())["encoding_format"] == "float"
