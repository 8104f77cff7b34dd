"""Ray Data: actors on any number of machines embed the rows of a dataset."""

from ._arrow import Embedder


class Embed(Embedder):
    """A callable class for `Dataset.map_batches` that adds a column of vectors to Arrow tables.

        dataset.map_batches(
            Embed,
            fn_constructor_kwargs={"workers": 2, "column": "title", "model": "…"},
            batch_format="pyarrow",
            batch_size=1024,
            compute=ray.data.ActorPoolStrategy(size=2),
        )

    Each actor makes one client, with an equal share of `concurrency`. The client reads the API key
    from the actor's environment, OPENROUTER_API_KEY. The key cannot be an argument, because Ray
    stores arguments; for the same reason, put no passwords into `headers`. If an actor dies, Ray
    gives its batch to another actor, which embeds and pays for it again. The vectors are a
    fixed-size list of float32. Equal inputs in a batch are embedded once.

    Args:
        workers: the number of actors.
        column: the column with text; default: the only text column, or the one named "text".
        template: text from several columns, in place of `column`: `"{title}: {body}"`.
        images: the column with images, as bytes, absolute paths or URLs.
        output: the column to add.
        client: makes each actor's client; `Client.local` makes one of the stand-in.
        **options: those of `Client`, except `budget`. With `on_error="skip"`, a row that cannot be
            embedded gets null, and a second new column, `output` + "_error", has the reason.

    Raises:
        InputError: an option is invalid, a row cannot be embedded, or there is no API key.
        EmbeddingsError: see `Client.embed`.
        ImportError: the extra `ray` is not installed.
    """

    _extra = "ray"
