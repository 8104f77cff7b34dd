"""Search and info read finished targets."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from openrouter_embeddings import cli, jobs, testing
from openrouter_embeddings.cli._client import json_fields
from openrouter_embeddings.jobs import _formats, _map, _search
from openrouter_embeddings.jobs._formats import target_format
from openrouter_embeddings.jobs._spec import job_file
from openrouter_embeddings.jobs._store import Store

from tests.job_support import run, stopped


def test_nanoseconds_are_kept(tmp_path: Path) -> None:
    """As a key, in search results and on a map, although Python's dates lack them."""
    times = pa.array([1, 2, 3, 4], pa.timestamp("ns"))
    table = pa.table({"at": times, "text": ["a", "b", "c", ""]})
    run(table, tmp_path / "t.parquet", column="text", key="at")
    assert b"00:00:00.000000004" in (tmp_path / "t.parquet.errors.jsonl").read_bytes()
    found = jobs.search(tmp_path / "t.parquet", "a", client=ore.Client.local())
    assert found[0].columns["at"] == "1970-01-01 00:00:00.000000001"
    jobs.write_map(tmp_path / "t.parquet", tmp_path / "map.html", color="at")
    assert "00:00:00.000000002" in (tmp_path / "map.html").read_text()


TEXTS = ["a cat sleeps", "stock markets fell", "", "a kitten naps", "rain is coming"]
NAMES = ["t.parquet", "t.jsonl", "t.npy"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target of each kind, with meaning."""
    folder = tmp_path_factory.mktemp("targets")
    table = pa.table({"id": range(5), "text": TEXTS})
    options: Any = {"model": "local/minilm", "dimensions": None, "input_type": "search_document"}
    for name in NAMES:
        run(table, folder / name, **options)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_the_nearest_rows_come_first(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With columns and scores, in blocks of three rows; rows without a vector are left out."""
    monkeypatch.setattr(_formats, "_BLOCK_BYTES", 3 * 4 * 384)
    monkeypatch.setattr(_formats, "_BLOCK_ROWS", 2)
    client = ore.Client.local()
    found = jobs.search(folder / name, "a cat", k=9, client=client)
    wanted = client.embed_query("a cat").vectors[0]
    row = client.embed(TEXTS[0]).vectors[0]
    assert [match.row for match in found][:2] == [0, 3]
    assert {match.row for match in found} == {0, 1, 3, 4}
    assert found[0].score == pytest.approx(float(row @ wanted), abs=1e-3)
    assert [match.score for match in found] == sorted((m.score for m in found), reverse=True)
    assert found[0].columns == ({} if name == "t.npy" else {"id": 0, "text": TEXTS[0]})
    assert jobs.search(folder / name, "a cat", k=1, client=client) == found[:1]


def test_a_query_of_another_width_is_refused(tmp_path: Path) -> None:
    """The service may serve another model under the name that the rows came from."""
    target, table = tmp_path / "t.npy", pa.table({"text": ["a"]})
    before = testing.Service(aliases={"m": "local/hash:8"})
    run(table, target, service=before, column="text", model="m", dimensions=None)
    with (
        testing.Service(aliases={"m": "local/hash:5"}).client() as client,
        pytest.raises(ore.ResponseError, match=r"^the service returned vectors of 5 dim.* of 8 "),
    ):
        jobs.search(target, "a", client=client)


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float16]), (7, 3), elements=st.floats(-9, 9, width=16)
    ),
    st.lists(st.booleans(), min_size=7, max_size=7),
    st.integers(0, 7),
    st.integers(0, 7),
)
def test_vectors_are_read_from_any_part_of_a_column(
    vectors: Any, there: list[bool], start: int, length: int
) -> None:
    """In both precisions, with NaN for null."""
    kind = pa.list_(pa.from_numpy_dtype(vectors.dtype), 3)
    mask = pa.array([not one for one in there])
    column = pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), type=kind, mask=mask)
    wanted = np.where(np.array(there)[:, None], vectors, np.nan)[start : start + length]
    found = _formats.matrix_of(column.slice(start, length), 3)
    assert found.dtype == np.float32
    assert np.array_equal(found, wanted.astype(np.float32), equal_nan=True)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Targets of 60,000 vectors of 512 dimensions, which are 123 MB."""
    folder = tmp_path_factory.mktemp("large")
    said = {"rows": 60_000, "dimensions": 512, "asked_dimensions": 512, "model": "local/hash"}
    said |= {"provider": None, "input_type": None}
    schema = pa.schema([("id", pa.int64())])
    for path in (folder / "t.parquet", folder / "t.npy"):
        target = target_format(path)(path, schema, 512, "float32")
        for first in range(0, 60_000, 5_000):
            ids = pa.record_batch([pa.array(range(first, first + 5_000))], schema=schema)
            vectors = np.ones((5_000, 512), np.float32)
            vectors[:, 0] = np.arange(first, first + 5_000) % 77
            target.write(ids, vectors, np.arange(5_000) != 7)
        target.finish(said)
    return folder


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells its memory there")
@pytest.mark.parametrize("use", ["search", "map"])
@pytest.mark.parametrize("name", ["t.parquet", "t.npy"])
def test_a_target_is_not_held_in_memory(
    large: Path, tmp_path: Path, name: str, use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Search and map read it block by block and keep no block, copied or mapped."""
    seen: list[int] = []
    read = _formats.vector_blocks

    def watched(path: Path, width: int) -> Iterator[Any]:
        for piece in read(path, width):
            status = Path("/proc/self/status").read_text()
            seen.append(int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]))
            yield piece

    monkeypatch.setattr(_search, "vector_blocks", watched)
    monkeypatch.setattr(_map, "vector_blocks", watched)
    if use == "map":
        assert jobs.write_map(large / name, tmp_path / "map.html", points=50).points == 50
    else:
        found = jobs.search(large / name, "a", k=3, client=ore.Client.local())
        assert [match.columns for match in found] == (
            [{"id": match.row} for match in found] if name == "t.parquet" else [{}, {}, {}]
        )
    assert len(seen) > 5
    assert max(seen) - seen[0] < 60_000  # kB


def test_a_block_without_vectors_is_skipped(tmp_path: Path) -> None:
    """JSON lines are read some megabytes at a time, and a block may have no vector."""
    table = pa.table({"id": range(5), "text": TEXTS, "long": ["", "", "x" * (1 << 25), "", ""]})
    with ore.Client.local() as client:
        jobs.embed_file(table, tmp_path / "t.jsonl", client=client, column="text")
        found = jobs.search(tmp_path / "t.jsonl", "a cat", client=client)
    assert [match.row for match in found][:2] == [0, 3]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """The arguments of every call of `Client.embed`."""
    calls: list[tuple[Any, dict[str, Any]]] = []
    embed = ore.Client.embed

    def noted(client: ore.Client, inputs: Any, **options: Any) -> Any:
        calls.append((inputs, options))
        return embed(client, inputs, **options)

    monkeypatch.setattr(ore.Client, "embed", noted)
    return calls


def test_the_query_gets_the_input_type_of_a_query(folder: Path, asked: list[Any]) -> None:
    """It has the model and the dimensions of the rows."""
    jobs.search(folder / "t.npy", "a cat", client=ore.Client.local())
    options = {"model": "local/minilm", "dimensions": None, "provider": None, "extra_body": None}
    assert asked == [("a cat", {**options, "input_type": "search_query"})]


def test_the_query_has_the_extra_fields_of_the_rows(tmp_path: Path, asked: list[Any]) -> None:
    """They may change what a vector means."""
    extra: dict[str, Any] = {"truncate": [True, None]}
    run(pa.table({"text": TEXTS[:2]}), tmp_path / "t.npy", extra_body=extra)
    jobs.search(tmp_path / "t.npy", "a cat", client=ore.Client.local())
    assert asked[0][1]["extra_body"] == extra


def test_the_command_line_searches_and_shows_info(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The nearest rows are JSON lines; info is one line per fact."""
    assert cli.main(["search", str(folder / "t.parquet"), "a cat", "-k", "1", "--local"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["row"], line["columns"]) == (0, {"id": 0, "text": TEXTS[0]})
    assert cli.main(["info", str(folder / "t.npy")]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (said["model"], said["rows"], said["dimensions"]) == ("local/minilm", "5", "384")


def test_a_target_of_the_stand_in_asks_for_local(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not ask for a key, unless a base URL is set."""
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    target = str(folder / "t.parquet")
    assert cli.main(["search", target, "a cat"]) == 2
    assert f"{target} was made with local/minilm; search it with --local" in capsys.readouterr().err
    monkeypatch.setenv("OPENROUTER_BASE_URL", "http://127.0.0.1:1/api/v1")
    assert cli.main(["search", target, "a cat"]) == 2
    assert "no API key" in capsys.readouterr().err


def test_info_describes_an_unfinished_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It shows its parameters and progress, or that it is running; search asks to finish it."""
    options: Any = {"dimensions": 4, "batch_size": 1, "provider": {"zdr": True}}
    source, target = tmp_path / "s.jsonl", tmp_path / "t.parquet"
    source.write_text("".join(f'{{"text": "{text}"}}\n' for text in ["", "a", "b", "c"]))
    stopped(source, target, at=2, **options)
    found = jobs.info(target)
    assert found["state"] == "stopped"
    assert (found["model"], found["asked_dimensions"]) == ("local/hash", 4)
    assert (found["embedded"], found["refused"], found["dimensions"]) == (2, 0, 4)
    assert (found["rows"], found["files"]) == (4, [str(source)])
    assert Decimal(found["spent"]) > 0
    assert "E" not in found["spent"]
    assert cli.main(["info", str(target), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert cli.main(["info", str(target)]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (said["rows"], said["files"]) == ("4", str(source))
    assert said["spent"] == f"{found['spent']} credits"
    assert cli.main(["search", str(target), "a"]) == 2  # though there is no key
    assert "is not finished: its job" in capsys.readouterr().err
    words = r"is not finished: its job, .* is stopped; finish"
    with pytest.raises(ore.InputError, match=words):
        jobs.search(target, "a")
    with pytest.raises(ore.InputError, match=words):
        jobs.write_map(target, tmp_path / "map.html")
    with closing(Store(job_file(target))):
        assert jobs.info(target) == {"state": "running"}
        assert cli.main(["search", str(target), "a", "--local"]) == cli.EXIT_USAGE
        assert "is running; finish" in capsys.readouterr().err
    run(source, target, **options)
    assert jobs.info(target)["state"] == "finished"


def test_info_is_printed_for_people_and_for_machines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Objects are JSON, as options take them; unset options are left out."""
    options: Any = {"provider": {"zdr": True, "only": ["azure"]}, "dimensions": 4}
    run(pa.table({"text": ["a"]}), tmp_path / "t.parquet", **options)
    assert cli.main(["info", str(tmp_path / "t.parquet")]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert json_fields(said["provider"]) == options["provider"]
    assert (said["state"], said["only_key"], said["models"]) == ("finished", "false", "local/hash")
    assert said.keys().isdisjoint({"source", "template", "input_type", "images"})
    assert cli.main(["info", str(tmp_path / "t.parquet"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == jobs.info(tmp_path / "t.parquet")


def test_search_refuses_files_that_no_job_made(tmp_path: Path) -> None:
    """The message is one sentence."""
    with pytest.raises(ore.InputError, match="does not exist"):
        jobs.info(tmp_path / "t.npy")
    (tmp_path / "t.npy").write_bytes(b"")
    with pytest.raises(ore.InputError, match="was not made by orembed run"):
        jobs.search(tmp_path / "t.npy", "a")
    with pytest.raises(ore.InputError, match="k is 0"):
        jobs.search(tmp_path / "t.npy", "a", k=0)
    with pytest.raises(ore.InputError, match="the query is empty; write a text"):
        jobs.search(tmp_path / "t.npy", "")


@pytest.mark.parametrize("line", ['{"text": "a", "embe', '{"text": "a"}', '{"embedding": [1, 2]}'])
def test_a_damaged_line_is_an_error(tmp_path: Path, line: str) -> None:
    """The message is one sentence."""
    target = tmp_path / "t.jsonl"
    run(pa.table({"text": ["a", "b"]}), target)
    target.write_text(target.read_text().splitlines()[0] + "\n" + line)
    with pytest.raises(ore.InputError, match="has been changed since it was made"):
        jobs.search(target, "a", client=ore.Client.local())


@pytest.mark.parametrize(
    "kind", [pa.timestamp("us"), pa.timestamp("us", tz="Mars/Phobos"), pa.duration("s")]
)
def test_dates_that_python_cannot_represent_are_texts(tmp_path: Path, kind: Any) -> None:
    """In search results and on a map."""
    target = tmp_path / "t.parquet"
    dates = pa.array([2**62, 0, None], pa.int64()).cast(kind)
    run(pa.table({"text": ["a", "b", "c"], "date": dates}), target, column="text")
    (match,) = jobs.search(target, "a", k=1, client=ore.Client.local())
    assert str(2**62) in str(match.columns["date"])
    assert jobs.write_map(target, tmp_path / "map.html", color="date").points == 3
