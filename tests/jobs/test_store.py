"""The store finds damage in job files and caches, reports it, and repairs it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings.jobs._blocks import parse
from openrouter_embeddings.jobs._spec import job_file
from openrouter_embeddings.jobs._store import Store
from openrouter_embeddings.jobs._write import TargetWriter

from stress import kills
from tests.job_support import OPTIONS, TABLE, TEXTS, billed, run, stopped, vectors
from tests.support import orembed

PAGE = kills.PAGE_SIZE
LONG = 512  # dimensions; a row fills half a page
_EARLIER_TABLES = (
    "vectors (input BLOB PRIMARY KEY, vector BLOB NOT NULL)",
    "vectors (input BLOB PRIMARY KEY, vector BLOB NOT NULL, checksum BLOB)",
)


def change(path: Path, statement: str) -> None:
    """As damage would, without regard to checksums."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.commit()


def flip(path: Path, what: bytes) -> None:
    """A bit in the middle of the only place that has `what`."""
    contents = bytearray(path.read_bytes())
    assert contents.count(what) == 1
    contents[contents.index(what) + len(what) // 2] ^= 4
    path.write_bytes(contents)


def blank(path: Path, what: bytes) -> None:
    """Zeros in place of the page that has `what`."""
    contents = bytearray(path.read_bytes())
    start = contents.index(what) // PAGE * PAGE
    contents[start : start + PAGE] = bytes(PAGE)
    path.write_bytes(contents)


def rows_of(path: Path) -> list[tuple[bytes, bytes]]:
    """All digests and vectors, in the order they came."""
    with closing(sqlite3.connect(path)) as database:
        blocks = database.execute("SELECT inputs, records FROM blocks ORDER BY id").fetchall()
    found: list[tuple[bytes, bytes]] = []
    for inputs, contents in blocks:
        records = parse(contents, len(inputs) // 16)
        assert records is not None
        found += [(bytes(one["input"]), bytes(one["vector"])) for one in records]
    return found


def test_a_flipped_bit_in_a_job_file_is_repaired(tmp_path: Path) -> None:
    """The input is embedded again, and the report says so."""
    job = stopped(TABLE, tmp_path / "t.npy", at=2, column="text")
    flip(job, rows_of(job)[5][1])
    report, service = run(TABLE, tmp_path / "t.npy", column="text")
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))
    assert (report.damaged, sum(billed(service).values())) == (1, 48 + 1)
    assert (report.embedded, report.duplicates) == (80, 20)


def test_the_command_line_reports_damage(tmp_path: Path) -> None:
    """It also says that the vector was paid for again."""
    source, target = tmp_path / "s.txt", tmp_path / "t.npy"
    source.write_text("".join(f"{text}\n" for text in TEXTS))
    job = stopped(source, target, at=2)
    flip(job, rows_of(job)[5][1])
    options = ("--local", "--model", "local/hash", "--dimensions", 8)
    done = orembed("run", source, "-o", target, *options)
    assert "1 vector was damaged on disk; this run embedded the inputs again" in done.stderr


def test_a_vector_under_another_key_is_damage(tmp_path: Path) -> None:
    """Although it is intact: the checksum covers key and vector."""
    job = stopped(TABLE, tmp_path / "t.npy", at=2, column="text")
    (one, _), (other, _) = rows_of(job)[:2]
    contents = job.read_bytes()
    assert (contents.count(one), contents.count(other)) == (2, 2)  # in `inputs` and in `records`
    contents = contents.replace(one, b"x" * 16).replace(other, one).replace(b"x" * 16, other)
    job.write_bytes(contents)
    report, _ = run(TABLE, tmp_path / "t.npy", column="text")
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))
    assert report.damaged == 2


def test_a_damaged_key_is_counted(tmp_path: Path) -> None:
    """In the record; the digests beside the records are repaired from these."""
    job = stopped(TABLE, tmp_path / "t.npy", at=2, column="text")
    (key, _) = rows_of(job)[5]
    contents = bytearray(job.read_bytes())
    for at, damaged in ((contents.index(key), 0), (contents.rindex(key), 1)):
        contents[at + 15] ^= 1
        job.write_bytes(contents)
        contents[at + 15] ^= 1
        report, service = run(TABLE, tmp_path / "t.npy", column="text")
        assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))
        assert (report.damaged, sum(billed(service).values())) == (damaged, 48 + damaged)
        assert (report.embedded, report.duplicates) == (80, 20)
        (tmp_path / "t.npy").unlink()


@pytest.mark.parametrize("harm", [flip, blank])
def test_damage_in_a_cache_is_repaired(tmp_path: Path, harm: Callable[..., None]) -> None:
    """It does not spread to other jobs."""
    options: Any = {"cache": tmp_path / "cache", "dimensions": LONG, "column": "text"}
    run(TABLE, tmp_path / "a.npy", **options)
    (cache,) = (tmp_path / "cache").iterdir()
    contents = cache.read_bytes()
    harm(cache, next(vector for _, vector in rows_of(cache)[30:] if vector in contents))
    report, service = run(TABLE, tmp_path / "b.npy", **options)
    assert report.damaged == sum(billed(service).values()) > 0
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    report, service = run(TABLE, tmp_path / "c.npy", **options)
    assert (report.damaged, billed(service)) == (0, {})


def test_a_lost_list_of_inputs_in_a_cache_is_reported(tmp_path: Path) -> None:
    """The cache knows how many vectors it had, although it does not know whose these were."""
    options: Any = {"cache": tmp_path / "cache", "dimensions": LONG, "column": "text"}
    run(TABLE, tmp_path / "a.npy", **options)
    (cache,) = (tmp_path / "cache").iterdir()
    blank(cache, b"".join(digest for digest, _ in rows_of(cache)[:2]))
    report, service = run(TABLE, tmp_path / "b.npy", **options)
    assert report.damaged == sum(billed(service).values()) >= OPTIONS["batch_size"]
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_a_page_of_zeros_costs_only_its_block(tmp_path: Path) -> None:
    """The vectors of other responses are kept."""
    job = stopped(TABLE, tmp_path / "t.npy", at=2, column="text", dimensions=LONG)
    contents = job.read_bytes()
    blank(job, next(vector for _, vector in rows_of(job)[17:] if vector in contents))
    report, service = run(TABLE, tmp_path / "t.npy", column="text", dimensions=LONG)
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS, dimensions=LONG))
    assert report.damaged == OPTIONS["batch_size"]
    assert sum(billed(service).values()) == 48 + report.damaged


def test_damage_found_by_an_interrupted_run_is_reported(tmp_path: Path) -> None:
    """By the run that finishes the job."""
    job = stopped(TABLE, tmp_path / "t.npy", at=2, column="text")
    flip(job, rows_of(job)[5][1])
    stopped(TABLE, tmp_path / "t.npy", at=0, column="text")
    report, _ = run(TABLE, tmp_path / "t.npy", column="text")
    assert report.damaged == 1


@pytest.mark.parametrize("fact", ["parameters", "spent", "dimensions"])
def test_a_damaged_fact_cannot_be_repaired(tmp_path: Path, fact: str) -> None:
    """Nobody knows what the job was, or has cost; the error says what to do."""
    job = stopped(TABLE, tmp_path / "t.npy", at=2, column="text")
    change(job, f"UPDATE facts SET value = replace(value, '8', '9') || ' ' WHERE name = '{fact}'")
    words = r"damaged .* and cannot be repaired; remove it to start"
    with pytest.raises(jobs.JobError, match=words):
        run(TABLE, tmp_path / "t.npy", column="text")
    change(job, f"DELETE FROM facts WHERE name = '{fact}'")
    with pytest.raises(jobs.JobError, match="cannot be repaired"):
        run(TABLE, tmp_path / "t.npy", column="text")


def test_damage_during_a_job_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No target is written; the same command again repairs it."""

    def harmed(writer: TargetWriter, store: Store, *arguments: Any) -> Any:
        with store._database.blobopen("blocks", "records", 1) as blob:
            blob[100] ^= 1
        store._database.commit()
        return write(writer, store, *arguments)

    write = TargetWriter.write
    monkeypatch.setattr(TargetWriter, "write", harmed)
    with pytest.raises(jobs.JobError, match="damaged since the job began; run the same command"):
        run(TABLE, tmp_path / "t.npy", column="text")
    assert [path.name for path in tmp_path.iterdir()] == ["t.npy.job"]
    monkeypatch.undo()
    report, service = run(TABLE, tmp_path / "t.npy", column="text")
    assert (report.damaged, sum(billed(service).values())) == (1, 1)
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))


def test_a_page_lost_during_a_job_is_an_error(tmp_path: Path) -> None:
    """The message does not claim that everything is safe."""
    path = tmp_path / "t.npy.job"
    digests = [b"%16d" % n for n in range(1, 100)]
    matrix = np.repeat(np.arange(1, 100, dtype=np.float32)[:, None], LONG, axis=1)
    with closing(Store(path)) as store:
        for start in range(0, 99, 33):
            store.add(digests[start : start + 33], matrix[start : start + 33])
        store.commit()
    with closing(Store(path)) as store:
        store._database.execute("PRAGMA cache_size = 0")
        blank(path, bytes(matrix[40]))
        with pytest.raises(jobs.JobError, match=r"has been damaged .*; run the same command again"):
            store.vectors(digests)
    with closing(Store(path)) as store:
        found, mask = store.vectors(digests)
        assert (store.kept, store.damaged) == (66, 33)
        assert np.array_equal(np.flatnonzero(~mask), range(33, 66))
        assert np.array_equal(found[mask], matrix[mask])


def test_a_rollback_on_a_full_disk_is_not_damage(tmp_path: Path) -> None:
    """The next run finds what was saved before, and reports no damage."""
    path = tmp_path / "t.npy.job"

    def add(store: Store, first: int, count: int) -> None:
        digests = [b"%16d" % n for n in range(first, first + count)]
        store.add(digests, np.ones((count, LONG), np.float32))

    with closing(Store(path)) as store:
        add(store, 0, 10)
        store.commit()
        store._database.execute("PRAGMA cache_size = 5")
        store._database.execute("PRAGMA max_page_count = 40")
        add(store, 10, 10)
        with pytest.raises(jobs.JobError, match="full; everything saved before is safe"):
            add(store, 20, 400)
        store.commit()
        kept = store.kept
    with closing(Store(path)) as store:
        assert (store.kept, store.damaged) == (kept, 0)
        assert kept >= 10


def test_vectors_that_are_added_twice_count_once(tmp_path: Path) -> None:
    """A response may be saved again after Ctrl-C; the next run reports no damage."""
    path = tmp_path / "t.npy.job"
    with closing(Store(path)) as store:
        for digests in ([b"a" * 16], [b"a" * 16, b"b" * 16]):
            store.add(digests, np.ones((len(digests), 1), np.float32))
        store.commit()
        assert store.kept == 2
    assert [digest for digest, _ in rows_of(path)] == [b"a" * 16, b"b" * 16]
    with closing(Store(path)) as store:
        assert (store.kept, store.damaged) == (2, 0)


@pytest.mark.parametrize("table", _EARLIER_TABLES)
def test_files_of_earlier_versions_are_refused(tmp_path: Path, table: str) -> None:
    """The error says what to do, and the file stays as it is."""
    target, cache = tmp_path / "t.npy", tmp_path / "cache"
    run(TABLE, tmp_path / "other.npy", column="text", cache=cache)
    (kept,) = cache.iterdir()
    for path, words in (
        (job_file(target), "the job file .*; finish the job with that version, or remove the file"),
        (kept, "the cache .*; use another cache directory, or remove the file"),
    ):
        path.unlink(missing_ok=True)
        change(path, f"CREATE TABLE {table}")
        change(path, "PRAGMA journal_mode = WAL")
        before = path.read_bytes()
        with pytest.raises(jobs.JobError, match=f"an earlier version of this package made {words}"):
            run(TABLE, target, column="text", cache=cache)
        assert path.read_bytes() == before
        path.unlink()


def test_a_missing_block_is_damage(tmp_path: Path) -> None:
    """The job file knows how many vectors it had."""
    job = stopped(TABLE, tmp_path / "t.npy", at=2, column="text")
    change(job, "DELETE FROM blocks WHERE id = 2")
    report, service = run(TABLE, tmp_path / "t.npy", column="text")
    assert (report.damaged, sum(billed(service).values())) == (16, 48 + 16)
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))


@pytest.mark.parametrize("column", ["inputs", "records"])
def test_a_block_of_another_size_is_damage(tmp_path: Path, column: str) -> None:
    """Its vectors are embedded again."""
    job = stopped(TABLE, tmp_path / "t.npy", at=2, column="text")
    change(job, f"UPDATE blocks SET {column} = substr({column}, 1, 33) WHERE id = 2")
    report, service = run(TABLE, tmp_path / "t.npy", column="text")
    assert (report.damaged, sum(billed(service).values())) == (16, 48 + 16)
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))


def test_a_renamed_table_is_an_error(tmp_path: Path) -> None:
    """Otherwise all of it would be paid for again."""
    job = stopped(TABLE, tmp_path / "t.npy", at=2, column="text")
    change(job, "ALTER TABLE blocks RENAME TO blockz")
    with pytest.raises(jobs.JobError, match="it has table blockz"):
        run(TABLE, tmp_path / "t.npy", column="text")


def test_damage_anywhere_gives_no_wrong_row() -> None:
    """A job reports all damage that it pays for; `stress.kills` runs this for longer."""
    results = kills.run_damaged_jobs(rows=300, tries=8, seed=1)
    assert sum(found.repaired for found in results.values()) > 8
    for name, found in results.items():
        assert (found.tries, found.wrong_rows) == (8, 0)
        assert found.unreported == 0 or "cache" in name
        assert found.no_effect + found.repaired + found.not_repaired + found.unreported >= 8
    lines = kills.table(results).splitlines()
    assert len(lines) == 2 + 4
    assert len({line.count("|") for line in lines}) == 1
