"""`retry_errors` sends the inputs of rows without a vector again."""

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings.jobs import _run
from openrouter_embeddings.jobs._embed import Embedding
from openrouter_embeddings.jobs._spec import job_file
from openrouter_embeddings.jobs._store import Store
from openrouter_embeddings.local.faults import Fault

from tests.job_support import billed, json_lines, run, stopped, vectors
from tests.support import PNG, orembed

SOME = ["a", "poison b", "", "c", "poison b", "a", "poison d"]
ROWS = pa.table({"text": SOME, "n": range(len(SOME))})
POISON = Fault("poison", text="poison")
FILES = ["t.parquet", "t.npy", "t.jsonl"]


def embeddings(target: Path) -> list[Any]:
    """What every row of a target has."""
    if target.suffix == ".npy":
        return [None if np.isnan(row).any() else [*row] for row in np.load(target)]
    if target.suffix == ".parquet":
        return list(pq.read_table(target)["embedding"].to_pylist())
    return [line["embedding"] for line in json_lines(target)]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_retry_errors_completes_a_finished_target(
    tmp_path: Path, name: str, precision: str
) -> None:
    """Only the missing inputs are paid for, and the file equals that of a job without refusals."""
    options: Any = {"column": "text", "precision": precision}
    run(ROWS, tmp_path / f"whole-{name}", **options)
    first, _ = run(ROWS, tmp_path / name, POISON, **options)
    assert (first.errors, first.duplicates) == (4, 1)
    report, service = run(ROWS, tmp_path / name, retry_errors=True, **options)
    assert billed(service) == {'"poison b"': 1, '"poison d"': 1}
    assert (report.rows, report.errors, report.duplicates, report.embedded) == (7, 1, 2, 4)
    for end in ("", ".errors.jsonl"):
        one, other = (tmp_path / f"{n}{name}{end}" for n in ("", "whole-"))
        assert one.read_bytes() == other.read_bytes()
    assert not job_file(tmp_path / name).exists()


def test_retry_errors_leaves_a_complete_target_as_it_is(tmp_path: Path) -> None:
    """Nothing is sent or written."""
    rows = pa.table({"text": ["a", "b"]})
    run(rows, tmp_path / "t.npy")
    before = (tmp_path / "t.npy").stat()
    report, service = run(rows, tmp_path / "t.npy", retry_errors=True)
    assert (report.rows, service.faults.requests) == (2, 0)
    after = (tmp_path / "t.npy").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_inputs_may_be_refused_again(tmp_path: Path) -> None:
    """The other rows keep their vectors, and nothing is billed."""
    run(ROWS, tmp_path / "t.npy", POISON, column="text")
    before = (tmp_path / "t.npy").read_bytes()
    report, service = run(ROWS, tmp_path / "t.npy", POISON, column="text", retry_errors=True)
    assert (report.errors, billed(service)) == (4, {})
    assert (tmp_path / "t.npy").read_bytes() == before


def test_retry_errors_works_on_an_unfinished_job(tmp_path: Path) -> None:
    """Only the refused inputs are sent."""
    with pytest.raises(jobs.JobError, match="max_errors"):
        run(ROWS, tmp_path / "t.npy", POISON, column="text", max_errors=2)
    report, service = run(ROWS, tmp_path / "t.npy", column="text", max_errors=2, retry_errors=True)
    assert billed(service) == {'"poison b"': 1, '"poison d"': 1}
    assert (report.errors, report.duplicates) == (1, 2)
    assert np.array_equal(np.load(tmp_path / "t.npy")[[0, 1]], vectors(SOME[:2]))


@pytest.mark.parametrize("again", [True, False])
def test_an_interrupted_retry_is_resumed(tmp_path: Path, again: bool) -> None:
    """With or without `retry_errors`; until it ends, the target stays as it was."""
    run(ROWS, tmp_path / "t.npy", POISON, column="text")
    before = (tmp_path / "t.npy").read_bytes()
    stopped(ROWS, tmp_path / "t.npy", at=1, column="text", batch_size=1, retry_errors=True)
    assert (tmp_path / "t.npy").read_bytes() == before
    report, service = run(ROWS, tmp_path / "t.npy", column="text", retry_errors=again)
    assert (report.errors, billed(service)) == (1, {'"poison d"': 1})


@pytest.mark.parametrize("when", ["before", "within", "after"])
def test_a_retry_that_is_killed_while_copying_pays_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The next run does not pay for vectors that the target has."""
    run(ROWS, tmp_path / "t.npy", POISON, column="text")
    add, times = Store.add, count()

    def killed(store: Store, *arguments: Any, **_: Any) -> Any:
        if when == "within" and not next(times):
            return add(store, *arguments)
        raise KeyboardInterrupt

    steps: dict[str, tuple[Any, str]] = {
        "before": (_run, "_copy_vectors"),
        "within": (Store, "add"),  # when one vector is there
        "after": (Embedding, "run"),
    }
    monkeypatch.setattr(_run, "_COPIED_ROWS", 1)
    with monkeypatch.context() as patched:
        patched.setattr(
            Store, "remove_if_empty", Store.close
        )  # which a killed process does not do either
        patched.setattr(*steps[when], killed)
        with pytest.raises(KeyboardInterrupt):
            run(ROWS, tmp_path / "t.npy", POISON, column="text", retry_errors=True)
    assert job_file(tmp_path / "t.npy").exists()
    for again in (False, True):
        report, service = run(ROWS, tmp_path / "t.npy", column="text", retry_errors=again)
        assert set(billed(service)) <= {'"poison b"', '"poison d"'}
    assert report.errors == 1
    assert np.array_equal(np.load(tmp_path / "t.npy")[[0, 3]], vectors(["a", "c"]))
    assert not job_file(tmp_path / "t.npy").exists()


def test_a_retry_gives_no_image_the_vector_of_another(tmp_path: Path) -> None:
    """An image that now equals another row's image is sent, because the other has an old vector."""
    for name, content in (("a", PNG + b"x"), ("b", b"no image")):
        (tmp_path / f"{name}.png").write_bytes(content)
    source = tmp_path / "s.parquet"
    pq.write_table(pa.table({"image": ["a.png", "b.png"]}), source)
    run(source, tmp_path / "t.npy", images="image")
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(PNG + b"y")
    _, service = run(source, tmp_path / "t.npy", images="image", retry_errors=True)
    assert sum(billed(service).values()) == 1
    wanted = vectors([ore.Image(PNG + b"y")])[0]
    assert np.array_equal(np.load(tmp_path / "t.npy")[1], wanted)


def test_a_retry_keeps_the_target_if_an_image_is_gone(tmp_path: Path) -> None:
    """The error names the row."""
    (tmp_path / "a.png").write_bytes(PNG)
    source = tmp_path / "s.parquet"
    pq.write_table(pa.table({"image": ["b.png", "a.png"]}), source)
    run(source, tmp_path / "t.npy", images="image")
    before = (tmp_path / "t.npy").read_bytes()
    (tmp_path / "a.png").unlink()
    words = r"row 1 has a vector in .*, but its image cannot be read again"
    with pytest.raises(jobs.JobError, match=words):
        run(source, tmp_path / "t.npy", images="image", retry_errors=True)
    assert (tmp_path / "t.npy").read_bytes() == before


def test_a_job_whose_options_were_refused_can_get_others(tmp_path: Path) -> None:
    """An invalid number of dimensions refuses every row, but no row is at fault."""
    rows = pa.table({"text": ["a", "b"]})
    options: Any = {"model": "local/minilm", "dimensions": 5}
    with pytest.raises(jobs.JobError, match="no row could be embedded"):
        run(rows, tmp_path / "t.npy", **options)
    report, _ = run(rows, tmp_path / "t.npy", **{**options, "dimensions": 64})
    assert (report.dimensions, report.errors) == (64, 0)


def test_the_command_line_offers_retry_errors(tmp_path: Path) -> None:
    """It names the option if rows have no vector."""
    (tmp_path / "s.txt").write_text("a\n\n")
    options = ("-o", tmp_path / "t.npy", "--local", "--model", "local/hash")
    done = orembed("run", tmp_path / "s.txt", *options)
    assert "t.npy.errors.jsonl says why; to send refused inputs again" in done.stderr
    assert "use --retry-errors\n" in done.stderr
    done = orembed("run", tmp_path / "s.txt", *options, "--retry-errors")
    assert (done.returncode, "1 row has no vector" in done.stderr) == (0, True)


def test_a_failed_retry_keeps_the_errors_file(tmp_path: Path) -> None:
    """It belongs to the finished target until that is replaced."""
    target = tmp_path / "t.npy"
    run(ROWS, target, POISON, column="text")
    errors = tmp_path / "t.npy.errors.jsonl"
    before = errors.read_bytes()
    with pytest.raises(jobs.JobError, match="max_errors"):
        run(ROWS, target, POISON, column="text", retry_errors=True, max_errors=0)
    assert errors.read_bytes() == before


def test_a_retry_restores_damaged_vectors_from_the_target(tmp_path: Path) -> None:
    """Only the inputs that the target lacks are paid for."""
    target = tmp_path / "t.npy"
    run(ROWS, target, POISON, column="text")
    with pytest.raises(jobs.JobError, match="max_errors"):
        run(ROWS, target, POISON, column="text", retry_errors=True, max_errors=1)
    job = job_file(target)
    contents = bytearray(job.read_bytes())
    contents[contents.index(bytes(vectors(["a"])[0]))] ^= 1
    job.write_bytes(contents)
    report, service = run(ROWS, target, column="text", retry_errors=True)
    assert billed(service) == {'"poison b"': 1, '"poison d"': 1}
    assert (report.errors, report.damaged) == (1, 1)


@pytest.mark.parametrize("change", ["first line left out", "last line twice"])
def test_a_target_with_other_rows_is_refused(tmp_path: Path, change: str) -> None:
    """Its vectors would go to the wrong rows."""
    target = tmp_path / "t.jsonl"
    run(ROWS, target, POISON, column="text")
    lines = target.read_bytes().splitlines(keepends=True)
    target.write_bytes(b"".join(lines[1:] if "first" in change else [*lines, lines[-1]]))
    before = target.read_bytes()
    with pytest.raises(jobs.JobError, match="has other rows"):
        run(ROWS, target, column="text", retry_errors=True)
    assert target.read_bytes() == before
