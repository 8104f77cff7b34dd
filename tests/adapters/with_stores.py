"""Stores: the code of docs/stores.md, and the traps that it names."""

import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.adapters.page import run_code, sections
from tests.adapters.passages import ANSWERS, PASSAGES

# only this environment has them, with fewer types than they need
chromadb, duckdb, faiss, lancedb = map(import_module, ("chromadb", "duckdb", "faiss", "lancedb"))
psycopg, qdrant_client, sqlite_vec = map(import_module, ("psycopg", "qdrant_client", "sqlite_vec"))
pysqlite3 = import_module("pysqlite3")  # sqlite3 cannot load extensions in all Pythons
Index: Any = import_module("usearch.index").Index

PAGE = "stores.md"
VECTORS = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)


@pytest.fixture(scope="module", params=ANSWERS)
def prepared(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Any:
    """A question, and a folder and a scope in which the section "Preparation" has run."""
    folder = tmp_path_factory.mktemp("stores")
    scope: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("passages.txt").write_text("\n".join(PASSAGES), "utf-8")
        run_code(PAGE, "Preparation", scope, request.param)
    return request.param, folder, scope


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: Any) -> Iterator[str]:
    """The folder of the socket of a PostgreSQL that runs until the tests end."""
    pgserver = pytest.importorskip("pgserver", reason="has wheels up to Python 3.12 only")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        server = pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    yield server.get_uri().partition("host=")[2]
    server.cleanup()


@pytest.fixture
def database(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables for a new database."""
    name = f"stores_{time.monotonic_ns()}"
    for variable, value in {"PGHOST": postgres, "PGUSER": "postgres", "PGDATABASE": name}.items():
        monkeypatch.setenv(variable, value)
    with psycopg.connect(dbname="postgres", autocommit=True) as connection:
        connection.execute(f"create database {name}")


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # code on a page closes little
@pytest.mark.parametrize("store", [name for name in sections(PAGE) if name != "Preparation"])
def test_the_code_of_the_page_finds_the_right_passage(
    store: str,
    prepared: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Both blocks, that with a result and that with the file of a job, print the answer."""
    question, folder, scope = prepared
    if store == "pgvector":
        request.getfixturevalue("database")
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "sqlite3", pysqlite3)
    chromadb.api.client.SharedSystemClient.clear_system_cache()  # it remembers relative paths
    assert run_code(PAGE, store, {**scope}, question) == 2
    assert capsys.readouterr().out == f"{ANSWERS[question]}\n" * 2


def test_a_row_without_a_vector_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts and vectors of a job's file stay together."""
    monkeypatch.chdir(tmp_path)
    Path("passages.txt").write_text("a cat\n\na dog\n")
    _, code = (text for language, text in sections(PAGE)["Preparation"] if language == "python")
    scope: dict[str, Any] = {"client": ore.Client.local()}
    exec(code, scope)
    assert pq.read_table("vectors.parquet")["embedding"].null_count == 1
    assert scope["table"]["text"].to_pylist() == ["a cat", "a dog"]
    result = scope["client"].embed_documents(["a cat", "a dog"])
    np.testing.assert_array_equal(scope["vectors"], result.vectors)


def test_chroma_wants_ids_as_strings_and_ignores_those_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And embeds texts itself when it gets no vectors."""
    client = chromadb.PersistentClient(tmp_path)
    rows = client.create_collection("rows", embedding_function=None)
    with pytest.raises(ValueError, match="Expected ID to be a str"):
        rows.add(ids=[1], embeddings=VECTORS[:1])
    for row in (0, 1):
        rows.add(ids=["1"], embeddings=VECTORS[row])
    (kept,) = rows.get(include=["embeddings"])["embeddings"]
    np.testing.assert_array_equal(kept, VECTORS[0])
    many = client.get_max_batch_size() + 1
    with pytest.raises(chromadb.errors.InternalError, match="greater than max batch size"):
        rows.add(ids=[str(row) for row in range(many)], embeddings=np.ones((many, 8)))

    functions = import_module("chromadb.utils.embedding_functions")
    embedded = []

    def embed(_: object, input: list[str]) -> Any:  # noqa: A002 - Chroma's name
        embedded.extend(input)
        return [VECTORS[0]] * len(input)

    monkeypatch.setattr(functions.DefaultEmbeddingFunction, "__call__", embed)
    rows.add(ids=["2"], documents=["a text"])
    assert embedded == ["a text"]


def test_duckdb_compares_arrays_and_not_lists(tmp_path: Path) -> None:
    """Parquet has lists; Arrow keeps the length."""
    given = pa.table({"embedding": pa.FixedSizeListArray.from_arrays(VECTORS.ravel(), 8)})
    file = tmp_path / "vectors.parquet"
    pq.write_table(given, file)
    assert [row[1] for row in duckdb.sql(f"describe from '{file}'").fetchall()] == ["FLOAT[]"]
    assert [row[1] for row in duckdb.sql("describe from given").fetchall()] == ["FLOAT[8]"]
    with duckdb.connect() as db:
        for left, right in (("embedding", "?::float[8]"), ("embedding::float[8]", "?")):
            with pytest.raises(duckdb.BinderException, match="explicit type casts"):
                db.execute(
                    f"select array_cosine_distance({left}, {right}) from '{file}'", [VECTORS[0]]
                )


def test_qdrant_makes_up_ids_and_normalises(tmp_path: Path) -> None:
    """A second upload without ids adds the rows again."""
    client = qdrant_client.QdrantClient(path=str(tmp_path))
    cosine = qdrant_client.models.Distance.COSINE
    parameters = qdrant_client.models.VectorParams(size=8, distance=cosine)
    for name, ids in (("without", None), ("with", range(10))):
        client.create_collection(name, vectors_config=parameters)
        for _ in range(2):
            client.upload_collection(name, VECTORS[:10], ids=ids)
    assert [client.count(name).count for name in ("without", "with")] == [20, 10]
    (point,) = client.query_points("with", query=VECTORS[3], with_vectors=True, limit=1).points
    assert point.id == 3
    normalised = VECTORS[3] / np.linalg.norm(VECTORS[3])
    np.testing.assert_allclose(point.vector, normalised, rtol=1e-5)
    client.close()


def test_usearch_stores_less_precise_numbers_by_default() -> None:
    """`dtype="f32"` keeps what it gets; a key that exists is an error."""
    kept = []
    for options in ({}, {"dtype": "f32"}):
        index = Index(ndim=8, metric="cos", **options)
        index.add(np.arange(300), VECTORS)
        kept.append(np.array_equal(index.get(7), VECTORS[7]))
        with pytest.raises(RuntimeError, match="Duplicate keys"):
            index.add(np.arange(1), VECTORS[:1])
    assert kept == [False, True]


def test_defaults_are_euclidean(tmp_path: Path) -> None:
    """A long vector in the right direction is not the nearest unless the cosine is asked for."""
    rows = np.array([[9, 0], [0, 1]], np.float32)
    query = np.array([1, 0.1], np.float32)

    table = pa.table({"vector": pa.FixedSizeListArray.from_arrays(rows.ravel(), 2)})
    search = lancedb.connect(tmp_path).create_table("rows", table).search(query)
    assert search.limit(1).to_list()[0]["vector"] == [0, 1]
    assert search.distance_type("cosine").limit(1).to_list()[0]["vector"] == [9, 0]

    cosine = {"configuration": {"hnsw": {"space": "cosine"}}}
    for name, options in (("euclidean", {}), ("cosine", cosine)):
        chroma = chromadb.EphemeralClient().create_collection(name, **options)
        chroma.add(ids=["long", "short"], embeddings=rows)
        (found,) = chroma.query(query_embeddings=query, n_results=1)["ids"]
        assert found == [{"euclidean": "short", "cosine": "long"}[name]]

    index = faiss.IndexFlatL2(2)
    index.add(rows)
    assert index.search(query[np.newaxis], 1)[1] == [[1]]

    db = pysqlite3.connect(":memory:")
    db.enable_load_extension(True)
    sqlite_vec.load(db)
    for metric, nearest in (("", 2), (" distance_metric=cosine", 1)):
        db.execute(f"create virtual table rows using vec0(embedding float[2]{metric})")
        db.executemany("insert into rows (embedding) values (?)", [[row] for row in rows])
        search = "select rowid from rows where embedding match ? and k = 1"
        assert db.execute(search, [query]).fetchall() == [(nearest,)]
        with pytest.raises(pysqlite3.OperationalError, match="k = "):
            db.execute("select rowid from rows where embedding match ?", [query]).fetchall()
        db.execute("drop table rows")
    db.close()


def test_faiss_changes_the_matrix_that_it_normalises() -> None:
    """So the page copies it; the vectors of a file cannot be changed at all."""
    matrix = VECTORS.copy()
    faiss.normalize_L2(matrix)
    assert not np.array_equal(matrix, VECTORS)


def test_pgvector_indexes_no_more_than_2000_dimensions(database: None) -> None:
    """A column may have more."""
    with psycopg.connect(autocommit=True) as db:
        db.execute("create extension vector")
        db.execute("create table wide (embedding vector(3072))")
        with pytest.raises(psycopg.errors.InternalError_, match="2000 dimensions"):
            db.execute("create index on wide using hnsw (embedding vector_cosine_ops)")
