"""Reads files of each format, and tables in memory, as Arrow batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import InputError

from ._values import is_utf8, plain, plain_schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

_BLOCK = 1 << 20  # bytes of lines read at once
_CSV_BLOCK = 1 << 22  # a row of a CSV file must fit into one
_MARK = b"\xef\xbb\xbf"  # the byte order mark that some editors set before UTF-8


class Tables:
    """Something that reads batches, the same ones every time.

    Attributes:
        schema: of every batch.
        total: how many rows there are.
    """

    schema: pa.Schema
    total: int

    def read(self, rows: int) -> Iterator[pa.RecordBatch]:
        """All rows, about so many at a time."""
        raise NotImplementedError


class Parquet(Tables):
    """Parquet files, page by page: a row group of images may be larger than the memory.

    pyarrow's datasets read row groups as a whole, and leave out what the first file has not.
    """

    def __init__(self, paths: list[Path]) -> None:
        self._parquet = need("pyarrow.parquet", "jobs")
        self._paths = paths
        self.schema = plain_schema(self._parquet.read_schema(paths[0]))
        self.total = 0
        for path in paths:
            with self._parquet.ParquetFile(path) as file:
                self.total += file.metadata.num_rows
                if not plain_schema(file.schema_arrow).equals(self.schema):
                    raise InputError(f"{path} has other columns than {paths[0]}, or of other types")

    def read(self, rows: int) -> Iterator[pa.RecordBatch]:
        for path in self._paths:
            with self._parquet.ParquetFile(path, pre_buffer=False, buffer_size=_BLOCK) as file:
                for batch in file.iter_batches(rows):
                    yield plain(batch, self.schema)


class Csv(Tables):
    """Every column as text, as it is written: 007 is no number.

    All is read once before, so that a row that is none is found before anything is paid for.
    """

    def __init__(self, paths: list[Path]) -> None:
        pa, csv = need("pyarrow", "jobs"), need("pyarrow.csv", "jobs")
        dataset = need("pyarrow.dataset", "jobs")
        names = [str(path) for path in paths]

        def opened(types: dict[str, Any]) -> Any:
            form = dataset.CsvFileFormat(
                parse_options=csv.ParseOptions(newlines_in_values=True),
                read_options=csv.ReadOptions(block_size=_CSV_BLOCK),
                convert_options=csv.ConvertOptions(column_types=types),
            )
            return dataset.dataset(names, format=form)

        first = opened({})
        found = first.schema.names
        for name in names[1:]:
            if {*dataset.dataset(name, format=first.format).schema.names} != {*found}:
                raise InputError(f"{name} has other columns than {names[0]}")
        self._dataset = opened(dict.fromkeys(found, pa.string()))
        self.schema = self._dataset.schema
        self.total = sum(batch.num_rows for batch in self.read(8192))

    def read(self, rows: int) -> Iterator[pa.RecordBatch]:
        scanner = self._dataset.scanner(batch_readahead=1, fragment_readahead=1, batch_size=rows)
        return (batch for batch in scanner.to_batches() if batch.num_rows)


class JsonLines(Tables):
    """An object a line, with the types that JSON has: a text that looks like a date stays a text.

    All is read once before, for the fields and types of every line.
    """

    def __init__(self, paths: list[Path]) -> None:
        self._pa = need("pyarrow", "jobs")
        self._paths = paths
        self.total = 0
        self.schema = self._pa.schema([])
        for rows in self._blocks():
            self.total += len(rows)
            schema = self._pa.schema([*self._pa.array(rows).type])
            try:
                self.schema = self._pa.unify_schemas(
                    [self.schema, schema], promote_options="permissive"
                )
            except self._pa.ArrowTypeError as error:
                raise InputError(f"a field is of one type here, another there: {error}") from None

    def read(self, rows: int) -> Iterator[pa.RecordBatch]:
        kind = self._pa.struct(self.schema)
        for block in self._blocks():
            for start in range(0, len(block), rows):
                array = self._pa.array(block[start : start + rows], kind)
                yield self._pa.RecordBatch.from_struct_array(array)

    def _blocks(self) -> Iterator[list[dict[str, Any]]]:
        for path, first, lines in _lines(self._paths):
            numbered = [(number, line) for number, line in enumerate(lines, first) if line.strip()]
            if numbered:
                yield [_object(path, number, line) for number, line in numbered]


class Lines(Tables):
    """A text a line."""

    def __init__(self, paths: list[Path]) -> None:
        self._pa = need("pyarrow", "jobs")
        self._paths = paths
        self.schema = self._pa.schema([("text", self._pa.string())])
        self.total = sum(len(batch) for batch in self.read(1))

    def read(self, rows: int) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - lines are short
        for path, first, lines in _lines(self._paths):
            try:
                texts = [line.decode().rstrip("\r\n") for line in lines]
            except UnicodeDecodeError as error:
                raise InputError(f"{path}, line {first} or later, is no UTF-8: {error}") from None
            yield _column(self._pa, "text", texts)


class Names(Tables):
    """The paths of files, as they are seen from a folder."""

    def __init__(self, paths: list[Path], folder: Path) -> None:
        self._pa = need("pyarrow", "jobs")
        self._names = [str(path.relative_to(folder)) for path in paths]
        for name in self._names:
            if not is_utf8(name):
                raise InputError(f"the name of {name!r} is no UTF-8; rename the file")
        self.schema = self._pa.schema([("path", self._pa.string())])
        self.total = len(paths)

    def read(self, rows: int) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - all are there
        yield _column(self._pa, "path", self._names)


class Memory(Tables):
    """A table."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.schema = table.schema
        self.total = table.num_rows

    def read(self, rows: int) -> Iterator[pa.RecordBatch]:
        yield from self._table.to_batches(max_chunksize=rows)


def _column(pa: Any, name: str, texts: list[str]) -> pa.RecordBatch:
    return pa.record_batch([pa.array(texts, pa.string())], [name])


def _lines(paths: list[Path]) -> Iterator[tuple[Path, int, list[bytes]]]:
    """Lines of each file, with the number of the first, from 1."""
    for path in paths:
        with path.open("rb") as file:
            file.seek(len(_MARK) if file.read(len(_MARK)) == _MARK else 0)
            first = 1
            while lines := file.readlines(_BLOCK):
                yield path, first, lines
                first += len(lines)


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path}, line {number}, is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}, line {number}, is no JSON object, as every line has to be")
    return found
