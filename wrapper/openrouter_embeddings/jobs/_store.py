"""What a job has got so far, in one SQLite file beside its target; a cache is another such file."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from contextlib import closing, suppress
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import stamina

from ._errors import JobError, JobLockedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")

# SQLite takes more variables in a statement, but not everywhere.
_AT_ONCE = 500
_COLUMNS = {
    "facts": "name TEXT PRIMARY KEY, value TEXT NOT NULL",
    "vectors": "input BLOB PRIMARY KEY, vector BLOB NOT NULL, checksum BLOB",
    "refused": "input BLOB PRIMARY KEY, reason TEXT NOT NULL, checksum BLOB",
}
_OWN = ("damaged_", "mended_", "sqlite_autoindex_")  # left by a repair, and indexes
_CHECKED = {"vectors": "vector", "refused": "reason"}
_LOG_PAGES = 16_384  # 64 MB
_PATIENCE = 60.0  # seconds to wait for others that use the same cache
_MISSES = 100_000  # unreadable row numbers one after the other, after which there are no more rows
# Errors of SQLite that the file is to blame for, not the disk nor another process.
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

    A CRC would find every flipped bit, too, but of 32 bits it takes one foreign row in four billion
    for the right one. This takes 6 µs for a vector of 1,536 dimensions.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _checksum_of(facts: Mapping[bytes, bytes]) -> bytes:
    """That of all facts together: one that is missing is damage, too."""
    found = _checksum(*(part + b"\0" for fact in sorted(facts.items()) for part in fact))
    return found.hex().encode()


def _insert(table: str) -> str:
    return f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)"  # noqa: S608 - ours


def job_file(target: Path) -> Path:
    """Where the store of an unfinished target is."""
    return target.with_name(f"{target.name}.job")


class Store:
    """Vectors by input, each with a checksum, written to the disk before `commit` returns.

    SQLite has no checksums of its own. The file of a job is read and checked when it is opened;
    rows of a cache, which may be far larger than the job, are checked when they are read. Damaged
    rows are left out, so that their inputs are asked for again.

    Args:
        path: the file; made where there is none.
        shared: whether other processes may use it at the same time, as a cache.

    Attributes:
        kept: vectors in the file of a job.
        damaged: vectors that were found damaged since the file was opened.
        unchecked: vectors without a checksum, from an earlier edition, that were read since then.

    Raises:
        JobError: another process has it, or it is damaged beyond repair.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self.path = path
        self.kept = self.damaged = self.unchecked = self._committed = 0
        self._shared = shared
        self._is_old = False  # or rows may have no checksum
        self._is_open = False
        try:
            self._database = sqlite3.connect(path, timeout=_PATIENCE if shared else 0)
            self._database.text_factory = bytes  # damaged text need not be UTF-8
            try:
                # SQLite does not wait for its turn to set the journal's mode
                on = _is_locked if shared else ()
                stamina.retry(on=on, attempts=None, timeout=_PATIENCE)(self._open)()
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
                    f"another process works on this: it has {path} open; wait for it, or name "
                    "another target"
                ) from None
            if _is_damage(error):
                raise self._damaged(error) from None
            raise JobError(f"{path}: {error}") from None
        except UnicodeDecodeError as error:  # SQLite's message quotes the damage
            raise self._damaged(error) from None

    def _open(self) -> None:
        run = self._database.execute
        if not self._shared:
            run("PRAGMA locking_mode = EXCLUSIVE")  # until the process ends, however it ends
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA cell_size_check = ON")
        # digests go anywhere into their index: a longer log writes each of its pages less often
        run(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        run("BEGIN IMMEDIATE" if self._shared else "BEGIN EXCLUSIVE")
        for what in run("SELECT type, name FROM sqlite_master"):
            kind, name = (str(part, errors="replace") for part in what)
            if kind not in ("table", "index") or not (name in _COLUMNS or name.startswith(_OWN)):
                raise self._damaged(f"it has {kind} {name}")  # in place of what is missing
        for table, columns in _COLUMNS.items():
            run(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
        for table in _CHECKED:  # an earlier edition has made them without checksums
            if b"checksum" not in [row[1] for row in run(f"PRAGMA table_info({table})")]:
                run(f"ALTER TABLE {table} ADD COLUMN checksum BLOB")
                facts = dict(run("SELECT name, value FROM facts WHERE name != 'checksum'"))
                self._note_all({**facts, b"unchecked": b"true"})
        self._database.commit()

    def _damaged(self, why: object) -> JobError:
        what = "the cache" if self._shared else "where the work so far is kept,"
        return JobError(
            f"{self.path}, {what} is damaged ({why}) and cannot be mended; remove it to begin "
            "anew, which pays for all of it again"
        )

    def _check(self) -> None:
        """Read everything, and leave out what is not whole."""
        is_sound = True
        for table in _COLUMNS:
            try:
                said = self._database.execute(f"PRAGMA integrity_check({table})").fetchall()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                said = []
            is_sound = is_sound and said == [(b"ok",)]
        for table in _CHECKED:
            for rows in self._read(table):
                is_sound = is_sound and all(self._is_whole(*row) for row in rows)
                if table == "vectors":
                    self.kept += len(rows)
                    self.unchecked += self._unchecked(rows)
        before = self.fact("kept")
        if not is_sound or before not in (None, self.kept):
            self.kept = max(self.kept, before or 0)
            self._repair()

    def _repair(self) -> None:
        """Put tables of what is whole in the place of the damaged ones."""
        run = self._database.execute
        facts = self._facts()
        (tables,) = run("SELECT count(*) FROM sqlite_master").fetchone()
        number = f"{tables}_{os.getpid()}"  # others may mend the same cache at the same time
        for table in _CHECKED:
            run(f"CREATE TABLE mended_{table}_{number} ({_COLUMNS[table]})")
            for rows in self._read(table):
                whole = [row for row in rows if self._is_whole(*row)]
                self._database.executemany(_insert(f"mended_{table}_{number}"), whole)
                self._database.commit()  # after an error SQLite reads nothing in a transaction
        (left,) = run(f"SELECT count(*) FROM mended_vectors_{number}").fetchone()  # noqa: S608 - ours
        if self._shared:
            with suppress(sqlite3.DatabaseError):  # where the index is what is damaged
                self.damaged += run("SELECT count(*) FROM vectors").fetchone()[0] - left
        else:
            self.damaged += self.kept - left
            said = json.loads(facts.get(b"damaged", b"0")) + self.kept - left
            facts |= {b"kept": b"%d" % left, b"damaged": b"%d" % said}
            self.kept = left
        try:
            run("BEGIN IMMEDIATE")
            for table, columns in _COLUMNS.items():
                # what cannot be read cannot be dropped either
                run(f"ALTER TABLE {table} RENAME TO damaged_{table}_{number}")
                if table in _CHECKED:
                    run(f"ALTER TABLE mended_{table}_{number} RENAME TO {table}")
                else:
                    run(f"CREATE TABLE {table} ({columns})")
            self._note_all(facts)
            self._database.commit()
        except BaseException:
            self._database.rollback()
            raise

    def _read(self, table: str) -> Iterator[list[Any]]:
        """Rows in the order they came, without use of the index; not those that cannot be read."""
        query = (
            f"SELECT input, {_CHECKED[table]}, checksum, rowid FROM {table} NOT INDEXED "  # noqa: S608 - ours
            "WHERE rowid > ? ORDER BY rowid LIMIT ?"
        )
        after, misses, at_once = -1, 0, _AT_ONCE
        while misses < _MISSES:
            try:
                with closing(self._database.cursor()) as cursor:
                    rows = cursor.execute(query, [after, at_once]).fetchall()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                after, misses = after + (at_once == 1), misses + (at_once == 1)
                at_once = max(1, at_once // 2)
            else:
                if not rows:
                    return
                yield [row[:3] for row in rows]
                after, misses, at_once = max(after + 1, rows[-1][3]), 0, min(2 * at_once, _AT_ONCE)

    def _is_whole(self, key: Any, value: Any, checksum: Any) -> bool:
        """The checksum is of both: a damaged index may lead to another input's vector."""
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
            said = rows.pop(b"checksum", None)
            is_text = all(isinstance(part, bytes) for fact in rows.items() for part in fact)
            if is_text and said == (_checksum_of(rows) if rows else None):
                return rows
            why: object = "a checksum differs"
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            why = error
        if self._shared:  # its facts are only names, which come again
            return {}
        raise self._damaged(why)

    def _note_all(self, facts: Mapping[bytes, bytes]) -> None:
        self._database.execute("DELETE FROM facts")
        rows = {**facts, b"checksum": _checksum_of(facts)}
        self._database.executemany(
            "INSERT INTO facts VALUES (?, ?)",
            [[part.decode() for part in fact] for fact in rows.items()],
        )

    def fact(self, name: str) -> Any:
        """What was noted under a name; None where nothing was."""
        found = self._do(self._facts).get(name.encode())
        return None if found is None else json.loads(found)

    def note(self, name: str, value: Any) -> None:
        """Remember something that JSON can say."""
        self._do(
            lambda: self._note_all({**self._facts(), name.encode(): json.dumps(value).encode()})
        )

    @property
    def spent(self) -> Decimal:
        """Credits that a job has cost, noted as "spent"."""
        return Decimal(self.fact("spent") or 0)

    def add(self, vectors: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep vectors, float32 little-endian, by their inputs' digests."""
        found = dict(vectors)
        known = self.embedded([*found])  # where Ctrl-C came after they had been added
        self._add("vectors", found.items())
        self.kept += len(found.keys() - known)

    def refuse(self, reasons: Iterable[tuple[bytes, str]]) -> None:
        """Keep why inputs cannot be embedded."""
        self._add("refused", [(digest, reason.encode()) for digest, reason in reasons])

    def forget_refused(self) -> None:
        """They are asked for again."""
        self._do(lambda: self._database.execute("DELETE FROM refused"))

    def _add(self, table: str, found: Iterable[tuple[bytes, bytes]]) -> None:
        rows = [(key, value, _checksum(key, value)) for key, value in found]
        self._do(partial(self._database.executemany, _insert(table), rows))

    def commit(self) -> None:
        """All of that is on the disk when this returns. Raises JobError where it cannot be."""
        if not self._shared and self.kept != (self.fact("kept") or 0):
            self.note("kept", self.kept)
        self._do(self._database.commit)
        self._committed = self.kept

    def _do(self, action: Callable[[], T]) -> T:
        """Something with the database; of a damaged cache, once more on what can still be read."""
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
            if not self._database.in_transaction:  # on a full disk SQLite takes back what it has
                self.kept = self._committed
            if not _is_damage(error):
                raise JobError(f"{self.path}: {error}; what was kept before is safe") from None
            if self._shared or not self._is_open:
                raise self._damaged(error) from None
            raise JobError(
                f"{self.path} has been damaged ({error}); run the same command again: it keeps "
                "what can be read, and pays for the rest again"
            ) from None

    def vectors(self, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        """Those there are, and are whole."""
        found = self._chosen("input, vector, checksum FROM vectors", digests)
        whole = {row[0]: row[1] for row in found if self._is_whole(*row)}
        self.damaged += len(found) - len(whole)
        if self._shared:
            self.unchecked += self._unchecked(found)
        return whole

    def reasons(self, digests: Sequence[bytes]) -> dict[bytes, str]:
        """Why some of these were refused."""
        found = self._chosen("input, reason, checksum FROM refused", digests)
        return {row[0]: row[1].decode(errors="replace") for row in found if self._is_whole(*row)}

    def embedded(self, digests: Sequence[bytes]) -> set[bytes]:
        """Those that have a vector, which is not read."""
        return {row[0] for row in self._chosen("input FROM vectors", digests)}

    def count(self, table: str) -> int:
        """How many rows a table has."""
        query = f"SELECT count(*) FROM {table}"  # noqa: S608 - ours
        counted: int = self._do(lambda: self._database.execute(query).fetchone())[0]
        return counted

    def _chosen(self, what: str, digests: Sequence[bytes]) -> list[Any]:
        return self._do(partial(self._select, what, digests))

    def _select(self, what: str, digests: Sequence[bytes]) -> list[Any]:
        rows: list[Any] = []
        for start in range(0, len(digests), _AT_ONCE):
            some = digests[start : start + _AT_ONCE]
            query = f"SELECT {what} WHERE input IN ({','.join('?' * len(some))})"
            with closing(self._database.cursor()) as cursor:
                rows += cursor.execute(query, some)
        return rows

    def remove(self) -> None:
        """Delete the file and close it: the job is done."""
        # its log would be removed by name, when another process may have begun one of that name
        self._do(lambda: self._database.execute("PRAGMA journal_mode = DELETE"))
        try:
            self.path.unlink()  # while it is locked: nobody else has it
        except PermissionError:  # a system that removes no open file
            self._database.close()
            self.path.unlink()
        self._database.close()

    def forget(self) -> None:
        """Delete the file where it holds nothing that was paid for or refused."""
        with suppress(JobError):  # of a damaged one, which is said elsewhere
            if self.path.exists() and not self._holds_something():
                self.remove()

    def _holds_something(self) -> bool:
        if self.fact("unpriced") or self.spent:
            return True
        return bool(self.count("vectors") or self.count("refused"))

    def close(self) -> None:
        """Keep the file."""
        self._database.close()
