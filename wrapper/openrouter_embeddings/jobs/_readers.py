"""Reads each format of source files, and tables in memory, as Arrow batches."""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from openrouter_embeddings._extras import need
from openrouter_embeddings._json import loads
from openrouter_embeddings.errors import InputError

from ._arrow import cast_plain, is_utf8, merged_schema, plain_schema, unsigned_schema, wide_type

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

_BLOCK = 1 << 20  # bytes of lines read at once
_CSV_BLOCK = 1 << 22  # bytes; a row of a CSV file must fit into one block
_READING = {"batch_readahead": 1, "fragment_readahead": 1}  # to hold little in memory
_BOM = b"\xef\xbb\xbf"  # the byte order mark that some editors write before UTF-8
_QUOTED = re.compile(rb'(^|[,;\t|])"(?:[^"]|"")*"')


class Tables:
    """The tables of a source; every pass reads the same rows.

    Attributes:
        schema: of all columns; empty if the source has no rows and does not name its columns.
        total: how many rows there are.
        delimiter: separates the columns of a CSV file.
    """

    schema: pa.Schema
    total: int
    delimiter = ","

    def read(self, rows: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """All rows, in batches of about `rows` rows, with at least these columns."""
        raise NotImplementedError


class Parquet(Tables):
    """Parquet files, read page by page, because a row group of images may exceed the memory.

    pyarrow's datasets read whole row groups, and drop columns that the first file lacks.
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
                for group in range(file.num_row_groups):  # each group has its own dictionaries
                    for batch in file.iter_batches(rows, [group], columns):
                        yield cast_plain(batch.select(columns), schema)


class Csv(Tables):
    """CSV files; every column is text, exactly as written, so that 007 stays 007.

    The files are read once when they are opened, to find malformed rows before a job pays for
    anything.
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
        self.delimiter = (
            _common_delimiter(paths) if delimiter is None else _valid_delimiter(delimiter)
        )

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
                schemas.append((path, pa.schema([(name, pa.string()) for name in names])))
                merged_schema([schemas[0], schemas[-1]])
                rows = opened([path], dict.fromkeys(names, pa.string()))
                self.total += sum(batch.num_rows for batch in rows.to_batches(**_READING))
        self._dataset = opened(paths, dict.fromkeys(schemas[0][1].names, pa.string()))
        self.schema = self._dataset.schema

    def read(self, rows: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        scanner = self._dataset.scanner(columns, batch_size=rows, **_READING)
        return (batch for batch in scanner.to_batches() if batch.num_rows)


class JsonLines(Tables):
    """JSON lines: an object per line. A text that looks like a date stays a text.

    The files are read once when they are opened, to learn the fields and types of all lines.
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
                    self._raise_misfit(path, numbered, schema)
                    raise
                yield self._pa.RecordBatch.from_struct_array(array)

    def _with(self, rows: list[dict[str, Any]]) -> pa.Schema:
        """The schema of these rows and of all rows before them."""
        schema = self._pa.schema([*wide_type(rows)])
        return self._pa.unify_schemas([self.schema, schema], promote_options="permissive")

    def _raise_misfit(
        self, path: Path, numbered: dict[int, dict[str, Any]], schema: pa.Schema
    ) -> None:
        """Raise InputError for the first value that does not fit the type of its column."""
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
        """The objects of each file, block by block, by their line numbers."""
        for path, first, lines in _lines(self._paths):
            numbered = [(number, line) for number, line in enumerate(lines, first) if line.strip()]
            if numbered:
                yield path, {number: _object(path, number, line) for number, line in numbered}


class Lines(Tables):
    """Text files: a text per line."""

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
                raise InputError(f"{path}, line {first} or later, is not UTF-8: {error}") from None
            yield _column(self._pa, "text", texts)


class FileNames(Tables):
    """The paths of files, relative to a folder."""

    def __init__(self, paths: list[Path], folder: Path) -> None:
        self._pa = need("pyarrow", "jobs")
        self._names = [str(path.relative_to(folder)) for path in paths]
        for name in self._names:
            if not is_utf8(name):
                raise InputError(f"the file name {name!r} is not UTF-8; rename the file")
        self.schema = self._pa.schema([("path", self._pa.string())])
        self.total = len(paths)

    def read(self, rows: int, columns: list[str]) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - all are in memory
        yield _column(self._pa, "path", self._names)


class InMemoryTable(Tables):
    """A table in memory."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.schema = table.schema
        self.total = table.num_rows

    def read(self, rows: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        yield from self._table.select(columns).to_batches(max_chunksize=rows)


@contextmanager
def _naming(path: Path, place: str = "") -> Iterator[None]:
    """Turn errors of Arrow, which do not name the file, into an InputError that does."""
    try:
        yield
    except (OSError, need("pyarrow", "jobs").ArrowException) as error:
        raise InputError(f"{path}{place}: {_explained(error)}") from None


def _explained(error: Exception) -> str:
    """Arrow's message about a file, and what to do about the most frequent errors in CSV files."""
    message = str(error).rpartition("Invalid: ")[2]
    if "invalid UTF8" in message:
        return "not UTF-8; save it as UTF-8"
    if odd := re.match(
        r"CSV parse error: (?:Row #(\d+): )?Expected (\d+) columns, got (\d+)", message
    ):
        row, wanted, found = odd.groups()
        return (
            f"{f'row {row}' if row else 'a row'} has another number of columns ({found}) than the "
            f"header ({wanted}); quote texts that contain the delimiter or a line break"
        )
    if twice := re.match("CSV file contained multiple columns named (.*)", message):
        return f"the header has more than one column {twice[1]!r}; rename them"
    return message


def _column(pa: Any, name: str, texts: list[str]) -> pa.RecordBatch:
    return pa.record_batch([pa.array(texts, pa.string())], [name])


def _valid_delimiter(delimiter: str) -> str:
    delimiter = {"\\t": "\t"}.get(delimiter, delimiter)  # as a shell passes it
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
        raise InputError(
            f"the delimiter is {delimiter!r}; use one character, such as ',', ';', '|' or a tab"
        )
    return delimiter


def _check_utf8(path: Path) -> None:
    """Raise InputError if the first block, with the header, is not UTF-8; Arrow checks the rest."""
    with path.open("rb") as file:
        start = file.read(_BLOCK)
    try:
        getincrementaldecoder("utf-8")().decode(start)  # the block may end within a character
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8; save it as UTF-8") from None


def _common_delimiter(paths: list[Path]) -> str:
    """The delimiter in the headers of the files. Raises InputError if they differ."""
    first, *others = [(path, _delimiter(path)) for path in paths]
    for name, delimiter in others:
        if delimiter != first[1]:
            raise InputError(
                f"the columns of {name} seem to be separated by {delimiter!r}, but those of "
                f"{first[0]} by {first[1]!r}; set the delimiter, or run a job for each"
            )
    return first[1]


def _delimiter(path: Path) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    with path.open("rb") as file:
        start = file.read(_BLOCK).removeprefix(_BOM).lstrip(b"\r\n")
    header, *_ = _QUOTED.sub(rb"\1", start).splitlines() or [b""]
    found = [one for one in ",;\t|" if one.encode() in header]
    if len(found) > 1:
        raise InputError(
            f"the header of {path} has {' and '.join(map(repr, found))}; name the delimiter of the "
            f"columns: --delimiter {found[-1]!r}, or delimiter={found[-1]!r} in Python"
        )
    return found[0] if found else ","


def _lines(paths: list[Path]) -> Iterator[tuple[Path, int, list[bytes]]]:
    """The lines of each file, in blocks, with the number of the first line, from 1."""
    for path in paths:
        with path.open("rb") as file:
            file.seek(len(_BOM) if file.read(len(_BOM)) == _BOM else 0)
            first = 1
            while lines := file.readlines(_BLOCK):
                yield path, first, lines
                first += len(lines)


def _has_lone_surrogate(line: bytes) -> bool:
    """Whether Python's reader accepts the line, whose text UTF-8 cannot express."""
    try:
        json.dumps(json.loads(line), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        pass
    return False


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = loads(line)
    except ValueError as error:
        reason = "a text has half of a surrogate pair" if _has_lone_surrogate(line) else error
        raise InputError(f"{path}, line {number}, is not JSON: {reason}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}, line {number}, is not a JSON object; write one object per line")
    return found
