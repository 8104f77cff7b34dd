"""Spark: vectors for every row of a DataFrame, by as many tasks as run at a time."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from openrouter_embeddings._extras import need
from openrouter_embeddings.client import Client
from openrouter_embeddings.core.options import check_option_names

from ._arrow import DEFAULT_OUTPUT, Embedder, check_output, reasons_column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Unpack

    import pyarrow as pa

    from openrouter_embeddings.core.options import EmbedOptions


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
    """The DataFrame with a column of vectors, an array of floats (`mapInArrow`).

    Every task makes one client. Arguments and errors are those of `adapters.ray.Embed`, with
    `workers` for how many tasks run at a time, and the extra `spark`.
    """
    check_option_names(options)  # here, and not first where the tasks run
    check_output(frame.columns, output, skips=options.get("on_error") == "skip")
    types = need("pyspark.sql.types", "spark")
    schema = types.StructType([*frame.schema.fields])  # `add` would change the frame's own
    schema = schema.add(output, types.ArrayType(types.FloatType()))
    if options.get("on_error") == "skip":
        schema = schema.add(reasons_column(output), types.StringType())
    reading: Any = {"column": column, "template": template, "images": images, "output": output}

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        arrow = need("pyarrow", "spark")
        made = Embedder("spark", workers=workers, client=client, options=options, **reading)
        with closing(made) as embedder:
            for batch in batches:
                table = embedder(arrow.Table.from_batches([batch]))
                at = table.schema.get_field_index(output)
                plain = table.column(at).cast(arrow.list_(arrow.float32()))  # Spark knows no other
                yield from table.set_column(at, output, plain).to_batches()

    return frame.mapInArrow(run, schema)
