"""MTEB: the contract of all adapters, and MTEB's own mock tasks."""

from pathlib import Path
from typing import Any

import mteb  # pyright: ignore[reportMissingImports]
import numpy as np
import openrouter_embeddings as ore
import pytest
from mteb.mocks.mock_tasks import (  # pyright: ignore[reportMissingImports]
    MockRetrievalTask,
    MockSTSTask,
)
from mteb.models import EncoderProtocol, ModelMeta  # pyright: ignore[reportMissingImports]
from mteb.results.task_result import TaskError  # pyright: ignore[reportMissingImports]
from mteb.types import PromptType  # pyright: ignore[reportMissingImports]
from openrouter_embeddings.adapters.mteb import OpenRouterEncoder, _items
from openrouter_embeddings.testing import Service
from PIL import Image

from tests.adapters.contract import MODEL, TEXTS, AdapterContract, Recording, assert_same
from tests.adapters.page import run_section
from tests.compat.loopback import KEY, ROOT

PHOTOS = ROOT / "examples" / "photos"


def encode(encoder: Any, batches: list[dict[str, Any]], prompt_type: Any = None) -> Any:
    """As MTEB calls an encoder; a DataLoader is an iterable of batches."""
    return encoder.encode(
        batches,
        task_metadata=MockSTSTask.metadata,
        hf_split="test",
        hf_subset="default",
        prompt_type=prompt_type,
        batch_size=32,
    )


class TestMTEB(AdapterContract):
    """The contract."""

    kinds = ("sync",)

    def make(self, **options: Any) -> OpenRouterEncoder:
        """An encoder."""
        return OpenRouterEncoder(**options)

    def documents(self, adapter: Any, texts: list[str]) -> Any:
        """`encode`, in batches of five."""
        batches = [{"text": texts[at : at + 5]} for at in range(0, len(texts), 5)]
        return encode(adapter, batches, PromptType.document)

    def query(self, adapter: Any, text: str) -> Any:
        """`encode` of a query."""
        (vector,) = encode(adapter, [{"text": [text]}], PromptType.query)
        return vector

    def search(self, adapter: Any, passages: list[str], question: str) -> str:
        """By the similarity that MTEB computes."""
        scores = adapter.similarity(
            self.query(adapter, question)[None], self.documents(adapter, passages)
        )
        return passages[int(scores.argmax())]


@pytest.fixture(scope="module")
def encoder() -> Any:
    """A small and fast one."""
    return OpenRouterEncoder(local=True, **MODEL)


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor:UserWarning")  # of MTEB
def test_the_mock_tasks_of_mteb_run(encoder: Any) -> None:
    """`mteb.mock_run`, MTEB's own check of an encoder: every kind of task with texts."""
    assert isinstance(encoder, EncoderProtocol)
    results = mteb.mock_run(encoder).task_results
    ran = {name for name, result in results.items() if result is not None}
    assert len(ran) > 8
    assert not [one for one in results.values() if isinstance(one, TaskError)]


def test_retrieval_has_roles_and_other_tasks_have_none() -> None:
    """`input_type` of what is sent."""
    for task, expected in (
        (MockRetrievalTask(), {"search_query", "search_document"}),
        (MockSTSTask(), {None}),
    ):
        with Recording() as service:
            encoder = OpenRouterEncoder(api_key=KEY, base_url=service.url, model="a/b")
            mteb.evaluate(encoder, task, cache=None, show_progress_bar=False)
            encoder.close()
        assert {body.get("input_type") for body in service.asked} == expected


def test_cached_results_are_those_of_the_same_options(tmp_path: Path) -> None:
    """MTEB looks them up by name and revision."""
    cache = mteb.ResultCache(tmp_path)

    def requests(**options: Any) -> int:
        encoder = OpenRouterEncoder(local=True, model="local/hash", **options)
        mteb.evaluate(encoder, MockSTSTask(), cache=cache, show_progress_bar=False)
        return encoder.usage.requests

    assert requests(dimensions=8) > 0
    assert requests(dimensions=8, batch_size=7) == 0
    assert requests(dimensions=9) > 0
    assert requests(dimensions=8, input_type="clustering") > 0


def test_a_client_makes_a_revision_of_its_own() -> None:
    """It may have other options; `meta` replaces all."""
    with Service().client(**MODEL) as client:
        one, other = (OpenRouterEncoder(client=client, model="a/b") for _ in range(2))
        assert one.mteb_model_meta.revision != other.mteb_model_meta.revision
    assert one.mteb_model_meta.name == "a/b"
    meta = ModelMeta.create_empty({"name": "our/model", "revision": "2"})
    assert OpenRouterEncoder(local=True, meta=meta).mteb_model_meta is meta


def test_an_empty_text_gets_a_zero_vector(encoder: Any) -> None:
    """As with MTEB's own models over APIs; nothing else is replaced, and order is kept."""
    vectors = encode(encoder, [{"text": [TEXTS[0], "", TEXTS[1]]}, {"text": [" \n"]}])
    right = encode(encoder, [{"text": TEXTS[:2]}])
    assert_same(vectors, [right[0], np.zeros(8), right[1], np.zeros(8)])
    assert vectors.dtype == np.float32


def test_images_are_encoded_alone_and_with_texts() -> None:
    """As PIL images, in order."""
    paths = [PHOTOS / "cat.jpg", PHOTOS / "rocket.jpg"]
    images = [Image.open(path) for path in paths]
    with ore.Client.local(model="local/visual") as client:
        alone = client.embed([ore.Image(image) for image in images]).vectors
    encoder = OpenRouterEncoder(local=True, model="local/visual")
    assert_same(encode(encoder, [{"image": images[:1]}, {"image": images[1:]}]), alone)
    both = [*_items({"text": ["a", "b"], "image": images})]
    right = [ore.Content(text, ore.Image(image)) for text, image in zip("ab", images, strict=True)]
    assert repr(both) == repr(right)
    with pytest.raises(ore.InputError, match="the task has audio"):
        encode(encoder, [{"text": ["a"], "audio": [{}]}])
    encoder.close()


def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what the page shows."""
    run_section("MTEB", capsys)
