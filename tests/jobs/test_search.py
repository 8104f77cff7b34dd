"""What a target holds."""

import json
from pathlib import Path
from typing import Any

import openrouter_embeddings as ore
import pyarrow as pa
import pytest
from openrouter_embeddings import cli, jobs
from openrouter_embeddings.jobs import _search

TEXTS = ["a cat sleeps", "stock markets fell", "", "a kitten naps", "rain is coming"]
NAMES = ["t.parquet", "t.jsonl", "t.npy"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target of each kind, with meaning."""
    folder = tmp_path_factory.mktemp("targets")
    table = pa.table({"id": range(5), "text": TEXTS})
    for name in NAMES:
        with ore.Client.local() as client:
            jobs.embed_file(table, folder / name, client=client, input_type="search_document")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_the_nearest_rows_come_first(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With their columns and scores; a row without a vector is never near.

    However the target is read: here in pieces of three rows.
    """
    monkeypatch.setattr(_search, "_AT_ONCE", 3)
    with ore.Client.local() as client:
        found = jobs.search(folder / name, "a cat", k=9, client=client)
        wanted = client.embed_query("a cat").vectors[0]
        row = client.embed(TEXTS[0]).vectors[0]
    assert [match.row for match in found][:2] == [0, 3]
    assert {match.row for match in found} == {0, 1, 3, 4}
    assert found[0].score == pytest.approx(float(row @ wanted), abs=1e-3)
    assert [match.score for match in found] == sorted((m.score for m in found), reverse=True)
    assert found[0].columns == ({} if name == "t.npy" else {"id": 0, "text": TEXTS[0]})
    with ore.Client.local() as client:
        assert jobs.search(folder / name, "a cat", k=1, client=client) == found[:1]


def test_a_piece_without_any_vector_is_passed_over(tmp_path: Path) -> None:
    """A target of JSON lines is read some megabytes at a time, and one of them may have none."""
    table = pa.table({"id": range(5), "text": TEXTS, "long": ["", "", "x" * (1 << 25), "", ""]})
    with ore.Client.local() as client:
        jobs.embed_file(table, tmp_path / "t.jsonl", client=client, column="text")
        found = jobs.search(tmp_path / "t.jsonl", "a cat", client=client)
    assert [match.row for match in found][:2] == [0, 3]


def test_the_query_has_the_role_of_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the model and dimensions of the rows."""
    asked: list[Any] = []
    with ore.Client.local() as client:
        embed = client.embed

        def noted(inputs: Any, **options: Any) -> Any:
            asked.append((inputs, options))
            return embed(inputs, **options)

        monkeypatch.setattr(client, "embed", noted)
        jobs.search(folder / "t.npy", "a cat", client=client)
    options = {"model": "local/minilm", "dimensions": None, "provider": None, "extra_body": None}
    assert asked == [("a cat", {**options, "input_type": "search_query"})]


def test_the_query_has_the_extra_fields_of_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may change what a vector means."""
    asked: list[Any] = []
    extra: dict[str, Any] = {"truncate": [True, None]}
    with ore.Client.local() as client:
        table = pa.table({"text": TEXTS[:2]})
        jobs.embed_file(table, tmp_path / "t.npy", client=client, extra_body=extra)
        embed = client.embed

        def noted(query: str, **options: Any) -> Any:
            asked.append(options)
            return embed(query)

        monkeypatch.setattr(client, "embed", noted)
        jobs.search(tmp_path / "t.npy", "a cat", client=client)
    assert asked[0]["extra_body"] == extra


def test_the_command_line_searches_and_tells(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON lines of the nearest rows; a line for each fact."""
    assert cli.main(["search", str(folder / "t.parquet"), "a cat", "-k", "1", "--local"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["row"], line["columns"]) == (0, {"id": 0, "text": TEXTS[0]})
    assert cli.main(["info", str(folder / "t.npy")]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (said["model"], said["rows"], said["dimensions"]) == ("local/minilm", "5", "384")


def test_what_no_job_has_made_is_refused(tmp_path: Path) -> None:
    """In a sentence."""
    with pytest.raises(ore.InputError, match="is not there"):
        jobs.info(tmp_path / "t.npy")
    (tmp_path / "t.npy").write_bytes(b"")
    with pytest.raises(ore.InputError, match="was not made by orembed run"):
        jobs.search(tmp_path / "t.npy", "a")
    with pytest.raises(ore.InputError, match="k is 0"):
        jobs.search(tmp_path / "t.npy", "a", k=0)
