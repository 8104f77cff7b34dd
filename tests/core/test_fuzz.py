"""The decoder against the plain reference, on bodies that are almost right."""

import pytest

from tests.core.reference import differing, reference, verdict


@pytest.mark.parametrize("seed", range(4))
def test_almost_right_bodies_mean_the_same_to_both_decoders(seed: int) -> None:
    """Vectors, row by row and bit by bit; refused; or an error inside a 200."""
    assert differing(seed, 1500) is None


def test_the_reference_tells_verdicts_apart() -> None:
    """Or nothing would be compared."""
    right = b'{"data":[{"index":0,"embedding":"AACAPw=="}]}'
    assert reference(right, 1, None) == ("vectors", {0: (1.0,)}) == verdict(right, 1, None)
    assert reference(right, 2, None) == ("refused",)
    assert reference(b'{"error":{"code":400}}', 1, None) == ("error",)
    assert reference(right.replace(b"AACAPw==", b"AAAAAA=="), 1, None) == ("vectors", {})
