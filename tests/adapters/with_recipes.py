"""Recipes: the code of docs/recipes.md, and the traps that it names."""

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pytest

from tests.adapters.page import run_code, sections
from tests.adapters.passages import ANSWERS, PASSAGES

PAGE = "recipes.md"
# before they are imported: nothing asks the network, and Prefect logs no handshake with its server
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"  # it creates a database


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the tools keep their caches and databases."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DAFT_HOME", "DSPY_CACHEDIR", "HF_HOME", "PREFECT_HOME"):
            patch.setenv(name, str(folder / name))
        yield folder


@pytest.fixture(scope="module", params=ANSWERS)
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A question, and a folder and a scope in which the section "Preparation" has run."""
    folder = tmp_path_factory.mktemp("recipes")
    scope: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("passages.txt").write_text("\n".join(PASSAGES), "utf-8")
        run_code(PAGE, "Preparation", scope, request.param)
    return request.param, folder, scope


@pytest.mark.filterwarnings("ignore")  # the tools warn about each other
@pytest.mark.parametrize("tool", [name for name in sections(PAGE) if name != "Preparation"])
def test_the_code_of_the_page_finds_the_right_passage(
    tool: str, prepared: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prints the answer, and nothing else."""
    question, folder, scope = prepared
    monkeypatch.chdir(folder)
    run_code(PAGE, tool, {**scope, "__name__": __name__}, question)
    assert capsys.readouterr().out == f"{ANSWERS[question]}\n"


@pytest.mark.filterwarnings("ignore")
def test_the_cache_of_dspy_mixes_models() -> None:
    """A second function gets the vectors of the first, unless the cache is off."""
    dspy = import_module("dspy")
    for caching, second in ((True, 1), (False, 2)):
        for number in (1, 2):
            embedder = dspy.Embedder(
                lambda texts, n=number: np.full((len(texts), 2), n), caching=caching
            )
            found = embedder(["the same text"])
        assert found.tolist() == [[second, second]]


def test_duckdb_calls_with_2048_rows_and_without_nulls() -> None:
    """A null stays one."""
    duckdb = import_module("duckdb")
    sizes: list[int] = []

    def embed(column: pa.Array) -> pa.Array:
        assert column.null_count == 0
        sizes.append(len(column))
        return pa.array([[1.0, 2.0]] * len(column), pa.list_(pa.float32(), 2))

    with duckdb.connect() as db:
        db.create_function("embed", embed, ["VARCHAR"], "FLOAT[2]", type="arrow")
        db.register("given", pa.table({"text": [None, *map(str, range(4999))]}))
        found = db.sql("select embed(text) as e from given").to_arrow_table()["e"]
    assert found.null_count == 1
    assert sum(sizes) == 4999
    assert max(sizes) <= 2048


def test_polars_hands_over_a_whole_column_and_a_null_is_refused() -> None:
    """One call; the client names the null."""
    polars = import_module("polars")
    client = ore.Client.local(model="local/hash")
    sizes: list[int] = []

    def embed(column: Any) -> Any:
        sizes.append(len(column))
        return polars.Series(client.embed_documents(column))

    def embedded(texts: list[str | None]) -> Any:
        vectors = polars.Array(polars.Float32, 256)
        return polars.DataFrame({"text": texts}).with_columns(
            embedding=polars.col("text").map_batches(embed, return_dtype=vectors)
        )

    assert embedded(["a text"] * 5000)["embedding"].dtype.shape == (256,)
    assert sizes == [5000]
    with pytest.raises(ore.InputError, match="input 1: missing value"):
        embedded(["a", None])


@pytest.mark.filterwarnings("ignore")
def test_the_topics_of_bertopic_follow_the_vectors_that_it_gets() -> None:
    """Two groups of vectors are two topics, whatever the texts say; no model is loaded."""
    bertopic = import_module("bertopic")
    umap = import_module("umap").UMAP(n_components=2, random_state=0)
    groups = np.arange(60) % 2
    noise = np.random.default_rng(0).normal(scale=0.01, size=(60, 8))
    vectors = (np.eye(8)[groups] + noise).astype(np.float32)
    topics = bertopic.BERTopic(embedding_model=None, min_topic_size=10, umap_model=umap)
    found, _ = topics.fit_transform(PASSAGES[:60], embeddings=vectors)
    assert len(set(zip(groups.tolist(), found, strict=True))) == 2
    (first, second), _ = topics.transform(["a", "b"], embeddings=np.eye(2, 8, dtype=np.float32))
    assert [first, second] == found[:2]
