"""What every adapter does with a batch, shown by the one for Ray."""

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

OPTIONS: Any = {"workers": 1, "model": "local/hash", "dimensions": 4}


def of_model(texts: list[str]) -> Any:
    """What the stand-in gives."""
    with ore.Client.local(model="local/hash", dimensions=4) as client:
        return client.embed(texts).vectors


def rows(column: Any) -> Any:
    """The vectors of a column without nulls."""
    return np.asarray(column.combine_chunks().flatten()).reshape(len(column), -1)


def test_a_batch_keeps_its_columns_and_gets_one_of_vectors() -> None:
    """Equal texts are embedded once and have equal rows; the vectors are fixed-size float32."""
    service = Service()
    texts = ["a", "b", "a", "c"]
    table = pa.table({"id": [1, 2, 3, 4], "text": texts})
    found = Embed(client=service.client, **OPTIONS)(table)
    assert found.drop_columns(["embedding"]) == table
    assert found["embedding"].type == pa.list_(pa.field("item", pa.float32(), nullable=False), 4)
    np.testing.assert_array_equal(rows(found["embedding"]), of_model(texts))
    assert [len(bill.inputs) for bill in service.faults.billed] == [3]


def test_a_template_makes_the_text_and_output_names_the_column() -> None:
    """As in a job."""
    embed = Embed(client=ore.Client.local, template="{a}: {b}", output="vector", **OPTIONS)
    found = embed(pa.table({"a": ["x"], "b": [7]}))
    np.testing.assert_array_equal(rows(found["vector"]), of_model(["x: 7"]))


def test_rows_without_a_vector_are_null_and_say_why() -> None:
    """With on_error="skip": an empty text, and one that the service refuses."""
    service = Service(Fault("poison", text="bad"))
    embed = Embed(client=service.client, on_error="skip", **OPTIONS)
    found = embed(pa.table({"text": ["fine", "", "bad", None]}))
    assert found["embedding"].is_null().to_pylist() == [False, True, True, True]
    reasons = found["embedding_error"].to_pylist()
    assert reasons[0] is None
    assert (reasons[1], reasons[3]) == ("the text is empty", "the text is null")
    assert reasons[2].startswith("Bad Request")
    np.testing.assert_array_equal(found["embedding"][0].values.to_numpy(), of_model(["fine"])[0])


def test_a_row_that_cannot_be_embedded_is_named() -> None:
    """Without on_error="skip", before anything of its batch is sent."""
    service = Service()
    embed = Embed(client=service.client, **OPTIONS)
    with pytest.raises(ore.InputError, match="row 1 of a batch: the text is empty") as caught:
        embed(pa.table({"text": ["a", ""]}))
    assert caught.value.inputs == (1,)
    assert service.faults.requests == 0


def test_batches_without_any_vector_have_the_width_that_is_known() -> None:
    """A batch of no rows, which frameworks send to see the columns; or one of empty texts."""
    embed = Embed(client=ore.Client.local, on_error="skip", **OPTIONS)
    nothing = pa.table({"text": pa.array([], pa.string())})
    empty = pa.table({"text": [""]})
    kind = embed(nothing)["embedding"].type
    assert kind == embed(empty)["embedding"].type
    assert kind == pa.list_(pa.field("item", pa.float32(), nullable=False), 4)
    unknown = Embed(client=ore.Client.local, on_error="skip", workers=1, model="local/hash")
    assert unknown(empty)["embedding"].type == pa.null()
    unknown(pa.table({"text": ["a"]}))
    assert unknown(empty)["embedding"].type.list_size == 256


def test_a_worker_gives_vectors_of_one_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another is another vector space, in whichever batch it comes."""
    embed = HashModel.embed
    widths = iter([4, 5])
    monkeypatch.setattr(HashModel, "embed", lambda me, given, _: embed(me, given, next(widths)))
    work = Embed(client=Service().client, workers=1, model="local/hash")
    work(pa.table({"text": ["a"]}))
    with pytest.raises(ore.ResponseError, match="vectors of 5 dimensions, but of 4"):
        work(pa.table({"text": ["b"]}))


def test_workers_share_the_concurrency() -> None:
    """Whole requests at a time for each; fewer than one is refused."""
    made: list[Any] = []

    def client(**options: Any) -> Any:
        made.append(options)
        return ore.Client.local(**options)

    four: Any = {**OPTIONS, "workers": 4}
    Embed(client=client, concurrency=17, **four)
    assert made[0]["concurrency"] == 4
    with pytest.raises(ore.InputError, match="concurrency 3 over 4 workers"):
        Embed(client=client, concurrency=3, **four)


def test_what_cannot_be_right_is_refused() -> None:
    """A budget, which every worker would have for itself, and a column that is there already."""
    with pytest.raises(ore.InputError, match="every worker has one"):
        Embed(client=ore.Client.local, budget=Decimal(1), **OPTIONS)
    with pytest.raises(ore.InputError, match="'embedding' already"):
        Embed(client=ore.Client.local, **OPTIONS)(pa.table({"text": ["a"], "embedding": [1]}))
    skipping = Embed(client=ore.Client.local, on_error="skip", **OPTIONS)
    with pytest.raises(ore.InputError, match="'embedding_error' already"):
        skipping(pa.table({"text": ["a"], "embedding_error": [1]}))
    wrong: Any = {**OPTIONS, "concurrency": "8"}
    with pytest.raises(ore.InputError, match="concurrency"):
        Embed(client=ore.Client.local, **wrong)


def test_a_worker_without_a_key_says_so() -> None:
    """The key comes from the worker's environment."""
    with pytest.raises(ore.InputError, match="OPENROUTER_API_KEY"):
        Embed(**OPTIONS)
