"""Arrow's values as Arrow can work on them, and as Python has them."""

from __future__ import annotations

from typing import Any

from openrouter_embeddings._extras import need


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
    """Values in place of categories, whose codes mean something else in every batch.

    And texts in place of views of texts, which pyarrow does not take by number yet.
    """
    pa = need("pyarrow", "jobs")
    fields = [field.with_type(_plain_type(pa, field.type)) for field in schema]
    return pa.schema(fields, schema.metadata)


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


def _plain_type(pa: Any, kind: Any) -> Any:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string_view(kind):
        return pa.large_string()
    return pa.large_binary() if pa.types.is_binary_view(kind) else kind


def python_values(column: Any) -> list[Any]:
    """A column as Python's values: dates with nanoseconds as text, what is no UTF-8 as `NoText`."""
    pa = need("pyarrow", "jobs")
    if pa.types.is_temporal(column.type) and getattr(column.type, "unit", "") == "ns":
        column = column.cast(pa.string())
    values: list[Any]
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:  # nobody has to check what a file calls text
        values = [*map(_decoded, column.cast(pa.large_binary()).to_pylist())]
    return values


def _decoded(value: bytes | None) -> Any:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return NoText(value or b"")
