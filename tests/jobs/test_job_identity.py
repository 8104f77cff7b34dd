"""A job is identified by the values of its source and by its parameters."""

import hashlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings import jobs
from openrouter_embeddings._json import dumps
from openrouter_embeddings.jobs._sources import open_source

from tests.job_support import TABLE, billed, run, stopped


def test_another_delimiter_is_another_source(tmp_path: Path) -> None:
    """The same delimiter makes the same source, whether it was found or set."""
    path = tmp_path / "s.csv"
    path.write_text("id;text\n1;x\n")
    found = open_source(path).identity
    assert open_source(path, delimiter=";").identity == found
    assert open_source(path, delimiter=",").identity != found


def identity(table: Any) -> Any:
    """What tells a source from another."""
    return open_source(table).identity


def test_tables_are_identified_by_their_values() -> None:
    """Codes, chunks, and values behind a null make no difference."""
    plain = pa.table({"text": ["a", "b", None, "a"]})
    coded = pa.table({"text": plain["text"].combine_chunks().dictionary_encode()})
    others = pa.table({"text": pa.array(["x", "y", None, "x"]).dictionary_encode()})
    assert identity(coded) == identity(plain)
    assert identity(coded) != identity(others)
    assert identity(pa.concat_tables([plain.slice(0, 1), plain.slice(1)])) == identity(plain)
    hidden = pa.array([7, 8, 9], mask=np.array([False, True, False]))
    assert identity(pa.table({"n": hidden})) == identity(pa.table({"n": [7, None, 9]}))
    assert identity(pa.table({"n": hidden})) != identity(pa.table({"n": [7, 9, None]}))


@given(
    st.sampled_from(
        [
            pa.string(),
            pa.string_view(),
            pa.large_string(),
            pa.list_(pa.string_view()),
            pa.large_list(pa.large_string()),
            pa.list_(pa.int8(), 2),
            pa.map_(pa.string(), pa.string()),
            pa.struct([("a", pa.list_(pa.struct([("b", pa.string_view())]))), ("c", pa.int8())]),
            pa.list_(pa.dictionary(pa.int8(), pa.string())),
        ]
    ),
    st.data(),
)
def test_nested_tables_are_identified_by_their_values(
    kind: pa.DataType, data: st.DataObject
) -> None:
    """Chunks and values behind a null make no difference."""
    one = data.draw(st.lists(_values_of(kind), min_size=1, max_size=6))
    other = data.draw(st.lists(_values_of(kind), min_size=1, max_size=6))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(one)), max_size=3)))
    spare = data.draw(st.lists(_values_of(kind), max_size=2))
    long = pa.array([*spare, *one], kind)
    whole = long.slice(len(spare))
    pieces = [whole.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, len(one)], strict=True)]
    plain = identity(pa.table({"x": pa.array(one, kind)}))
    assert identity(pa.table({"x": pa.chunked_array(pieces, kind)})) == plain
    same = pa.array(one, kind).to_pylist() == pa.array(other, kind).to_pylist()
    assert (identity(pa.table({"x": pa.array(other, kind)})) == plain) == same


def _values_of(kind: pa.DataType) -> st.SearchStrategy[Any]:
    kinds = pa.types
    if kinds.is_struct(kind):
        inner = {kind.field(n).name: _values_of(kind.field(n).type) for n in range(kind.num_fields)}
        return st.none() | st.fixed_dictionaries(inner)
    if kinds.is_map(kind):
        pairs = st.tuples(st.text("ab", max_size=1), st.none() | st.text("ab", max_size=1))
        return st.none() | st.lists(pairs, max_size=2)
    if kinds.is_nested(kind):
        size = kind.list_size if kinds.is_fixed_size_list(kind) else None
        return st.none() | st.lists(
            _values_of(kind.value_type), min_size=size or 0, max_size=size or 2
        )
    return st.none() | (st.integers(0, 2) if kinds.is_int8(kind) else st.text("ab", max_size=1))


def test_values_behind_a_null_do_not_count() -> None:
    """Arrow may keep values there, also in lists and structs; a copy of the table drops them."""
    mask = pa.array([False, True])
    texts = pa.array(["a", "x", "y"])
    struct = pa.StructArray.from_arrays([pa.array(["a", "x"])], ["b"], mask=mask)
    lists = pa.ListArray.from_arrays([0, 1, 3], texts, mask=mask)
    for hidden in (
        lists,
        struct,
        pa.ListArray.from_arrays([0, 2], struct),
        pa.ListArray.from_arrays([0, 2], lists),
        pa.StructArray.from_arrays([lists], ["c"]),
        pa.FixedSizeListArray.from_arrays(lists, 2),
    ):
        plain = pa.array(hidden.to_pylist(), hidden.type)
        assert identity(pa.table({"x": hidden})) == identity(pa.table({"x": plain}))


def test_where_a_list_ends_counts() -> None:
    """Lists with the same values but different ends are different sources."""
    different = [[["a"], ["b"]], [["a", "b"], []], [[], ["a", "b"]], [["a", "b"], None]]
    assert len({str(identity(pa.table({"x": lists}))) for lists in different}) == 4


def test_files_of_the_same_name_are_identified_by_their_path(tmp_path: Path) -> None:
    """Even if their sizes and times are equal."""
    for name in "ab":
        (tmp_path / name).mkdir()
        path = tmp_path / name / "s.txt"
        path.write_text(f"text {name}\n")
    stat = (tmp_path / "a" / "s.txt").stat()
    os.utime(tmp_path / "b" / "s.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    run(tmp_path / "a" / "s.txt", tmp_path / "t.npy")
    with pytest.raises(jobs.JobError, match="the source's path or contents changed"):
        run(tmp_path / "b" / "s.txt", tmp_path / "t.npy")


def test_extra_body_is_part_of_the_job_identity(tmp_path: Path) -> None:
    """Targets, job files and caches with other extra fields are not mixed."""
    cache = tmp_path / "cache"
    extra = {"a": {"c": "secret", "b": 1}, "d": 2}
    run(TABLE, tmp_path / "t.npy", column="text", cache=cache, extra_body=extra)
    for other in ({"a": {"c": "other", "b": 1}, "d": 2}, None):
        with pytest.raises(jobs.JobError, match="extra_body has other values of a") as caught:
            run(TABLE, tmp_path / "t.npy", column="text", extra_body=other)
        assert "secret" not in str(caught.value)
        _, service = run(TABLE, tmp_path / "u.npy", column="text", cache=cache, extra_body=other)
        assert billed(service)
        (tmp_path / "u.npy").unlink()
    turned = {"d": 2, "a": {"b": 1, "c": "secret"}}
    for name in ("t.npy", "u.npy"):
        _, service = run(TABLE, tmp_path / name, column="text", cache=cache, extra_body=turned)
        assert not billed(service)


def test_job_files_without_extra_body_are_resumed(tmp_path: Path) -> None:
    """A job without extra fields has the parameters and the cache of earlier versions."""
    cache = tmp_path / "cache"
    job = stopped(TABLE, tmp_path / "t.npy", at=2, column="text", cache=cache)
    with closing(sqlite3.connect(job)) as kept:
        ((begun,),) = kept.execute("SELECT value FROM facts WHERE name = 'parameters'")
    assert "extra_body" not in begun
    # the digest of its four parameters, as before
    space = {"model": "local/hash", "input_type": None, "provider": None, "asked_dimensions": 8}
    name = hashlib.blake2b(dumps(space), digest_size=8).hexdigest()
    assert [path.name for path in cache.iterdir()] == [f"{name}.vectors"]
    words = r"a job with other parameters \(extra_body has other values of a"
    with pytest.raises(jobs.JobError, match=words):
        run(TABLE, tmp_path / "t.npy", column="text", extra_body={"a": 1})
    _, service = run(TABLE, tmp_path / "t.npy", column="text", extra_body={})
    assert 0 < len(billed(service)) < 80


def test_a_job_with_other_parameters_is_refused(source: Path, tmp_path: Path) -> None:
    """The error lists the differences."""
    target = tmp_path / "t.npy"
    stopped(source, target, at=3)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"model": "local/minilm"}, "model: 'local/hash', now 'local/minilm'"),
        ({"dimensions": 9}, "asked_dimensions: 8, now 9"),
        ({"column": "more"}, "column: 'text', now 'more'"),
    ]
    for changed, message in changes:
        with pytest.raises(jobs.JobError, match=message):
            run(source, target, **changed)
    pq.write_table(TABLE.slice(1), source)
    with pytest.raises(jobs.JobError, match="the source's path or contents changed"):
        run(source, target)
