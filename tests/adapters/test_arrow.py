"""What all adapters do with a batch, tested through the adapter for Ray."""

from decimal import Decimal
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pytest
from openrouter_embeddings.adapters.ray import Embed
from openrouter_embeddings.local.faults import Fault
from openrouter_embeddings.local.models.hash import HashModel
from openrouter_embeddings.testing import Service

from tests.job_support import vectors

OPTIONS: Any = {"workers": 1, "model": "local/hash", "dimensions": 8}


def rows(column: Any) -> Any:
    """The matrix in a column without nulls."""
    return np.asarray(column.combine_chunks().flatten()).reshape(len(column), -1)


def test_a_batch_keeps_its_columns_and_gets_a_column_of_vectors() -> None:
    """The vectors are a fixed-size list of float32; equal texts are embedded once."""
    service = Service()
    texts = ["a", "b", "a", "c"]
    table = pa.table({"id": [1, 2, 3, 4], "text": texts})
    found = Embed(client=service.client, **OPTIONS)(table)
    assert found.drop_columns(["embedding"]) == table
    assert found["embedding"].type == pa.list_(pa.field("item", pa.float32(), nullable=False), 8)
    np.testing.assert_array_equal(rows(found["embedding"]), vectors(texts))
    assert [len(bill.inputs) for bill in service.faults.billed] == [3]


def test_a_template_makes_the_text_and_output_names_the_column() -> None:
    """`template` and `output` work as they do in a job."""
    embed = Embed(client=ore.Client.local, template="{a}: {b}", output="vector", **OPTIONS)
    found = embed(pa.table({"a": ["x"], "b": [7]}))
    np.testing.assert_array_equal(rows(found["vector"]), vectors(["x: 7"]))


def test_rows_that_cannot_be_embedded_are_null_with_the_reason() -> None:
    """With on_error="skip", a second column says why a text was empty, null or refused."""
    service = Service(Fault("poison", text="bad"))
    embed = Embed(client=service.client, on_error="skip", **OPTIONS)
    found = embed(pa.table({"text": ["fine", "", "bad", None]}))
    assert found["embedding"].is_null().to_pylist() == [False, True, True, True]
    reasons = found["embedding_error"].to_pylist()
    assert reasons[0] is None
    assert (reasons[1], reasons[3]) == ("the text is empty", "the text is null")
    assert reasons[2].startswith("Bad Request")
    np.testing.assert_array_equal(found["embedding"][0].values.to_numpy(), vectors(["fine"])[0])


def test_a_row_that_cannot_be_embedded_is_an_error() -> None:
    """Without on_error="skip", the error names the row, and nothing of its batch is sent."""
    service = Service()
    embed = Embed(client=service.client, **OPTIONS)
    with pytest.raises(ore.InputError, match="row 1 of a batch: the text is empty") as caught:
        embed(pa.table({"text": ["a", ""]}))
    assert caught.value.inputs == (1,)
    assert service.faults.requests == 0


def test_batches_without_vectors_have_the_known_width() -> None:
    """Frameworks send a batch without rows to see the columns; other batches have empty texts."""
    embed = Embed(client=ore.Client.local, on_error="skip", **OPTIONS)
    nothing = pa.table({"text": pa.array([], pa.string())})
    empty = pa.table({"text": [""]})
    kind = embed(nothing)["embedding"].type
    assert kind == embed(empty)["embedding"].type
    assert kind == pa.list_(pa.field("item", pa.float32(), nullable=False), 8)
    unknown = Embed(client=ore.Client.local, on_error="skip", workers=1, model="local/hash")
    assert unknown(empty)["embedding"].type == pa.null()
    unknown(pa.table({"text": ["a"]}))
    assert unknown(empty)["embedding"].type.list_size == 256


def test_all_vectors_of_a_worker_have_one_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch whose vectors have another width than earlier batches raises ResponseError."""
    embed = HashModel.embed
    widths = iter([4, 5])
    monkeypatch.setattr(
        HashModel, "embed", lambda self, inputs, _: embed(self, inputs, next(widths))
    )
    work = Embed(client=Service().client, workers=1, model="local/hash")
    work(pa.table({"text": ["a"]}))
    with pytest.raises(ore.ResponseError, match="vectors of 5 dimensions, but of 4"):
        work(pa.table({"text": ["b"]}))


def test_workers_share_the_concurrency() -> None:
    """Each worker gets an equal share, rounded down; less than one request is an error."""
    made: list[Any] = []

    def client(**options: Any) -> Any:
        made.append(options)
        return ore.Client.local(**options)

    four: Any = {**OPTIONS, "workers": 4}
    Embed(client=client, concurrency=17, **four)
    assert made[0]["concurrency"] == 4
    with pytest.raises(ore.InputError, match="concurrency 3 does not give each of 4 workers"):
        Embed(client=client, concurrency=3, **four)


def test_invalid_options_are_rejected() -> None:
    """A budget, an output column that already exists, and an option of the wrong type raise."""
    with pytest.raises(ore.InputError, match="every worker has its own"):
        Embed(client=ore.Client.local, budget=Decimal(1), **OPTIONS)
    with pytest.raises(ore.InputError, match="already has a column 'embedding'"):
        Embed(client=ore.Client.local, **OPTIONS)(pa.table({"text": ["a"], "embedding": [1]}))
    skipping = Embed(client=ore.Client.local, on_error="skip", **OPTIONS)
    with pytest.raises(ore.InputError, match="already has a column 'embedding_error'"):
        skipping(pa.table({"text": ["a"], "embedding_error": [1]}))
    wrong: Any = {**OPTIONS, "concurrency": "8"}
    with pytest.raises(ore.InputError, match="concurrency"):
        Embed(client=ore.Client.local, **wrong)


def test_a_worker_without_an_api_key_raises() -> None:
    """The key comes from the worker's environment, and the error says so."""
    with pytest.raises(ore.InputError, match="OPENROUTER_API_KEY"):
        Embed(**OPTIONS)
