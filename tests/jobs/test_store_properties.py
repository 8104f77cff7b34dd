"""The store behaves like a dict from digests to vectors, and damage gives no wrong vector."""

import sqlite3
import tempfile
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openrouter_embeddings.jobs import _index, _store
from openrouter_embeddings.jobs._blocks import intact_records, pack, parse
from openrouter_embeddings.jobs._index import Index
from openrouter_embeddings.jobs._spec import JobError
from openrouter_embeddings.jobs._store import Store

WIDTH = 3
# few first halves, so that several digests share one
DIGESTS = [bytes([high]) * 8 + bytes([low]) * 8 for high in (0, 7, 255) for low in range(12)]
numbers = st.integers(0, len(DIGESTS) - 1)
steps = st.lists(
    st.one_of(
        st.lists(numbers, min_size=1, max_size=9, unique=True),  # add the vectors of these inputs
        st.sampled_from(["commit", "reopen", "other process"]),
    ),
    max_size=20,
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and the newest part of the index have few rows, so that there are several of each."""
    monkeypatch.setattr(_index, "_RECENT", 4)
    monkeypatch.setattr(_store, "_MAX_ROWS", 4)


def matrix(chosen: list[int], version: int = 0) -> Any:
    """Vectors that tell for which inputs, and in which version, they were made."""
    return np.array([[number, version, 1] for number in chosen], np.float32)


def add(
    store: Store, chosen: list[int], version: int, expected: dict[bytes, bytes], *, shared: bool
) -> None:
    """Add vectors to a store and to a dict, which keeps those that it has."""
    if not shared:  # a job embeds only inputs that have no vector
        chosen = [number for number in chosen if DIGESTS[number] not in expected]
    digests, vectors = [DIGESTS[number] for number in chosen], matrix(chosen, version)
    store.add(digests, vectors.reshape(-1, WIDTH))
    for digest, row in zip(digests, vectors, strict=True):
        expected.setdefault(digest, bytes(row))


def check(store: Store, expected: dict[bytes, bytes]) -> None:
    """The store has these vectors, and no others; every digest is asked for, one of them twice."""
    asked = [*DIGESTS, DIGESTS[5]]
    found, mask = store.vectors(asked)
    got = {
        digest: bytes(row) for digest, row, there in zip(asked, found, mask, strict=True) if there
    }
    assert got == expected
    assert store.embedded(asked) == expected.keys()


@settings(max_examples=60)
@given(steps=steps)
@pytest.mark.parametrize("shared", [False, True])
def test_a_store_is_a_dict(shared: bool, steps: list[Any]) -> None:
    """After any number of additions and openings; a cache also has what other processes add."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        path = Path(name) / "store"

        def opened() -> Store:
            return stack.enter_context(closing(Store(path, shared=shared)))

        stores = [opened(), opened()] if shared else [opened()]
        expected: dict[bytes, bytes] = {}
        for version, step in enumerate([*steps, "commit"]):
            if isinstance(step, list):
                add(stores[0], step, version, expected, shared=shared)
            else:
                stores[0].commit()
            if step == "reopen":
                stores[0].close()
                stores[0] = opened()
            elif step == "other process":
                stores.reverse()
            check(stores[0], expected)
        for store in stores:
            check(store, expected)
            assert store.damaged == 0
        assert shared or stores[0].kept == len(expected)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[bytes, bytes]]:
    """The contents of a store with several blocks, and the vectors in it."""
    path = tmp_path_factory.mktemp("sound") / "store"
    chosen = [*range(len(DIGESTS))]
    with closing(Store(path)) as store:
        for start in range(0, len(chosen), 9):
            store.add(DIGESTS[start : start + 9], matrix(chosen[start : start + 9]))
            store.set_fact("spent", str(start))
            store.commit()
    vectors = zip(DIGESTS, map(bytes, matrix(chosen)), strict=True)
    return path.read_bytes(), dict(vectors)


@settings(max_examples=150)
@given(
    changes=st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 255)), min_size=1, max_size=4)
)
@pytest.mark.parametrize("shared", [False, True])
def test_damage_gives_no_wrong_vector(
    sound: tuple[bytes, dict[bytes, bytes]], shared: bool, changes: list[tuple[int, int]]
) -> None:
    """Bytes may be changed anywhere: vectors are lost, or the file is refused."""
    contents, expected = bytearray(sound[0]), sound[1]
    used = [at for at, byte in enumerate(contents) if byte]  # most of the file is empty pages
    for at, byte in changes:
        contents[used[at % len(used)]] = byte
    with tempfile.TemporaryDirectory() as name, suppress(JobError):
        path = Path(name) / "store"
        path.write_bytes(contents)
        with closing(Store(path, shared=shared)) as store:
            found, mask = store.vectors(DIGESTS)
            pairs = zip(DIGESTS, found, mask, strict=True)
            got = {digest: bytes(row) for digest, row, there in pairs if there}
            assert got.items() <= expected.items()
            if not shared:
                assert store.damaged == len(expected) - len(got)


@settings(max_examples=100)
@given(st.lists(st.lists(numbers, max_size=7, unique=True), max_size=12))
def test_an_index_is_a_dict(updates: list[list[int]]) -> None:
    """A digest that was added twice has its latest place."""
    index, expected, place = Index(), dict.fromkeys(DIGESTS, -1), 0
    for chosen in updates:
        places = {DIGESTS[number]: place + at for at, number in enumerate(chosen)}
        place += len(chosen)
        index.update(places)
        expected |= places
        assert index.find(DIGESTS).tolist() == [*expected.values()]
    assert index.find([]).tolist() == []


@given(st.lists(numbers, min_size=1, unique=True), st.data())
def test_a_changed_record_is_not_intact(chosen: list[int], data: st.DataObject) -> None:
    """Whatever byte changes; the other records are."""
    digests = [DIGESTS[number] for number in chosen]
    contents = bytearray(pack(digests, matrix(chosen)).tobytes())
    at = data.draw(st.integers(0, len(contents) - 1))
    contents[at] ^= data.draw(st.integers(1, 255))
    lost = at // (len(contents) // len(chosen))
    found = intact_records(b"".join(digests), bytes(contents))
    assert found["input"].tobytes() == b"".join(digests[:lost] + digests[lost + 1 :])
    assert found["vector"].tobytes() == np.delete(matrix(chosen), lost, axis=0).tobytes()


@pytest.mark.parametrize("size", [0, 23, 24, 25, 35, 37])
def test_contents_of_an_impossible_size_have_no_records(size: int) -> None:
    """The digest and the checksum take 24 bytes, and a vector has one number at least."""
    assert parse(bytes(size), 1) is None
    assert parse(bytes(36), 0) is None
    one = parse(bytes(36), 1)
    assert one is not None
    assert len(one) == 1


def test_zeros_have_another_checksum() -> None:
    """So that a page that a disk has lost is not a vector of zeros."""
    assert not len(intact_records(bytes(16), bytes(36)))


def test_a_vector_that_is_damaged_in_a_cache_is_replaced(tmp_path: Path) -> None:
    """Later processes get the new vector, and so do those that have known the old one."""
    path = tmp_path / "store"
    with closing(Store(path, shared=True)) as store, closing(Store(path, shared=True)) as other:
        store.add(DIGESTS[:3], matrix([0, 1, 2]))
        store.commit()
        assert other.embedded(DIGESTS) == {*DIGESTS[:3]}
        with closing(sqlite3.connect(path)) as database:
            with database.blobopen("blocks", "records", 1) as blob:
                blob[30] ^= 1
            database.commit()
        _, mask = store.vectors(DIGESTS[:3])
        assert (mask.tolist(), store.damaged) == ([False, True, True], 1)
        store.add(DIGESTS[:1], matrix([0], version=9))
        store.commit()
        for one in (store, other):
            found, mask = one.vectors(DIGESTS[:3])
            assert mask.all()
            assert np.array_equal(found[0], matrix([0], version=9)[0])
    with closing(Store(path, shared=True)) as store:
        found, mask = store.vectors(DIGESTS[:3])
        assert np.array_equal(found[0], matrix([0], version=9)[0])
        assert store.damaged == 0


def test_a_record_of_another_input_is_damage(tmp_path: Path) -> None:
    """If a cache's list of digests is damaged: no input gets the vector of another."""
    path = tmp_path / "store"
    with closing(Store(path, shared=True)) as store:
        store.add(DIGESTS[:3], matrix([0, 1, 2]))
        store.commit()
    one, other = DIGESTS[:2]
    contents = path.read_bytes().replace(one + other, other + one)
    path.write_bytes(contents)
    with closing(Store(path, shared=True)) as store:
        _, mask = store.vectors(DIGESTS[:3])
        assert (mask.tolist(), store.damaged) == ([False, False, True], 2)


def test_a_block_whose_addition_was_interrupted_is_added_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C may come when SQLite has the block and the store does not know it yet."""
    path = tmp_path / "store"
    places = _store._places

    def interrupted(*_: object) -> dict[bytes, int]:
        monkeypatch.setattr(_store, "_places", places)
        raise KeyboardInterrupt

    with closing(Store(path)) as store:
        store.add(DIGESTS[:2], matrix([0, 1]))
        monkeypatch.setattr(_store, "_places", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.add(DIGESTS[2:4], matrix([2, 3]))
        store.add(DIGESTS[2:4], matrix([2, 3]))
        store.commit()
    with closing(Store(path)) as store:
        found, mask = store.vectors(DIGESTS[:5])
        assert mask.tolist() == [True] * 4 + [False]
        assert np.array_equal(found[:4], matrix([0, 1, 2, 3]))
        assert (store.kept, store.damaged) == (4, 0)
