"""The tables of a job file or a cache: creates, checks, reads and repairs them, despite damage."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from ._blocks import intact_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# A block has the vectors of one response. `inputs` repeats the digests in `records`, because a
# cache is opened without reading its vectors.
_COLUMNS = {
    "facts": "name TEXT PRIMARY KEY, value TEXT NOT NULL, checksum BLOB NOT NULL",
    "blocks": "id INTEGER PRIMARY KEY, inputs BLOB NOT NULL, records BLOB NOT NULL",
    "refused": "input BLOB PRIMARY KEY, reason TEXT NOT NULL, checksum BLOB NOT NULL",
}
_OWN_PREFIXES = ("damaged_", "repaired_", "sqlite_autoindex_")  # repairs, indexes
_EARLIER = "vectors"  # the table of earlier versions, with a row for each vector
_NAMES = ""  # the fact that lists all others, so that a missing fact counts as damage
_MISSES = 100_000  # after so many unreadable row numbers in succession, there are no more rows
# Errors of SQLite that damage to the file causes, and not the disk or another process.
_DAMAGE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
}


class EarlierVersionError(Exception):
    """An earlier version of this package made the file."""


class UnknownTableError(Exception):
    """The file has a table, or something else, that no version has made."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error means that the file is damaged."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def checksum_of(key: bytes, value: bytes) -> bytes:
    """The checksum of a row with a key and a value."""
    contents = len(key).to_bytes(8, "little") + key + value
    return hashlib.blake2b(contents, digest_size=8).digest()


def is_intact(key: Any, value: Any, found: Any) -> bool:
    """Whether the checksum of a row is right."""
    return isinstance(key, bytes) and isinstance(value, bytes) and found == checksum_of(key, value)


def insert(table: str) -> str:
    """A statement that adds or replaces a row; every table has three columns."""
    return f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)"  # noqa: S608 - ours


def create_tables(database: sqlite3.Connection) -> None:
    """Create the tables that are missing. Raises EarlierVersionError or UnknownTableError."""
    for what in database.execute("SELECT type, name FROM sqlite_master").fetchall():
        kind, name = (str(part, errors="replace") for part in what)
        if (kind, name) == ("table", _EARLIER):
            raise EarlierVersionError
        if kind not in ("table", "index") or not (
            name in _COLUMNS or name.startswith(_OWN_PREFIXES)
        ):
            raise UnknownTableError(f"it has {kind} {name}")
    for table, columns in _COLUMNS.items():
        database.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")


def has_sound_pages(database: sqlite3.Connection) -> bool:
    """Whether SQLite finds its own structures intact; it has no checksums."""
    for table in _COLUMNS:
        try:
            result = database.execute(f"PRAGMA integrity_check({table})").fetchall()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return False
        if result != [(b"ok",)]:
            return False
    return True


def read_table(database: sqlite3.Connection, table: str) -> Iterator[Any]:
    """The readable rows of a table in order of insertion, read without the index."""
    query = f"SELECT rowid, * FROM {table} NOT INDEXED WHERE rowid > ? ORDER BY rowid LIMIT 1"  # noqa: S608 - ours
    after, misses = -1, 0
    while misses < _MISSES:
        try:
            with closing(database.cursor()) as cursor:
                row = cursor.execute(query, [after]).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            after, misses = after + 1, misses + 1
        else:
            if row is None:
                return
            yield row[1:]
            after, misses = max(after + 1, row[0]), 0


def copy_intact(database: sqlite3.Connection) -> tuple[str, int]:
    """Copy all intact rows to new tables; return the ending of their names, and the vectors."""
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    ending = f"{tables}_{os.getpid()}"  # other processes may repair the same cache
    for table in ("blocks", "refused"):
        database.execute(f"CREATE TABLE repaired_{table}_{ending} ({_COLUMNS[table]})")
    vectors = 0
    for block, inputs, contents in read_table(database, "blocks"):
        records = intact_records(inputs, contents)
        vectors += len(records)  # an empty block keeps its id from being used again
        row = (block, records["input"].tobytes(), records.tobytes())
        database.execute(insert(f"repaired_blocks_{ending}"), row)
        database.commit()  # in a transaction, SQLite reads nothing after an error
    for row in read_table(database, "refused"):
        if is_intact(*row):
            database.execute(insert(f"repaired_refused_{ending}"), row)
            database.commit()
    return ending, vectors


def replace_tables(database: sqlite3.Connection, ending: str, facts: Mapping[str, Any]) -> None:
    """Put the new tables in the place of the old ones, with these facts."""
    try:
        database.execute("BEGIN IMMEDIATE")
        for table, columns in _COLUMNS.items():
            # a table that cannot be read cannot be dropped either
            database.execute(f"ALTER TABLE {table} RENAME TO damaged_{table}_{ending}")
            if table == "facts":
                database.execute(f"CREATE TABLE {table} ({columns})")
            else:
                database.execute(f"ALTER TABLE repaired_{table}_{ending} RENAME TO {table}")
        write_facts(database, facts, facts)
        database.commit()
    except BaseException:
        database.rollback()
        raise


def read_facts(database: sqlite3.Connection) -> dict[str, Any] | None:
    """All facts; None if they are damaged."""
    try:
        rows = database.execute("SELECT * FROM facts NOT INDEXED").fetchall()
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return None
    if not all(is_intact(*row) for row in rows):
        return None
    facts = {name.decode(): json.loads(value) for name, value, _ in rows}
    return facts if facts.pop(_NAMES, []) == sorted(facts) else None


def write_facts(
    database: sqlite3.Connection, facts: Mapping[str, Any], changed: Iterable[str]
) -> None:
    """Write those of the facts that have changed."""
    rows = []
    for name, value in {**{name: facts[name] for name in changed}, _NAMES: sorted(facts)}.items():
        text = json.dumps(value)
        rows.append((name, text, checksum_of(name.encode(), text.encode())))
    database.executemany(insert("facts"), rows)
