"""The decoder compared with a simple reference, on slightly corrupted responses."""

import pytest

from tests.core.reference import differing, reference, verdict


@pytest.mark.parametrize("seed", range(4))
def test_the_decoder_agrees_with_the_reference(seed: int) -> None:
    """Both give the same vectors bit by bit, reject the body, or find an error in it."""
    assert differing(seed, 1500) is None


def test_the_reference_gives_every_verdict() -> None:
    """The comparison covers vectors, rejected bodies, errors and unusable vectors."""
    right = b'{"data":[{"index":0,"embedding":"AACAPw=="}]}'
    assert reference(right, 1, None) == ("vectors", {0: (1.0,)}) == verdict(right, 1, None)
    assert reference(right, 2, None) == ("refused",)
    assert reference(b'{"error":{"code":400}}', 1, None) == ("error",)
    assert reference(right.replace(b"AACAPw==", b"AAAAAA=="), 1, None) == ("vectors", {})
