"""Where vectors go: Parquet, a .npy matrix, or JSON lines; whole or not at all."""

from __future__ import annotations

import io
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import InputError

from ._arrow import known
from ._errors import refuse_address

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

KEY = b"openrouter-embeddings"  # of the provenance, among a Parquet file's own metadata
COLUMN = "embedding"


class Target:
    """Takes the rows of the source in order, with their vectors.

    Args:
        path: where the file will stand when it is whole; until then it is `path` + ".part".
        schema: of the columns of the source that it has.
        dimensions: of the vectors; 0 where no row has one.
        precision: "float32" or "float16".

    Attributes:
        has_columns: whether the columns of the source are in it, too.
    """

    has_columns = True

    def __init__(self, path: Path, schema: Any, dimensions: int, precision: str) -> None:
        self.path = path
        self.dimensions = dimensions
        self._part = path.with_name(f"{path.name}.part")
        self._schema = schema
        self._dtype = np.dtype(precision)
        self._file = self._part.open("wb")

    @staticmethod
    def check(schema: Any) -> None:
        """That such columns can be written, before anything is paid for. Raises InputError."""

    def write(self, batch: Any, vectors: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        """Rows of the source, of which those in `mask` have a vector."""
        raise NotImplementedError

    def finish(self, provenance: dict[str, Any]) -> None:
        """The whole file, on the disk, in its place, and where its vectors come from."""
        raise NotImplementedError

    @staticmethod
    def provenance(path: Path) -> Any:
        """What a finished target says of where it comes from; None where it says nothing."""
        said = _beside(path)
        try:
            found = json.loads(said.read_text()) if said.exists() else None
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def _place_with(self, provenance: dict[str, Any]) -> None:
        self._file.flush()  # where the disk is full, this fails: before anything is in its place
        said = _beside(self.path)
        part = said.with_name(f"{said.name}.part")
        with part.open("w") as file:
            json.dump(provenance, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.replace(said)
        self._place()

    def _place(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too
        finally:
            os.close(folder)

    def _narrowed(self, vectors: NDArray[np.float32]) -> NDArray[Any]:
        """As they are written. Raises FloatingPointError: a number is too large for float16."""
        with np.errstate(over="raise"):
            return vectors.astype(self._dtype, copy=False)

    def give_up(self) -> None:
        """Nothing is left of it."""
        self._part.unlink(missing_ok=True)
        with suppress(OSError):  # on a full disk closing fails, too
            self._file.close()


class _Parquet(Target):
    """All columns and one more, a fixed-size list; null where a row has no vector."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._pa = need("pyarrow", "jobs")
        parquet = need("pyarrow.parquet", "jobs")
        values = self._pa.float16() if self._dtype == np.float16 else self._pa.float32()
        item = self._pa.field("item", values, nullable=False)
        # pyarrow crashes on lists of the fixed size 0; a column of type null fits any other file's
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
                parquet.read_schema(file)  # it writes types nested deeper than it reads
            except (pa.ArrowException, OSError) as error:
                raise _unwritable(field, "Parquet", error) from None

    def write(self, batch: Any, vectors: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        column = self._pa.nulls(len(mask), self._type)
        if mask.any():
            flat = self._pa.array(self._narrowed(vectors).reshape(-1))
            column = self._pa.FixedSizeListArray.from_arrays(
                flat, type=self._type, mask=self._pa.array(~mask)
            )
        columns = [*batch.columns, column]
        table = self._pa.Table.from_arrays(columns, schema=self._writer.schema)
        self._writer.write_table(table, row_group_size=batch.num_rows)

    def finish(self, provenance: dict[str, Any]) -> None:
        self._writer.add_key_value_metadata({KEY: json.dumps(provenance)})
        self._writer.close()
        self._place()

    @staticmethod
    def provenance(path: Path) -> Any:
        pa, parquet = need("pyarrow", "jobs"), need("pyarrow.parquet", "jobs")
        try:
            metadata = parquet.read_metadata(path).metadata or {}
        except (pa.ArrowException, OSError):
            return None
        return json.loads(metadata[KEY]) if KEY in metadata else None

    def give_up(self) -> None:
        try:
            with suppress(OSError, self._pa.ArrowException):
                self._writer.close()
        finally:
            super().give_up()


class _Matrix(Target):
    """One row for each row of the source; a row without a vector has NaN, which the mask would say.

    The header stands first and holds the number of rows, which is known when all were written.
    """

    has_columns = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._rows = 0
        self._header()

    def _header(self) -> None:
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
        self._file.write(self._narrowed(vectors).tobytes())
        self._rows += len(vectors)

    def finish(self, provenance: dict[str, Any]) -> None:
        self._file.seek(0)
        self._header()
        self._place_with(provenance)

    @staticmethod
    def provenance(path: Path) -> Any:
        said = Target.provenance(path)
        try:
            shape = np.lib.format.open_memmap(path, mode="r").shape
        except (ValueError, OSError):
            return None
        return said if said and shape == (said.get("rows"), said.get("dimensions")) else None


class _Lines(Target):
    """A JSON object a row: all columns and "embedding"; null where a row has no vector."""

    @staticmethod
    def check(schema: Any) -> None:
        kinds = need("pyarrow", "jobs").types
        for field in schema:
            if why := _not_json(kinds, field.type):
                raise _unwritable(field, "JSON", why)

    def write(self, batch: Any, vectors: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        import orjson  # noqa: PLC0415 - the other formats do without

        option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
        narrowed = self._narrowed(vectors)
        for row, vector, there in zip(batch.to_pylist(), narrowed, mask, strict=True):
            line = {**row, COLUMN: vector if there else None}
            self._file.write(orjson.dumps(line, option=option, default=str))

    def finish(self, provenance: dict[str, Any]) -> None:
        self._place_with(provenance)


def _unwritable(field: Any, form: str, why: object) -> InputError:
    return InputError(
        f"{form} cannot hold the column {field.name!r} of {field.type} ({why}); leave it out of "
        "the source, keep only the key, or name a target of another kind"
    )


def _not_json(kinds: Any, kind: Any) -> str:
    """Why values of a type have no place in JSON; empty where they have."""
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
    return "" if any(fits(kind) for fits in simple) else "bytes, or nothing that JSON knows"


def _beside(path: Path) -> Path:
    """Where the provenance of a target is that has no place for it."""
    return path.with_name(f"{path.name}.provenance.json")


_KINDS: dict[str, type[Target]] = {
    ".parquet": _Parquet,
    ".pq": _Parquet,
    ".npy": _Matrix,
    ".jsonl": _Lines,
    ".ndjson": _Lines,
}


def beside(path: Path) -> list[Path]:
    """The target, and every file that a job may have beside it."""
    ends = ("", ".part", ".job", ".job-wal", ".job-shm", ".errors.jsonl", ".errors.jsonl.part",
            ".provenance.json", ".provenance.json.part")  # fmt: skip
    return [path.with_name(f"{path.name}{end}") for end in ends]


def columns_of(kind: type[Target], schema: Any, key: str | None, *, only_key: bool) -> list[str]:
    """The columns of a source that its target has; a matrix has none. Raises InputError."""
    names: list[str] = schema.names
    if only_key and not key:
        raise InputError("only_key leaves nothing of the source; key=… names the column to keep")
    if key:
        known(schema, key)
    chosen = [name for name in names if name == key or not only_key] if kind.has_columns else []
    if COLUMN in chosen:
        raise InputError(
            f"the source has a column {COLUMN!r} already; leave it out of the source, or keep only "
            "the key"
        )
    kind.check(schema.empty_table().select(chosen).schema)
    return chosen


def kind_of(path: Path) -> type[Target]:
    """What writes such a file. Raises InputError."""
    if (kind := _KINDS.get(path.suffix.lower())) is None:
        raise InputError(f"{path}: a target ends in .parquet, .jsonl or .npy")
    refuse_address(path)
    if path.is_dir():
        raise InputError(f"the target {path} is a directory")
    if path.is_symlink() and not path.exists():
        raise InputError(
            f"the target {path} is a symbolic link to {path.readlink()}, which is not there; "
            "name that file as the target, or remove the link"
        )
    if not path.parent.is_dir():
        raise InputError(f"there is no directory {path.parent} for the target")
    return kind
