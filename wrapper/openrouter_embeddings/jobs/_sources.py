"""Where rows come from: files of several formats, a directory of images, a table in memory."""

from __future__ import annotations

import glob
import hashlib
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import InputError

from ._errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".txt": "lines",
}
_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
_RIGHT = (
    "a .parquet, .jsonl, .csv or .txt file, a directory of images, a pattern such as "
    "'part-*.parquet', or a table in memory is right"
)
_BLOCK = 1 << 20  # characters of text lines read at once


class Source:
    """Rows as Arrow batches, the same ones every time.

    Attributes:
        schema: of every batch.
        images: the column that holds images, where the source is a directory of them.
        folder: what relative paths of images are relative to.
        identity: what tells, as JSON, whether this is what it was.
        total: how many rows there are; None where only reading them all would tell.
    """

    def __init__(self, tables: _Tables, identity: Any, folder: Path) -> None:
        self._tables = tables
        self.schema: pa.Schema = tables.schema
        self.images: str | None = "path" if isinstance(tables, _Paths) else None
        self.identity = identity
        self.folder = folder
        self.total = tables.total

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """All rows, so many in every batch but the last, whatever the file's own pieces are.

        Raises JobError: the source cannot be read to its end.
        """
        arrow = need("pyarrow", "jobs")
        waiting: list[pa.RecordBatch] = []
        count = 0
        for batch in self._read(arrow):
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

    def _read(self, arrow: Any) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._tables.read()
        except (OSError, arrow.ArrowException, UnicodeDecodeError) as error:
            raise JobError(f"the source cannot be read to its end: {error}") from None


def _one(arrow: Any, batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else arrow.concat_batches(batches)


class _Tables:
    """Something that reads batches."""

    schema: pa.Schema
    total: int | None = None

    def read(self) -> Iterator[pa.RecordBatch]:
        raise NotImplementedError


class _Files(_Tables):
    def __init__(self, paths: list[Path], kind: str) -> None:
        dataset = need("pyarrow.dataset", "jobs")
        names = [str(path) for path in paths]
        self._dataset = dataset.dataset(names, format=kind)
        if kind == "csv":  # as it is written: a text like 007 is no number
            pa, csv = need("pyarrow", "jobs"), need("pyarrow.csv", "jobs")
            types = dict.fromkeys(self._dataset.schema.names, pa.string())
            convert = csv.ConvertOptions(column_types=types)
            plain = dataset.CsvFileFormat(convert_options=convert)
            self._dataset = dataset.dataset(names, format=plain)
        self.schema = self._dataset.schema
        self.total = self._dataset.count_rows() if kind == "parquet" else None

    def read(self) -> Iterator[pa.RecordBatch]:
        # little read-ahead: the service is slower than any disk, and memory is bounded by this
        scanner = self._dataset.scanner(batch_readahead=1, fragment_readahead=1, batch_size=8192)
        for batch in scanner.to_batches():
            if batch.num_rows:
                yield batch


class _Lines(_Tables):
    def __init__(self, paths: list[Path]) -> None:
        self._pa = need("pyarrow", "jobs")
        self._paths = paths
        self.schema = self._pa.schema([("text", self._pa.string())])

    def read(self) -> Iterator[pa.RecordBatch]:
        for path in self._paths:
            with path.open(encoding="utf-8", newline="\n") as file:
                while lines := file.readlines(_BLOCK):
                    texts = [line.rstrip("\r\n") for line in lines]
                    yield self._pa.record_batch(
                        [self._pa.array(texts, self._pa.string())], ["text"]
                    )


class _Paths(_Tables):
    def __init__(self, paths: list[Path], folder: Path) -> None:
        self._pa = need("pyarrow", "jobs")
        self._names = [str(path.relative_to(folder)) for path in paths]
        self.schema = self._pa.schema([("path", self._pa.string())])
        self.total = len(paths)

    def read(self) -> Iterator[pa.RecordBatch]:
        yield self._pa.record_batch([self._pa.array(self._names, self._pa.string())], ["path"])


class _Memory(_Tables):
    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.schema = table.schema
        self.total = table.num_rows

    def read(self) -> Iterator[pa.RecordBatch]:
        yield from self._table.to_batches()


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
    return Source(_Memory(table), {"table": digest.hexdigest()}, Path())


def _from_path(name: str) -> Source:
    path = Path(name)
    if path.is_dir():
        images = sorted(one for one in path.rglob("*") if one.suffix.lower() in _IMAGES)
        if not images:
            raise InputError(f"the directory {name} has no images ({', '.join(_IMAGES)}); {_RIGHT}")
        return Source(_Paths(images, path), _identity(images), path)
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
        tables = _Lines(paths) if kind == "lines" else _Files(paths, kind)
    except pa.ArrowInvalid as error:
        raise InputError(f"{paths[0]} is no {kind} that can be read: {error}") from None
    return Source(tables, _identity(paths), paths[0].parent)


def _identity(paths: list[Path]) -> Any:
    """Names, sizes and times: contents are too much to be read only for this."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        state = path.stat()
        digest.update(f"{path.name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return {"files": len(paths), "state": digest.hexdigest()}
