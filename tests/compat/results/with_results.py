"""Tools that take a result as it is, or quantized: `make compat ONLY=results`.

Where a tool shares memory, the address of the vectors shows that nothing was copied.
"""

import importlib.util
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tests.compat.rows import Row
from tools import ROOT

# only this environment has them, with fewer types than it needs
duckdb, faiss, lancedb = map(import_module, ("duckdb", "faiss", "lancedb"))
Index: Any = import_module("usearch.index").Index

PYARROW = Row("pyarrow", "`pa.array(result)`, `pa.table(result)`; shares the memory")
POLARS = Row("polars", '`pl.DataFrame({"embedding": result})`; shares the memory')
PANDAS = Row("pandas", "`pd.DataFrame.from_arrow(result)`, `pd.DataFrame(result)`")
DUCKDB = Row("duckdb", '`duckdb.sql("from result")`')
LANCEDB = Row("lancedb", '`db.create_table("t", pa.table({"vector": result}))`')
FAISS = Row("FAISS", "`index.add(result.vectors)`; `quantize` for a binary index", "faiss-cpu")
USEARCH = Row("usearch", "`index.add(keys, result.vectors)`, or `result.quantize(…)`")
SENTENCE_TRANSFORMERS = Row(
    "sentence-transformers", '`result.quantize("ubinary")` equals its `quantize_embeddings`'
)

ROWS = 200


@pytest.fixture(scope="module", params=[64, 384])
def result(request: Any) -> ore.EmbeddingResult:
    """Vectors with three close relatives each, so that their neighbours are known."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((ROWS // 4, request.param))
    noise = 0.2 * random.standard_normal((ROWS, request.param))
    vectors = 3 * (np.repeat(centres, 4, axis=0) + noise).astype(np.float32)
    return ore.EmbeddingResult(vectors, ore.Usage(), "m", ())


def shares(result: ore.EmbeddingResult, array: Any) -> bool:
    """Whether an Arrow array of fixed-size lists is the memory of the vectors."""
    return bool(array.flatten().buffers()[1].address == result.vectors.ctypes.data)


def families(rows: Any) -> bool:
    """Whether the four rows nearest to each row are its close relatives."""
    wanted = np.arange(ROWS) // 4
    return bool((np.sort(np.asarray(rows) // 4, axis=1) == wanted[:, None]).all())


def test_the_result_finds_the_families(result: ore.EmbeddingResult) -> None:
    """So the tools below have something to agree with."""
    assert families(result.nearest(result, 4).rows)


def test_the_table_in_the_guide(result: ore.EmbeddingResult) -> None:
    """Each way to hand a result on that docs/guide.md shows gives all rows."""
    guide = (ROOT / "docs" / "guide.md").read_text()
    table = guide.partition("| tool | how |\n|---|---|\n")[2].partition("\n\n")[0]
    ways = re.findall(r"`(.*?result.*?)`", table)
    assert len(ways) == 9
    texts = ["a text"] * ROWS
    df = pl.DataFrame({"text": texts})
    scope = {**globals(), "result": result, "texts": texts, "df": df}
    for way in ways:
        assert len(eval(way, scope)) == ROWS, way


@PYARROW.either
def test_pyarrow(result: ore.EmbeddingResult) -> None:
    """A column, a table with one column, and a column of a larger table."""
    assert shares(result, pa.array(result))
    assert shares(result, pa.table(result)["embedding"].chunk(0))
    table = pa.table({"id": range(ROWS), "embedding": result})
    assert shares(result, table["embedding"].chunk(0))
    assert table["embedding"].to_pylist() == result.tolist()


@POLARS.either
def test_polars(result: ore.EmbeddingResult) -> None:
    """A series, which has a name, and a column of a frame."""
    kind = pl.Array(pl.Float32, result.shape[1])
    series: Any = pl.from_arrow(result)
    frame = pl.DataFrame({"id": range(ROWS), "vector": result})
    added = frame.with_columns(pl.Series(result))
    for column in (series, frame["vector"], added["embedding"]):
        assert column.dtype == kind
        assert shares(result, column.to_arrow())
        assert column.to_list() == result.tolist()


@POLARS.either
def test_polars_without_the_rows_that_were_skipped() -> None:
    """`mask` filters the frame of the texts, so that both have equally many rows."""
    result = ore.EmbeddingResult(np.eye(2, dtype=np.float32), ore.Usage(), "m", (), missing=(1,))
    frame = pl.DataFrame({"text": ["a", "refused", "b"]}).filter(result.mask)
    frame = frame.with_columns(pl.Series(result).alias("vector"))
    assert frame["text"].to_list() == ["a", "b"]
    assert frame["vector"].to_list() == result.tolist()


@PANDAS.either
def test_pandas(result: ore.EmbeddingResult) -> None:
    """A column of arrays through Arrow, or a column for each dimension."""
    column: Any = pd.DataFrame.from_arrow(result)["embedding"]
    assert np.array_equal(np.stack(column), result)
    assert np.array_equal(pd.DataFrame(result).to_numpy(), result)
    frame = pd.DataFrame({"embedding": pd.arrays.ArrowExtensionArray(pa.array(result))})
    assert shares(result, pa.array(frame["embedding"]))


@DUCKDB.either
def test_duckdb(result: ore.EmbeddingResult) -> None:
    """SQL over the name of the variable; its vector functions take the column."""
    found = duckdb.sql("from result")
    width = result.shape[1]
    assert [(*found.columns, *map(str, found.types))] == [("embedding", f"FLOAT[{width}]")]
    assert np.array_equal([row for (row,) in found.fetchall()], result)
    rows = pa.table({"id": range(ROWS), "embedding": result})
    assert len(rows) == ROWS
    found = duckdb.sql(
        "select b.id from rows a, rows b where a.id = 8 "
        "order by array_cosine_similarity(a.embedding, b.embedding) desc limit 4"
    )
    assert sorted(found.fetchall()) == [(8,), (9,), (10,), (11,)]


@LANCEDB.either
def test_lancedb(result: ore.EmbeddingResult, tmp_path: Path) -> None:
    """A table in which the column `vector` is searched."""
    table = lancedb.connect(tmp_path).create_table(
        "t", pa.table({"id": range(ROWS), "vector": result})
    )
    found = table.search(result[8]).distance_type("cosine").limit(4).to_list()
    assert sorted(row["id"] for row in found) == [8, 9, 10, 11]
    assert found[0]["vector"] == result[8].tolist()


@FAISS.either
def test_faiss(result: ore.EmbeddingResult) -> None:
    """Inner products of truncated vectors are cosines; bits are in the order that it expects."""
    shorter = result.truncate(48)
    index = faiss.IndexFlatIP(48)
    index.add(shorter.vectors)
    cosines, rows = index.search(shorter.vectors, 4)
    assert families(rows)
    np.testing.assert_allclose(cosines, shorter.nearest(shorter, 4).similarities, atol=1e-5)
    bits = result.quantize("ubinary")
    index = faiss.IndexBinaryFlat(bits.shape[1] * 8)
    index.add(bits)
    distances, rows = index.search(bits, 4)
    assert families(rows)
    signs = result.vectors > 0
    assert np.array_equal(distances, (signs[:, None] != signs[rows]).sum(axis=2))


@USEARCH.either
@pytest.mark.parametrize("dtype", ["f32", "f16", "i8", "b1"])
def test_usearch(result: ore.EmbeddingResult, dtype: str) -> None:
    """Each precision in an index of its own type."""
    vectors: dict[str, Any] = {
        "f32": result.vectors,
        "f16": result.quantize("float16"),
        "i8": result.quantize("int8"),
        "b1": result.quantize("ubinary"),
    }
    index = Index(ndim=result.shape[1], dtype=dtype, metric="hamming" if dtype == "b1" else "cos")
    index.add(np.arange(ROWS), vectors[dtype])
    found = index.search(vectors[dtype], 4, exact=True)
    assert families(found.keys)
    if dtype != "b1":
        cosines = np.take_along_axis(result.similarity(), found.keys.astype(int), axis=1)
        np.testing.assert_allclose(1 - found.distances, cosines, atol=0.01)


@USEARCH.either
def test_usearch_has_the_scale_of_our_int8(result: ore.EmbeddingResult) -> None:
    """What it makes of float32 differs by one at most: it rounds towards zero."""
    index = Index(ndim=result.shape[1], dtype="i8")
    index.add(np.arange(ROWS), result.vectors)
    theirs = np.array(index.get(np.arange(ROWS), dtype=np.int8), int)
    ours = result.quantize("int8").astype(int)
    assert abs(ours - theirs).max() == 1
    assert (abs(ours) >= abs(theirs)).all()


@pytest.fixture
def quantize_embeddings(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The function of the installed package, which uses torch only to recognise tensors."""
    package = importlib.util.find_spec("sentence_transformers")
    assert package is not None
    assert package.origin is not None
    name = "sentence_transformers.util.quantization"
    torch: Any = ModuleType("torch")
    torch.Tensor = type("Tensor", (), {})
    tensor: Any = ModuleType("sentence_transformers.util.tensor")
    tensor._tensor_to_numpy = None  # nothing calls it
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, tensor.__name__, tensor)
    path = Path(package.origin).with_name("util") / "quantization.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.quantize_embeddings


@SENTENCE_TRANSFORMERS.either
@pytest.mark.parametrize("width", [None, 61])
def test_sentence_transformers(
    result: ore.EmbeddingResult, quantize_embeddings: Any, width: int | None
) -> None:
    """The bits are equal, also where the width is no multiple of eight."""
    used = result if width is None else result.truncate(width)
    theirs = quantize_embeddings(used.vectors, "ubinary")
    ours = used.quantize("ubinary")
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    assert np.array_equal(ours, theirs)
