"""Splitting batches for services that are plain functions."""

from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.core.batching import Batch
from openrouter_embeddings.core.budget import Budget
from openrouter_embeddings.core.decode import Decoded
from openrouter_embeddings.core.retry_policy import (
    can_split,
    exceeded_limit,
    rejects_base64,
    stated_limit,
)
from openrouter_embeddings.core.splitting import BatchSplitter, Limit, ModelLimits
from openrouter_embeddings.result import Served, Usage

Service = Callable[[list[str]], ore.EmbeddingsError | set[int]]
"""Maps the texts of a request to an error, or to the rows without a usable vector."""


class Run:
    """One batch sent to a service: the requests, and what came of them."""

    def __init__(
        self,
        texts: Iterable[str],
        service: Service,
        *,
        skip: bool = False,
        proven: bool = False,
        limits: ModelLimits | None = None,
        retry: bool = True,
    ) -> None:
        texts = [*texts]
        self.sent: list[list[str]] = []
        self.accepted: Counter[str] = Counter()
        self.limits = limits or ModelLimits()
        batch = Batch(range(10, 10 + len(texts)), texts)
        self.splitter = BatchSplitter(batch, self.limits, "m", skip=skip, retry=retry)
        while (piece := self.splitter.next()) is not None:
            texts = [str(item) for item in piece.items]
            self.sent.append(texts)
            outcome = service(texts)
            if isinstance(outcome, ore.EmbeddingsError):
                outcome.inputs = tuple(piece.positions)
                self.splitter.failed(piece, outcome, as_base64=True, proven=proven)
            else:
                self._answer(piece, outcome)

    def _answer(self, piece: Batch, bad: set[int]) -> None:
        good = [row for row in range(len(piece.items)) if row not in bad]
        self.accepted.update(str(piece.items[row]) for row in good)
        matrix = np.array([[float(piece.positions[row])] for row in good], np.float32)
        served = Served([piece.positions[row] for row in good], "m", None, None, Usage(), {})
        refused = (
            ore.ResponseError("NaN", inputs=[piece.positions[row] for row in sorted(bad)])
            if bad
            else None
        )
        self.splitter.succeeded(piece, Decoded(matrix.reshape(-1, 1), served, refused))

    @property
    def came(self) -> list[int]:
        """Positions with a vector."""
        return sorted(p for _, d in self.splitter.accepted for p in d.served.positions)


def picky(bad: set[str], limit: int = 10**6) -> Service:
    """A service that rejects requests with a bad text, or with more than `limit` texts."""

    def service(texts: list[str]) -> ore.EmbeddingsError | set[int]:
        if len(texts) > limit:
            return ore.BadRequestError("Too many inputs in request")
        return ore.BadRequestError("cannot process") if bad & {*texts} else set()

    return service


def refusing(
    is_refused: Callable[[list[str]], bool], message: str, kind: Any = ore.BadRequestError
) -> Service:
    """A service that refuses some requests with this error, and accepts the others."""
    return lambda texts: kind(message) if is_refused(texts) else set()


@given(st.integers(1, 40), st.data())
def test_skipping_keeps_every_accepted_input(count: int, data: st.DataObject) -> None:
    """Each good input is accepted once, and each bad one has its error."""
    texts = [f"t{i}" for i in range(count)]
    bad = data.draw(st.sets(st.sampled_from(texts), max_size=count - 1))
    run = Run(texts, picky(bad), skip=True, proven=True)
    assert run.accepted == Counter(t for t in texts if t not in bad)
    assert {*run.splitter.errors} == {10 + texts.index(t) for t in bad}
    assert run.came == [10 + i for i, t in enumerate(texts) if t not in bad]
    if len(bad) == 1:
        assert len(run.sent) <= 2 * np.ceil(np.log2(count)) + 1


@given(st.integers(2, 64), st.data())
def test_raising_names_the_first_bad_input(count: int, data: st.DataObject) -> None:
    """The error has its position in what the caller passed."""
    texts = [f"t{i}" for i in range(count)]
    bad = data.draw(st.sampled_from(texts))
    with pytest.raises(ore.BadRequestError) as caught:
        Run(texts, picky({bad}))
    assert caught.value.inputs == (10 + texts.index(bad),)


@given(st.integers(1, 99), st.integers(1, 99))
def test_an_unstated_limit_is_found_by_halving(count: int, limit: int) -> None:
    """Every input is accepted once, and the next batch is split before it is sent."""
    texts = [f"t{i}" for i in range(count)]
    run = Run(texts, picky(set(), limit))
    assert run.accepted == Counter(texts)
    again = Run(texts, picky(set(), limit), limits=run.limits)
    assert all(len(sent) <= limit for sent in again.sent)


def test_a_stated_limit_is_used_at_once() -> None:
    """One rejected request, then pieces as large as the limit allows."""
    message = "batch size 64 > maximum allowed batch size 30"
    run = Run(map(str, range(64)), refusing(lambda texts: len(texts) > 30, message))
    assert [len(sent) for sent in run.sent] == [64, 30, 30, 4]
    assert run.limits.counts["m"].value == 30


def test_a_size_limit_is_learned_in_bytes() -> None:
    """It does not limit the number of shorter inputs."""
    service = refusing(
        lambda texts: sum(map(len, texts)) > 100, "Payload Too Large", ore.PayloadTooLargeError
    )
    run = Run(["x" * 30] * 8, service)
    assert run.limits.counts == {}
    assert run.limits.sizes["m"].value == 60
    assert [len(sent) for sent in Run(["x"] * 50, service, limits=run.limits).sent] == [50]
    assert len(Run(["x" * 30] * 8, service, limits=run.limits).sent) == 4


def counting_tokens(limit: int) -> Service:
    """A service that limits the words of a request, with Mistral's message."""
    return refusing(
        lambda texts: sum(len(text.split()) for text in texts) > limit,
        "Too many tokens overall, split into more batches.",
    )


def limited(what: str, limit: int) -> Service:
    """A service with a limit of tokens, or of inputs, which its message may state."""
    if what == "size":
        return counting_tokens(limit)
    stated = f": at most {limit} inputs" if what == "named count" else ""
    return refusing(lambda texts: len(texts) > limit, f"Too many inputs{stated}")


def test_a_token_limit_does_not_limit_the_number_of_short_texts() -> None:
    """Two long texts are too many together, 128 short ones are not."""
    limits = ModelLimits()
    Run(["word " * 8000] * 2, counting_tokens(10_000), limits=limits)
    assert limits.counts == {}
    short = [f"text {i}" for i in range(128)]
    assert len(Run(short, counting_tokens(10_000), limits=limits).sent) == 1


@pytest.mark.parametrize("what", ["count", "named count", "size"])
def test_a_limit_that_is_gone_is_forgotten(what: str) -> None:
    """A larger request is tried now and then, and accepted."""
    limits, texts = ModelLimits(), ["word"] * 64
    Run(texts, limited(what, 8), limits=limits)
    assert len(Run(texts, limited(what, 8), limits=limits).sent) == 8
    requests = [len(Run(texts, limited(what, 1000), limits=limits).sent) for _ in range(40)]
    assert requests[-1] == 1


@pytest.mark.parametrize("what", ["count", "named count", "size"])
def test_a_lasting_limit_is_tried_ever_less_often(what: str) -> None:
    """A rejected trial costs one request and forgets nothing."""
    service = limited(what, 8)
    limits, texts, refused = ModelLimits(), ["word"] * 64, 0
    Run(texts, service, limits=limits)
    for _ in range(100):
        run = Run(texts, service, limits=limits)
        assert run.came == [*range(10, 74)]
        refused += sum(len(sent) > 8 for sent in run.sent)
    assert 0 < refused < 10
    known = limits.sizes if what == "size" else limits.counts
    assert known["m"].value == (32 if what == "size" else 8)


def test_a_bad_input_sets_no_limit() -> None:
    """A limit is learned only if splitting alone has helped."""
    run = Run("abcdefgh", picky({"c"}), skip=True)
    assert run.limits == ModelLimits()


def test_an_input_that_is_too_large_by_itself_sets_no_limit() -> None:
    """The other inputs would fit into one request."""
    service = refusing(
        lambda texts: any(len(text) > 9 for text in texts),
        "Payload Too Large",
        ore.PayloadTooLargeError,
    )
    run = Run(["a", "b", "x" * 10, "d"], service, skip=True)
    assert {*run.splitter.errors} == {12}
    assert run.limits == ModelLimits()


@pytest.mark.parametrize("skip", [True, False])
def test_the_search_stops_if_the_whole_request_is_invalid(skip: bool) -> None:
    """After nine rejected inputs and none accepted, the inputs are not at fault."""
    texts = [str(i) for i in range(64)]
    sent: list[int] = []

    def service(texts: list[str]) -> ore.EmbeddingsError | set[int]:
        sent.append(len(texts))
        return ore.BadRequestError("dimensions is not supported by this model")

    with pytest.raises(ore.BadRequestError) as caught:
        Run(texts, service, skip=skip)
    assert caught.value.inputs == (*range(10, 74),)
    assert sent == [64, 32, 16, 8, 4, 2, *[1] * 9]


@pytest.mark.parametrize(
    "texts", [["bad", "bad"] + ["ok"] * 100, ["ok"] * 60 + ["bad"] * 3, ["bad"] * 40 + ["ok"] * 9]
)
def test_skipping_works_wherever_the_bad_inputs_are(texts: list[str]) -> None:
    """Inputs from other places are tried before the whole request is considered invalid."""
    run = Run(texts, picky({"bad"}), skip=True)
    assert {*run.splitter.errors} == {10 + i for i, text in enumerate(texts) if text == "bad"}
    assert run.came == [10 + i for i, text in enumerate(texts) if text == "ok"]


def test_a_few_inputs_that_are_all_bad_are_skipped() -> None:
    """Each was tried alone."""
    run = Run("abc", picky({*"abc"}), skip=True)
    assert {*run.splitter.errors} == {10, 11, 12}
    with pytest.raises(ore.BadRequestError) as caught:
        Run("abc", picky({*"abc"}))
    assert caught.value.inputs == (10,)


def test_the_first_input_goes_alone_if_the_price_is_unknown() -> None:
    """So only one input can exceed a budget."""
    splitter = BatchSplitter(
        Batch(range(3), ["a", "b", "c"]),
        ModelLimits(),
        "m",
        skip=False,
        retry=True,
        budget=Budget(Decimal(1)),
    )
    assert (splitter.next() or Batch([], [])).items == ["a"]


def test_bad_inputs_are_skipped_after_others_were_accepted() -> None:
    """The service has accepted the same options before."""
    run = Run("abcd", picky({*"abcd"}), skip=True, proven=True)
    assert {*run.splitter.errors} == {10, 11, 12, 13}


@pytest.mark.parametrize(
    "kind", [ore.AuthenticationError, ore.PaymentRequiredError, ore.NotFoundError, ore.ServerError]
)
@pytest.mark.parametrize("skip", [True, False])
def test_errors_unrelated_to_inputs_are_raised(kind: type[ore.EmbeddingsError], skip: bool) -> None:
    """Skipping applies to inputs only."""
    with pytest.raises(kind):
        Run("abcd", lambda _: kind("no"), skip=skip, proven=True)


def test_inputs_without_a_usable_vector_are_sent_again_alone() -> None:
    """The others were paid for and are not sent twice."""
    answers = iter([{1, 3}, {0}, set[int]()])
    with pytest.raises(ore.ResponseError) as caught:
        Run("abcd", lambda _: next(answers))
    assert caught.value.inputs == (11,)
    answers = iter([{1, 3}, {0}])
    run = Run("abcd", lambda _: next(answers), skip=True)
    assert run.sent == [[*"abcd"], ["b", "d"]]
    assert run.came == [10, 12, 13]
    assert {*run.splitter.errors} == {11}


def test_without_retries_nothing_is_sent_again() -> None:
    """`max_retries=0` means one request."""
    with pytest.raises(ore.ResponseError):
        Run("ab", lambda _: {1}, retry=False)


def test_a_model_that_rejects_base64_is_remembered() -> None:
    """The piece is sent again, and the model is in `float_only`."""
    outcome: list[ore.EmbeddingsError | set[int]] = [
        ore.BadRequestError("encoding_format: base64 is not supported"),
        set(),
    ]
    run = Run("ab", lambda _: outcome.pop(0))
    assert run.sent == [["a", "b"], ["a", "b"]]
    assert run.limits.float_only == {"m"}


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        ("Too many inputs. The max number of inputs is 16. We hope to increase it.", 16),
        ("at most 100 requests can be in one batch", 100),
        ("total number of texts must be at most 96 - received 128", 96),
        ("The batch size limit is 1000. Your batch size is 1200.", 1000),
        ("batch size is invalid, it should not be larger than 10.", 10),
        ("batch size 33 > maximum allowed batch size 32", 32),
        ("'input' array too long: expected an array with maximum length 2048", 2048),
        ("Too many inputs in request. Split into more batches.", None),
        ("This model's maximum context length is 8192 tokens, requested 9000 tokens", None),
        ("inputs must be at most 512 tokens", None),
        ("the maximum batch size is 2,048", 2048),
        ("at most 1,000,000 inputs", 1_000_000),
        ("Too many tokens overall, split into more batches.", None),
        ("The max allowed tokens per submitted batch is 120. Your batch has 131 tokens.", None),
        ("Invalid inputs: limit is 1 language per request", None),
        ("Could not process one of the inputs: 'there were at most 2'", None),
        ("cannot process the request", None),
    ],
)
def test_stated_limits_are_read_from_real_messages(message: str, limit: int | None) -> None:
    """Numbers of inputs count, numbers of tokens or characters do not."""
    assert stated_limit(ore.BadRequestError(message)) == limit


def test_errors_are_classified_by_their_message() -> None:
    """Too many inputs, too many bytes or tokens, the encoding, or a single input."""
    assert exceeded_limit(ore.PayloadTooLargeError("no")) == "size"
    assert exceeded_limit(
        ore.BadRequestError("Requested 310000 tokens, max 300000 tokens per request")
    )
    assert exceeded_limit(ore.BadRequestError("Too many inputs")) == "count"
    mistral = "Too many tokens overall, split into more batches."
    voyage = "The max allowed tokens per submitted batch is 120000. Your batch has 131072 tokens."
    for outcome in (mistral, voyage, "Requested 900 tokens, max 300 tokens per request"):
        assert exceeded_limit(ore.BadRequestError(outcome)) == "size"
    both = "batch size 200 is too large: at most 128 inputs of 512 tokens each"
    assert (exceeded_limit(ore.BadRequestError(both)), stated_limit(ore.BadRequestError(both))) == (
        "count",
        128,
    )
    assert exceeded_limit(ore.BadRequestError("cannot process")) is None
    assert rejects_base64(ore.BadRequestError("unknown field encoding_format"))
    assert not rejects_base64(ore.RateLimitError("base64"))
    assert can_split(ore.PermissionDeniedError("no", body='{"flagged_input": "x"}'))
    assert not can_split(ore.PermissionDeniedError("this key may not"))


def test_pieces_of_different_widths_are_rejected() -> None:
    """The vectors of a call must be of one vector space."""
    splitter = BatchSplitter(
        Batch([0, 1], ["a", "b"]), ModelLimits({"m": Limit(1)}), "m", skip=True, retry=True
    )
    for width in (2, 3):
        piece = splitter.next()
        assert piece is not None
        served = Served(piece.positions, "m", None, None, Usage(), {})
        decoded = Decoded(np.ones((1, width), np.float32), served)
        if width == 2:
            splitter.succeeded(piece, decoded)
        else:
            with pytest.raises(ore.ResponseError, match=r"3 dimensions, .* of 2 for other"):
                splitter.succeeded(piece, decoded)


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.integers(1, 4))
def test_missing_values_are_never_sent(present: list[bool], limit: int) -> None:
    """The others are sent in order, within the limit, and each missing one has an error."""
    items = [f"text {n}" if is_present else () for n, is_present in enumerate(present)]
    batch = Batch(range(len(items)), items)
    splitter = BatchSplitter(batch, ModelLimits({"m": Limit(limit)}), "m", skip=True, retry=False)
    sent: list[tuple[int, Any]] = []
    while (piece := splitter.next()) is not None:
        assert piece.items
        sent += zip(piece.positions, piece.items, strict=True)
    assert sent == [(n, item) for n, item in enumerate(items) if item]
    assert splitter.errors.keys() == {n for n, item in enumerate(items) if not item}
    assert {str(error) for error in splitter.errors.values()} == {
        f"input {n}: missing value" for n in splitter.errors
    }


def test_a_missing_value_raises_before_anything_is_sent() -> None:
    """Unless missing values are skipped."""
    splitter = BatchSplitter(
        Batch([7, 8], ["a", ()]), ModelLimits({"m": Limit(1)}), "m", skip=False, retry=False
    )
    with pytest.raises(ore.InputError, match="input 8: missing value; remove it") as caught:
        splitter.next()
    assert caught.value.inputs == (8,)
