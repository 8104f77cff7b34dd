"""Spark: tasks embed the rows of a DataFrame."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from openrouter_embeddings._extras import need
from openrouter_embeddings.client import Client
from openrouter_embeddings.core.options import check_names

from ._arrow import DEFAULT_OUTPUT, Embedder, check_output, error_column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Unpack

    import pyarrow as pa

    from openrouter_embeddings.core.options import EmbedOptions


class _Embedder(Embedder):
    _extra = "spark"


def embed(
    frame: Any,
    *,
    workers: int,
    column: str | None = None,
    template: str | None = None,
    images: str | None = None,
    output: str = DEFAULT_OUTPUT,
    client: Callable[..., Client] = Client,
    **options: Unpack[EmbedOptions],
) -> Any:
    """The DataFrame with a new column of vectors, each an array of floats (`mapInArrow`).

    Each task makes one client; `workers` is the number of tasks that run at a time. The extra is
    `spark`. The other arguments and the errors are those of `adapters.ray.Embed`.
    """
    check_names(options)  # so that the error comes here, not from a task
    check_output(frame.columns, output, skips=options.get("on_error") == "skip")
    types = need("pyspark.sql.types", "spark")
    schema = types.StructType([*frame.schema.fields])  # a copy, because `add` changes it
    schema = schema.add(output, types.ArrayType(types.FloatType()))
    if options.get("on_error") == "skip":
        schema = schema.add(error_column(output), types.StringType())
    reading: Any = {"column": column, "template": template, "images": images, "output": output}

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        arrow = need("pyarrow", "spark")
        embedder = _Embedder(workers=workers, client=client, **reading, **options)
        with closing(embedder):
            for batch in batches:
                table = embedder(arrow.Table.from_batches([batch]))
                index = table.schema.get_field_index(output)
                # Spark has no fixed-size lists
                vectors = table.column(index).cast(arrow.list_(arrow.float32()))
                yield from table.set_column(index, output, vectors).to_batches()

    return frame.mapInArrow(run, schema)
