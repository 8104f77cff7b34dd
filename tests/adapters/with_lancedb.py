"""LanceDB: the contract of all adapters, and tables that remember their function."""

import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import lancedb  # pyright: ignore[reportMissingImports]
import numpy as np
import openrouter_embeddings as ore
import PIL.Image
import pytest
from lancedb.embeddings import (  # pyright: ignore[reportMissingImports]
    EmbeddingFunctionConfig,
    get_registry,
)
from lancedb.pydantic import LanceModel, Vector  # pyright: ignore[reportMissingImports]
from openrouter_embeddings.adapters import _lazy
from openrouter_embeddings.adapters.lancedb import OpenRouterEmbeddings
from openrouter_embeddings.local.faults import Fault, Faults
from pydantic import SecretStr

from stress.servers import served
from tests.adapters.contract import MODEL, AdapterContract
from tests.adapters.page import run_section
from tests.compat.loopback import KEY, ROOT
from tests.leaks import shown


@pytest.fixture(autouse=True)
def _nothing_shared() -> Iterator[None]:
    yield
    for client in _lazy._SHARED.values():
        client.close()
    _lazy._SHARED.clear()


class TestLanceDB(AdapterContract):
    """The contract."""

    kinds = ("sync",)
    can_skip = True

    def make(self, **options: Any) -> OpenRouterEmbeddings:
        """A function from the registry, whose key is in a variable of LanceDB."""
        if "api_key" in options:
            get_registry().set_var("key", options["api_key"])
            options["api_key"] = "$var:key"
        function: OpenRouterEmbeddings = get_registry().get("openrouter").create(**options)
        return function

    def documents(self, adapter: Any, texts: list[str]) -> Any:
        """What a table calls for its source column."""
        return adapter.compute_source_embeddings_with_retry(texts)

    def query(self, adapter: Any, text: str) -> Any:
        """What a search calls."""
        return adapter.compute_query_embeddings_with_retry(text)[0]

    def search(self, adapter: Any, passages: list[str], question: str) -> str:
        """In a table in memory."""
        table = table_of(adapter, lancedb.connect("memory://"))
        table.add([{"text": passage} for passage in passages])
        return str(table.search(question).limit(1).to_list()[0]["text"])

    def save(self, adapter: Any) -> str:
        """The metadata of a table."""
        config = EmbeddingFunctionConfig(
            vector_column="vector", source_column="text", function=adapter
        )
        metadata = get_registry().get_table_metadata([config])
        return str(metadata["embedding_functions"].decode())

    def load(self, saved: str) -> Any:
        """As LanceDB does when it opens a table."""
        get_registry().set_var("key", os.environ["OPENROUTER_API_KEY"])
        metadata = {b"embedding_functions": saved.encode()}
        return get_registry().parse_functions(metadata)["vector"].function


def table_of(function: Any, database: Any, kind: Any = str, width: int = 0) -> Any:
    """A table with a source column."""
    width = width or function.ndims()

    class Note(LanceModel):
        text: kind = function.SourceField()  # pyright: ignore[reportInvalidTypeForm]
        vector: Vector(width) = function.VectorField()  # type: ignore[valid-type]

    return database.create_table("notes", schema=Note)


def create(**options: Any) -> Any:
    """A small and fast function."""
    return get_registry().get("openrouter").create(**{"local": True, **MODEL, **options})


OPEN = """
import sys, lancedb
{IMPORT}
table = lancedb.connect(sys.argv[1]).open_table("notes")
table.add([{{"text": "a bird sings"}}])
print(table.search("a kitten").limit(1).to_list()[0]["text"])
"""


@pytest.mark.parametrize("imported", [True, False])
def test_another_process_opens_a_table(imported: bool, tmp_path: Path) -> None:
    """It adds and searches with the same options, if it has imported the adapter."""
    table = table_of(create(model="local/minilm", dimensions=384), lancedb.connect(tmp_path))
    table.add([{"text": "a cat sat on the mat"}, {"text": "shares fell"}])
    code = OPEN.format(IMPORT="import openrouter_embeddings.adapters.lancedb" if imported else "")
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if imported:
        assert done.stdout == "a cat sat on the mat\n"
    else:
        assert "KeyError: 'openrouter'" in done.stderr


def test_a_table_on_disk_does_not_have_the_key(tmp_path: Path) -> None:
    """It has the name of the variable, and resolves it when it is opened."""
    get_registry().set_var("key", KEY)
    with served(Faults()) as url:
        function = create(local=False, base_url=url, api_key="$var:key")
        table_of(function, lancedb.connect(tmp_path)).add([{"text": "a"}])
        again = lancedb.connect(tmp_path).open_table("notes")
        assert again.search("a").limit(1).to_list()[0]["text"] == "a"
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"$var:key" in content for content in files)
    assert not any(KEY.encode() in content for content in files)


@pytest.mark.parametrize("key", [KEY, SecretStr(KEY), f"$var:none:{KEY}"])
def test_a_key_in_code_is_an_error(key: Any) -> None:
    """A table would keep it, or its functions would not have it."""
    with pytest.raises(ore.InputError, match="a table keeps no API key") as caught:
        create(local=False, api_key=key)
    assert KEY not in shown(caught.value)
    function = OpenRouterEmbeddings(api_key=KEY, **MODEL)
    with pytest.raises(ore.InputError, match="a table keeps no API key"):
        table_of(function, lancedb.connect("memory://"))
    with pytest.raises(ore.InputError, match="headers cannot be saved"):
        table_of(create(headers={"X-A": "b"}), lancedb.connect("memory://"))


def test_the_functions_of_a_table_share_connections_and_usage() -> None:
    """LanceDB makes one for each call; they differ if the options or the key differ."""
    function = create()
    table = table_of(function, lancedb.connect("memory://"))
    table.add([{"text": "a"}])
    table.search("a").limit(1).to_list()
    assert function.usage.requests == 2
    assert table.embedding_functions["vector"].function.usage is function.usage
    assert create(user="u").usage.requests == 0


def test_the_width_costs_one_request_at_most() -> None:
    """None with `dimensions`, and none after the first embedding."""
    assert [create().ndims(), create().usage.requests] == [8, 0]
    function = create(model="local/minilm", dimensions=None)
    assert [function.ndims(), function.ndims(), function.usage.requests] == [384, 384, 1]
    other = create(model="local/minilm", dimensions=None, user="u")
    other.compute_source_embeddings(["a"])
    assert [other.ndims(), other.usage.requests] == [384, 1]


def test_an_error_is_not_retried_or_hidden_by_lancedb() -> None:
    """A search raises the client's error; `add` goes through Arrow, which keeps only its text."""
    faults = Faults([Fault("error-in-200", status=402)])
    get_registry().set_var("key", KEY)
    with served(faults) as url:
        function = create(local=False, base_url=url, api_key="$var:key", max_retries=3)
        assert function.safe_model_dump()["max_retries"] == 3
        table = table_of(function, lancedb.connect("memory://"))
        with pytest.raises(ore.PaymentRequiredError):
            table.search("a")
        with pytest.raises(RuntimeError, match="PaymentRequiredError") as caught:
            table.add([{"text": "a"}])
        assert KEY not in shown(caught.value)
    assert faults.requests == 2
    assert table.count_rows() == 0


@pytest.mark.parametrize("bad", [None, ""])
def test_a_row_without_a_text(bad: str | None) -> None:
    """It is an error with its position, or, if skipped, what LanceDB does with bad vectors."""
    rows = [{"text": "a"}, {"text": bad}, {"text": "b"}]
    table = table_of(create(), lancedb.connect("memory://"), str | None)
    with pytest.raises(RuntimeError, match="input 1: missing value"):
        table.add(rows)
    table = table_of(create(on_error="skip"), lancedb.connect("memory://"), str | None)
    with pytest.raises(RuntimeError, match="Set on_bad_vectors='drop'"):
        table.add(rows)
    table.add(rows, on_bad_vectors="null")
    kept = table.to_arrow()
    assert kept["text"].to_pylist() == ["a", bad, "b"]
    expected = create().compute_source_embeddings(["a", "b"])
    assert np.array_equal([one for one in kept["vector"].to_pylist() if one], expected)
    table.add(rows, on_bad_vectors="drop")
    assert table.count_rows() == 5


def test_a_query_is_never_skipped() -> None:
    """LanceDB would search for nothing, and return any rows."""
    with served(Faults([Fault("poison", text="bad")])) as url:
        get_registry().set_var("key", KEY)
        options: Any = {"local": False, "base_url": url, "api_key": "$var:key"}
        table = table_of(create(on_error="skip", **options), lancedb.connect("memory://"))
        table.add([{"text": "a"}])
        with pytest.raises(ore.BadRequestError):
            table.search("bad")


def test_a_table_keeps_all_options_as_json() -> None:
    """And the names of variables, whose values it resolves each time; no headers in memory."""
    options: Any = {"budget": Decimal("0.5"), "provider": {"max_price": {"prompt": Decimal(1)}}}
    function = create(**options, user="$var:team:none")
    kept = table_of(function, lancedb.connect("memory://")).embedding_functions["vector"].function
    assert kept.safe_model_dump() == function.safe_model_dump()
    assert kept.safe_model_dump()["user"] == "$var:team:none"
    assert "budget=Decimal('0.5')" in repr(kept)
    assert "user='none'" in repr(kept)
    headers = create(headers={"X-Gateway": "swordfish"})
    assert "swordfish" not in repr(headers.__pydantic_private__)


def test_a_search_in_images() -> None:
    """Images are bytes in the column; queries are bytes, images of Pillow, or paths."""
    function = create(model="local/visual", dimensions=None)  # it takes no texts: no `ndims()`
    table = table_of(function, lancedb.connect("memory://"), bytes, width=144)
    photos = sorted((ROOT / "examples" / "photos").glob("*.jpg"))
    table.add([{"text": photo.read_bytes()} for photo in photos])
    with PIL.Image.open(photos[2]) as opened:
        queries: list[Any] = [photos[1], photos[2].read_bytes(), opened.resize((100, 80))]
        found = [table.search(one).limit(1).to_list()[0]["text"] for one in queries]
    assert found == [photos[number].read_bytes() for number in (1, 2, 2)]


@pytest.mark.anyio
async def test_async_tables(anyio_backend_name: str) -> None:
    """Adding and searching use the function, and find the right row."""
    assert anyio_backend_name == "asyncio"
    function = create(model="local/minilm", dimensions=384)
    schema = table_of(function, lancedb.connect("memory://")).schema
    table = await (await lancedb.connect_async("memory://")).create_table("notes", schema=schema)
    await table.add([{"text": "a cat sat on the mat"}, {"text": "shares fell"}])
    found = await (await table.search("a kitten")).limit(1).to_list()
    assert found[0]["text"] == "a cat sat on the mat"
    assert function.usage.requests == 2


def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what the page shows."""
    run_section("LanceDB", capsys)
