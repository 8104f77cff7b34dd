"""Chroma: the contract of all adapters, and collections that remember their function."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import chromadb  # pyright: ignore[reportMissingImports]
import numpy as np
import openrouter_embeddings as ore
import PIL.Image
import pytest
from chromadb.api.types import (  # pyright: ignore[reportMissingImports]
    validate_embedding_function,
)
from chromadb.utils.data_loaders import ImageLoader  # pyright: ignore[reportMissingImports]
from chromadb.utils.embedding_functions import (  # pyright: ignore[reportMissingImports]
    known_embedding_functions,
)
from openrouter_embeddings.adapters import _lazy
from openrouter_embeddings.adapters.chroma import OpenRouterEmbeddingFunction
from openrouter_embeddings.local.faults import Faults

from stress.servers import served
from tests.adapters.contract import MODEL, AdapterContract
from tests.adapters.page import run_section
from tests.compat.loopback import KEY, ROOT

OPEN = """
import sys, chromadb
{IMPORT}
notes = chromadb.PersistentClient(sys.argv[1]).get_collection("notes")
print(notes.query(query_texts=["a kitten"], n_results=1)["documents"][0][0])
"""


@pytest.fixture(autouse=True)
def _nothing_shared() -> Iterator[None]:
    yield
    for client in _lazy._SHARED.values():
        client.close()
    _lazy._SHARED.clear()


class TestChroma(AdapterContract):
    """The contract."""

    kinds = ("sync",)

    def make(self, **options: Any) -> OpenRouterEmbeddingFunction:
        """An embedding function."""
        return OpenRouterEmbeddingFunction(**options)

    def documents(self, adapter: Any, texts: list[str]) -> Any:
        """What a collection calls for documents."""
        return adapter(input=texts)

    def query(self, adapter: Any, text: str) -> Any:
        """What a collection calls for queries."""
        return adapter.embed_query(input=[text])[0]

    def search(self, adapter: Any, passages: list[str], question: str) -> str:
        """In a collection in memory."""
        notes = collection_of(adapter)
        if not notes.count():
            notes.add(ids=[str(number) for number in range(len(passages))], documents=passages)
        return str(notes.query(query_texts=[question], n_results=1)["documents"][0][0])

    def save(self, adapter: Any) -> str:
        """What a collection remembers."""
        return json.dumps({"name": adapter.name(), "config": adapter.get_config()})

    def load(self, saved: str) -> Any:
        """As Chroma does when it opens a collection."""
        loaded = json.loads(saved)
        return known_embedding_functions[loaded["name"]].build_from_config(loaded["config"])

    def test_an_empty_list_needs_no_request(self, kind: str) -> None:
        """Chroma itself refuses it, as it does for all embedding functions."""
        faults = Faults()
        with served(faults) as url:
            adapter = self.made(api_key=KEY, base_url=url, **MODEL)
            with pytest.raises(ValueError, match="Expected Embeddings to be non-empty"):
                self.called(kind, adapter, [])
            assert adapter.embed_query(input=[]) == []
        assert faults.requests == 0


def collection_of(function: Any, **options: Any) -> Any:
    """A new collection."""
    client = chromadb.EphemeralClient()
    return client.create_collection(f"notes-{uuid4()}", embedding_function=function, **options)


@pytest.mark.parametrize("imported", [True, False])
def test_another_process_opens_a_collection(imported: bool, tmp_path: Path) -> None:
    """It queries with the same options, if it has imported the adapter."""
    client = chromadb.PersistentClient(str(tmp_path))
    function = OpenRouterEmbeddingFunction(local=True)
    notes = client.create_collection("notes", embedding_function=function)
    notes.add(ids=["1", "2"], documents=["a cat sat on the mat", "shares fell"])
    code = OPEN.format(IMPORT="import openrouter_embeddings.adapters.chroma" if imported else "")
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if imported:
        assert done.stdout == "a cat sat on the mat\n"
    else:
        assert "Embedding function openrouter not found" in done.stderr
    function.close()


def test_a_collection_on_disk_does_not_have_the_key(tmp_path: Path) -> None:
    """It has the name of the variable."""
    client = chromadb.PersistentClient(str(tmp_path))
    with served(Faults()) as url:
        options: Any = {"api_key": KEY, "api_key_env_var": "TEAM_KEY", "base_url": url, **MODEL}
        with closing(OpenRouterEmbeddingFunction(**options)) as function:
            notes = client.create_collection("notes", embedding_function=function)
            notes.add(ids=["1"], documents=["a"])
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"TEAM_KEY" in content for content in files)
    assert not any(KEY.encode() in content for content in files)
    assert KEY not in repr(notes) + repr(notes.configuration) + repr(vars(notes))


def test_the_functions_of_a_collection_share_connections_and_usage() -> None:
    """Chroma makes one for each call to a collection that was opened by its name."""
    with closing(OpenRouterEmbeddingFunction(local=True, **MODEL)) as function:
        notes = collection_of(function)
    opened = chromadb.EphemeralClient().get_collection(notes.name)
    opened.add(ids=["1", "2"], documents=["a", "b"])
    assert opened.query(query_texts=["b"])["ids"][0][0] == "2"
    assert opened.configuration["embedding_function"].usage.requests == 2
    assert function.usage.requests == 0


def test_chroma_warns_that_it_cannot_remember_a_client() -> None:
    """The collection works with the function that was given."""
    with ore.Client.local(**MODEL) as client:
        function = OpenRouterEmbeddingFunction(client=client)
        with pytest.warns(DeprecationWarning, match="client cannot be saved"):
            notes = collection_of(function)
        notes.add(ids=["1", "2"], documents=["a", "b"])
        assert notes.query(query_texts=["b"])["ids"][0][0] == "2"


def test_a_collection_keeps_its_model() -> None:
    """Other options can change; vectors of two models in one collection make no sense."""
    notes = collection_of(OpenRouterEmbeddingFunction(local=True, **MODEL))
    other = OpenRouterEmbeddingFunction(local=True, **MODEL, user="u")
    notes.modify(configuration={"embedding_function": other})
    assert notes.configuration["embedding_function"].get_config()["user"] == "u"
    other = OpenRouterEmbeddingFunction(local=True, model="local/hash", dimensions=9)
    with pytest.raises(ore.InputError, match="dimensions: the collection has vectors of 8, not of"):
        notes.modify(configuration={"embedding_function": other})


def test_what_chroma_expects_of_a_function() -> None:
    """A list of float32 arrays with one dimension, and cosine distances."""
    with closing(OpenRouterEmbeddingFunction(local=True, **MODEL)) as function:
        vectors = function(["a", "b"])
    assert type(vectors) is list
    assert [(one.dtype, one.shape) for one in vectors] == [(np.float32, (8,))] * 2
    assert not function.is_legacy()
    assert collection_of(function).configuration["hnsw"]["space"] == "cosine"
    validate_embedding_function(function)


def test_a_search_in_images() -> None:
    """As arrays, or loaded from files by Chroma."""
    photos = sorted((ROOT / "examples" / "photos").glob("*.jpg"))
    with closing(OpenRouterEmbeddingFunction(local=True, model="local/visual")) as function:
        notes = collection_of(function, data_loader=ImageLoader())
        notes.add(ids=[photo.name for photo in photos], uris=[str(photo) for photo in photos])
        with PIL.Image.open(photos[2]) as opened:
            small = np.asarray(opened.resize((100, 80)), np.int64)
        found = notes.query(query_images=[small], n_results=1)
        assert found["ids"] == [[photos[2].name]]
        grey = function([np.asarray(small.mean(axis=2), np.uint8)])
        assert grey[0].shape == (144,)


@pytest.mark.parametrize(
    "array",
    [
        np.full((4, 4, 3), 256),
        np.full((4, 4, 3), -1),
        np.full((4, 4, 3), 0.5),
        np.zeros((0, 4), np.uint8),
        np.zeros((4, 4, 7), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_an_array_that_is_no_image(array: Any) -> None:
    """Its position is in the error, and nothing is sent."""
    good = np.zeros((4, 4), np.uint8)
    with closing(OpenRouterEmbeddingFunction(local=True, model="local/visual")) as function:
        with pytest.raises(
            ore.InputError, match="input 1: expected an image as an array"
        ) as caught:
            function([good, array])
        assert caught.value.inputs == (1,)
        assert function.usage.requests == 0


def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what the page shows."""
    run_section("Chroma", capsys)
