"""Grouping inputs into batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.core import batching
from openrouter_embeddings.core.batching import batched
from openrouter_embeddings.inputs import Kind, Loaded, LoadedMedia, RawPart

KINDS: tuple[Kind, ...] = ("image", "audio", "video", "file")
ITEMS = st.lists(
    st.text(min_size=1)
    | st.lists(st.integers(0, 9), min_size=1)
    | st.tuples(
        st.text(min_size=1),
        st.builds(LoadedMedia, st.sampled_from(KINDS), st.binary())
        | st.builds(RawPart, st.binary()),
    )
)


@given(ITEMS, st.integers(1, 7))
def test_batches_hold_every_input_once_and_in_order(items: list[Loaded], batch_size: int) -> None:
    """Concatenated batches are the inputs, and positions count from 0."""
    batches = [*batched(items, batch_size)]
    assert [item for batch in batches for item in batch.items] == items
    assert [p for batch in batches for p in batch.positions] == [*range(len(items))]
    assert all(1 <= len(batch.items) <= batch_size for batch in batches)


def test_small_texts_fill_batches_to_the_batch_size() -> None:
    """Without large inputs only the count limits a batch."""
    assert [len(batch.items) for batch in batched(["a"] * 300, 128)] == [128, 128, 44]


def test_large_texts_make_smaller_batches() -> None:
    """Batches stay below the size limit, and a larger text gets its own."""
    half = "x" * (batching.MAX_TEXT_BYTES // 2)
    huge = "x" * (batching.MAX_TEXT_BYTES * 3)
    batches = [*batched([half, half, "a", huge, "b"], 128)]
    assert [batch.positions for batch in batches] == [
        range(2),
        range(2, 3),
        range(3, 4),
        range(4, 5),
    ]


def test_after_a_large_text_batches_are_full_again() -> None:
    """The size limit applies to each batch separately."""
    huge = "x" * (batching.MAX_TEXT_BYTES + 1)
    assert [len(batch.items) for batch in batched([huge, *["a"] * 9], 4)] == [1, 4, 4, 1]


@pytest.mark.parametrize(
    "part",
    [
        *(LoadedMedia(kind, bytes(batching.MAX_MEDIA_BYTES // 3)) for kind in KINDS),
        RawPart(bytes(batching.MAX_MEDIA_BYTES // 3)),
        RawPart(
            bytes(batching.MAX_MEDIA_BYTES // 3), "image", "x" * (batching.MAX_MEDIA_BYTES // 3)
        ),
    ],
    ids=lambda part: getattr(part, "kind", "raw"),
)
def test_large_files_make_smaller_batches(part: LoadedMedia | RawPart) -> None:
    """Media are limited by their bytes, in a list and in a stream."""
    assert [len(batch.items) for batch in batched([(part,)] * 4, 128)] == [3, 1]
    assert [len(batch.items) for batch in batched(iter([(part,)] * 4), 128)] == [3, 1]


@given(ITEMS.filter(len))
def test_max_tokens_is_an_upper_bound(items: list[Loaded]) -> None:
    """A byte of text is at most one token, and media have a maximum by kind."""
    counted = batching.Batch(range(len(items)), items).max_tokens
    least = 0
    for item in items:
        parts = item if isinstance(item, tuple) else (item,)
        least += sum(
            len(part.encode()) if isinstance(part, str) else len(part)
            for part in parts
            if isinstance(part, str | list)
        )
        files = sum(not isinstance(part, str | list) for part in parts)
        images = sum(getattr(part, "kind", "") == "image" for part in parts)
        least += 131_072 * (files - images) + 8192 * images
    assert counted >= least


@pytest.mark.parametrize(
    ("kind", "base"), [("image", 8192), ("audio", 131_072), ("video", 131_072), ("file", 131_072)]
)
def test_raw_parts_have_the_same_max_tokens_as_typed_parts(kind: Kind, base: int) -> None:
    """The base64 in a raw part does not count as text, its other fields do."""
    data = "A" * 10**6
    raw = RawPart(b"12345" + data.encode(), kind, data)
    for part, more in ((raw, 5), (LoadedMedia(kind, data.encode()), 0)):
        assert batching.Batch([0], [(part,)]).max_tokens == base + more + batching.FRAME_TOKENS
    text = RawPart(b"12345", "text")
    assert batching.Batch([0], [(text,)]).max_tokens == 5 + batching.FRAME_TOKENS
