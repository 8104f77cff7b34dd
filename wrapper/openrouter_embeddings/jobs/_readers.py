"""Reads files of each format, and tables in memory, as Arrow batches."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import InputError

from ._arrow import is_utf8, merged_schema, plain, plain_schema, unsigned_schema, wide_type

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

_BLOCK = 1 << 20  # bytes of lines read at once
_CSV_BLOCK = 1 << 22  # a row of a CSV file must fit into one
_READING = {"batch_readahead": 1, "fragment_readahead": 1}  # little is in memory at once
_MARK = b"\xef\xbb\xbf"  # the byte order mark that some editors set before UTF-8
_QUOTED = re.compile(rb'(^|[,;\t|])"(?:[^"]|"")*"')


class Tables:
    """Something that reads batches, the same ones every time.

    Attributes:
        schema: of all columns; without any, there are no rows, and nobody knows the columns.
        total: how many rows there are.
        delimiter: what separates the columns of a CSV file.
    """

    schema: pa.Schema
    total: int
    delimiter = ","

    def read(self, rows: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """All rows, about so many at a time, with these columns at least."""
        raise NotImplementedError


class Parquet(Tables):
    """Parquet files, page by page: a row group of images may be larger than the memory.

    pyarrow's datasets read row groups as a whole, and leave out what the first file has not.
    """

    def __init__(self, paths: list[Path]) -> None:
        self._parquet = need("pyarrow.parquet", "jobs")
        self._paths = paths
        self.total = 0
        schemas = []
        for path in paths:
            with _naming(path), self._parquet.ParquetFile(path) as file:
                self.total += file.metadata.num_rows
                schemas.append((path, plain_schema(file.schema_arrow)))
        self.schema = merged_schema(schemas)

    def read(self, rows: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        schema = self.schema.empty_table().select(columns).schema
        for path in self._paths:
            opened = self._parquet.ParquetFile(path, pre_buffer=False, buffer_size=_BLOCK)
            with _naming(path), opened as file:
                for group in range(file.num_row_groups):  # each has categories of its own
                    for batch in file.iter_batches(rows, [group], columns):
                        yield plain(batch.select(columns), schema)


class Csv(Tables):
    """Every column as text, as it is written: 007 is no number.

    All is read once before, so that a row that is none is found before anything is paid for.
    """

    def __init__(self, paths: list[Path], delimiter: str | None = None) -> None:
        pa, csv = need("pyarrow", "jobs"), need("pyarrow.csv", "jobs")
        dataset = need("pyarrow.dataset", "jobs")
        paths = [path for path in paths if path.stat().st_size]
        self.schema, self.total = pa.schema([]), 0
        if not paths:
            return
        for path in paths:
            _check_utf8(path)
        self.delimiter = _checked(delimiter) if delimiter is not None else _found(paths)

        def opened(paths: list[Path], types: dict[str, Any]) -> Any:
            form = dataset.CsvFileFormat(
                parse_options=csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
                read_options=csv.ReadOptions(block_size=_CSV_BLOCK),
                convert_options=csv.ConvertOptions(column_types=types),
            )
            return dataset.dataset([*map(str, paths)], format=form)

        schemas = []
        for path in paths:
            with _naming(path):
                names = opened([path], {}).schema.names
                schemas.append((path, _texts(pa, names)))
                merged_schema([schemas[0], schemas[-1]])
                rows = opened([path], dict.fromkeys(names, pa.string()))
                self.total += sum(batch.num_rows for batch in rows.to_batches(**_READING))
        self._dataset = opened(paths, dict.fromkeys(schemas[0][1].names, pa.string()))
        self.schema = self._dataset.schema

    def read(self, rows: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        scanner = self._dataset.scanner(columns, batch_size=rows, **_READING)
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
        for path, numbered in self._blocks():
            self.total += len(numbered)
            try:
                self.schema = self._with([*numbered.values()])
            except self._pa.ArrowException:
                for number, row in numbered.items():
                    with _naming(path, f", line {number}"):
                        self.schema = self._with([row])
                raise
        self.schema = unsigned_schema(self.schema)

    def read(self, rows: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        schema = self._pa.schema([self.schema.field(name) for name in columns])
        for path, numbered in self._blocks():
            block = [*numbered.values()]
            for start in range(0, len(block), rows):
                try:
                    array = self._pa.array(block[start : start + rows], self._pa.struct(schema))
                except (self._pa.ArrowException, OverflowError):
                    self._refuse(path, numbered, schema)
                    raise
                yield self._pa.RecordBatch.from_struct_array(array)

    def _with(self, rows: list[dict[str, Any]]) -> pa.Schema:
        """The schema of these rows and all before them."""
        schema = self._pa.schema([*wide_type(rows)])
        return self._pa.unify_schemas([self.schema, schema], promote_options="permissive")

    def _refuse(self, path: Path, numbered: dict[int, dict[str, Any]], schema: pa.Schema) -> None:
        """Name the first value that has no place among those of the other lines."""
        for number, row in numbered.items():
            for field in schema:
                try:
                    self._pa.array([row.get(field.name)], field.type)
                except (self._pa.ArrowException, OverflowError) as error:
                    raise InputError(
                        f"{path}, line {number}: the value of {field.name!r} does not fit "
                        f"{field.type}, which other lines need ({error}); write such values as text"
                    ) from None

    def _blocks(self) -> Iterator[tuple[Path, dict[int, dict[str, Any]]]]:
        """Some objects of a file, by the numbers of their lines."""
        for path, first, lines in _lines(self._paths):
            numbered = [(number, line) for number, line in enumerate(lines, first) if line.strip()]
            if numbered:
                yield path, {number: _object(path, number, line) for number, line in numbered}


class Lines(Tables):
    """A text a line."""

    def __init__(self, paths: list[Path]) -> None:
        self._pa = need("pyarrow", "jobs")
        self._paths = paths
        self.schema = self._pa.schema([("text", self._pa.string())])
        self.total = sum(len(batch) for batch in self.read(1, ["text"]))

    def read(self, rows: int, columns: list[str]) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - lines are short
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

    def read(self, rows: int, columns: list[str]) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - all are there
        yield _column(self._pa, "path", self._names)


class Memory(Tables):
    """A table."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.schema = table.schema
        self.total = table.num_rows

    def read(self, rows: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        yield from self._table.select(columns).to_batches(max_chunksize=rows)


@contextmanager
def _naming(path: Path, place: str = "") -> Iterator[None]:
    """Arrow does not say in which file something is wrong."""
    try:
        yield
    except (OSError, need("pyarrow", "jobs").ArrowException) as error:
        raise InputError(f"{path}{place}: {_shorter(error)}") from None


def _shorter(error: Exception) -> str:
    """What Arrow says of a CSV file, without the sentences that it sets before."""
    said = str(error).rpartition("Invalid: ")[2]
    if "invalid UTF8" in said:
        return "not UTF-8; save it as UTF-8"
    if odd := re.match(
        r"CSV parse error: (?:Row #(\d+): )?Expected (\d+) columns, got (\d+)", said
    ):
        row, wanted, found = odd.groups()
        return (
            f"{f'row {row}' if row else 'a row'} has another number of columns ({found}) than the "
            f"header ({wanted}); put a text with the delimiter or a line break in quotes"
        )
    if twice := re.match("CSV file contained multiple columns named (.*)", said):
        return f"the header has more than one column {twice[1]!r}; rename them"
    return said


def _column(pa: Any, name: str, texts: list[str]) -> pa.RecordBatch:
    return pa.record_batch([pa.array(texts, pa.string())], [name])


def _texts(pa: Any, names: list[str]) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])


def _checked(delimiter: str) -> str:
    delimiter = {"\\t": "\t"}.get(delimiter, delimiter)  # as it is written in a shell
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
        raise InputError(
            f"the delimiter is {delimiter!r}; one character such as ',', ';', '|' or a tab is right"
        )
    return delimiter


def _check_utf8(path: Path) -> None:
    """As far as the header is certain to reach; Arrow tells it of the rest."""
    with path.open("rb") as file:
        start = file.read(_BLOCK)
    try:
        getincrementaldecoder("utf-8")().decode(start)  # which may end within a character
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8; save it as UTF-8") from None


def _found(paths: list[Path]) -> str:
    """What separates the columns, told by the header of each file."""
    first, *others = [(path, _delimiter(path)) for path in paths]
    for name, delimiter in others:
        if delimiter != first[1]:
            raise InputError(
                f"the columns of {name} seem to be separated by {delimiter!r}, those of {first[0]} "
                f"by {first[1]!r}; embed them apart, or set the delimiter"
            )
    return first[1]


def _delimiter(path: Path) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    with path.open("rb") as file:
        start = file.read(_BLOCK).removeprefix(_MARK).lstrip(b"\r\n")
    header, *_ = _QUOTED.sub(rb"\1", start).splitlines() or [b""]
    found = [one for one in ",;\t|" if one.encode() in header]
    if len(found) > 1:
        raise InputError(
            f"the header of {path} has {' and '.join(map(repr, found))}; say which separates the "
            f"columns: --delimiter {found[-1]!r}, delimiter={found[-1]!r} in Python"
        )
    return found[0] if found else ","


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
