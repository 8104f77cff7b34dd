"""The SQLite file that keeps the vectors of a job; a cache is such a file that jobs share."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import stamina

from ._spec import JobError, JobLockedError

T = TypeVar("T")

_MAX_VARIABLES = 500  # in a statement, which every build of SQLite supports
_COLUMNS = {
    "facts": "name TEXT PRIMARY KEY, value TEXT NOT NULL",
    "vectors": "input BLOB PRIMARY KEY, vector BLOB NOT NULL, checksum BLOB",
    "refused": "input BLOB PRIMARY KEY, reason TEXT NOT NULL, checksum BLOB",
}
_OWN_PREFIXES = ("damaged_", "repaired_", "mended_", "sqlite_autoindex_")  # repairs, indexes
_CHECKED = {"vectors": "vector", "refused": "reason"}
_LOG_PAGES = 16_384  # 64 MB
_LOCK_TIMEOUT = 60.0  # seconds to wait for other processes that use the same cache
_MISSES = 100_000  # after so many unreadable row numbers in succession, there are no more rows
# Errors of SQLite that damage to the file causes, and not the disk or another process.
_DAMAGE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
}


def _is_locked(error: Exception) -> bool:
    return "locked" in str(error)


def _is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def _checksum(*parts: bytes) -> bytes:
    """64 bits of BLAKE2b.

    A CRC of 32 bits finds every flipped bit, but would accept one wrong row in four billion.
    BLAKE2b takes 6 µs for a vector of 1,536 dimensions.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _checksum_of(facts: Mapping[bytes, bytes]) -> bytes:
    """The checksum of all facts together, so that a missing fact counts as damage."""
    found = _checksum(*(part + b"\0" for fact in sorted(facts.items()) for part in fact))
    return found.hex().encode()


def _insert(table: str) -> str:
    return f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)"  # noqa: S608 - ours


class Store:
    """Keeps the vector of each input, with a checksum; `commit` writes them to the disk.

    SQLite itself has no checksums. The store checks a job file when it opens it, and the rows of a
    cache, which may be far larger than the job, when it reads them. It drops damaged rows, so that
    the job embeds their inputs again.

    Args:
        path: the file; it is created if it does not exist.
        shared: whether other processes may use the file at the same time, as they do a cache.

    Attributes:
        kept: vectors in a job file.
        damaged: vectors that failed their checksum since the file was opened.
        unchecked: vectors without a checksum, from an earlier version, read since then.

    Raises:
        JobError: another process has the file open, or it is damaged beyond repair.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self.path = path
        self.kept = self.damaged = self.unchecked = self._committed = 0
        self._shared = shared
        self._is_old = False  # whether rows of an earlier version may have no checksum
        self._is_open = False
        try:
            self._database = sqlite3.connect(path, timeout=_LOCK_TIMEOUT if shared else 0)
            self._database.text_factory = bytes  # damaged text may not be UTF-8
            try:
                # SQLite does not wait for a lock when it sets the journal mode
                on = _is_locked if shared else ()
                stamina.retry(on=on, attempts=None, timeout=_LOCK_TIMEOUT)(self._open)()
                self._is_old = bool(self.fact("unchecked"))
                if not shared:
                    self._check()
                self._is_open = True
                self._committed = self.kept
            except BaseException:
                self._database.close()
                raise
        except sqlite3.DatabaseError as error:
            if _is_locked(error):
                raise JobLockedError(
                    f"another process has {path} open; wait until it ends, or name another target"
                ) from None
            if _is_damage(error):
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
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA cell_size_check = ON")
        # digests hit random pages of the index; with a longer log, SQLite writes each less often
        run(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        run("BEGIN IMMEDIATE" if self._shared else "BEGIN EXCLUSIVE")
        for what in run("SELECT type, name FROM sqlite_master"):
            kind, name = (str(part, errors="replace") for part in what)
            is_known = name in _COLUMNS or name.startswith(_OWN_PREFIXES)
            if kind not in ("table", "index") or not is_known:
                raise self._damaged(f"it has {kind} {name}")
        for table, columns in _COLUMNS.items():
            run(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
        for table in _CHECKED:  # earlier versions created them without checksums
            if b"checksum" not in [row[1] for row in run(f"PRAGMA table_info({table})")]:
                run(f"ALTER TABLE {table} ADD COLUMN checksum BLOB")
                facts = dict(run("SELECT name, value FROM facts WHERE name != 'checksum'"))
                self._set_facts({**facts, b"unchecked": b"true"})
        self._database.commit()

    def _damaged(self, why: object) -> JobError:
        what = "cache" if self._shared else "job file"
        return JobError(
            f"the {what} {self.path} is damaged ({why}) and cannot be repaired; remove it to start "
            "again, which pays for all its vectors again"
        )

    def _check(self) -> None:
        """Read everything, and repair the file if something is damaged or missing."""
        is_sound = True
        for table in _COLUMNS:
            try:
                result = self._database.execute(f"PRAGMA integrity_check({table})").fetchall()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                result = []
            is_sound = is_sound and result == [(b"ok",)]
        for table in _CHECKED:
            for rows in self._read(table):
                is_sound = is_sound and all(self._is_intact(*row) for row in rows)
                if table == "vectors":
                    self.kept += len(rows)
                    self.unchecked += self._unchecked(rows)
        before = self.fact("kept")
        if not is_sound or before not in (None, self.kept):
            self.kept = max(self.kept, before or 0)
            self._repair()

    def _repair(self) -> None:
        """Replace the tables by tables of their intact rows."""
        run = self._database.execute
        facts = self._facts()
        (tables,) = run("SELECT count(*) FROM sqlite_master").fetchone()
        number = f"{tables}_{os.getpid()}"  # other processes may repair the same cache
        for table in _CHECKED:
            run(f"CREATE TABLE repaired_{table}_{number} ({_COLUMNS[table]})")
            for rows in self._read(table):
                intact = [row for row in rows if self._is_intact(*row)]
                self._database.executemany(_insert(f"repaired_{table}_{number}"), intact)
                self._database.commit()  # in a transaction, SQLite reads nothing after an error
        (left,) = run(f"SELECT count(*) FROM repaired_vectors_{number}").fetchone()  # noqa: S608 - ours
        if self._shared:
            with suppress(sqlite3.DatabaseError):  # if the index is damaged
                self.damaged += run("SELECT count(*) FROM vectors").fetchone()[0] - left
        else:
            self.damaged += self.kept - left
            damaged = json.loads(facts.get(b"damaged", b"0")) + self.kept - left
            facts |= {b"kept": b"%d" % left, b"damaged": b"%d" % damaged}
            self.kept = left
        try:
            run("BEGIN IMMEDIATE")
            for table, columns in _COLUMNS.items():
                # a table that cannot be read cannot be dropped either
                run(f"ALTER TABLE {table} RENAME TO damaged_{table}_{number}")
                if table in _CHECKED:
                    run(f"ALTER TABLE repaired_{table}_{number} RENAME TO {table}")
                else:
                    run(f"CREATE TABLE {table} ({columns})")
            self._set_facts(facts)
            self._database.commit()
        except BaseException:
            self._database.rollback()
            raise

    def _read(self, table: str) -> Iterator[list[Any]]:
        """The readable rows of a table in order of insertion, read without the index."""
        query = (
            f"SELECT input, {_CHECKED[table]}, checksum, rowid FROM {table} NOT INDEXED "  # noqa: S608 - ours
            "WHERE rowid > ? ORDER BY rowid LIMIT ?"
        )
        after, misses, limit = -1, 0, _MAX_VARIABLES
        while misses < _MISSES:
            try:
                with closing(self._database.cursor()) as cursor:
                    rows = cursor.execute(query, [after, limit]).fetchall()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                after, misses = after + (limit == 1), misses + (limit == 1)
                limit = max(1, limit // 2)
            else:
                if not rows:
                    return
                yield [row[:3] for row in rows]
                after, misses = max(after + 1, rows[-1][3]), 0
                limit = min(2 * limit, _MAX_VARIABLES)

    def _is_intact(self, key: Any, value: Any, checksum: Any) -> bool:
        """Whether the checksum fits key and value: a damaged index may lead to another vector."""
        if checksum is None and self._is_old:
            return True
        return (
            isinstance(key, bytes)
            and isinstance(value, bytes)
            and checksum == _checksum(key, value)
        )

    def _unchecked(self, rows: list[Any]) -> int:
        return sum(row[2] is None for row in rows) if self._is_old else 0

    def _facts(self) -> dict[bytes, bytes]:
        try:
            rows = dict(self._database.execute("SELECT name, value FROM facts NOT INDEXED"))
            checksum = rows.pop(b"checksum", None)
            is_text = all(isinstance(part, bytes) for fact in rows.items() for part in fact)
            if is_text and checksum == (_checksum_of(rows) if rows else None):
                return rows
            why: object = "a checksum is wrong"
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            why = error
        if self._shared:  # a cache has only names of models and providers, which come again
            return {}
        raise self._damaged(why)

    def _set_facts(self, facts: Mapping[bytes, bytes]) -> None:
        self._database.execute("DELETE FROM facts")
        rows = {**facts, b"checksum": _checksum_of(facts)}
        self._database.executemany(
            "INSERT INTO facts VALUES (?, ?)",
            [[part.decode() for part in fact] for fact in rows.items()],
        )

    def fact(self, name: str) -> Any:
        """A fact about the job; None if it is not set."""
        found = self._do(self._facts).get(name.encode())
        return None if found is None else json.loads(found)

    def set_fact(self, name: str, value: Any) -> None:
        """Set a fact about the job to a JSON value."""
        self._do(
            lambda: self._set_facts({**self._facts(), name.encode(): json.dumps(value).encode()})
        )

    @property
    def spent(self) -> Decimal:
        """Credits that the job has cost so far."""
        return Decimal(self.fact("spent") or 0)

    def add(self, vectors: Iterable[tuple[bytes, bytes]]) -> None:
        """Add vectors (float32, little-endian) by the digests of their inputs."""
        found = dict(vectors)
        known = self.embedded([*found])  # if Ctrl-C came after they had been added
        self._add("vectors", found.items())
        self.kept += len(found.keys() - known)

    def refuse(self, reasons: Iterable[tuple[bytes, str]]) -> None:
        """Add the reasons why inputs cannot be embedded, by their digests."""
        self._add("refused", [(digest, reason.encode()) for digest, reason in reasons])

    def clear_refused(self) -> None:
        """Drop all reasons, so that the job sends these inputs again."""
        self._do(lambda: self._database.execute("DELETE FROM refused"))

    def _add(self, table: str, found: Iterable[tuple[bytes, bytes]]) -> None:
        rows = [(key, value, _checksum(key, value)) for key, value in found]
        self._do(partial(self._database.executemany, _insert(table), rows))

    def commit(self) -> None:
        """Write all changes to the disk. Raises JobError if that fails."""
        if not self._shared and self.kept != (self.fact("kept") or 0):
            self.set_fact("kept", self.kept)
        self._do(self._database.commit)
        self._committed = self.kept

    def _do(self, action: Callable[[], T]) -> T:
        """Run an action on the database; if a cache is damaged, repair it and run it again."""
        try:
            try:
                return action()
            except sqlite3.DatabaseError as error:
                if not (_is_damage(error) and self._shared):
                    raise
            self._database.rollback()
            self._repair()
            return action()
        except sqlite3.DatabaseError as error:
            if not self._database.in_transaction:  # SQLite rolls back on a full disk
                self.kept = self._committed
            if not _is_damage(error):
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

    def vectors(self, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        """The intact vectors of these inputs."""
        found = self._rows_of("input, vector, checksum FROM vectors", digests)
        intact = {row[0]: row[1] for row in found if self._is_intact(*row)}
        self.damaged += len(found) - len(intact)
        if self._shared:
            self.unchecked += self._unchecked(found)
        return intact

    def reasons(self, digests: Sequence[bytes]) -> dict[bytes, str]:
        """Why inputs were refused, for those of these that were."""
        found = self._rows_of("input, reason, checksum FROM refused", digests)
        return {row[0]: row[1].decode(errors="replace") for row in found if self._is_intact(*row)}

    def embedded(self, digests: Sequence[bytes]) -> set[bytes]:
        """Those of these inputs that have a vector; the vectors are not read."""
        return {row[0] for row in self._rows_of("input FROM vectors", digests)}

    def count(self, table: str) -> int:
        """How many rows a table has."""
        query = f"SELECT count(*) FROM {table}"  # noqa: S608 - ours
        counted: int = self._do(lambda: self._database.execute(query).fetchone())[0]
        return counted

    def _rows_of(self, what: str, digests: Sequence[bytes]) -> list[Any]:
        return self._do(partial(self._select, what, digests))

    def _select(self, what: str, digests: Sequence[bytes]) -> list[Any]:
        rows: list[Any] = []
        for start in range(0, len(digests), _MAX_VARIABLES):
            some = digests[start : start + _MAX_VARIABLES]
            query = f"SELECT {what} WHERE input IN ({','.join('?' * len(some))})"
            with closing(self._database.cursor()) as cursor:
                rows += cursor.execute(query, some)
        return rows

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
            if not (self.count("vectors") or self.count("refused")):
                self.remove()

    def close(self) -> None:
        """Close the file."""
        self._database.close()
