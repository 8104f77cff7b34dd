"""Arrow's values as Arrow can work on them, and as Python has them."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class NoText(bytes):
    """What a file calls text, and is none."""


def is_utf8(text: str) -> bool:
    """Whether it can be written: names of files, and arguments of a command, may be any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain_schema(schema: Any) -> Any:
    """The schema with values in place of categories, whose codes differ from batch to batch.

    And with strings in place of string views, which many of pyarrow's functions do not take. Both
    inside lists and structs as well.
    """
    pa = need("pyarrow", "jobs")
    fields = [field.with_type(_rebuilt(pa, field.type, _without_view)) for field in schema]
    return pa.schema(fields, schema.metadata)


def known(schema: Any, name: str) -> str:
    """The name of a column. Raises InputError where there are others and not this one."""
    if schema.names and name not in schema.names:
        raise InputError(f"there is no column {name!r}; there are {', '.join(schema.names)}")
    return name


def check_option_names(schema: Any) -> None:
    """Raises InputError where two columns have the same name."""
    names: list[str] = schema.names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"the source has more than one column {twice[0]!r}; rename them")


def merged_schema(schemas: Iterable[tuple[Any, Any]]) -> Any:
    """The schema that fits several files, given as pairs of a name and a schema.

    Columns are in the first file's order. They may differ in order, in whether they can be null,
    in string and large_string, list and large_list, and nulls alone fit every type. Raises
    InputError naming the column in which two files differ.
    """
    pa = need("pyarrow", "jobs")
    (first, merged), *others = schemas
    for name, schema in others:
        check_option_names(merged)
        check_option_names(schema)
        if odd := sorted({*merged.names} ^ {*schema.names}):
            has, lacks = (name, first) if odd[0] in schema.names else (first, name)
            raise InputError(
                f"{has} has a column {odd[0]!r} and {lacks} has none; the files of one source have "
                "the same columns"
            )
        fields = []
        for field in merged:
            other = schema.field(field.name)
            both = _common(pa, field, other)
            if both is None:
                raise InputError(
                    f"the column {field.name!r} is {other.type} in {name} and {field.type} in "
                    f"{first}; the files of one source have the same types"
                )
            fields.append(both)
        merged = pa.schema(fields, merged.metadata)
    return merged


def wide_type(values: list[Any]) -> Any:
    """The type that Arrow finds for what JSON gives; decimal128(20, 0) for integers over 2⁶³-1.

    Arrow takes large integers only where it is told their type. Its decimals unite with other
    integers, its unsigned integers do not; see `unsigned_schema`. Whether each value fits the type
    is found out when it is read.
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
    """A schema from `wide_type`, with uint64 in place of the decimals."""
    pa = need("pyarrow", "jobs")

    def unsigned(_: Any, kind: Any) -> Any:
        return pa.uint64() if pa.types.is_decimal(kind) else kind

    return pa.schema([field.with_type(_rebuilt(pa, field.type, unsigned)) for field in schema])


def _common(pa: Any, one: Any, other: Any) -> Any:
    """The field that holds the values of both; None where there is none."""
    wide = [field.with_type(_rebuilt(pa, field.type, _widened)) for field in (one, other)]
    for fields in ((one, other), wide):
        with suppress(pa.ArrowException):
            return pa.unify_schemas([pa.schema([field]) for field in fields]).field(0)
    return None


def plain(batch: Any, schema: Any) -> Any:
    """A batch or table with a schema of `plain_schema`, and its metadata."""
    pa = need("pyarrow", "jobs")
    if isinstance(batch, pa.Table):
        return pa.Table.from_batches([plain(one, schema) for one in batch.to_batches()], schema)
    columns = [
        column.dictionary.cast(field.type).take(column.indices)
        if pa.types.is_dictionary(column.type)
        else column.cast(field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _rebuilt(pa: Any, kind: Any, change: Callable[[Any, Any], Any]) -> Any:
    """A type with `change` made to it and to all types in it, and without categories."""
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
    """A column as Python's values: what is no UTF-8 as `NoText`.

    Dates are text where Python cannot have them: with nanoseconds, beyond the year 9999, in zones
    that are not known here.
    """
    pa = need("pyarrow", "jobs")
    if pa.types.is_temporal(column.type) and getattr(column.type, "unit", "") == "ns":
        column = column.cast(pa.string())
    values: list[Any]
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:  # nobody has to check what a file calls text
        values = [*map(_decoded, column.cast(pa.large_binary()).to_pylist())]
    except (OverflowError, pa.ArrowInvalid):
        if not pa.types.is_temporal(column.type):
            raise
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp(column.type.unit))  # UTC, where the zone is unknown
        values = column.cast(pa.string()).to_pylist()
    return values


def _decoded(value: bytes | None) -> Any:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return NoText(value or b"")
