"""The formats of targets, Parquet, .npy and JSON lines: each class writes and reads one format."""

from __future__ import annotations

import io
import json
import os
import sys
from bisect import bisect_left
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from openrouter_embeddings._extras import JOBS, need
from openrouter_embeddings._json import dumps, loads
from openrouter_embeddings.core.vectors import nine_digits
from openrouter_embeddings.errors import InputError

from ._arrow import check_has_column, python_values
from ._spec import check_is_local, part_file, provenance_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

COLUMN = "embedding"
_METADATA_KEY = b"openrouter-embeddings"  # of the provenance in a Parquet file
_BLOCK_BYTES = 2 << 20  # of vectors, or of JSON, that are read at once
_BLOCK_ROWS = 512  # of other columns that are read at once, because one may hold images


class Target:
    """A target file; subclasses write and read one format each.

    An instance writes the file: it takes the rows of the source in order, with their vectors, and
    puts the file in its place when it is complete. The static methods read finished files.

    Args:
        path: the target; the rows are written to `path` + ".part" first.
        schema: of the source's columns that the target has.
        dimensions: of the vectors; 0 if no row has one.
        precision: "float32" or "float16".

    Attributes:
        suffixes: the file names of the format end in one of these.
        has_columns: whether the target has columns of the source.
        needs: modules that reading the format needs, with the extras that install them.
    """

    suffixes: ClassVar[tuple[str, ...]]
    has_columns: ClassVar[bool] = True
    needs: ClassVar[Mapping[str, str]] = {}

    def __init__(self, path: Path, schema: Any, dimensions: int, precision: str) -> None:
        self.path = path
        self.dimensions = dimensions
        self._part = part_file(path)
        self._schema = schema
        self._dtype = np.dtype(precision)
        self._file = self._part.open("wb")

    @staticmethod
    def check(schema: Any) -> None:
        """Raise InputError if the format cannot hold columns of these types."""

    def write(self, batch: Any, vectors: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        """Add rows of the source; those in `mask` have a vector."""
        raise NotImplementedError

    def finish(self, provenance: dict[str, Any]) -> None:
        """Write the provenance, flush the file to the disk, and put it in its place."""
        raise NotImplementedError

    @staticmethod
    def provenance(path: Path) -> dict[str, Any] | None:
        """The provenance of a finished target; None if the file has none."""
        try:
            found = json.loads(provenance_file(path).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    @staticmethod
    def vectors(path: Path, dimensions: int) -> Iterator[NDArray[np.float32]]:
        """The vectors of a finished target, in blocks of shape (rows, dimensions).

        NaN in rows without a vector.
        """
        raise NotImplementedError

    @staticmethod
    def columns(path: Path, rows: Sequence[int]) -> Iterator[dict[str, Any]]:
        """The columns of these rows, except the vector; `rows` is sorted."""
        raise NotImplementedError

    def _place_with(self, provenance: dict[str, Any]) -> None:
        self._file.flush()  # fails on a full disk, before the provenance replaces an older one
        path = provenance_file(self.path)
        with part_file(path).open("w") as file:
            json.dump(provenance, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part_file(path).replace(path)
        self._place()

    def _place(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self.path)
        if sys.platform == "win32":  # cannot open a folder
            return
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # saves the new name
        finally:
            os.close(folder)

    def _converted(self, vectors: NDArray[np.float32]) -> NDArray[Any]:
        """The vectors in the target's precision. Raises FloatingPointError if one overflows."""
        with np.errstate(over="raise"):
            return vectors.astype(self._dtype, copy=False)

    def abort(self) -> None:
        """Remove the unfinished file."""
        self._part.unlink(missing_ok=True)
        with suppress(OSError):  # closing fails on a full disk
            self._file.close()


class ParquetTarget(Target):
    """The source's columns and a fixed-size list, which is null in rows without a vector."""

    suffixes = (".parquet", ".pq")
    needs = JOBS

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._pa = need("pyarrow", "jobs")
        parquet = need("pyarrow.parquet", "jobs")
        values = self._pa.float16() if self._dtype == np.float16 else self._pa.float32()
        item = self._pa.field("item", values, nullable=False)
        # pyarrow crashes on lists of size 0; the type null can be merged with that of other files
        self._type = self._pa.list_(item, self.dimensions) if self.dimensions else self._pa.null()
        schema = self._schema.append(self._pa.field(COLUMN, self._type))
        others = self._schema.names
        self._writer = parquet.ParquetWriter(
            self._file,
            schema,
            compression={**dict.fromkeys(others, "zstd"), f"{COLUMN}.list.element": "none"},
            use_dictionary=others,
        )

    @staticmethod
    def check(schema: Any) -> None:
        pa, parquet = need("pyarrow", "jobs"), need("pyarrow.parquet", "jobs")
        for field in schema:
            row = pa.table([pa.nulls(1, field.type)], pa.schema([field.with_nullable(True)]))  # noqa: FBT003 - positional only
            file = io.BytesIO()
            try:
                parquet.write_table(row, file)
                parquet.read_schema(file)  # pyarrow writes deeper nesting than it can read
            except (pa.ArrowException, OSError) as error:
                raise _unsupported(field, "Parquet", error) from None

    def write(self, batch: Any, vectors: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        column = self._pa.nulls(len(mask), self._type)
        if mask.any():
            flat = self._pa.array(self._converted(vectors).reshape(-1))
            column = self._pa.FixedSizeListArray.from_arrays(
                flat, type=self._type, mask=self._pa.array(~mask)
            )
        columns = [*batch.columns, column]
        table = self._pa.Table.from_arrays(columns, schema=self._writer.schema)
        self._writer.write_table(table, row_group_size=batch.num_rows)

    def finish(self, provenance: dict[str, Any]) -> None:
        self._writer.add_key_value_metadata({_METADATA_KEY: json.dumps(provenance)})
        self._writer.close()
        self._place()

    def abort(self) -> None:
        try:
            with suppress(OSError, self._pa.ArrowException):
                self._writer.close()
        finally:
            super().abort()

    @staticmethod
    def provenance(path: Path) -> dict[str, Any] | None:
        pa, parquet = need("pyarrow", "jobs"), need("pyarrow.parquet", "jobs")
        try:
            metadata = parquet.read_metadata(path).metadata or {}
        except (pa.ArrowException, OSError):
            return None
        return json.loads(metadata[_METADATA_KEY]) if _METADATA_KEY in metadata else None

    @staticmethod
    def vectors(path: Path, dimensions: int) -> Iterator[NDArray[np.float32]]:
        with _parquet_file(path) as file:
            for batch in file.iter_batches(_block_rows(dimensions), columns=[COLUMN]):
                yield matrix_of(batch.column(COLUMN), dimensions)

    @staticmethod
    def columns(path: Path, rows: Sequence[int]) -> Iterator[dict[str, Any]]:
        with _parquet_file(path) as file:
            names = [name for name in file.schema_arrow.names if name != COLUMN]
            first = 0
            for group in range(file.num_row_groups):
                end = first + file.metadata.row_group(group).num_rows
                some = rows[bisect_left(rows, first) : bisect_left(rows, end)]
                if some:
                    batches = file.iter_batches(_BLOCK_ROWS, row_groups=[group], columns=names)
                    yield from _selected(batches, [row - first for row in some])
                first = end


def _parquet_file(path: Path) -> Any:
    # with `pre_buffer`, everything that was read would stay in memory
    return need("pyarrow.parquet", "jobs").ParquetFile(path, pre_buffer=False, buffer_size=1 << 18)


def _selected(batches: Iterable[Any], rows: list[int]) -> Iterator[dict[str, Any]]:
    first = 0
    for batch in batches:
        end = first + batch.num_rows
        if here := [row - first for row in rows if first <= row < end]:
            some = batch.take(here)
            values = [python_values(column) for column in some.columns]
            for row in zip(*values, strict=True):
                yield dict(zip(some.schema.names, row, strict=True))
        first = end


def matrix_of(column: Any, dimensions: int) -> NDArray[np.float32]:
    """The vectors of an Arrow column of fixed-size lists; NaN in rows without a vector."""
    # Arrow's own conversion checks each number, which takes a third of a search's time
    values = column.values
    flat = np.frombuffer(values.buffers()[1], values.type.to_pandas_dtype())
    start = values.offset + column.offset * dimensions
    matrix = flat[start : start + len(column) * dimensions].reshape(len(column), dimensions)
    matrix = matrix.astype(np.float32, copy=column.null_count > 0)
    if column.null_count:
        matrix[column.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return matrix


class NpyTarget(Target):
    """A matrix with a row for each row of the source: NaN in rows without a vector.

    The header contains the number of rows, so `finish` writes it again.
    """

    suffixes = (".npy",)
    has_columns = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._rows = 0
        self._write_header()

    def _write_header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self._rows, self.dimensions),
            },
        )

    def write(self, batch: Any, vectors: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:  # noqa: ARG002 - a matrix has no columns
        vectors[~mask] = np.nan
        self._file.write(self._converted(vectors).tobytes())
        self._rows += len(vectors)

    def finish(self, provenance: dict[str, Any]) -> None:
        self._file.seek(0)
        self._write_header()
        self._place_with(provenance)

    @staticmethod
    def provenance(path: Path) -> dict[str, Any] | None:
        found = Target.provenance(path)
        try:
            shape = np.lib.format.open_memmap(path, mode="r").shape
        except (ValueError, OSError):
            return None
        return found if found and shape == (found.get("rows"), found.get("dimensions")) else None

    @staticmethod
    def vectors(path: Path, dimensions: int) -> Iterator[NDArray[np.float32]]:
        step = _block_rows(dimensions)
        for first in range(0, len(np.load(path, mmap_mode="r")), step):
            # a new memory map for each block: what was read stays in memory as long as its map
            block = np.load(path, mmap_mode="r")[first : first + step]
            yield block.astype(np.float32, copy=False)

    @staticmethod
    def columns(path: Path, rows: Sequence[int]) -> Iterator[dict[str, Any]]:  # noqa: ARG004 - it has none
        return ({} for _ in rows)


class JsonLinesTarget(Target):
    """A JSON object per row: the source's columns and "embedding", null without a vector."""

    suffixes = (".jsonl", ".ndjson")

    @staticmethod
    def check(schema: Any) -> None:
        kinds = need("pyarrow", "jobs").types
        for field in schema:
            if why := _not_json(kinds, field.type):
                raise _unsupported(field, "JSON", why)

    def write(self, batch: Any, vectors: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        numbers = nine_digits(self._converted(vectors))
        for row, vector, there in zip(batch.to_pylist(), numbers, mask, strict=True):
            line = {**row, COLUMN: vector.tolist() if there else None}
            self._file.write(dumps(line, default=str) + b"\n")

    def finish(self, provenance: dict[str, Any]) -> None:
        self._place_with(provenance)

    @staticmethod
    def vectors(path: Path, dimensions: int) -> Iterator[NDArray[np.float32]]:
        blank = [np.nan] * dimensions
        with path.open("rb") as file:
            while lines := file.readlines(_BLOCK_BYTES):
                try:
                    rows = [loads(line)[COLUMN] or blank for line in lines]
                    matrix = np.array(rows, np.float32).reshape(len(rows), dimensions)
                except (ValueError, TypeError, LookupError):
                    raise InputError(
                        f"{path} has been changed since it was made: a line has no {COLUMN!r} of "
                        f"{dimensions} numbers; restore the original file"
                    ) from None
                yield matrix

    @staticmethod
    def columns(path: Path, rows: Sequence[int]) -> Iterator[dict[str, Any]]:
        after = 0
        with path.open("rb") as file:
            for row in rows:
                line = next(islice(file, row - after, None))
                after = row + 1
                yield {name: value for name, value in loads(line).items() if name != COLUMN}


def _not_json(kinds: Any, kind: Any) -> str:
    """Why JSON cannot hold values of an Arrow type; empty if it can."""
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    if kinds.is_temporal(kind) and getattr(kind, "unit", "") == "ns":
        return "nanoseconds"
    inner = [kind.field(n).type for n in range(kind.num_fields)]
    if inner:
        return next(filter(None, (_not_json(kinds, one) for one in inner)), "")
    simple = (
        kinds.is_string, kinds.is_large_string, kinds.is_string_view, kinds.is_primitive,
        kinds.is_decimal, kinds.is_null, kinds.is_struct,
    )  # fmt: skip
    return "" if any(fits(kind) for fits in simple) else "JSON has no such type"


def _unsupported(field: Any, form: str, why: object) -> InputError:
    return InputError(
        f"{form} cannot hold the column {field.name!r} of type {field.type} ({why}); leave it out "
        "of the source, keep only the key (only_key), or use another target format"
    )


def _block_rows(dimensions: int) -> int:
    return max(1, _BLOCK_BYTES // (4 * dimensions))


TARGETS: tuple[type[Target], ...] = (ParquetTarget, JsonLinesTarget, NpyTarget)


def target_format(path: Path) -> type[Target]:
    """The class that writes and reads a target. Raises InputError."""
    suffix = path.suffix.lower()
    found = next((one for one in TARGETS if suffix in one.suffixes), None)
    if found is None:
        *first, last = (one.suffixes[0] for one in TARGETS)
        ends = f"{', '.join(first)} or {last}"
        raise InputError(f"{path} cannot be a target; name a file that ends in {ends}")
    check_is_local(path)
    if path.is_dir():
        raise InputError(f"the target {path} is a directory; name a file in it")
    if path.is_symlink() and not path.exists():
        raise InputError(
            f"the target {path} is a symbolic link to {path.readlink()}, which does not exist; "
            "name that file as the target, or remove the link"
        )
    if not path.parent.is_dir():
        raise InputError(f"the directory {path.parent} of the target does not exist; create it")
    return found


def target_columns(
    target: type[Target], schema: Any, key: str | None, *, only_key: bool
) -> list[str]:
    """The columns of a source that its target has. Raises InputError if it cannot hold one."""
    names: list[str] = schema.names
    if only_key and not key:
        raise InputError("only_key needs key=… to name the column to keep")
    if key:
        check_has_column(schema, key)
    chosen = [name for name in names if name == key or not only_key] if target.has_columns else []
    if COLUMN in chosen:
        raise InputError(
            f"the source has a column {COLUMN!r} already; rename it, leave it out, or keep only "
            "the key (only_key)"
        )
    target.check(schema.empty_table().select(chosen).schema)
    return chosen


def vector_blocks(path: Path, dimensions: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The vectors of a finished target, block by block, each with the number of its first row.

    Blocks are of shape (rows, dimensions), with NaN in rows without a vector. Only one block is
    in memory at a time.
    """
    if not dimensions:  # no row has a vector
        return
    first = 0
    for vectors in target_format(path).vectors(path, dimensions):
        yield first, vectors
        first += len(vectors)
