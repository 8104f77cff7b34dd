"""Arrow schemas and values: brought to plain types, merged, and converted to Python."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from typing import Any

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import InputError


class InvalidText(bytes):
    """A value of a text column that is not UTF-8."""


def is_utf8(text: str) -> bool:
    """Whether a text can be encoded; file names and command-line arguments may not be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain_schema(schema: Any) -> Any:
    """The schema without dictionaries and string views, also inside lists and structs.

    The codes of a dictionary differ from batch to batch, and many functions of pyarrow do not
    support string views.
    """
    pa = need("pyarrow", "jobs")
    fields = [field.with_type(_rebuilt(pa, field.type, _without_view)) for field in schema]
    return pa.schema(fields, schema.metadata)


def check_has_column(schema: Any, name: str) -> None:
    """Raise InputError if the schema lacks a column; an empty schema may have any."""
    if schema.names and name not in schema.names:
        raise InputError(f"there is no column {name!r}; the columns are {', '.join(schema.names)}")


def check_unique_names(schema: Any) -> None:
    """Raise InputError if two columns have the same name."""
    names: list[str] = schema.names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"the source has more than one column {twice[0]!r}; rename them")


def merged_schema(schemas: Iterable[tuple[Any, Any]]) -> Any:
    """The schema that fits several files, given as pairs of a file name and a schema.

    Columns are in the order of the first file. The files may differ in the order of columns, in
    nullability, in string and large_string, and in list and large_list; a column of nulls fits
    every type. Raises InputError for other differences, naming the column and the files.
    """
    pa = need("pyarrow", "jobs")
    (first, merged), *others = schemas
    for name, schema in others:
        check_unique_names(merged)
        check_unique_names(schema)
        if odd := sorted({*merged.names} ^ {*schema.names}):
            has, lacks = (name, first) if odd[0] in schema.names else (first, name)
            raise InputError(
                f"{has} has a column {odd[0]!r} and {lacks} does not; the files of one source need "
                "the same columns"
            )
        fields = []
        for field in merged:
            other = schema.field(field.name)
            both = _common(pa, field, other)
            if both is None:
                raise InputError(
                    f"the column {field.name!r} is {other.type} in {name} and {field.type} in "
                    f"{first}; the files of one source need the same types"
                )
            fields.append(both)
        merged = pa.schema(fields, merged.metadata)
    return merged


def wide_type(values: list[Any]) -> Any:
    """The Arrow type of values from JSON; decimal128(20, 0) for integers over 2⁶³-1.

    Arrow does not infer a type for such integers. Its decimals can be merged with smaller integers,
    its unsigned integers cannot; `unsigned_schema` replaces the decimals in the end. Values that
    do not fit the type are found when they are read.
    """
    pa = need("pyarrow", "jobs")
    try:
        return pa.array(values).type
    except (OverflowError, pa.ArrowInvalid):
        values = [value for value in values if value is not None]
    if all(isinstance(value, dict) for value in values):
        names = dict.fromkeys(name for value in values for name in value)
        return pa.struct([(n, wide_type([value.get(n) for value in values])) for n in names])
    if all(isinstance(value, list) for value in values):
        return pa.list_(wide_type([*chain.from_iterable(values)]))
    if all(type(value) is int for value in values):
        return pa.decimal128(20, 0)
    if all(type(value) in (int, float) for value in values):
        return pa.float64()
    return pa.array([0 if type(value) is int else value for value in values]).type


def unsigned_schema(schema: Any) -> Any:
    """A schema of types from `wide_type`, with uint64 instead of decimals."""
    pa = need("pyarrow", "jobs")

    def unsigned(_: Any, kind: Any) -> Any:
        return pa.uint64() if pa.types.is_decimal(kind) else kind

    try:
        return pa.schema([field.with_type(_rebuilt(pa, field.type, unsigned)) for field in schema])
    except RecursionError:
        raise InputError(
            "a column of the source is nested too deeply; remove it from the source"
        ) from None


def _common(pa: Any, one: Any, other: Any) -> Any:
    """A field that can hold the values of both; None if there is none."""
    wide = [field.with_type(_rebuilt(pa, field.type, _widened)) for field in (one, other)]
    for fields in ((one, other), wide):
        with suppress(pa.ArrowException):
            return pa.unify_schemas([pa.schema([field]) for field in fields]).field(0)
    return None


def cast_plain(batch: Any, schema: Any) -> Any:
    """A batch or table, cast to a schema from `plain_schema`, with the schema's metadata."""
    pa = need("pyarrow", "jobs")
    if isinstance(batch, pa.Table):
        return pa.Table.from_batches(
            [cast_plain(one, schema) for one in batch.to_batches()], schema
        )
    columns = [
        column.dictionary.cast(field.type).take(column.indices)
        if pa.types.is_dictionary(column.type)
        else column.cast(field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _rebuilt(pa: Any, kind: Any, change: Callable[[Any, Any], Any]) -> Any:
    """A type without dictionaries, after `change` to it and to every type inside it."""
    types = pa.types

    def inner(field: Any) -> Any:
        return field.with_type(_rebuilt(pa, field.type, change))

    if types.is_dictionary(kind):
        return _rebuilt(pa, kind.value_type, change)
    if types.is_struct(kind):
        kind = pa.struct([inner(kind.field(number)) for number in range(kind.num_fields)])
    elif types.is_list(kind):
        kind = pa.list_(inner(kind.value_field))
    elif types.is_large_list(kind):
        kind = pa.large_list(inner(kind.value_field))
    elif types.is_fixed_size_list(kind):
        kind = pa.list_(inner(kind.value_field), kind.list_size)
    elif types.is_map(kind):
        kind = pa.map_(inner(kind.key_field).type, inner(kind.item_field).type)
    return change(pa, kind)


def _without_view(pa: Any, kind: Any) -> Any:
    if pa.types.is_string_view(kind):
        return pa.large_string()
    return pa.large_binary() if pa.types.is_binary_view(kind) else kind


def _widened(pa: Any, kind: Any) -> Any:
    if pa.types.is_string(kind):
        return pa.large_string()
    if pa.types.is_list(kind):
        return pa.large_list(kind.value_field)
    return pa.large_binary() if pa.types.is_binary(kind) else kind


def python_values(column: Any) -> list[Any]:
    """A column as Python values; texts that are not UTF-8 as `InvalidText`.

    Dates that Python cannot represent are texts: with nanoseconds, after the year 9999, or in a
    time zone that this system does not know.
    """
    pa = need("pyarrow", "jobs")
    if pa.types.is_temporal(column.type) and getattr(column.type, "unit", "") == "ns":
        column = column.cast(pa.string())
    values: list[Any]
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:  # a Parquet file may have invalid UTF-8 in a text column
        values = [*map(_decoded, column.cast(pa.large_binary()).to_pylist())]
    except (OverflowError, pa.ArrowInvalid):
        if not pa.types.is_temporal(column.type):
            raise
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp(column.type.unit))  # UTC, if the zone is unknown
        values = column.cast(pa.string()).to_pylist()
    return values


def _decoded(value: bytes | None) -> Any:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return InvalidText(value or b"")
