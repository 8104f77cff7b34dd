"""What a caller may name as source: files, a directory of images, a table in memory."""

from __future__ import annotations

import glob
import hashlib
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import InputError

from ._errors import JobError
from ._rows import Reader
from ._tables import Csv, JsonLines, Lines, Memory, Names, Parquet

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from ._tables import Tables

_FORMATS = {
    ".parquet": Parquet,
    ".pq": Parquet,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".csv": Csv,
    ".txt": Lines,
}
_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
_RIGHT = (
    "a .parquet, .jsonl, .csv or .txt file, a directory of images, a pattern such as "
    "'part-*.parquet', or a table in memory is right"
)


class Source:
    """Rows as Arrow batches, the same ones every time.

    Attributes:
        schema: of every batch.
        images: the column that holds images, where the source is a directory of them.
        folder: what relative paths of images are relative to.
        identity: what tells, as JSON, whether this is what it was.
        total: how many rows there are; one at least.
    """

    def __init__(self, tables: Tables, identity: Any, folder: Path) -> None:
        self._tables = tables
        self.schema: pa.Schema = tables.schema
        names: list[str] = self.schema.names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"the source has more than one column {twice[0]!r}; rename them")
        if not tables.total:
            raise InputError(f"the source has no rows; {_RIGHT}")
        self.images: str | None = "path" if isinstance(tables, Names) else None
        self.identity = identity
        self.folder = folder
        self.total = tables.total

    def reader(self, column: str | None, template: str | None, images: str | None) -> Reader:
        """What takes the inputs out of the batches. Raises InputError."""
        return Reader(self.schema, self.folder, column, template, images or self.images)

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """All rows, so many in every batch but the last, whatever the file's own pieces are.

        Raises JobError: the source cannot be read to its end.
        """
        arrow = need("pyarrow", "jobs")
        waiting: list[pa.RecordBatch] = []
        count = 0
        for batch in self._read(arrow, rows):
            start = 0
            while count + batch.num_rows - start >= rows:
                piece = batch.slice(start, rows - count)
                yield _one(arrow, [*waiting, piece])
                waiting, start, count = [], start + piece.num_rows, 0
            if start < batch.num_rows:
                waiting.append(batch.slice(start))
                count += batch.num_rows - start
        if waiting:
            yield _one(arrow, waiting)

    def _read(self, arrow: Any, rows: int) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._tables.read(rows)
        except (OSError, arrow.ArrowException, InputError) as error:
            raise JobError(f"the source cannot be read to its end: {error}") from None


def _one(arrow: Any, batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else arrow.concat_batches(batches)


def open_source(source: Any) -> Source:
    """What a caller names as source. Raises InputError, and ImportError without the extra."""
    if isinstance(source, str | PathLike):
        return _from_path(fspath(source))
    if isinstance(source, list | tuple):
        if not source or not all(isinstance(one, str | PathLike) for one in source):
            raise InputError(f"a list as source holds paths, and one at least; {_RIGHT}")
        return _from_files([Path(fspath(one)) for one in source])
    return _from_memory(source)


def _from_memory(source: Any) -> Source:
    pa = need("pyarrow", "jobs")
    if not hasattr(source, "__arrow_c_stream__") and not hasattr(source, "__arrow_c_array__"):
        raise InputError(f"a source of type {type(source).__name__} is not taken; {_RIGHT}")
    table = source if isinstance(source, pa.Table) else pa.table(source)
    digest = hashlib.blake2b(digest_size=16)
    digest.update(table.schema.serialize())
    for batch in table.to_batches(max_chunksize=8192):
        digest.update(batch.serialize())
    return Source(Memory(table), {"table": digest.hexdigest()}, Path())


def _from_path(name: str) -> Source:
    path = Path(name)
    if path.is_dir():
        images = sorted(one for one in path.rglob("*") if one.suffix.lower() in _IMAGES)
        if not images:
            raise InputError(f"the directory {name} has no images ({', '.join(_IMAGES)}); {_RIGHT}")
        return Source(Names(images, path), _identity(images), path)
    if glob.has_magic(name) and not path.exists():
        found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path.glob refuses absolute ones
        if not found:
            raise InputError(f"no file fits {name!r}; {_RIGHT}")
        return _from_files([Path(one) for one in found])
    return _from_files([path])


def _from_files(paths: list[Path]) -> Source:
    for path in paths:
        if not path.is_file():
            raise InputError(f"there is no file {path}; {_RIGHT}")
    kinds = {_FORMATS.get(path.suffix.lower()) for path in paths}
    kind = kinds.pop()
    if kinds or kind is None:
        names = ", ".join(sorted({path.suffix or path.name for path in paths}))
        raise InputError(f"{names} cannot be read, or not together; {_RIGHT}")
    pa = need("pyarrow", "jobs")
    try:
        tables = kind(paths)
    except (pa.ArrowException, OverflowError) as error:
        raise InputError(f"{paths[0]} cannot be read as {paths[0].suffix}: {error}") from None
    return Source(tables, _identity(paths), paths[0].parent)


def _identity(paths: list[Path]) -> Any:
    """Names, sizes and times: contents are too much to be read only for this."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        state = path.stat()
        digest.update(f"{path.name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return {"files": len(paths), "state": digest.hexdigest()}
