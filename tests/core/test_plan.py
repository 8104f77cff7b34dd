"""Batches: bounded, in order, complete."""

from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.core import plan
from openrouter_embeddings.core.plan import split
from openrouter_embeddings.inputs import Loaded, LoadedImage

ITEMS = st.lists(
    st.text(min_size=1)
    | st.lists(st.integers(0, 9), min_size=1)
    | st.tuples(st.text(min_size=1), st.builds(LoadedImage, st.binary()))
)


@given(ITEMS, st.integers(1, 7))
def test_no_input_is_lost_moved_or_repeated(items: list[Loaded], batch_size: int) -> None:
    """Batches put together are the inputs, and each knows where it starts."""
    batches = [*split(items, batch_size)]
    assert [item for batch in batches for item in batch.items] == items
    assert [p for batch in batches for p in batch.positions] == [*range(len(items))]
    assert all(1 <= len(batch.items) <= batch_size for batch in batches)


def test_many_small_texts_fill_batches_by_count() -> None:
    """Without large inputs only the count matters."""
    assert [len(batch.items) for batch in split(["a"] * 300, 128)] == [128, 128, 44]


def test_large_texts_make_smaller_batches() -> None:
    """A request stays below what providers take, and a huge text travels alone."""
    half = "x" * (plan.MAX_TEXT_BYTES // 2)
    huge = "x" * (plan.MAX_TEXT_BYTES * 3)
    batches = [*split([half, half, "a", huge, "b"], 128)]
    assert [batch.positions for batch in batches] == [
        range(2),
        range(2, 3),
        range(3, 4),
        range(4, 5),
    ]


def test_after_a_large_text_batches_are_full_again() -> None:
    """The bounds are those of one batch."""
    huge = "x" * (plan.MAX_TEXT_BYTES + 1)
    assert [len(batch.items) for batch in split([huge, *["a"] * 9], 4)] == [1, 4, 4, 1]


def test_large_images_make_smaller_batches() -> None:
    """Images are bounded by their bytes."""
    image = (LoadedImage(bytes(plan.MAX_IMAGE_BYTES // 3), "image/png"),)
    assert [len(batch.items) for batch in split([image] * 4, 128)] == [3, 1]
