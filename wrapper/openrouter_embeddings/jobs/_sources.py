"""Opens the sources of a job: files, a directory of images, or a table in memory."""

from __future__ import annotations

import glob
import hashlib
import os
from dataclasses import replace
from functools import cached_property, partial
from os import PathLike, fsencode, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import InputError

from ._arrow import cast_plain, check_unique_names, plain_schema
from ._readers import Csv, FileNames, InMemoryTable, JsonLines, Lines, Parquet
from ._rows import Reader
from ._spec import InputSpec, JobError, check_is_local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa

    from ._readers import Tables

_FORMATS = {
    ".parquet": Parquet,
    ".pq": Parquet,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".csv": Csv,
    ".tsv": Csv,
    ".txt": Lines,
}
_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
_SUPPORTED = (
    "use a .parquet, .jsonl, .csv or .txt file, a pattern such as 'part-*.parquet', a directory of "
    "images, or a table in memory"
)


class Source:
    """The rows of a source as Arrow batches; every pass reads the same rows.

    Attributes:
        schema: of all columns; empty if the source has no rows and does not name its columns.
        images: the column with the images of a directory; None for other sources.
        folder: relative paths of images start here; None if the files are in several folders.
        total: how many rows the source has.
        files: the names of the files, or of the directory; empty for a table in memory.
    """

    def __init__(
        self,
        tables: Tables,
        identify: Callable[[], Any],
        folder: Path | None,
        files: Sequence[Path] = (),
    ) -> None:
        self._tables = tables
        self._identify = identify
        self.schema: pa.Schema = tables.schema
        check_unique_names(self.schema)
        if tables.total and not self.schema.names:
            raise InputError("the source has rows without any column; give each row a field")
        self.images: str | None = "path" if isinstance(tables, FileNames) else None
        self.folder = folder
        self.total = tables.total
        self.files = [*map(str, files)]

    @cached_property
    def identity(self) -> Any:
        """JSON that changes when the path or the contents of the source change."""
        return self._identify()

    def is_unchanged(self) -> bool:
        """Whether the source is still the same as when `identity` was first read."""
        try:
            return bool(self._identify() == self.identity)
        except OSError:
            return False

    def reader(self, spec: InputSpec) -> Reader:
        """A reader of the inputs. Raises InputError."""
        images = spec.images or self.images
        return Reader(self.schema, self.folder, replace(spec, images=images))

    def batches(self, rows: int, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows, in batches of `rows` rows, with these columns; default: all columns.

        Only the last batch may be shorter. Raises JobError if the source cannot be read to its end.
        """
        arrow = need("pyarrow", "jobs")
        waiting: list[pa.RecordBatch] = []
        count = 0
        for batch in self._read(arrow, rows, [*dict.fromkeys(columns or self.schema.names)]):
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

    def _read(self, arrow: Any, rows: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        if not self.total:
            return
        try:
            for batch in self._tables.read(rows, columns):
                yield batch.select(columns)
        except (OSError, arrow.ArrowException, InputError) as error:
            raise JobError(f"the source cannot be read to its end: {error}") from None


def _one(arrow: Any, batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else arrow.concat_batches(batches)


def open_source(source: Any, written: Iterable[Path] = (), delimiter: str | None = None) -> Source:
    """Open a source; a pattern leaves out the files that the job writes.

    Raises InputError, and ImportError if the extra `jobs` is not installed.
    """
    if not isinstance(source, str | PathLike | list | tuple):
        _no_delimiter(delimiter)
        return _from_memory(source)
    named = [source] if isinstance(source, str | PathLike) else source
    if not named or not all(isinstance(one, str | PathLike) for one in named):
        raise InputError(f"a list of sources needs one path at least, and only paths; {_SUPPORTED}")
    if len(named) == 1 and Path(named[0]).is_dir():
        _no_delimiter(delimiter)
        return _from_directory(Path(named[0]))
    own = {one.resolve() for one in written}
    paths = [path for one in named for path in _expanded(fspath(one), own)]
    return _from_files(paths, delimiter)


def _from_memory(source: Any) -> Source:
    pa = need("pyarrow", "jobs")
    if not hasattr(source, "__arrow_c_stream__") and not hasattr(source, "__arrow_c_array__"):
        raise InputError(f"a source of type {type(source).__name__} is not supported; {_SUPPORTED}")
    try:
        table = source if isinstance(source, pa.Table) else pa.table(source)
        table = cast_plain(table, plain_schema(table.schema))
        digest = _digest(pa, table)
    except (pa.ArrowException, TypeError, UnicodeError) as error:
        raise InputError(f"pyarrow cannot read the table: {error}; convert it first") from None
    return Source(InMemoryTable(table), lambda: {"table": digest}, Path())


def _digest(pa: Any, table: pa.Table) -> str:
    """A digest of the values, whatever the chunks are and whatever Arrow keeps behind a null."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(table.schema.serialize())
    for start in range(0, table.num_rows, 8192):
        for column in table.slice(start, 8192).columns:
            whole = pa.concat_arrays(column.chunks)
            _update_digest(pa, digest, whole)
    return digest.hexdigest()


def _update_digest(pa: Any, digest: Any, values: Any) -> None:
    """Add values to a digest: nested ones by their lengths and their innermost values."""
    kinds = pa.types
    parts = [values.is_valid()]
    inner = []
    values = values.drop_null()
    if kinds.is_map(values.type):
        entry = pa.struct([values.type.key_field, values.type.item_field])
        values = values.cast(pa.list_(pa.field("entries", entry, nullable=False)))
    if kinds.is_struct(values.type):
        inner = values.flatten()
    elif kinds.is_list(values.type) or kinds.is_large_list(values.type):
        parts.append(values.value_lengths())
        inner = [values.flatten()]
    elif kinds.is_fixed_size_list(values.type):
        inner = [values.flatten()]
    else:
        parts.append(values)
    for part in parts:
        digest.update(pa.record_batch([part], ["column"]).serialize())
    for part in inner:
        _update_digest(pa, digest, part)


def _from_directory(path: Path) -> Source:
    found = (one for one in path.rglob("*") if one.suffix.lower() in _IMAGES)
    images = sorted(one for one in found if not one.is_dir())
    if not images:
        raise InputError(f"the directory {path} has no images ({', '.join(_IMAGES)}); {_SUPPORTED}")
    return Source(
        FileNames(images, path), partial(_identity, images, _image_contents, ","), path, [path]
    )


def _expanded(name: str, own: set[Path]) -> list[Path]:
    """The file of that name, or the files that match a pattern, without those in `own`."""
    path = Path(name)
    check_is_local(name)
    if not glob.has_magic(name) or path.exists():
        if path.resolve() in own:
            raise InputError(f"the job would overwrite its source {name}; name another target")
        return [path]
    found = [Path(one) for one in sorted(glob.glob(name, recursive=True))]  # noqa: PTH207 - Path.glob refuses absolute ones
    if not (others := [one for one in found if one.resolve() not in own]):
        raise InputError(f"no file matches {name!r}; {_SUPPORTED}")
    return others


def _no_delimiter(delimiter: str | None) -> None:
    if delimiter is not None:
        raise InputError("only .csv files have a delimiter; leave it out")


def _from_files(paths: list[Path], delimiter: str | None) -> Source:
    for path in paths:
        if not path.is_file():
            raise InputError(f"the file {path} does not exist; check its path")
    kinds = {_FORMATS.get(path.suffix.lower()) for path in paths}
    kind = kinds.pop()
    names = " and ".join(sorted({path.suffix or path.name for path in paths}))
    if kind is None or None in kinds:
        raise InputError(f"{names} is not supported as a source; {_SUPPORTED}")
    if kinds:
        raise InputError(f"the files of one source need the same format; these are {names}")
    if kind is not Csv:
        _no_delimiter(delimiter)
    pa = need("pyarrow", "jobs")
    try:
        tables = Csv(paths, delimiter) if kind is Csv else kind(paths)
    except (pa.ArrowException, OverflowError) as error:
        raise InputError(f"{paths[0]} cannot be read as {paths[0].suffix}: {error}") from None
    folders = {path.parent.resolve() for path in paths}
    folder = paths[0].parent if len(folders) == 1 else None
    return Source(tables, partial(_identity, paths, _contents, tables.delimiter), folder, paths)


def _identity(paths: list[Path], contents: Callable[[Path], bytes], delimiter: str) -> Any:
    """The paths and contents of files; times change when a file is copied or touched."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        digest.update(fsencode(os.path.realpath(path)) + b"\0" + contents(path))
    found = {"files": len(paths), "state": digest.hexdigest()}
    return found if delimiter == "," else {**found, "delimiter": delimiter}


def _contents(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()


def _image_contents(path: Path) -> bytes:
    """The digest of an image; empty if it cannot be read, which makes its row an error."""
    try:
        return _contents(path) if path.is_file() else b""
    except OSError:
        return b""
