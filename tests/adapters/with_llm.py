"""llm: the contract of all adapters, the plugin, and the command."""

import json
import os
import pickle
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import llm  # pyright: ignore[reportMissingImports]
import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.adapters._lazy import LazyClient
from openrouter_embeddings.adapters.llm import OpenRouterEmbeddingModel, register_embedding_models
from openrouter_embeddings.local.faults import Faults

from stress.servers import served
from tests.adapters.contract import BATCHES, MODEL, TEXTS, AdapterContract, assert_same, expected
from tests.adapters.page import run_section
from tests.compat.loopback import KEY, ROOT
from tests.leaks import shown

OTHER_KEY = KEY[::-1]
PHOTOS = ROOT / "examples" / "photos"


class TestLlm(AdapterContract):
    """The contract."""

    kinds = ("sync",)
    has_roles = False

    def make(self, **options: Any) -> OpenRouterEmbeddingModel:
        """An embedding model."""
        return OpenRouterEmbeddingModel(**options)

    def documents(self, adapter: Any, texts: list[str]) -> Any:
        """`embed_multi`, which `llm embed-multi` calls."""
        return [*adapter.embed_multi(iter(texts))]

    def search(self, adapter: Any, passages: list[str], question: str) -> str:
        """In a collection, which is an SQLite database."""
        collection = llm.Collection("passages", model=adapter)
        collection.embed_multi(((str(n), text) for n, text in enumerate(passages)), store=True)
        (found,) = collection.similar(question, number=1)
        text: str = found.content
        return text

    def lazy(self, adapter: Any) -> LazyClient:
        """The client of the key that was used last."""
        clients: list[LazyClient] = [*adapter._clients.values()]
        return clients[-1]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of llm, and no key in the environment."""
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    monkeypatch.delenv("OPENROUTER_BASE_URL", raising=False)
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the entry points of our distribution, as an installation has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    folder = tmp_path_factory.mktemp("site")
    info = folder / f"{project['name'].replace('-', '_')}-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0\n")
    points = [f"{name} = {module}" for name, module in project["entry-points"]["llm"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[llm]", *points]))
    return folder


@pytest.fixture
def model() -> Iterator[OpenRouterEmbeddingModel]:
    """A small and fast one."""
    model = OpenRouterEmbeddingModel(local=True, **MODEL)
    yield model
    model.close()


def run(words: list[str], installed: Path, **environment: str) -> str:
    """What a process prints in which the plugin is installed."""
    path = os.pathsep.join([str(installed), os.environ["PYTHONPATH"]])
    variables = {**os.environ, "PYTHONPATH": path, **environment}
    done = subprocess.run(
        words, env=variables, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def command(installed: Path, *words: str, **environment: str) -> str:
    """What `llm` prints."""
    return run([sys.executable, "-m", "llm", *words], installed, **environment)


def test_importing_the_plugin_loads_nothing_heavy() -> None:
    """Every start of `llm` imports it; `None` makes any import of these fail."""
    heavy = ["attr", "httpcore", "httpx", "msgspec", "numpy", "stamina"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({heavy})); import llm; "
        "before = {*sys.modules}; import openrouter_embeddings.adapters.llm; "
        "print(*({name.partition('.')[0] for name in {*sys.modules} - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set(done.stdout.split()) - sys.stdlib_module_names == {"openrouter_embeddings"}


def test_starting_llm_loads_no_client(installed: Path) -> None:
    """The plugin is registered, and only commands that embed load the client."""
    code = (
        "import sys, llm.cli; [*llm.get_models()]; "
        "print(llm.plugins.pm.has_plugin('openrouter-embeddings'), "
        "*({'httpx', 'openrouter_embeddings.client'} & {*sys.modules}))"
    )
    assert run([sys.executable, "-c", code], installed) == "True\n"


def test_a_collection_is_used_again_by_another_process(installed: Path, home: Path) -> None:
    """The database names the model, and the entry point brings it back with its options."""
    (home / "openrouter-embeddings.yaml").write_text(
        "- {model: local/minilm, local: true, model_id: small, batch_size: 2}\n"
    )
    listed = command(installed, "embed-models")
    for name in ("openrouter/openai/text-embedding-3-small", "openrouter/local/minilm", "small"):
        assert f"OpenRouterEmbeddingModel: {name}\n" in listed
    rows = [{"id": n, "text": text} for n, text in enumerate(["a cat naps", "shares fell", "rain"])]
    (home / "rows.json").write_text(json.dumps(rows))
    command(installed, "embed-multi", "all", str(home / "rows.json"), "-m", "small", "--store")
    found = command(installed, "similar", "all", "-c", "a kitten", "-n", "1")
    assert json.loads(found)["content"] == "a cat naps"


def test_the_command_uses_the_key_that_it_has_saved(installed: Path, home: Path) -> None:
    """`llm keys set openrouter`."""
    command(installed, "keys", "set", "openrouter", "--value", KEY)
    (home / "openrouter-embeddings.yaml").write_text("- {model: local/hash, dimensions: 8}\n")
    with served(Faults()) as url:
        printed = command(
            installed,
            *("embed", "-m", "openrouter/local/hash", "-c", TEXTS[1]),
            OPENROUTER_BASE_URL=url,
        )
        assert_same([json.loads(printed)], expected(url)[1:2])


@pytest.mark.parametrize("where", ["call", "attribute", "constructor", "saved", "environment"])
def test_where_a_key_comes_from(where: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The places in this order; each is used if those before it have none."""
    order = ["attribute", "call", "constructor", "saved", "environment"]
    lower = order[order.index(where) + 1 :]
    keys = dict.fromkeys(lower, OTHER_KEY) | {where: KEY}
    if "saved" in keys:
        (home / "keys.json").write_text(json.dumps({"openrouter": keys["saved"]}))
    if "environment" in keys:
        monkeypatch.setenv("OPENROUTER_API_KEY", keys["environment"])
    model = OpenRouterEmbeddingModel(api_key=keys.get("constructor"), model="m")
    model.key = keys.get("attribute")
    secret = model.get_key(keys.get("call"))
    assert (secret or model._clients[b""]._key).reveal() == KEY


def test_each_key_has_a_client_of_its_own(home: Path) -> None:
    """`usage` is their sum; no traceback, attribute or pickle shows a key."""
    with served(Faults()) as url:
        model = OpenRouterEmbeddingModel(base_url=url, **BATCHES)
        for key in (KEY, OTHER_KEY, KEY):
            assert_same([*model.embed_multi(TEXTS, key=key)], expected(url))
        assert len(model._clients) == 3
        assert model.usage.requests == 12
        model.close()
    (home / "keys.json").write_text(json.dumps({"openrouter": KEY}))
    with pytest.raises(ore.InputError, match="input 0: the text is empty") as caught:
        model.embed("")
    assert KEY not in shown(caught.value)
    saved = pickle.dumps(model)
    assert not [
        key for key in (KEY, OTHER_KEY) if key in repr(vars(model)) or key.encode() in saved
    ]
    assert len(pickle.loads(saved)._clients) == 1


def test_an_image_is_embedded() -> None:
    """`bytes` are images."""
    model = OpenRouterEmbeddingModel(model="local/visual", local=True)
    photo = PHOTOS / "cat.jpg"
    with ore.Client.local(model="local/visual") as client:
        right = client.embed([ore.Image(photo)]).vectors
    assert_same([model.embed(photo.read_bytes())], right)
    model.close()


def test_an_endless_stream_is_embedded_in_batches(model: OpenRouterEmbeddingModel) -> None:
    """The first vectors come before the stream has ended."""
    vectors = [*islice(model.embed_multi(f"text {n}" for n in count()), 3)]
    assert np.shape(vectors) == (3, 8)
    assert model.usage.requests == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {model: m, dimension: 8}", "unknown option 'dimension'; did you mean 'dimensions'"),
        ("- {model: m, batch_size: 0}", "batch_size: expected an integer"),
        ("- {model: m, query_input_type: q}", "unknown option 'query_input_type'"),
        (f"- {{model: m, api_key: {KEY}}}", "remove api_key, and run `llm keys set openrouter`"),
        ("- model", "must be a mapping"),
    ],
)
def test_an_error_in_the_file_names_the_file(text: str, message: str, home: Path) -> None:
    """And what to change in it."""
    path = home / "openrouter-embeddings.yaml"
    path.write_text(text)
    with pytest.raises(ore.InputError, match=message) as caught:
        register_embedding_models([].append)
    assert str(caught.value).startswith(f"{path}: ")
    assert KEY not in shown(caught.value)


def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what the page shows."""
    run_section("llm", capsys)
