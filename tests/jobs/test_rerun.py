"""What a job remembers of its earlier runs, and what it looks at anew."""

from concurrent.futures import wait
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings.jobs import _embed, _progress
from openrouter_embeddings.local.faults import Fault
from openrouter_embeddings.local.models import hash as hashes
from openrouter_embeddings.testing import Service

from tests.job_support import OPTIONS, TABLE, TEXTS, first_of, run, vectors
from tests.support import PNG


def test_an_image_that_is_there_now_is_embedded(tmp_path: Path) -> None:
    """What could not be read is no answer of the service, and is looked at anew."""
    rows = pa.table({"image": ["a.png", "b.png"]})
    source = tmp_path / "s.parquet"
    pq.write_table(rows, source)
    (tmp_path / "a.png").write_bytes(PNG)
    with pytest.raises(jobs.JobError, match="1 row cannot be embedded, and max_errors is 0"):
        run(source, tmp_path / "t.npy", images="image", max_errors=0)
    assert b"b.png" in (tmp_path / "t.npy.errors.jsonl").read_bytes()
    (tmp_path / "b.png").write_bytes(PNG + b"other")
    report, _ = run(source, tmp_path / "t.npy", images="image", max_errors=0)
    assert (report.errors, report.duplicates) == (0, 0)
    assert not np.isnan(np.load(tmp_path / "t.npy")).any()
    assert not (tmp_path / "t.npy.errors.jsonl").exists()


def test_a_job_that_stops_for_its_errors_says_which(tmp_path: Path) -> None:
    """Also those that the service has refused."""
    table = pa.table({"name": ["x", "y", "z"], "text": ["good", "poison", ""]})
    poison = Fault("poison", text="poison")
    with pytest.raises(jobs.JobError, match="2 rows cannot be embedded, and max_errors is 1"):
        run(table, tmp_path / "t.npy", poison, column="text", key="name", max_errors=1)
    lines = (tmp_path / "t.npy.errors.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["key"] for line in lines] == ["y", "z"]


def test_a_pattern_leaves_out_what_the_job_writes(tmp_path: Path) -> None:
    """Also on the second run, when the target is there; and in a list."""
    for name in "ab":
        pq.write_table(pa.table({"text": [name]}), tmp_path / f"{name}.parquet")
    pattern = str(tmp_path / "*.parquet")
    for source in (pattern, [pattern]):
        for _ in range(2):
            assert jobs.embed_file(
                source, tmp_path / "all.parquet", client=ore.Client.local(model="local/hash")
            ).rows == 2  # fmt: skip
    with pytest.raises(ore.InputError, match="no file matches"):
        run(str(tmp_path / "all*.parquet"), tmp_path / "all.parquet")


def test_a_cache_knows_who_has_served(source: Path, tmp_path: Path) -> None:
    """The provenance of vectors is theirs, wherever they were kept."""
    cache = tmp_path / "cache"
    first, _ = run(source, tmp_path / "a.parquet", cache=cache, column="text")
    second, _ = run(source, tmp_path / "b.parquet", cache=cache, column="text")
    assert second.reused == 80
    assert (second.models, second.providers) == (first.models, first.providers)
    assert second.models


def test_categories_in_parquet_are_their_values(tmp_path: Path) -> None:
    """Though the codes of every row group are others."""
    kind = pa.dictionary(pa.int32(), pa.string())
    pieces = [pa.array(TEXTS[n : n + 25]).dictionary_encode().cast(kind) for n in (75, 50, 25, 0)]
    table = pa.table({"text": pa.chunked_array(pieces), "n": range(100)})
    pq.write_table(table, tmp_path / "s.parquet", row_group_size=25)
    assert pq.read_schema(tmp_path / "s.parquet").field("text").type == kind
    run(tmp_path / "s.parquet", tmp_path / "t.jsonl")
    lines = [orjson.loads(line) for line in (tmp_path / "t.jsonl").read_bytes().splitlines()]
    assert [line["text"] for line in lines] == table["text"].to_pylist()
    expected = vectors(table["text"].to_pylist())
    assert np.array_equal(np.array([line["embedding"] for line in lines], np.float32), expected)


def test_nanoseconds_have_a_place_everywhere(tmp_path: Path) -> None:
    """As a key, in what is found, and on a map; Python's own dates have none for them."""
    times = pa.array([1, 2, 3, 4], pa.timestamp("ns"))
    table = pa.table({"at": times, "text": ["a", "b", "c", ""]})
    run(table, tmp_path / "t.parquet", column="text", key="at")
    assert b"00:00:00.000000004" in (tmp_path / "t.parquet.errors.jsonl").read_bytes()
    found = jobs.search(tmp_path / "t.parquet", "a", client=ore.Client.local())
    assert found[0].columns["at"] == "1970-01-01 00:00:00.000000001"
    jobs.write_map(tmp_path / "t.parquet", tmp_path / "map.html", color="at")
    assert "00:00:00.000000002" in (tmp_path / "map.html").read_text()


def test_a_number_too_large_for_float16_is_no_infinity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job says so, and float32 takes it."""
    monkeypatch.setattr(hashes, "_draw", lambda _, width: np.full(width, 1e6, np.float32))
    with pytest.raises(jobs.JobError, match="the target cannot be written: overflow"):
        run(pa.table({"text": ["a", "b"]}), tmp_path / "t.parquet", precision="float16")
    run(pa.table({"text": ["a", "b"]}), tmp_path / "u.parquet")


def test_a_matrix_that_is_not_the_jobs_own_is_told(tmp_path: Path) -> None:
    """By its shape, which the provenance beside it has."""
    run(TABLE, tmp_path / "t.npy", column="text")
    np.save(tmp_path / "t.npy", np.zeros((3, 8), np.float32))
    with pytest.raises(ore.InputError, match="was not made by orembed run"):
        jobs.info(tmp_path / "t.npy")


def test_an_estimate_of_images_takes_a_probe(tmp_path: Path) -> None:
    """Their bytes tell no tokens, and one that the service refuses is in nobody's way."""
    (tmp_path / "a.png").write_bytes(PNG)
    with pytest.raises(ore.InputError, match="the size of an image does not determine its tokens"):
        jobs.estimate(tmp_path, price=Decimal(1))
    table = pa.table({"text": ["good", "poison", "fine"]})
    service = Service(Fault("poison", text="poison"))
    with service.client(model="local/hash") as client:
        assert jobs.estimate(table, client=client).tokens > 0


def test_max_errors_is_no_negative_number(tmp_path: Path) -> None:
    """That would stop every job."""
    with pytest.raises(ore.InputError, match="max_errors is -1"):
        run(TABLE, tmp_path / "t.npy", column="text", max_errors=-1)


def test_progress_tells_what_overload_has_left(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the requests that were asked for, and how many were made again."""
    monkeypatch.setattr(_progress, "INTERVAL", 0.0)
    seen: list[jobs.Progress] = []
    busy = Fault("status", status=503, requests=range(4))
    made: Any = {**OPTIONS, "concurrency": 4}
    with Service(busy).client(**made) as client:
        jobs.embed_file(
            source, tmp_path / "t.npy", client=client, column="text", on_progress=seen.append
        )
    assert 1 <= min(one.concurrency for one in seen) < 4
    assert all(one.in_flight <= 4 for one in seen)
    assert seen[-1].usage.retries >= 4


def test_progress_tells_what_was_there_before(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing of how fast this run is, nor of what it will cost."""
    monkeypatch.setattr(_progress, "INTERVAL", 0.0)
    with pytest.raises(ore.PaymentRequiredError):
        run(source, tmp_path / "t.npy", Fault("status", status=402, requests=[2]), column="text")
    seen: list[jobs.Progress] = []
    run(source, tmp_path / "t.npy", column="text", on_progress=seen.append)
    assert {one.earlier for one in seen} == {52}  # two requests of 16, and 20 rows like those


def test_an_image_that_is_another_now_is_no_duplicate(tmp_path: Path) -> None:
    """Of the vector that an earlier run has kept of the one before."""
    pq.write_table(pa.table({"image": ["a.png", "b.png"]}), tmp_path / "s.parquet")
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(PNG + name.encode())
    broke = Fault("status", status=402, requests=[1])
    with pytest.raises(ore.PaymentRequiredError):
        run(tmp_path / "s.parquet", tmp_path / "t.npy", broke, images="image", batch_size=1)
    (tmp_path / "a.png").write_bytes(PNG + b"other")
    report, _ = run(tmp_path / "s.parquet", tmp_path / "t.npy", images="image", batch_size=1)
    assert (report.rows, report.duplicates, report.embedded) == (2, 0, 3)


def test_an_estimate_leaves_out_what_the_job_writes(tmp_path: Path) -> None:
    """As the job does."""
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    pattern = str(tmp_path / "*.jsonl")
    run(pattern, tmp_path / "t.jsonl")
    assert jobs.estimate(pattern, tmp_path / "t.jsonl", price=Decimal(1)).rows == 1
    with pytest.raises(ore.InputError, match="has a column 'embedding' already"):
        jobs.estimate(tmp_path / "t.jsonl", tmp_path / "u.jsonl", price=Decimal(1))
    with pytest.raises(ore.InputError, match=r"a target ends in \.parquet, "):
        jobs.estimate(pattern, tmp_path / "t.txt", price=Decimal(1))


def test_a_job_that_ends_too_early_says_that_it_waits(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For what is in flight, once, before the error is raised."""
    seen: list[str] = []
    monkeypatch.setattr(_embed, "wait", first_of)
    made: Any = {**OPTIONS, "concurrency": 4, "max_retries": 0}
    service = Service(Fault("status", status=401, requests=[0]))
    with service.client(**made) as client, pytest.raises(ore.AuthenticationError) as raised:
        jobs.embed_file(
            source, tmp_path / "t.npy", client=client, column="text",
            on_progress=lambda progress: seen.append(progress.stage),
        )  # fmt: skip
    assert seen[-1] == "stopping"
    assert seen.count("stopping") == 1
    assert raised.value.inputs == ()  # a position in a request is nobody's row


def test_what_is_no_client_is_refused(source: Path, tmp_path: Path) -> None:
    """And a misspelt option is one, whatever else is wrong."""
    asynchronous: Any = ore.AsyncClient.local()
    with pytest.raises(ore.InputError, match="pass a blocking Client"):
        jobs.embed_file(source, tmp_path / "t.npy", client=asynchronous, column="text")
    misspelt: Any = {"colum": "text"}
    with pytest.raises(TypeError, match="colum"):
        jobs.embed_file(source, tmp_path / "t.npy", **misspelt)


def test_progress_is_told_while_nothing_comes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service may take minutes; its user sees that time passes."""
    looks = iter(range(5))
    seen: list[jobs.Progress] = []

    def wait_in_vain(pending: Any, timeout: float, **how: Any) -> Any:
        return wait(pending, timeout, **how) if next(looks, None) is None else (set(), pending)

    monkeypatch.setattr(_progress, "INTERVAL", 0.0)
    monkeypatch.setattr(_embed, "wait", wait_in_vain)
    run(source, tmp_path / "t.npy", column="text", on_progress=seen.append)
    assert len([one for one in seen if not one.embedded and one.stage == "embedding"]) >= 5
