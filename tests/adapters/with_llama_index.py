"""LlamaIndex: the contract of all adapters, and its indexes, pipelines, caches and images."""

import asyncio
import io
import pickle
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import openrouter_embeddings as ore
import pytest
from llama_index.core import (  # pyright: ignore[reportMissingImports]
    Document,
    VectorStoreIndex,
)
from llama_index.core.base.embeddings.base import (  # pyright: ignore[reportMissingImports]
    BaseEmbedding,
)
from llama_index.core.callbacks import (  # pyright: ignore[reportMissingImports]
    CallbackManager,
    LlamaDebugHandler,
)
from llama_index.core.embeddings import MultiModalEmbedding  # pyright: ignore[reportMissingImports]
from llama_index.core.indices import (  # pyright: ignore[reportMissingImports]
    MultiModalVectorStoreIndex,
)
from llama_index.core.ingestion import IngestionPipeline  # pyright: ignore[reportMissingImports]
from llama_index.core.instrumentation import get_dispatcher  # pyright: ignore[reportMissingImports]
from llama_index.core.instrumentation.event_handlers import (  # pyright: ignore[reportMissingImports]
    BaseEventHandler,
)
from llama_index.core.node_parser import (  # pyright: ignore[reportMissingImports]
    SemanticSplitterNodeParser,
)
from llama_index.core.schema import ImageNode, TextNode  # pyright: ignore[reportMissingImports]
from openrouter_embeddings.adapters._lazy import LazyClient
from openrouter_embeddings.adapters.llama_index import (
    OpenRouterEmbedding,
    OpenRouterMultiModalEmbedding,
)
from openrouter_embeddings.local.faults import Faults
from openrouter_embeddings.testing import Service
from pydantic import SecretStr, ValidationError

from stress.servers import served
from tests.adapters.contract import MODEL, TEXTS, AdapterContract, assert_same
from tests.adapters.page import run_section
from tests.compat.loopback import KEY, ROOT
from tests.leaks import shown

PHOTOS = ROOT / "examples" / "photos"


class TestLlamaIndex(AdapterContract):
    """The contract."""

    def make(self, **options: Any) -> OpenRouterEmbedding:
        """An embedding model."""
        return OpenRouterEmbedding(**options)

    def documents(self, adapter: Any, texts: list[str]) -> Any:
        """`get_text_embedding_batch`, which indexes call."""
        return adapter.get_text_embedding_batch(texts)

    async def adocuments(self, adapter: Any, texts: list[str]) -> Any:
        """`aget_text_embedding_batch`."""
        return await adapter.aget_text_embedding_batch(texts)

    def query(self, adapter: Any, text: str) -> Any:
        """`get_query_embedding`."""
        return adapter.get_query_embedding(text)

    async def aquery(self, adapter: Any, text: str) -> Any:
        """`aget_query_embedding`."""
        return await adapter.aget_query_embedding(text)

    def search(self, adapter: Any, passages: list[str], question: str) -> str:
        """In the index of llama-index-core."""
        nodes = [TextNode(text=passage) for passage in passages]
        retriever = VectorStoreIndex(nodes, embed_model=adapter).as_retriever(similarity_top_k=1)
        (found,) = retriever.retrieve(question)
        text: str = found.node.text
        return text

    def save(self, adapter: Any) -> str:
        """`to_json`, as all components of LlamaIndex have it."""
        text: str = adapter.to_json()
        return text

    def load(self, saved: str) -> OpenRouterEmbedding:
        """`from_json`."""
        adapter: OpenRouterEmbedding = OpenRouterEmbedding.from_json(saved)
        return adapter


async def closing(adapter: Any, vectors: Awaitable[Any]) -> Any:
    """Await it, and close the connections of this event loop."""
    try:
        return await vectors
    finally:
        await adapter.aclose()


def images(kind: str, adapter: Any, sources: list[Any]) -> Any:
    """The vectors of images."""
    if kind == "sync":
        return adapter.get_image_embedding_batch(sources)
    return asyncio.run(closing(adapter, adapter.aget_image_embedding_batch(sources)))


@pytest.fixture
def model() -> Iterator[OpenRouterEmbedding]:
    """A small and fast one."""
    adapter = OpenRouterEmbedding(local=True, **MODEL)
    yield adapter
    adapter.close()


def test_they_are_embedding_models_of_llama_index() -> None:
    """By class and by name."""
    assert issubclass(OpenRouterEmbedding, BaseEmbedding)
    assert not issubclass(OpenRouterEmbedding, MultiModalEmbedding)
    assert issubclass(OpenRouterMultiModalEmbedding, MultiModalEmbedding)
    assert OpenRouterEmbedding.class_name() == "OpenRouterEmbedding"
    assert OpenRouterMultiModalEmbedding.class_name() == "OpenRouterMultiModalEmbedding"


def test_an_index_sends_large_batches(model: OpenRouterEmbedding) -> None:
    """Not ten texts at a time, which is the default of LlamaIndex."""
    nodes = [TextNode(text=f"passage {number}") for number in range(300)]
    VectorStoreIndex(nodes, embed_model=model)
    assert model.usage.requests == 3


def test_a_single_text_has_the_vector_of_a_batch(model: OpenRouterEmbedding) -> None:
    """LlamaIndex's agents and evaluators ask for one at a time."""
    (right,) = model.get_text_embedding_batch(["a"])
    assert (
        model.get_text_embedding("a")
        == asyncio.run(closing(model, model.aget_text_embedding("a")))
        == right
    )


def test_model_name_is_another_word_for_model() -> None:
    """LlamaIndex saves it under this name; it cannot be changed, as other options cannot."""
    assert OpenRouterEmbedding(model_name="m", model="n").model_name == "n"
    model = OpenRouterEmbedding(model_name="m", num_workers=2, embed_batch_size=7)
    assert (model.model_name, model.num_workers, model.embed_batch_size) == ("m", 2, 7)
    assert repr(model) == str(model) == "OpenRouterEmbedding(model='m')"
    with pytest.raises(ValidationError, match="frozen"):
        model.model_name = "n"


def test_the_fields_of_llama_index_are_saved_with_the_options() -> None:
    """By `to_dict`, `to_json` and pickle."""
    given: Any = {"model": "m", "dimensions": 8, "num_workers": 2, "embed_batch_size": 7}
    model = OpenRouterEmbedding(api_key=SecretStr(KEY), **given)
    for again in (
        OpenRouterEmbedding.from_dict(model.to_dict()),
        OpenRouterEmbedding.from_json(model.to_json()),
        pickle.loads(pickle.dumps(model)),
    ):
        assert again.to_dict() == model.to_dict()
        assert again.to_dict() | given == again.to_dict() | {"model": "m"}
        assert (again.num_workers, again.embed_batch_size) == (2, 7)
        assert again._client.config() == {"model": "m", "dimensions": 8}
    other = OpenRouterEmbedding.from_dict(model.to_dict(), model="n", dimensions=4)
    assert other._client.config() == {"model": "n", "dimensions": 4}


def test_an_invalid_field_of_llama_index_shows_no_key() -> None:
    """Pydantic checks it."""
    with pytest.raises(ValidationError, match="embed_batch_size") as caught:
        OpenRouterEmbedding(api_key=KEY, model="m", embed_batch_size=0)
    assert KEY not in shown(caught.value)


def test_observers_get_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither events nor callbacks have it."""
    seen: list[str] = []

    class Handler(BaseEventHandler):
        def handle(self, event: Any, **kwargs: Any) -> None:
            seen.append(event.model_dump_json())

    handler = Handler()
    monkeypatch.setattr(get_dispatcher(), "event_handlers", [handler])
    with served(Faults()) as url:
        callbacks = LlamaDebugHandler(print_trace_on_end=False)
        model = OpenRouterEmbedding(
            api_key=KEY, base_url=url, callback_manager=CallbackManager([callbacks]), **MODEL
        )
        model.get_text_embedding_batch(TEXTS)
        model.close()
    seen += [repr(event.payload) for event in callbacks.get_events()]
    assert len(seen) == 4
    assert '"model_name":"local/hash"' in seen[0]
    assert "'model_name': 'local/hash'" in seen[2]
    assert not [text for text in seen if KEY in text]


def ingested(model: OpenRouterEmbedding, pipeline: IngestionPipeline) -> int:
    """The length of the vector that a pipeline gives a document."""
    pipeline.transformations = [model]
    (node,) = pipeline.run(documents=[Document(text="a passage")])
    return len(node.embedding)


def test_the_cache_of_a_pipeline_tells_models_apart(model: OpenRouterEmbedding) -> None:
    """A model with equal options finds the vectors of the first, another does not."""
    pipeline = IngestionPipeline(transformations=[])
    assert ingested(model, pipeline) == 8
    again = OpenRouterEmbedding(local=True, **MODEL)
    assert ingested(again, pipeline) == 8
    assert again.usage.requests == 0
    other = OpenRouterEmbedding(local=True, model="local/hash", dimensions=4)
    assert ingested(other, pipeline) == 4
    other.close()


def test_a_pipeline_takes_a_model_that_cannot_be_saved(model: OpenRouterEmbedding) -> None:
    """Only that model itself finds its vectors again, and nothing loads what describes it."""
    pipeline = IngestionPipeline(transformations=[])
    with Service().client(**MODEL) as client, Service().client(model="local/hash") as other:
        first, second = OpenRouterEmbedding(client=client), OpenRouterEmbedding(client=other)
        assert [ingested(one, pipeline) for one in (first, first, second)] == [8, 8, 256]
        assert first.usage.requests == 1
        with pytest.raises(ore.InputError, match="client: expected an instance of Client, got str"):
            OpenRouterEmbedding.from_dict(first.to_dict())
    for unsaved in (first, OpenRouterEmbedding(local=True, headers={"X-Gateway": "swordfish"})):
        assert "swordfish" not in f"{unsaved.to_dict()}"
        with pytest.raises(ore.InputError, match="cannot be saved or pickled"):
            unsaved.to_json()


def test_a_component_that_has_a_model_saves_its_options(model: OpenRouterEmbedding) -> None:
    """They are part of the cache's key for that component."""
    saved = SemanticSplitterNodeParser(embed_model=model).to_dict()["embed_model"]
    assert saved == model.to_dict()
    assert saved["dimensions"] == 8


def test_the_position_of_a_bad_text_is_that_in_the_batch_of_llama_index() -> None:
    """An empty node is such a text."""
    model = OpenRouterEmbedding(local=True, **MODEL, embed_batch_size=5)
    with pytest.raises(ore.InputError, match="input 2: ") as caught:
        model.get_text_embedding_batch([*TEXTS[:7], "", "a"])
    assert caught.value.inputs == (2,)
    model.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_images_have_the_vectors_of_a_client(kind: str) -> None:
    """From paths and from memory, in order, as documents."""
    paths = sorted(map(str, PHOTOS.glob("*.jpg")))
    service = Service()
    with service.client(model="local/visual") as client:
        right = client.embed([ore.Image(path) for path in paths]).vectors
    memory = io.BytesIO(Path(paths[1]).read_bytes())
    memory.read()  # as a program does that shows it first
    sources = [paths[0], memory, *paths[2:]]
    with served(Faults([])) as url:
        made = OpenRouterMultiModalEmbedding(base_url=url, model="local/visual", batch_size=2)
        adapter = OpenRouterMultiModalEmbedding.from_json(made.to_json(), api_key=KEY)
        for _ in range(2):
            assert_same(images(kind, adapter, sources), right)
        assert adapter.usage.requests == 6
        adapter.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_image_is_sent_as_a_document(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone or with others."""
    roles: list[Any] = []
    with_role = LazyClient._with_role

    def recorded(client: LazyClient, role: Any, options: Any) -> Any:
        roles.append(role)
        return with_role(client, role, options)

    monkeypatch.setattr(LazyClient, "_with_role", recorded)
    adapter = OpenRouterMultiModalEmbedding(local=True, model="local/visual")
    photo = str(PHOTOS / "cat.jpg")
    (vector,) = images(kind, adapter, [photo])
    if kind == "sync":
        assert adapter.get_image_embedding(photo) == vector
    else:
        alone = closing(adapter, adapter.aget_image_embedding(photo))
        assert asyncio.run(alone) == vector
    assert roles == ["document", "document"]
    adapter.close()


def test_an_index_finds_a_similar_image() -> None:
    """Texts and images have models of their own."""
    photos = [
        ImageNode(image_path=str(path), metadata={"name": path.name})
        for path in sorted(PHOTOS.glob("*.jpg"))
    ]
    index = MultiModalVectorStoreIndex(
        [*photos, TextNode(text="a passage")],
        embed_model=OpenRouterEmbedding(local=True, **MODEL),
        image_embed_model=OpenRouterMultiModalEmbedding(local=True, model="local/visual"),
    )
    retriever = index.as_retriever(image_similarity_top_k=1)
    (found,) = retriever.image_to_image_retrieve(str(PHOTOS / "coffee.jpg"))
    assert found.node.metadata == {"name": "coffee.jpg"}


def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what the page shows."""
    run_section("LlamaIndex", capsys)
