"""Haystack: the contract of all adapters, and its pipelines: saved, loaded, async, with secrets."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openrouter_embeddings as ore
import pytest
from haystack import Document, Pipeline  # pyright: ignore[reportMissingImports]
from haystack.components.retrievers import (  # pyright: ignore[reportMissingImports]
    InMemoryEmbeddingRetriever,
)
from haystack.components.writers import DocumentWriter  # pyright: ignore[reportMissingImports]
from haystack.core.errors import (  # pyright: ignore[reportMissingImports]
    PipelineRuntimeError,
)
from haystack.dataclasses import ByteStream  # pyright: ignore[reportMissingImports]
from haystack.document_stores.in_memory import (  # pyright: ignore[reportMissingImports]
    InMemoryDocumentStore,
)
from haystack.utils import Secret  # pyright: ignore[reportMissingImports]
from openrouter_embeddings.adapters.haystack import (
    OpenRouterDocumentEmbedder,
    OpenRouterTextEmbedder,
)
from openrouter_embeddings.local.faults import Fault, Faults

from stress.servers import served
from tests.adapters.contract import MODEL, TEXTS, AdapterContract, Recording, assert_same
from tests.adapters.page import run_section
from tests.compat.loopback import KEY, ROOT
from tests.leaks import shown

LOADS = """
import json, sys
from haystack import Pipeline
pipeline = Pipeline.loads(sys.stdin.read())
given = {"text": {"text": "a"}, "other": {"text": "b"}, "documents": {"documents": []}}
found = pipeline.run(given)
assert found["other"] == {"text": "b"}
print(json.dumps(found["text"]["embedding"]))
"""
# as another package has it that adds a component to Haystack
OTHER = """
from haystack import component
@component
class Other:
    @component.output_types(text=str)
    def run(self, text: str): return {"text": text}
"""


class TestHaystack(AdapterContract):
    """The contract."""

    can_skip = True

    def make(self, **options: Any) -> OpenRouterDocumentEmbedder:
        """A component for documents."""
        return OpenRouterDocumentEmbedder(**options)

    def documents(self, adapter: Any, texts: list[str]) -> Any:
        """`run`."""
        found = adapter.run([Document(content=text) for text in texts])
        return [document.embedding for document in found["documents"]]

    async def adocuments(self, adapter: Any, texts: list[str]) -> Any:
        """`run_async`."""
        found = await adapter.run_async([Document(content=text) for text in texts])
        return [document.embedding for document in found["documents"]]

    def query(self, adapter: Any, text: str) -> Any:
        """`run` of the component for queries."""
        return queries(adapter).run(text)["embedding"]

    async def aquery(self, adapter: Any, text: str) -> Any:
        """`run_async` of the component for queries."""
        return (await queries(adapter).run_async(text))["embedding"]

    def search(self, adapter: Any, passages: list[str], question: str) -> str:
        """In the document store of Haystack, through a pipeline."""
        store = InMemoryDocumentStore()
        documents = [Document(content=passage) for passage in passages]
        store.write_documents(adapter.run(documents)["documents"])
        pipeline = Pipeline()
        pipeline.add_component("text", queries(adapter))
        pipeline.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=1))
        pipeline.connect("text.embedding", "retriever.query_embedding")
        (found,) = pipeline.run({"text": {"text": question}})["retriever"]["documents"]
        text: str = found.content
        return text

    def save(self, adapter: Any) -> str:
        """The YAML of a pipeline."""
        pipeline = Pipeline()
        pipeline.add_component("embedder", adapter)
        try:
            text: str = pipeline.dumps()
        finally:
            pipeline.remove_component("embedder")
        return text

    def load(self, saved: str) -> Any:
        """A component of a pipeline."""
        return Pipeline.loads(saved).get_component("embedder")


def queries(adapter: Any) -> Any:
    """The component for queries with the client of the one for documents."""
    embedder = OpenRouterTextEmbedder(local=True)
    embedder._client = adapter._client
    return embedder


@pytest.fixture
def embedder() -> Iterator[OpenRouterDocumentEmbedder]:
    """A small and fast one."""
    adapter = OpenRouterDocumentEmbedder(local=True, **MODEL)
    yield adapter
    adapter.close()


def test_a_pipeline_loads_in_a_process_that_imports_only_haystack(tmp_path: Path) -> None:
    """Without an allow-list, and next to another package with components for Haystack."""
    other = tmp_path / "haystack_integrations" / "components" / "embedders" / "other"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text(OTHER)
    with served(Faults()) as url:
        pipeline = Pipeline()
        pipeline.add_component("text", OpenRouterTextEmbedder(api_key=KEY, prefix="q: ", **MODEL))
        pipeline.add_component("documents", OpenRouterDocumentEmbedder(api_key=KEY, **MODEL))
        saved = pipeline.dumps()
        assert KEY not in saved
        path = "haystack_integrations.components.embedders"
        assert saved.count(f"type: {path}.openrouter_embeddings.OpenRouter") == 2
        saved = saved.replace(
            "components:\n", f"components:\n  other: {{type: {path}.other.Other}}\n", 1
        )
        folders = [tmp_path, ROOT / "wrapper", ROOT / "generated"]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "OPENROUTER_API_KEY": KEY,
            "OPENROUTER_BASE_URL": url,
        }
        done = subprocess.run(
            [sys.executable, "-c", LOADS],
            input=saved,
            env=environment,
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        )
        with ore.Client(KEY, base_url=url, **MODEL) as client:
            right = client.embed(["q: a"]).vectors
    assert_same([json.loads(done.stdout)], right)


def test_the_classes_have_two_addresses() -> None:
    """One is that of our adapters, the other that of Haystack's integrations."""
    from haystack_integrations.components.embedders import openrouter_embeddings as integration

    assert integration.OpenRouterTextEmbedder is OpenRouterTextEmbedder
    assert integration.OpenRouterDocumentEmbedder is OpenRouterDocumentEmbedder


def test_a_pipeline_indexes_and_closes(embedder: OpenRouterDocumentEmbedder) -> None:
    """`Pipeline.close` closes the connections, and the next run makes new ones."""
    store = InMemoryDocumentStore()
    pipeline = Pipeline()
    pipeline.add_component("embedder", embedder)
    pipeline.add_component("writer", DocumentWriter(store))
    pipeline.connect("embedder", "writer")
    pipeline.run({"embedder": {"documents": [Document(content=text) for text in TEXTS]}})
    assert len(store.filter_documents()) == 12
    assert embedder._client._process.client
    pipeline.close()
    assert embedder._client._process.client is None
    pipeline.run({"embedder": {"documents": [Document(content="another")]}})
    assert len(store.filter_documents()) == 13


@pytest.fixture
def anyio_backend() -> str:
    """asyncio; the client knows no other."""
    return "asyncio"


@pytest.mark.anyio
async def test_an_async_pipeline_uses_and_closes_an_async_client(
    embedder: OpenRouterDocumentEmbedder,
) -> None:
    """Not a thread."""
    pipeline = Pipeline()
    pipeline.add_component("embedder", embedder)
    found = await pipeline.run_async({"embedder": {"documents": [Document(content="a")]}})
    assert len(found["embedder"]["documents"][0].embedding) == 8
    assert embedder._client._process.client is None
    assert len(embedder._client._process.async_clients) == 1
    await pipeline.close_async()
    assert not embedder._client._process.async_clients


def test_an_error_in_a_pipeline_keeps_its_cause() -> None:
    """Haystack wraps it; neither shows the key."""
    with served(Faults([Fault("status", status=401)])) as url:
        pipeline = Pipeline()
        adapter = OpenRouterTextEmbedder(api_key=KEY, base_url=url, **MODEL)
        pipeline.add_component("text", adapter)
        with pytest.raises(PipelineRuntimeError) as caught:
            pipeline.run({"text": {"text": "a"}})
        adapter.close()
    assert isinstance(caught.value.__cause__, ore.AuthenticationError)
    assert KEY not in shown(caught.value)


@pytest.mark.parametrize("make", [OpenRouterTextEmbedder, OpenRouterDocumentEmbedder])
def test_a_secret_of_haystack_is_a_key(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of its environment variable is saved, a token is not."""
    with_variable = make(api_key=Secret.from_env_var("TEAM_KEY"), model="m")
    assert with_variable.to_dict()["init_parameters"]["api_key_env_var"] == "TEAM_KEY"
    with_token = make(api_key=Secret.from_token(KEY), model="m")
    assert with_token._client._key.reveal() == KEY
    assert KEY not in f"{with_token.to_dict()} {with_token!r} {vars(with_token)}"
    saved = make(local=True).to_dict()
    saved["init_parameters"] = {"model": "m", "api_key": Secret.from_env_var("TEAM_KEY").to_dict()}
    assert make.from_dict(saved).to_dict() == with_variable.to_dict()
    with pytest.raises(ore.InputError, match="expected a Secret of one environment variable"):
        make(api_key=Secret.from_env_var(["A", "B"]), model="m")
    with pytest.raises(ore.InputError) as caught:
        make(api_key=Secret.from_token(KEY), model="m", batch_size=0)
    assert KEY not in shown(caught.value)


def test_meta_has_the_usage_as_json() -> None:
    """In the form of Haystack's own components, with the cost; `usage` has it exactly."""
    text = OpenRouterTextEmbedder(local=True)
    found = json.loads(json.dumps(text.run("a cat")["meta"]))
    assert found == {
        "model": "local/minilm",
        "usage": {"prompt_tokens": 4, "total_tokens": 4, "cost": 8e-08},
        "providers": ["Local"],
    }
    assert f"{text.usage.cost:f}" == "0.00000008"
    text.close()


def test_the_fields_of_haystack_change_the_texts() -> None:
    """As in its own embedders, and they are saved."""
    with Recording() as service:
        common: Any = {"api_key": KEY, "base_url": service.url, "model": "m", "prefix": "<"}
        fields: Any = {"suffix": ">", "meta_fields_to_embed": ["title", "page", "author"]}
        first = OpenRouterDocumentEmbedder(**common, **fields, embedding_separator=" | ")
        documents = [
            Document(content="a", meta={"title": "T", "page": 0, "author": None}),
            Document(content="b", meta={"page": 2}),
            Document(content=None, meta={"title": "only"}),
        ]
        first.run(documents)
        again = OpenRouterDocumentEmbedder.from_dict(first.to_dict())
        again._client._key = first._client._key
        again.run(documents)
        text = OpenRouterTextEmbedder(**common, suffix=">")
        text.run("a")
        for one in (first, again, text):
            one.close()
    right = ["<T | 0 | a>", "<2 | b>", "<only | >"]
    assert [asked["input"] for asked in service.asked] == [right, right, ["<a>"]]


def test_the_documents_of_the_caller_stay_as_they_are(embedder: Any) -> None:
    """Copies have the vectors, and everything else of the originals."""
    document = Document(content="a", meta={"page": 1}, score=0.5)
    (found,) = embedder.run([document])["documents"]
    assert document.embedding is None
    assert (found.id, found.content, found.meta, found.score) == (
        document.id,
        "a",
        {"page": 1},
        0.5,
    )


def test_a_skipped_document_has_no_embedding() -> None:
    """Not even an older one; `meta` has the error by document."""
    documents = [Document(content=text, embedding=[1.0]) for text in TEXTS]
    with served(Faults([Fault("poison", text="number 7")])) as url:
        options: Any = {"api_key": KEY, "base_url": url, **MODEL}
        adapter = OpenRouterDocumentEmbedder(**options, on_error="skip")
        found = adapter.run([*documents, Document(content=None)])
        adapter.close()
        with pytest.raises(ore.InputError, match='on_error="skip" would leave out'):
            OpenRouterTextEmbedder(**options, on_error="skip")
    lengths = [len(document.embedding or ()) for document in found["documents"]]
    assert lengths == [8] * 7 + [0] + [8] * 4 + [0]
    assert found["documents"][7].embedding is None
    errors = json.loads(json.dumps(found["meta"]["errors"]))
    assert [*errors] == [documents[7].id, found["documents"][12].id]
    assert "missing value" in errors[found["documents"][12].id]


def test_a_document_without_text_is_an_error(embedder: OpenRouterDocumentEmbedder) -> None:
    """A prefix does not make it one with text."""
    prefixed = OpenRouterDocumentEmbedder(local=True, **MODEL, prefix="passage: ")
    for adapter in (embedder, prefixed):
        for content in (None, ""):
            with pytest.raises(ore.InputError, match="input 1: missing value"):
                adapter.run([Document(content="a"), Document(content=content)])
    text = OpenRouterTextEmbedder(local=True, **MODEL, prefix="query: ")
    with pytest.raises(ore.InputError, match="empty"):
        text.run("")
    for one in (prefixed, text):
        one.close()


def test_a_document_can_be_an_image() -> None:
    """In its blob; with a text, the text counts."""
    photo = ROOT / "examples" / "photos" / "cat.jpg"
    images = OpenRouterDocumentEmbedder(local=True, model="local/visual")
    blob = ByteStream.from_file_path(photo)
    (found,) = images.run([Document(blob=blob)])["documents"]
    with ore.Client.local(model="local/visual") as client:
        assert_same([found.embedding], client.embed([ore.Image(photo)]).vectors)
    with pytest.raises(ore.InputError, match="input 0: ") as caught:
        images.run([Document(blob=ByteStream(b"%PDF-1.7 ..."))])
    assert caught.value.inputs == (0,)
    texts = OpenRouterDocumentEmbedder(local=True, **MODEL)
    (found,) = texts.run([Document(content="a", blob=blob)])["documents"]
    assert found.embedding == texts.run([Document(content="a")])["documents"][0].embedding
    for one in (images, texts):
        one.close()


def test_what_the_other_component_takes_is_an_error(embedder: OpenRouterDocumentEmbedder) -> None:
    """The error names that component."""
    wrong: Any
    for wrong in ("a text", Document(content="a"), ["a text"]):
        with pytest.raises(ore.InputError, match="use OpenRouterTextEmbedder for a text"):
            embedder.run(wrong)
    text = OpenRouterTextEmbedder(local=True, **MODEL)
    field: Any = "title"
    for wrong in ([Document(content="a")], ["a"], None):
        with pytest.raises(ore.InputError, match="use OpenRouterDocumentEmbedder for documents"):
            text.run(wrong)
    with pytest.raises(ore.InputError, match="meta_fields_to_embed: expected a list of names"):
        OpenRouterDocumentEmbedder(local=True, meta_fields_to_embed=field)
    nothing: Any = None
    with pytest.raises(ore.InputError, match="prefix: expected a str, got NoneType"):
        OpenRouterTextEmbedder(local=True, prefix=nothing)
    first = OpenRouterDocumentEmbedder(local=True)
    first.to_dict()["init_parameters"]["meta_fields_to_embed"].append("title")
    for one in (first, OpenRouterDocumentEmbedder(local=True)):
        assert one.to_dict()["init_parameters"]["meta_fields_to_embed"] == []
    with pytest.raises(TypeError, match="unknown option 'meta_fields_to_embed'"):
        OpenRouterTextEmbedder(local=True, meta_fields_to_embed=["title"])


def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what the page shows."""
    run_section("Haystack", capsys)
