"""What a job has got so far, in one SQLite file beside its target; a cache is another such file."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, contextmanager, suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import stamina

from ._errors import JobError, JobLockedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

# SQLite takes more variables in a statement, but not everywhere.
_AT_ONCE = 500
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS vectors (input BLOB PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS refused (input BLOB PRIMARY KEY, reason TEXT NOT NULL);
"""
_LOG_PAGES = 16_384  # 64 MB
_PATIENCE = 60.0  # seconds to wait for others that use the same cache


def _is_locked(error: Exception) -> bool:
    return "locked" in str(error)


def job_file(target: Path) -> Path:
    """Where the store of an unfinished target is."""
    return target.with_name(f"{target.name}.job")


class Store:
    """Vectors by input, each written to the disk before `commit` returns.

    Args:
        path: the file; made where there is none.
        shared: whether other processes may use it at the same time, as a cache.

    Raises:
        JobError: another process has it, or it is damaged.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self.path = path
        self._shared = shared
        try:
            self._database = sqlite3.connect(path, timeout=_PATIENCE if shared else 0)
            try:
                # SQLite does not wait for its turn to set the journal's mode
                on = _is_locked if shared else ()
                stamina.retry(on=on, attempts=None, timeout=_PATIENCE)(self._open)()
            except BaseException:
                self._database.close()
                raise
        except sqlite3.OperationalError as error:
            if _is_locked(error):
                raise JobLockedError(
                    f"another process works on this: it has {path} open; wait for it, or name "
                    "another target"
                ) from None
            raise JobError(f"{path}: {error}") from None
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from None

    def _open(self) -> None:
        run = self._database.execute
        if not self._shared:
            run("PRAGMA locking_mode = EXCLUSIVE")  # until the process ends, however it ends
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        # digests go anywhere into their index: a longer log writes each of its pages less often
        run(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        run("BEGIN IMMEDIATE" if self._shared else "BEGIN EXCLUSIVE")
        for statement in _TABLES.strip().split("\n"):
            run(statement)
        self._database.commit()

    def _damaged(self, error: sqlite3.Error) -> JobError:
        return JobError(
            f"{self.path}, where the work so far is kept, is damaged ({error}); remove it to begin "
            "anew, which pays for all of it again"
        )

    def fact(self, name: str) -> Any:
        """What was noted under a name; None where nothing was."""
        row = self._run("SELECT value FROM facts WHERE name = ?", [name]).fetchone()
        return None if row is None else json.loads(row[0])

    def note(self, name: str, value: Any) -> None:
        """Remember something that JSON can say."""
        self._run("INSERT OR REPLACE INTO facts VALUES (?, ?)", [name, json.dumps(value)])

    @property
    def spent(self) -> Decimal:
        """Credits that a job has cost, noted as "spent"."""
        return Decimal(self.fact("spent") or 0)

    def add(self, vectors: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep vectors, float32 little-endian, by their inputs' digests."""
        self._run_many("INSERT OR REPLACE INTO vectors VALUES (?, ?)", vectors)

    def refuse(self, reasons: Iterable[tuple[bytes, str]]) -> None:
        """Keep why inputs cannot be embedded."""
        self._run_many("INSERT OR REPLACE INTO refused VALUES (?, ?)", reasons)

    def commit(self) -> None:
        """All of that is on the disk when this returns. Raises JobError where it cannot be."""
        with self._told():
            self._database.commit()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """A disk that is full, say, ends a job in a sentence."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise JobError(f"{self.path}: {error}; what was kept before is safe") from None

    def _run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        with self._told():
            return self._database.execute(statement, values)

    def _run_many(self, statement: str, rows: Iterable[Any]) -> None:
        with self._told():
            self._database.executemany(statement, rows)

    def vectors(self, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        """Those there are."""
        return dict(self._chosen("SELECT input, vector FROM vectors WHERE input IN", digests))

    def reasons(self, digests: Sequence[bytes]) -> dict[bytes, str]:
        """Why some of these were refused."""
        return dict(self._chosen("SELECT input, reason FROM refused WHERE input IN", digests))

    def known(self, digests: Sequence[bytes]) -> set[bytes]:
        """Those that need not be asked for: embedded or refused."""
        found = self._chosen("SELECT input FROM vectors WHERE input IN", digests)
        refused = self._chosen("SELECT input FROM refused WHERE input IN", digests)
        return {row[0] for rows in (found, refused) for row in rows}

    def count(self, table: str) -> int:
        """How many rows a table has."""
        counted: int = self._run(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - ours
        return counted

    def _chosen(self, query: str, digests: Sequence[bytes]) -> Iterator[Any]:
        try:
            for start in range(0, len(digests), _AT_ONCE):
                some = digests[start : start + _AT_ONCE]
                with closing(self._database.cursor()) as cursor:
                    yield from cursor.execute(f"{query} ({','.join('?' * len(some))})", some)
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from None

    def remove(self) -> None:
        """Delete the file and close it: the job is done."""
        # its log would be removed by name, when another process may have begun one of that name
        self._run("PRAGMA journal_mode = DELETE")
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
