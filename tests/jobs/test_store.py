"""The store finds damage in job files and caches, reports it, and repairs it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings.jobs._store import Store
from openrouter_embeddings.jobs._write import TargetWriter

from stress import kills
from tests.job_support import TABLE, TEXTS, billed, run, stopped, vectors
from tests.support import orembed

PAGE = kills.PAGE_SIZE
LONG = 512  # dimensions; a row fills half a page
_OLD_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE vectors (input BLOB PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE refused (input BLOB PRIMARY KEY, reason TEXT NOT NULL);
INSERT INTO facts SELECT name, value FROM new.facts WHERE name NOT IN ('checksum', 'kept');
INSERT INTO vectors SELECT input, vector FROM new.vectors;
INSERT INTO refused SELECT input, reason FROM new.refused;
"""


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


def rows_of(path: Path, table: str = "vectors") -> list[tuple[bytes, bytes]]:
    """Everything in a table, in the order it came."""
    with closing(sqlite3.connect(path)) as database:
        return [row[:2] for row in database.execute(f"SELECT * FROM {table} ORDER BY rowid")]


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
    for key, new in ((one, b"x"), (other, one), (b"x", other)):
        change(job, f"UPDATE vectors SET input = x'{new.hex()}' WHERE input = x'{key.hex()}'")
    report, _ = run(TABLE, tmp_path / "t.npy", column="text")
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))
    assert report.damaged == 2


def test_a_damaged_key_is_counted(tmp_path: Path) -> None:
    """In the table, or in the index, where its row is still intact."""
    job = stopped(TABLE, tmp_path / "t.npy", at=2, column="text")
    (key, _) = rows_of(job)[5]
    contents = bytearray(job.read_bytes())
    for at in (contents.index(key), contents.rindex(key)):
        contents[at + 15] ^= 1
        job.write_bytes(contents)
        contents[at + 15] ^= 1
        report, service = run(TABLE, tmp_path / "t.npy", column="text")
        assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))
        assert sum(billed(service).values()) == 48 + report.damaged
        assert (report.embedded, report.duplicates) == (80, 20)
        (tmp_path / "t.npy").unlink()


@pytest.mark.parametrize("harm", [flip, blank])
def test_damage_in_a_cache_is_repaired(tmp_path: Path, harm: Callable[..., None]) -> None:
    """It does not spread to other jobs."""
    options: Any = {"cache": tmp_path / "cache", "dimensions": LONG, "column": "text"}
    run(TABLE, tmp_path / "a.npy", **options)
    (cache,) = (tmp_path / "cache").iterdir()
    harm(cache, rows_of(cache)[40][1])
    report, service = run(TABLE, tmp_path / "b.npy", **options)
    assert report.damaged == sum(billed(service).values()) > 0
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    report, service = run(TABLE, tmp_path / "c.npy", **options)
    assert (report.damaged, billed(service)) == (0, {})


def test_a_page_of_zeros_costs_only_its_vectors(tmp_path: Path) -> None:
    """The other vectors are kept."""
    job = stopped(TABLE, tmp_path / "t.npy", at=2, column="text", dimensions=LONG)
    blank(job, rows_of(job)[20][1])
    report, service = run(TABLE, tmp_path / "t.npy", column="text", dimensions=LONG)
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS, dimensions=LONG))
    assert 0 < report.damaged < 5
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
        store._database.execute("UPDATE vectors SET vector = zeroblob(32) WHERE rowid = 7")
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
    found = {bytes([n]) * 16: bytes([n]) * 4 * LONG for n in range(1, 100)}
    with closing(Store(path)) as store:
        store.add(found.items())
        store.commit()
    with closing(Store(path)) as store:
        store._database.execute("PRAGMA cache_size = 0")
        blank(path, bytes([40]) * 4 * LONG)
        with pytest.raises(jobs.JobError, match=r"has been damaged .*; run the same command again"):
            store.vectors([*found])
    with closing(Store(path)) as store:
        left = store.vectors([*found])
        assert store.kept == len(left) == 99 - store.damaged > 90
        assert left.items() < found.items()


def test_a_rollback_on_a_full_disk_is_not_damage(tmp_path: Path) -> None:
    """The next run finds what was saved before, and reports no damage."""
    path = tmp_path / "t.npy.job"

    def vectors_from(first: int, count: int) -> list[tuple[bytes, bytes]]:
        return [(b"%16d" % n, bytes(2000)) for n in range(first, first + count)]

    with closing(Store(path)) as store:
        store.add(vectors_from(0, 10))
        store.commit()
        store._database.execute("PRAGMA cache_size = 5")
        store._database.execute("PRAGMA max_page_count = 40")
        store.add(vectors_from(10, 10))
        with pytest.raises(jobs.JobError, match="full; everything saved before is safe"):
            store.add(vectors_from(20, 200))
        store.commit()
        kept = store.kept
    with closing(Store(path)) as store:
        assert (store.kept, store.damaged) == (kept, 0)
        assert kept == store.count("vectors") >= 10


def test_vectors_that_are_added_twice_count_once(tmp_path: Path) -> None:
    """A response may be saved again after Ctrl-C; the next run reports no damage."""
    path = tmp_path / "t.npy.job"
    with closing(Store(path)) as store:
        for vectors_of_a_request in ([(b"a", bytes(4))], [(b"a", bytes(4)), (b"b", bytes(4))]):
            store.add(vectors_of_a_request)
        store.commit()
        assert store.kept == 2
    with closing(Store(path)) as store:
        assert (store.kept, store.damaged) == (2, 0)


def old(path: Path) -> None:
    """The same file as an edition without checksums has made it."""
    path.replace(path.with_suffix(".new"))
    with closing(sqlite3.connect(path)) as database:
        database.execute("ATTACH ? AS new", [str(path.with_suffix(".new"))])
        database.executescript(_OLD_TABLES)
    path.with_suffix(".new").unlink()


def test_files_without_checksums_are_resumed(tmp_path: Path) -> None:
    """The report counts vectors without a checksum; new ones are checked."""
    job = stopped(TABLE, tmp_path / "t.npy", at=2, column="text")
    old(job)
    report, service = run(TABLE, tmp_path / "t.npy", column="text", cache=tmp_path / "cache")
    assert (report.unchecked, report.damaged, sum(billed(service).values())) == (32, 0, 48)
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))
    (cache,) = (tmp_path / "cache").iterdir()
    old(cache)
    report, service = run(TABLE, tmp_path / "u.npy", column="text", cache=tmp_path / "cache")
    assert (report.unchecked, report.reused, sum(billed(service).values())) == (48, 48, 32)
    flip(cache, rows_of(cache)[-1][1])
    report, service = run(TABLE, tmp_path / "v.npy", column="text", cache=tmp_path / "cache")
    assert (report.damaged, sum(billed(service).values())) == (1, 1)


def test_a_missing_vector_is_damage(tmp_path: Path) -> None:
    """The job file knows how many vectors it had."""
    job = stopped(TABLE, tmp_path / "t.npy", at=2, column="text")
    change(job, "DELETE FROM vectors WHERE rowid = 4")
    report, service = run(TABLE, tmp_path / "t.npy", column="text")
    assert (report.damaged, sum(billed(service).values())) == (1, 48 + 1)
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))


def test_a_missing_checksum_is_damage(tmp_path: Path) -> None:
    """In a file that had checksums from the beginning."""
    job = stopped(TABLE, tmp_path / "t.npy", at=2, column="text")
    change(job, "UPDATE vectors SET checksum = NULL WHERE rowid = 3")
    report, _ = run(TABLE, tmp_path / "t.npy", column="text")
    assert (report.damaged, report.unchecked) == (1, 0)


def test_a_renamed_table_is_an_error(tmp_path: Path) -> None:
    """Otherwise all of it would be paid for again."""
    job = stopped(TABLE, tmp_path / "t.npy", at=2, column="text")
    change(job, "ALTER TABLE vectors RENAME TO vectorz")
    with pytest.raises(jobs.JobError, match="it has table vectorz"):
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
