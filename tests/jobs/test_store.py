"""What a job and a cache keep: damage is found, said, and asked for again."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings.jobs import _run, _write
from openrouter_embeddings.jobs._rows import Reader
from openrouter_embeddings.jobs._store import Store
from openrouter_embeddings.local.faults import Fault

from stress import kills
from tests.job_support import TABLE, TEXTS, billed, run, vectors
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


def stopped(target: Path, **options: Any) -> Path:
    """The file of a job with 32 of its 80 inputs."""
    with pytest.raises(ore.PaymentRequiredError):
        run(TABLE, target, Fault("status", status=402, requests=[2]), column="text", **options)
    return target.with_name(f"{target.name}.job")


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


def test_a_flipped_bit_in_a_job_is_mended(tmp_path: Path) -> None:
    """The input is embedded again, and report and command line say so."""
    job = stopped(tmp_path / "t.npy")
    flip(job, rows_of(job)[5][1])
    report, service = run(TABLE, tmp_path / "t.npy", column="text")
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))
    assert (report.damaged, sum(billed(service).values())) == (1, 48 + 1)
    assert (report.embedded, report.duplicates) == (80, 20)


def test_the_command_line_says_what_was_damaged(tmp_path: Path) -> None:
    """And that it was paid for again."""
    source, target = tmp_path / "s.txt", tmp_path / "t.npy"
    source.write_text("".join(f"{text}\n" for text in TEXTS))
    with pytest.raises(ore.PaymentRequiredError):
        run(source, target, Fault("status", status=402, requests=[2]))
    job = tmp_path / "t.npy.job"
    flip(job, rows_of(job)[5][1])
    done = orembed(
        "run", source, "-o", target, "--local", "--model", "local/hash", "--dimensions", 8
    )
    said = "1 vector was damaged on disk; this run embedded the inputs again"
    assert said in done.stderr


def test_a_vector_under_another_key_is_damage(tmp_path: Path) -> None:
    """Though it is whole: the checksum is of both."""
    job = stopped(tmp_path / "t.npy")
    (one, _), (other, _) = rows_of(job)[:2]
    for key, new in ((one, b"x"), (other, one), (b"x", other)):
        change(job, f"UPDATE vectors SET input = x'{new.hex()}' WHERE input = x'{key.hex()}'")
    report, _ = run(TABLE, tmp_path / "t.npy", column="text")
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))
    assert report.damaged == 2


def test_a_key_that_is_damaged_is_counted(tmp_path: Path) -> None:
    """In the index, where the row that it led to is still whole."""
    job = stopped(tmp_path / "t.npy")
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
def test_damage_in_a_cache_is_mended(tmp_path: Path, harm: Callable[..., None]) -> None:
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


def test_a_page_of_zeros_costs_what_was_on_it(tmp_path: Path) -> None:
    """The other vectors are taken over."""
    job = stopped(tmp_path / "t.npy", dimensions=LONG)
    blank(job, rows_of(job)[20][1])
    report, service = run(TABLE, tmp_path / "t.npy", column="text", dimensions=LONG)
    wanted = ore.Client.local(model="local/hash", dimensions=LONG).embed(TEXTS).vectors
    assert np.array_equal(np.load(tmp_path / "t.npy"), wanted)
    assert 0 < report.damaged < 5
    assert sum(billed(service).values()) == 48 + report.damaged


def test_what_was_found_damaged_is_said_at_the_end(tmp_path: Path) -> None:
    """Though the run that found it was stopped, too."""
    job = stopped(tmp_path / "t.npy")
    flip(job, rows_of(job)[5][1])
    with pytest.raises(ore.PaymentRequiredError):
        run(TABLE, tmp_path / "t.npy", Fault("status", status=402, requests=[0]), column="text")
    report, _ = run(TABLE, tmp_path / "t.npy", column="text")
    assert report.damaged == 1


@pytest.mark.parametrize("fact", ["parameters", "spent", "dimensions"])
def test_a_damaged_fact_cannot_be_mended(tmp_path: Path, fact: str) -> None:
    """Nobody knows what a job was, or has cost; the message says what can be done."""
    job = stopped(tmp_path / "t.npy")
    change(job, f"UPDATE facts SET value = replace(value, '8', '9') || ' ' WHERE name = '{fact}'")
    with pytest.raises(jobs.JobError, match=r"damaged .* and cannot be mended; remove it to begin"):
        run(TABLE, tmp_path / "t.npy", column="text")
    change(job, f"DELETE FROM facts WHERE name = '{fact}'")
    with pytest.raises(jobs.JobError, match="cannot be mended"):
        run(TABLE, tmp_path / "t.npy", column="text")


def test_damage_while_a_job_runs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No target is written; the same command again mends it."""

    def harmed(target: Any, store: Store, *arguments: Any, **options: Any) -> Any:
        store._database.execute("UPDATE vectors SET vector = zeroblob(32) WHERE rowid = 7")
        store._database.commit()
        return _write.write(target, store, *arguments, **options)

    monkeypatch.setattr(_run, "write", harmed)
    with pytest.raises(jobs.JobError, match="damaged since the job began; run the same command"):
        run(TABLE, tmp_path / "t.npy", column="text")
    assert [path.name for path in tmp_path.iterdir()] == ["t.npy.job"]
    monkeypatch.undo()
    report, service = run(TABLE, tmp_path / "t.npy", column="text")
    assert (report.damaged, sum(billed(service).values())) == (1, 1)
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))


def test_a_page_that_is_lost_while_a_job_runs_is_said(tmp_path: Path) -> None:
    """Not as if everything were safe."""
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


def test_what_a_full_disk_takes_back_is_not_damage(tmp_path: Path) -> None:
    """The next run finds what was kept before, and says nothing of damage."""
    path = tmp_path / "t.npy.job"

    def vectors_from(first: int, count: int) -> list[tuple[bytes, bytes]]:
        return [(b"%16d" % n, bytes(2000)) for n in range(first, first + count)]

    with closing(Store(path)) as store:
        store.add(vectors_from(0, 10))
        store.commit()
        store._database.execute("PRAGMA cache_size = 5")
        store._database.execute("PRAGMA max_page_count = 40")
        store.add(vectors_from(10, 10))
        with pytest.raises(jobs.JobError, match="full; what was kept before is safe"):
            store.add(vectors_from(20, 200))
        store.commit()
        kept = store.kept
    with closing(Store(path)) as store:
        assert (store.kept, store.damaged) == (kept, 0)
        assert kept == store.count("vectors") >= 10


def test_what_is_added_twice_counts_once(tmp_path: Path) -> None:
    """After Ctrl-C an answer may be kept again; the next run says nothing of damage."""
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


def test_files_without_checksums_go_on(tmp_path: Path) -> None:
    """The report says how many vectors nobody could check; new ones are checked."""
    job = stopped(tmp_path / "t.npy")
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


def test_a_vector_that_is_gone_is_damage(tmp_path: Path) -> None:
    """The job knows how many it had."""
    job = stopped(tmp_path / "t.npy")
    change(job, "DELETE FROM vectors WHERE rowid = 4")
    report, service = run(TABLE, tmp_path / "t.npy", column="text")
    assert (report.damaged, sum(billed(service).values())) == (1, 48 + 1)
    assert np.array_equal(np.load(tmp_path / "t.npy"), vectors(TEXTS))


def test_a_checksum_that_is_gone_is_damage(tmp_path: Path) -> None:
    """In a file that had them from the beginning."""
    job = stopped(tmp_path / "t.npy")
    change(job, "UPDATE vectors SET checksum = NULL WHERE rowid = 3")
    report, _ = run(TABLE, tmp_path / "t.npy", column="text")
    assert (report.damaged, report.unchecked) == (1, 0)


def test_a_table_under_another_name_is_said(tmp_path: Path) -> None:
    """Rather than all of it paid for again."""
    job = stopped(tmp_path / "t.npy")
    change(job, "ALTER TABLE vectors RENAME TO vectorz")
    with pytest.raises(jobs.JobError, match="it has table vectorz"):
        run(TABLE, tmp_path / "t.npy", column="text")


def test_damage_anywhere_gives_no_wrong_row() -> None:
    """Nor is anything of a job paid for again unsaid; `stress.kills` does it for longer."""
    results = kills.run_damaged_jobs(rows=300, tries=8, seed=1)
    assert sum(found.repaired for found in results.values()) > 8
    for name, found in results.items():
        assert (found.tries, found.wrong_rows) == (8, 0)
        assert found.unreported == 0 or "cache" in name
        assert found.no_effect + found.repaired + found.not_repaired + found.unreported >= 8
    lines = kills.table(results).splitlines()
    assert len(lines) == 2 + 4
    assert len({line.count("|") for line in lines}) == 1


def test_rows_without_a_vector_are_no_duplicates(tmp_path: Path) -> None:
    """Whether texts are empty or refused, and however often each is there."""
    table = pa.table({"text": ["a", "", "b", "", "poison", "poison", "a", None]})
    report, _ = run(table, tmp_path / "t.npy", Fault("poison"))
    assert (report.rows, report.embedded, report.errors, report.duplicates) == (8, 2, 5, 1)
    said = json.loads((tmp_path / "t.npy.provenance.json").read_text())
    assert (said["errors"], said["duplicates"]) == (5, 1)


@pytest.mark.parametrize(
    "texts", [["", *"abc", "", "", ""], [*"abc", *["poison"] * 4], ["a", "poison", *["poison"] * 3]]
)
def test_errors_are_counted_by_rows(tmp_path: Path, texts: list[str]) -> None:
    """They guard against a wrong column, which may hold the same useless value everywhere."""
    table = pa.table({"text": texts})
    for _ in range(2):
        with pytest.raises(jobs.JobError, match="4 rows cannot be embedded, and max_errors is 3"):
            run(table, tmp_path / "t.npy", Fault("poison"), max_errors=3)
    report, _ = run(table, tmp_path / "t.npy", max_errors=4)
    assert report.errors == 4


def test_rows_that_wait_for_a_refusal_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are read while the input is under way."""
    monkeypatch.setattr(Reader, "rows", 2)
    table = pa.table({"text": ["poison", "a", "poison", "b", "poison"]})
    with pytest.raises(jobs.JobError, match="3 rows cannot be embedded, and max_errors is 2"):
        run(table, tmp_path / "t.npy", Fault("poison"), max_errors=2)
