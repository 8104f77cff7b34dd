"""Routes to OpenRouter in each framework: its class for services like OpenAI's, and our adapter.

As a program, in the environment of a framework, it tries one of them; `side_by_side` starts it:
`python -m tests.adapters.routes FRAMEWORK existing|ours ANSWERS.json < calls.json`.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

from tests.compat.loopback import KEY

MODEL = "openai/text-embedding-3-small"
SHORT = MODEL.removeprefix("openai/")  # llm and the tables of LanceDB know only such names

Embed: TypeAlias = Callable[[list[str]], tuple[Sequence[Any], Any]]
"""Embeds documents: the vectors, and what the framework or the adapter says they cost, or None."""


@dataclass(frozen=True)
class Route:
    """One way.

    Attributes:
        name: what a user writes, as the table shows it.
        package: the distribution that has it; empty for ours.
        make: takes the base URL of a service.
    """

    name: str
    package: str
    make: Callable[[str], Embed]


@dataclass(frozen=True)
class Framework:
    """A framework, as the table names it, with its own route, if it has one, and our adapter."""

    name: str
    existing: Route | None
    ours: Route


def adapter(name: str, make: Callable[[dict[str, Any]], tuple[Any, Any]]) -> Route:
    """Our route; `make` takes options, and returns the adapter and what a framework calls."""

    def route(url: str) -> Embed:
        ours, call = make({"api_key": KEY, "base_url": url, "model": MODEL})
        return lambda texts: (call(texts), float(ours.usage.cost))

    return Route(f"`{name}`", "", route)


def langchain_existing(url: str) -> Embed:
    """As LangChain's users set it for other services; the default sends numbers of tokens."""
    from langchain_openai import OpenAIEmbeddings  # pyright: ignore[reportMissingImports]

    embeddings = OpenAIEmbeddings(
        model=MODEL, base_url=url, api_key=KEY, check_embedding_ctx_length=False
    )
    return lambda texts: (embeddings.embed_documents(texts), None)


def langchain_ours(options: dict[str, Any]) -> Any:
    """`embed_documents`."""
    from openrouter_embeddings.adapters.langchain import OpenRouterEmbeddings

    embeddings = OpenRouterEmbeddings(**options)
    return embeddings, embeddings.embed_documents


def llama_index_existing(url: str) -> Embed:
    """The class for services like OpenAI's."""
    from llama_index.embeddings.openai_like import (  # pyright: ignore[reportMissingImports]
        OpenAILikeEmbedding,
    )

    model = OpenAILikeEmbedding(model_name=MODEL, api_base=url, api_key=KEY)
    return lambda texts: (model.get_text_embedding_batch(texts), None)


def llama_index_ours(options: dict[str, Any]) -> Any:
    """What an index calls for its documents."""
    from openrouter_embeddings.adapters.llama_index import OpenRouterEmbedding

    model: Any = OpenRouterEmbedding(**options)
    return model, model.get_text_embedding_batch


def chroma_existing(url: str) -> Embed:
    """With `api_base`."""
    from chromadb.utils.embedding_functions import (  # pyright: ignore[reportMissingImports]
        OpenAIEmbeddingFunction,
    )

    embed = OpenAIEmbeddingFunction(api_key=KEY, api_base=url, model_name=MODEL)
    return lambda texts: (embed(texts), None)


def chroma_ours(options: dict[str, Any]) -> Any:
    """What a collection calls for its documents."""
    from openrouter_embeddings.adapters.chroma import OpenRouterEmbeddingFunction

    embed = OpenRouterEmbeddingFunction(**options)
    return embed, embed


def of_haystack(embedder: Any, texts: list[str]) -> tuple[list[Any], Any]:
    """The embeddings of a run of a document embedder, and the cost in its `meta`."""
    from haystack import Document  # pyright: ignore[reportMissingImports]

    found = embedder.run([Document(content=text) for text in texts])
    vectors = [document.embedding for document in found["documents"]]
    return vectors, found["meta"].get("usage", {}).get("cost")


def haystack_existing(url: str) -> Embed:
    """With `api_base_url`."""
    os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "false"
    from haystack.components.embedders import (  # pyright: ignore[reportMissingImports]
        OpenAIDocumentEmbedder,
    )
    from haystack.utils import Secret  # pyright: ignore[reportMissingImports]

    key = Secret.from_token(KEY)
    embedder = OpenAIDocumentEmbedder(
        api_key=key, model=MODEL, api_base_url=url, progress_bar=False
    )
    return lambda texts: of_haystack(embedder, texts)


def haystack_ours(options: dict[str, Any]) -> Any:
    """`run` of a document embedder."""
    os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "false"
    from openrouter_embeddings.adapters.haystack import OpenRouterDocumentEmbedder

    embedder = OpenRouterDocumentEmbedder(**options)
    return embedder, lambda texts: of_haystack(embedder, texts)[0]


def llm_existing(url: str) -> Embed:
    """With a base URL from the environment; llm has no option for it."""
    os.environ["OPENAI_BASE_URL"] = url
    os.environ["OPENAI_API_KEY"] = KEY
    import llm  # pyright: ignore[reportMissingImports]

    model = llm.get_embedding_model("3-small")
    return lambda texts: ([*model.embed_multi(texts)], None)


def llm_ours(options: dict[str, Any]) -> Any:
    """What a collection calls."""
    from openrouter_embeddings.adapters.llm import OpenRouterEmbeddingModel

    model: Any = OpenRouterEmbeddingModel(**options)
    return model, lambda texts: [*model.embed_multi(texts)]


def lancedb_existing(url: str) -> Embed:
    """With `base_url`, and with `dim`, because it would send null."""
    from lancedb.embeddings import get_registry  # pyright: ignore[reportMissingImports]

    get_registry().set_var("key", KEY)
    options = {"base_url": url, "api_key": "$var:key", "dim": 256}
    function = get_registry().get("openai").create(name=SHORT, **options)
    return lambda texts: (function.compute_source_embeddings_with_retry(texts), None)


def lancedb_ours(options: dict[str, Any]) -> Any:
    """What a table calls for its source column."""
    from lancedb.embeddings import get_registry  # pyright: ignore[reportMissingImports]
    from openrouter_embeddings.adapters.lancedb import OpenRouterEmbeddings

    get_registry().set_var("key", options["api_key"])
    options |= {"api_key": "$var:key"}
    function: Any = OpenRouterEmbeddings.create(**options)
    return function, function.compute_source_embeddings_with_retry


def of_pydantic_ai(model: Any, texts: list[str]) -> tuple[Any, Any]:
    """The embeddings of an `Embedder`, and the cost in the usage of its result."""
    from pydantic_ai import Embedder  # pyright: ignore[reportMissingImports]

    found = Embedder(model).embed_documents_sync(texts)
    return found.embeddings, found.usage.cost and float(found.usage.cost)


def pydantic_ai_existing(url: str) -> Embed:
    """What `Embedder("openrouter:…")` makes, with another base URL."""
    from openai import AsyncOpenAI
    from pydantic_ai.embeddings.openai import (  # pyright: ignore[reportMissingImports]
        OpenAIEmbeddingModel,
    )
    from pydantic_ai.providers.openrouter import (  # pyright: ignore[reportMissingImports]
        OpenRouterProvider,
    )

    client = AsyncOpenAI(base_url=url, api_key=KEY)
    model = OpenAIEmbeddingModel(MODEL, provider=OpenRouterProvider(openai_client=client))
    return lambda texts: of_pydantic_ai(model, texts)


def pydantic_ai_ours(options: dict[str, Any]) -> Any:
    """`Embedder.embed_documents_sync`."""
    from openrouter_embeddings.adapters.pydantic_ai import OpenRouterEmbeddingModel

    model = OpenRouterEmbeddingModel(**options)
    return model, lambda texts: of_pydantic_ai(model, texts)[0]


def sklearn_ours(options: dict[str, Any]) -> Any:
    """What a pipeline calls."""
    from openrouter_embeddings.adapters.sklearn import OpenRouterVectorizer

    vectorizer = OpenRouterVectorizer(**options)
    return vectorizer, vectorizer.fit_transform


def of_mteb(encoder: Any, texts: list[str]) -> Any:
    """The matrix of an encoder, which gets batches of 32, as `mteb.evaluate` makes them."""
    from mteb.mocks.mock_tasks import MockSTSTask  # pyright: ignore[reportMissingImports]

    batches = [{"text": texts[at : at + 32]} for at in range(0, len(texts), 32)]
    return encoder.encode(
        batches, task_metadata=MockSTSTask.metadata, hf_split="test", hf_subset="default"
    )


def mteb_existing(url: str) -> Embed:
    """The class for services like OpenAI's."""
    from mteb.models import OpenAIAPIEncodeWrapper  # pyright: ignore[reportMissingImports]

    encoder = OpenAIAPIEncodeWrapper(
        url.removesuffix("/v1"), MODEL, api_key=KEY, use_chat_template=False
    )
    return lambda texts: (of_mteb(encoder, texts), None)


def mteb_ours(options: dict[str, Any]) -> Any:
    """`encode`."""
    from openrouter_embeddings.adapters.mteb import OpenRouterEncoder

    encoder = OpenRouterEncoder(**options)
    return encoder, lambda texts: of_mteb(encoder, texts)


FRAMEWORKS = {
    "langchain": Framework(
        "LangChain",
        Route(
            "`OpenAIEmbeddings(check_embedding_ctx_length=False)`",
            "langchain-openai",
            langchain_existing,
        ),
        adapter("OpenRouterEmbeddings", langchain_ours),
    ),
    "llama_index": Framework(
        "LlamaIndex",
        Route("`OpenAILikeEmbedding`", "llama-index-embeddings-openai-like", llama_index_existing),
        adapter("OpenRouterEmbedding", llama_index_ours),
    ),
    "chroma": Framework(
        "Chroma",
        Route("`OpenAIEmbeddingFunction`", "chromadb", chroma_existing),
        adapter("OpenRouterEmbeddingFunction", chroma_ours),
    ),
    "haystack": Framework(
        "Haystack",
        Route("`OpenAIDocumentEmbedder`", "haystack-ai", haystack_existing),
        adapter("OpenRouterDocumentEmbedder", haystack_ours),
    ),
    "llm": Framework(
        "llm",
        Route("`3-small` with OPENAI_BASE_URL", "llm", llm_existing),
        adapter("OpenRouterEmbeddingModel", llm_ours),
    ),
    "lancedb": Framework(
        "LanceDB",
        Route('`get("openai")`', "lancedb", lancedb_existing),
        adapter('get("openrouter")', lancedb_ours),
    ),
    "pydantic_ai": Framework(
        "Pydantic AI",
        Route('`Embedder("openrouter:…")`', "pydantic-ai-slim", pydantic_ai_existing),
        adapter("OpenRouterEmbeddingModel", pydantic_ai_ours),
    ),
    "sklearn": Framework("scikit-learn", None, adapter("OpenRouterVectorizer", sklearn_ours)),
    "mteb": Framework(
        "MTEB",
        Route("`OpenAIAPIEncodeWrapper`", "mteb", mteb_existing),
        adapter("OpenRouterEncoder", mteb_ours),
    ),
}


def tried(make: Callable[[str], Embed], url: str, texts: list[str]) -> dict[str, Any]:
    """What one call gives: the vectors, the cost and the seconds, or the name of the error."""
    embed = make(url)
    start = time.perf_counter()
    try:
        vectors, cost = embed(texts)
    except Exception as error:  # noqa: BLE001 - which one it is goes into the table
        return {"error": type(error).__name__}
    seconds = time.perf_counter() - start
    rows = [None if row is None else [float(value) for value in row] for row in vectors]
    return {"vectors": rows, "cost": cost, "seconds": seconds}


def main(framework: str, which: str, answers: str) -> None:
    """Try one route with each base URL and texts of standard input, one after another."""
    route: Route = getattr(FRAMEWORKS[framework], which)
    found = [tried(route.make, url, texts) for url, texts in json.load(sys.stdin)]
    package = route.package and f"{route.package} {version(route.package)}"
    Path(answers).write_text(json.dumps({"package": package, "answers": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
