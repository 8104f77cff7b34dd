"""Ray Data: vectors for every row of a dataset, by actors on any number of machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openrouter_embeddings.client import Client

from ._arrow import DEFAULT_OUTPUT, Embedder

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    import pyarrow as pa

    from openrouter_embeddings.core.options import EmbedOptions


class Embed:
    """For `Dataset.map_batches`: Arrow tables in, the same with a column of vectors out.

        dataset.map_batches(
            Embed,
            fn_constructor_kwargs={"workers": 2, "column": "title", "model": "…"},
            batch_format="pyarrow",
            batch_size=1024,
            compute=ray.data.ActorPoolStrategy(size=2),
        )

    Every actor makes one client, with its share of `concurrency`. The key comes from the actors'
    environment, OPENROUTER_API_KEY; it is no argument, because Ray stores arguments. Should an
    actor die, Ray gives its batch to another: what that batch had cost until then is paid again.
    The vectors are a fixed-size list of float32. Equal inputs of one batch are embedded once.

    Args:
        workers: how many actors there are.
        column: with the text; default: the only one of text, or the one named "text".
        template: in place of a column: `"{title}: {body}"`.
        images: a column with images, as bytes, absolute paths or URLs.
        output: the column that is added.
        client: makes each actor's client; `Client.local` is the stand-in.
        **options: as for `Client`, but no `budget`. With `on_error="skip"` a row that cannot be
            embedded has null, and the reason in the column `output` + "_error", which is added.

    Raises:
        InputError: an option cannot be right, a row cannot be embedded, or there is no API key.
        EmbeddingsError: as `Client.embed`.
        ImportError: the extra `ray` is not installed.
    """

    def __init__(
        self,
        *,
        workers: int,
        column: str | None = None,
        template: str | None = None,
        images: str | None = None,
        output: str = DEFAULT_OUTPUT,
        client: Callable[..., Client] = Client,
        **options: Unpack[EmbedOptions],
    ) -> None:
        self._embedder = Embedder(
            "ray",
            workers=workers,
            column=column,
            template=template,
            images=images,
            output=output,
            client=client,
            options=options,
        )

    def __call__(self, table: pa.Table) -> pa.Table:
        """A batch with its vectors."""
        return self._embedder(table)
