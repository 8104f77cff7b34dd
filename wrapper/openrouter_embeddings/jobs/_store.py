"""The SQLite file that keeps the vectors of a job; a cache is such a file that jobs share."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import stamina

from ._blocks import intact, intact_records, pack, parse
from ._index import DIGEST_BYTES, Index
from ._spec import JobError, JobLockedError
from ._tables import (
    EarlierVersionError,
    UnknownTableError,
    checksum_of,
    copy_intact,
    create_tables,
    has_sound_pages,
    insert,
    is_damage,
    is_intact,
    read_facts,
    read_table,
    replace_tables,
    write_facts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from openrouter_embeddings.result import Matrix

    from ._blocks import Records

T = TypeVar("T")

_MAX_VARIABLES = 500  # in a statement, which every build of SQLite supports
_ROW_BITS = 10  # of a place; the higher bits are the id of the block
_MAX_ROWS = 1 << _ROW_BITS  # of a block
_PAGE_BYTES = 16_384  # vectors fill whole pages, so large ones need fewer writes
_LOCK_TIMEOUT = 60.0  # seconds to wait for other processes that use the same cache


def _is_locked(error: Exception) -> bool:
    return "locked" in str(error)


class Store:
    """Keeps the vector of each input, with a checksum; `commit` writes them to the disk.

    SQLite itself has no checksums. The store checks every vector when it reads it, and all of a job
    file when it opens it; a cache may be far larger than the job. It drops damaged vectors, so that
    the job embeds their inputs again.

    Args:
        path: the file; it is created if it does not exist.
        shared: whether other processes may use the file at the same time, as they do a cache.

    Attributes:
        damaged: vectors that failed their checksum since the file was opened.

    Raises:
        JobError: another process has the file open, it was made by an earlier version, or it is
            damaged beyond repair.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self.path = path
        self.damaged = 0
        self._shared = shared
        self._is_open = False
        self._index = Index()  # of the vectors that are committed
        self._added: dict[bytes, int] = {}  # the places of the others
        self._last_block = 0  # that the index has
        self._facts: dict[str, Any] = {}  # all facts of a job file
        self._changed: set[str] = set()  # those that the file does not have yet
        self._lost: set[bytes] = set()  # whose vectors in a cache are damaged
        self._has_refused = False  # whether the table of refused inputs may have rows
        try:
            self._database = sqlite3.connect(path, timeout=_LOCK_TIMEOUT if shared else 0)
            self._database.text_factory = bytes  # damaged text may not be UTF-8
            try:
                # SQLite does not wait for a lock when it sets the journal mode
                on = _is_locked if shared else ()
                stamina.retry(on=on, attempts=None, timeout=_LOCK_TIMEOUT)(self._open)()
                if not shared:
                    self._facts = self._read_facts()
                    self._check()
                    self._index_new_blocks()
                self._is_open = True
            except BaseException:
                self._database.close()
                raise
        except sqlite3.DatabaseError as error:
            if _is_locked(error):
                raise JobLockedError(
                    f"another process has {path} open; wait until it ends, or name another target"
                ) from None
            if is_damage(error):
                raise self._damaged(error) from None
            raise JobError(
                f"{path}: {error}; check that you may write there and that the disk has room"
            ) from None
        except UnicodeDecodeError as error:  # from SQLite's message, which quotes damaged bytes
            raise self._damaged(error) from None

    def _open(self) -> None:
        run = self._database.execute
        if not self._shared:  # the system releases the lock if the process is killed
            run("PRAGMA locking_mode = EXCLUSIVE")
        run(f"PRAGMA page_size = {_PAGE_BYTES}")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA cell_size_check = ON")
        run("BEGIN IMMEDIATE" if self._shared else "BEGIN EXCLUSIVE")
        try:
            create_tables(self._database)
        except EarlierVersionError:
            raise self._earlier() from None
        except UnknownTableError as error:
            raise self._damaged(error) from None
        self._database.commit()

    @property
    def _what(self) -> str:
        return "cache" if self._shared else "job file"

    def _damaged(self, why: object) -> JobError:
        return JobError(
            f"the {self._what} {self.path} is damaged ({why}) and cannot be repaired; remove it to "
            "start again, which pays for all its vectors again"
        )

    def _earlier(self) -> JobError:
        other = (
            "use another cache directory" if self._shared else "finish the job with that version"
        )
        return JobError(
            f"an earlier version of this package made the {self._what} {self.path}; {other}, or "
            "remove the file, which pays for all its vectors again"
        )

    def _check(self) -> None:
        """Read everything, and repair the file if something is damaged or missing."""
        is_sound = has_sound_pages(self._database)
        count = 0
        for _, inputs, contents in read_table(self._database, "blocks"):
            digests = intact_records(inputs, contents)["input"].tobytes()
            is_sound = is_sound and digests == inputs
            count += len(digests) // DIGEST_BYTES
        for row in read_table(self._database, "refused"):
            is_sound = is_sound and is_intact(*row)
            self._has_refused = True
        if not is_sound or self.fact("kept") not in (None, count):
            self._repair()

    def _repair(self) -> None:
        """Replace the tables by tables of their intact rows."""
        facts = self._read_facts() if self._shared else self._facts
        ending, left = copy_intact(self._database)
        lost = max(0, (facts.get("kept") or 0) - left)
        self.damaged += lost
        facts["kept"] = left
        if not self._shared:
            facts["damaged"] = (facts.get("damaged") or 0) + lost
        replace_tables(self._database, ending, facts)
        self._index, self._last_block = Index(), 0

    def _read_facts(self) -> dict[str, Any]:
        facts = read_facts(self._database)
        if facts is None and not self._shared:
            raise self._damaged("a checksum is wrong")
        return facts or {}  # a cache has only names of models and providers, which come again

    def fact(self, name: str) -> Any:
        """A fact about the job; None if it is not set."""
        return (self._do(self._read_facts) if self._shared else self._facts).get(name)

    def set_fact(self, name: str, value: Any) -> None:
        """Set a fact about the job to a JSON value."""
        if self._shared:  # other processes set facts, too
            facts = {**self._do(self._read_facts), name: value}
            self._do(partial(write_facts, self._database, facts, [name]))
        elif name not in self._facts or self._facts[name] != value:
            self._facts[name] = value
            self._changed.add(name)

    @property
    def spent(self) -> Decimal:
        """Credits that the job has cost so far."""
        return Decimal(self.fact("spent") or 0)

    @property
    def kept(self) -> int:
        """How many vectors there are."""
        if self._shared:
            self._do(self._index_new_blocks)
        return len(self._index) + len(self._added)

    def add(self, digests: Sequence[bytes], vectors: Matrix) -> None:
        """Add the vectors of inputs.

        Args:
            digests: of the inputs, 16 bytes each, all different. In a cache, inputs that have an
                intact vector keep it; in a job file, none of them has one.
            vectors: float32, shape (inputs, dimensions).
        """
        self._do(partial(self._add, digests, vectors))

    def _add(self, digests: Sequence[bytes], vectors: Matrix) -> None:
        if self._shared:
            if not self._database.in_transaction:  # which keeps others from adding the same
                self._database.execute("BEGIN IMMEDIATE")
            known = self._embedded(digests) - self._lost
        else:  # if Ctrl-C came after they had been added, they are added again
            known = self._added.keys() & digests
        if known:
            chosen = [at for at, digest in enumerate(digests) if digest not in known]
            digests, vectors = [digests[at] for at in chosen], vectors[chosen]
        for start in range(0, len(digests), _MAX_ROWS):
            end = start + _MAX_ROWS
            self._add_block(digests[start:end], pack(digests[start:end], vectors[start:end]))

    def _add_block(self, digests: Sequence[bytes], records: Records) -> None:
        # An interrupt may come after any line. A block that is not in `_added` yet is replaced.
        block = next(reversed(self._added.values()), self._last_block << _ROW_BITS) >> _ROW_BITS
        row = (block + 1, b"".join(digests), records.view(np.uint8).data)
        self._database.execute(insert("blocks"), row)
        self._added.update(_places(block + 1, digests))

    def refuse(self, reasons: Iterable[tuple[bytes, str]]) -> None:
        """Add the reasons why inputs cannot be embedded, by their digests."""
        found = [(digest, reason.encode()) for digest, reason in reasons]
        if found:
            self._has_refused = True
            rows = [(*one, checksum_of(*one)) for one in found]
            self._do(partial(self._database.executemany, insert("refused"), rows))

    def clear_refused(self) -> None:
        """Drop all reasons, so that the job sends these inputs again."""
        self._do(lambda: self._database.execute("DELETE FROM refused"))

    def commit(self) -> None:
        """Write all changes to the disk. Raises JobError if that fails."""
        self._do(self._commit)
        if self._added:
            self._last_block = next(reversed(self._added.values())) >> _ROW_BITS
            self._index.update(self._added)
            self._added = {}

    def _commit(self) -> None:
        if self._shared:
            if new := self._added.keys() - self._lost:
                self.set_fact("kept", (self.fact("kept") or 0) + len(new))
        elif self.kept != (self.fact("kept") or 0):
            self.set_fact("kept", self.kept)
        if self._changed:
            write_facts(self._database, self._facts, self._changed)
        self._database.commit()
        self._changed = set()

    def _do(self, action: Callable[[], T]) -> T:
        """Run an action on the database; if a cache is damaged, repair it and run it again."""
        try:
            try:
                return action()
            except sqlite3.DatabaseError as error:
                if not (is_damage(error) and self._shared):
                    raise
            self._database.rollback()
            self._added = {}
            self._repair()
            return action()
        except sqlite3.DatabaseError as error:
            if not self._database.in_transaction:  # SQLite rolls back on a full disk
                self._added = {}
            if not is_damage(error):
                raise JobError(
                    f"{self.path}: {error}; everything saved before is safe. Fix this, then run "
                    "the same command again"
                ) from None
            if self._shared or not self._is_open:
                raise self._damaged(error) from None
            raise JobError(
                f"{self.path} has been damaged ({error}); run the same command again: it keeps "
                "the vectors that can be read, and pays for the others again"
            ) from None

    def _index_new_blocks(self) -> None:
        """Add blocks to the index that other processes have added, or all in the beginning."""
        if self._added:  # no other process can have added any since
            return
        query = "SELECT id, inputs FROM blocks WHERE id > ? ORDER BY id"
        with closing(self._database.cursor()) as cursor:
            for block, inputs in cursor.execute(query, [self._last_block]):
                if isinstance(inputs, bytes):
                    ends = range(DIGEST_BYTES, len(inputs) + 1, DIGEST_BYTES)
                    digests = [inputs[end - DIGEST_BYTES : end] for end in ends]
                    self._index.update(_places(block, digests))
                self._last_block = block

    def _find(self, digests: Sequence[bytes]) -> NDArray[np.int64]:
        """The place of the vector of each input; -1 without one."""
        if self._shared:
            self._index_new_blocks()
        found = self._index.find(digests)
        if self._added:
            added = (self._added.get(one, -1) for one in digests)
            found = np.maximum(found, np.fromiter(added, np.int64, len(digests)))
        return found

    def vectors(self, digests: Sequence[bytes]) -> tuple[Matrix, NDArray[np.bool_]]:
        """The intact vectors of these inputs.

        Returns:
            float32, shape (inputs, dimensions), with zeros in rows without a vector; 0 dimensions
            if no input has one. And a mask of the rows that have one.

        Raises:
            JobError: the vectors have different lengths.
        """
        return self._do(partial(self._vectors, digests))

    def _vectors(self, digests: Sequence[bytes]) -> tuple[Matrix, NDArray[np.bool_]]:
        places = self._find(digests)
        wanted = np.frombuffer(b"".join(digests), f"V{DIGEST_BYTES}")
        matrix = np.zeros((len(digests), 0), np.float32)
        mask = np.zeros(len(digests), np.bool_)
        order = np.argsort(places, kind="stable")
        order = order[np.count_nonzero(places < 0) :]
        blocks = places[order] >> _ROW_BITS
        bounds = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), len(order)]
        for start, end in pairwise(bounds if len(order) else []):
            at = order[start:end]
            rows = places[at] & ((1 << _ROW_BITS) - 1)
            records = self._records(int(blocks[start]), int(rows[0]), int(rows[-1]) + 1)
            rows -= rows[0]
            if records is None:
                self._lose(digests[one] for one in at)
                continue
            if len(rows) != len(records) or not np.array_equal(rows, np.arange(len(rows))):
                records = records[rows]
            is_intact = intact(records) & (records["input"] == wanted[at])
            if not is_intact.all():
                self._lose(digests[one] for one in at[~is_intact])
                at, records = at[is_intact], records[is_intact]
            width = records["vector"].shape[1]
            if not matrix.shape[1]:
                matrix = np.zeros((len(digests), width), np.float32)
            elif matrix.shape[1] != width:
                raise JobError(
                    f"the cache holds vectors of {matrix.shape[1]} and of {width} dimensions for "
                    "the same options; use another cache directory"
                )
            mask[at] = True
            matrix[at] = records["vector"]
        return matrix, mask

    def _lose(self, digests: Iterable[bytes]) -> None:
        lost = {*digests}
        self.damaged += len(lost)
        self._lost |= lost

    def _records(self, block: int, first: int, end: int) -> Records | None:
        """The records of some rows of a block, unchecked; None if it does not have these."""
        query = "SELECT length(inputs), length(records) FROM blocks WHERE id = ?"
        lengths = self._database.execute(query, [block]).fetchone()
        if lengths is None or not all(isinstance(one, int) for one in lengths):
            return None
        count = lengths[0] // DIGEST_BYTES
        if end > count:
            return None
        size = lengths[1] // count
        with self._database.blobopen("blocks", "records", block, readonly=True) as blob:
            blob.seek(first * size)
            return parse(blob.read((end - first) * size), end - first)

    def embedded(self, digests: Sequence[bytes]) -> set[bytes]:
        """Those of these inputs that have a vector; the vectors are not read."""
        return self._do(partial(self._embedded, digests))

    def _embedded(self, digests: Sequence[bytes]) -> set[bytes]:
        return {digests[at] for at in np.flatnonzero(self._find(digests) >= 0).tolist()}

    def reasons(self, digests: Sequence[bytes]) -> dict[bytes, str]:
        """Why inputs were refused, for those of these that were."""
        found: list[Any] = []
        for start in range(0, len(digests) if self._has_refused else 0, _MAX_VARIABLES):
            some = digests[start : start + _MAX_VARIABLES]
            query = f"SELECT * FROM refused WHERE input IN ({','.join('?' * len(some))})"  # noqa: S608 - ours
            found += self._do(lambda: self._database.execute(query, some).fetchall())  # noqa: B023
        return {row[0]: row[1].decode(errors="replace") for row in found if is_intact(*row)}

    def count_refused(self) -> int:
        """How many inputs were refused."""
        query = "SELECT count(*) FROM refused"
        count: int = self._do(lambda: self._database.execute(query).fetchone())[0]
        return count

    def remove(self) -> None:
        """Delete the file, because the job is finished."""
        # otherwise SQLite deletes the log by its name later, when it may be another process's file
        self._do(lambda: self._database.execute("PRAGMA journal_mode = DELETE"))
        try:
            self.path.unlink()  # while it is locked, so that no other process has it
        except PermissionError:  # a system that does not delete open files
            self._database.close()
            self.path.unlink()
        self._database.close()

    def remove_if_empty(self) -> None:
        """Delete the file unless it has vectors, refusals or costs."""
        with suppress(JobError):  # a damaged file stays
            if not self.path.exists() or self.fact("unpriced") or self.spent:
                return
            if not (self.kept or self.count_refused()):
                self.remove()

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _places(block: int, digests: Sequence[bytes]) -> dict[bytes, int]:
    first = block << _ROW_BITS
    return dict(zip(digests, range(first, first + len(digests)), strict=True))
