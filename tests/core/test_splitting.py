"""Cutting and searching batches, against services that are a function: no client, no waiting."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.core.batching import Batch
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
"""From the texts of a request to an error, or the rows without a usable vector."""


def refusal(message: str = "no", kind: type[ore.EmbeddingsError] = ore.BadRequestError) -> Service:
    """A service that refuses everything."""
    return lambda _: kind(message)


class Run:
    """One batch, worked through; what was sent, and what came."""

    def __init__(
        self,
        texts: Iterable[str],
        service: Service,
        *,
        skip: bool = False,
        proven: bool = False,
        learned: ModelLimits | None = None,
        retry: bool = True,
    ) -> None:
        texts = [*texts]
        self.sent: list[list[str]] = []
        self.accepted: Counter[str] = Counter()
        self.learned = learned or ModelLimits()
        batch = Batch(range(10, 10 + len(texts)), texts)
        self.division = BatchSplitter(batch, self.learned, "m", skip=skip, retry=retry)
        while (piece := self.division.next()) is not None:
            asked = [str(item) for item in piece.items]
            self.sent.append(asked)
            said = service(asked)
            if isinstance(said, ore.EmbeddingsError):
                said.inputs = tuple(piece.positions)
                self.division.failed(piece, said, as_base64=True, proven=proven)
            else:
                self._answer(piece, said)

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
        self.division.succeeded(piece, Decoded(matrix.reshape(-1, 1), served, refused))

    @property
    def came(self) -> list[int]:
        """Positions with a vector."""
        return sorted(p for d in self.division.done for p in d.served.positions)


def picky(bad: set[str], cap: int = 10**6) -> Service:
    """Refuses a request that holds a bad text, or too many texts without saying how many."""

    def service(texts: list[str]) -> ore.EmbeddingsError | set[int]:
        if len(texts) > cap:
            return ore.BadRequestError("Too many inputs in request")
        return ore.BadRequestError("cannot process") if bad & {*texts} else set()

    return service


@given(st.integers(1, 40), st.data())
def test_skipping_keeps_exactly_what_is_accepted(count: int, data: st.DataObject) -> None:
    """Each good input is sent successfully once; each bad one has its error; nothing else."""
    texts = [f"t{i}" for i in range(count)]
    bad = data.draw(st.sets(st.sampled_from(texts), max_size=count - 1))
    run = Run(texts, picky(bad), skip=True, proven=True)
    assert run.accepted == Counter(t for t in texts if t not in bad)
    assert {*run.division.errors} == {10 + texts.index(t) for t in bad}
    assert run.came == [10 + i for i, t in enumerate(texts) if t not in bad]
    if len(bad) == 1:
        assert len(run.sent) <= 2 * np.ceil(np.log2(count)) + 1


@given(st.integers(2, 64), st.data())
def test_raising_names_the_first_bad_input(count: int, data: st.DataObject) -> None:
    """By its original position; and what was accepted on the way is kept, once."""
    texts = [f"t{i}" for i in range(count)]
    bad = data.draw(st.sampled_from(texts))
    with pytest.raises(ore.BadRequestError) as caught:
        Run(texts, picky({bad}))
    assert caught.value.inputs == (10 + texts.index(bad),)


@given(st.integers(1, 99), st.integers(1, 99))
def test_a_cap_that_is_not_named_is_found_by_halving(count: int, cap: int) -> None:
    """Every input is accepted once, and the next batch is cut before it is sent."""
    texts = [f"t{i}" for i in range(count)]
    run = Run(texts, picky(set(), cap))
    assert run.accepted == Counter(texts)
    again = Run(texts, picky(set(), cap), learned=run.learned)
    assert all(len(sent) <= cap for sent in again.sent)


def test_a_cap_that_is_named_is_kept_to_at_once() -> None:
    """One refusal, then pieces as large as may be."""

    def service(texts: list[str]) -> ore.EmbeddingsError | set[int]:
        if len(texts) > 30:
            return ore.BadRequestError("batch size 64 > maximum allowed batch size 30")
        return set()

    run = Run(map(str, range(64)), service)
    assert [len(sent) for sent in run.sent] == [64, 30, 30, 4]
    assert run.learned.counts["m"].value == 30


def test_a_payload_cap_is_learned_in_bytes() -> None:
    """Not as a number of inputs, which may be short next time."""

    def service(texts: list[str]) -> ore.EmbeddingsError | set[int]:
        too_long = sum(map(len, texts)) > 100
        return ore.PayloadTooLargeError("Payload Too Large") if too_long else set()

    run = Run(["x" * 30] * 8, service)
    assert run.learned.counts == {}
    assert run.learned.sizes["m"].value == 60
    assert [len(sent) for sent in Run(["x"] * 50, service, learned=run.learned).sent] == [50]
    assert len(Run(["x" * 30] * 8, service, learned=run.learned).sent) == 4


def counting_tokens(cap: int) -> Service:
    """A service that takes so many words in a request, and says it as Mistral does."""

    def service(texts: list[str]) -> ore.EmbeddingsError | set[int]:
        if sum(len(text.split()) for text in texts) > cap:
            return ore.BadRequestError("Too many tokens overall, split into more batches.")
        return set()

    return service


def test_a_token_cap_does_not_limit_the_number_of_short_texts() -> None:
    """Two long texts are too much together; 128 short ones are not."""
    learned = ModelLimits()
    Run(["word " * 8000] * 2, counting_tokens(10_000), learned=learned)
    assert learned.counts == {}
    short = [f"text {i}" for i in range(128)]
    assert len(Run(short, counting_tokens(10_000), learned=learned).sent) == 1


@pytest.mark.parametrize("what", ["count", "named count", "size"])
def test_a_cap_that_is_gone_is_forgotten(what: str) -> None:
    """A larger request is tried now and then, and passes."""

    def service(cap: int) -> Service:
        if what == "size":
            return counting_tokens(cap)
        named = f": at most {cap} inputs" if what == "named count" else ""
        return lambda texts: (
            ore.BadRequestError(f"Too many inputs{named}") if len(texts) > cap else set()
        )

    learned, texts = ModelLimits(), ["word"] * 64
    Run(texts, service(8), learned=learned)
    assert len(Run(texts, service(8), learned=learned).sent) == 8
    requests = [len(Run(texts, service(1000), learned=learned).sent) for _ in range(40)]
    assert requests[-1] == 1


@pytest.mark.parametrize("what", ["count", "named count", "size"])
def test_a_cap_that_stays_is_tried_ever_less_often(what: str) -> None:
    """A trial that is refused costs one request, and loses nothing that was known."""

    def service(texts: list[str]) -> ore.EmbeddingsError | set[int]:
        if what == "size":
            return counting_tokens(8)(texts)
        named = ": at most 8 inputs" if what == "named count" else ""
        return ore.BadRequestError(f"Too many inputs{named}") if len(texts) > 8 else set()

    learned, texts, refused = ModelLimits(), ["word"] * 64, 0
    Run(texts, service, learned=learned)
    for _ in range(100):
        run = Run(texts, service, learned=learned)
        assert run.came == [*range(10, 74)]
        refused += sum(len(sent) > 8 for sent in run.sent)
    assert 0 < refused < 10
    caps = learned.sizes if what == "size" else learned.counts
    assert caps["m"].value == (32 if what == "size" else 8)


def test_a_bad_input_teaches_no_cap() -> None:
    """Only where cutting alone helped is there one."""
    run = Run("abcdefgh", picky({"c"}), skip=True)
    assert run.learned == ModelLimits()


def test_an_input_that_is_too_large_by_itself_teaches_no_cap() -> None:
    """The others would fit together."""

    def service(texts: list[str]) -> ore.EmbeddingsError | set[int]:
        too_long = any(len(text) > 9 for text in texts)
        return ore.PayloadTooLargeError("Payload Too Large") if too_long else set()

    run = Run(["a", "b", "x" * 10, "d"], service, skip=True)
    assert {*run.division.errors} == {12}
    assert run.learned == ModelLimits()


@pytest.mark.parametrize("skip", [True, False])
def test_a_request_that_is_wrong_as_a_whole_is_not_searched_to_the_end(skip: bool) -> None:
    """Nine inputs here and there are refused alone, none was accepted: it is not the inputs."""
    texts = [str(i) for i in range(64)]
    sent: list[int] = []

    def service(asked: list[str]) -> ore.EmbeddingsError | set[int]:
        sent.append(len(asked))
        return ore.BadRequestError("dimensions is not supported by this model")

    with pytest.raises(ore.BadRequestError) as caught:
        Run(texts, service, skip=skip)
    assert caught.value.inputs == (*range(10, 74),)
    assert sent == [64, 32, 16, 8, 4, 2, *[1] * 9]


@pytest.mark.parametrize(
    "texts", [["bad", "bad"] + ["ok"] * 100, ["ok"] * 60 + ["bad"] * 3, ["bad"] * 40 + ["ok"] * 9]
)
def test_skipping_does_not_depend_on_where_the_bad_ones_stand(texts: list[str]) -> None:
    """Others are tried before the request as a whole is blamed."""
    run = Run(texts, picky({"bad"}), skip=True)
    assert {*run.division.errors} == {10 + i for i, text in enumerate(texts) if text == "bad"}
    assert run.came == [10 + i for i, text in enumerate(texts) if text == "ok"]


def test_a_few_inputs_that_are_all_bad_are_skipped() -> None:
    """Each was tried by itself."""
    run = Run("abc", picky({*"abc"}), skip=True)
    assert {*run.division.errors} == {10, 11, 12}
    with pytest.raises(ore.BadRequestError) as caught:
        Run("abc", picky({*"abc"}))
    assert caught.value.inputs == (10,)


def test_where_the_price_is_unknown_the_first_input_goes_alone() -> None:
    """So that a budget can be passed by one input at most."""
    division = BatchSplitter(
        Batch(range(3), ["a", "b", "c"]),
        ModelLimits(),
        "m",
        skip=False,
        retry=True,
        price_unknown=lambda: True,
    )
    assert (division.next() or Batch([], [])).items == ["a"]


def test_inputs_that_are_all_bad_are_skipped_once_others_were_accepted() -> None:
    """The service has short_repr that it takes such requests."""
    run = Run("abcd", picky({*"abcd"}), skip=True, proven=True)
    assert {*run.division.errors} == {10, 11, 12, 13}


@pytest.mark.parametrize(
    "kind", [ore.AuthenticationError, ore.PaymentRequiredError, ore.NotFoundError, ore.ServerError]
)
@pytest.mark.parametrize("skip", [True, False])
def test_what_is_no_inputs_fault_ends_it(kind: type[ore.EmbeddingsError], skip: bool) -> None:
    """Skipping is for inputs."""
    with pytest.raises(kind):
        Run("abcd", refusal("no", kind), skip=skip, proven=True)


def test_rows_without_a_vector_are_asked_for_again_alone() -> None:
    """The others were paid for, and are not asked for twice."""
    answers = iter([{1, 3}, {0}, set[int]()])

    def service(_: list[str]) -> ore.EmbeddingsError | set[int]:
        return next(answers)

    with pytest.raises(ore.ResponseError) as caught:
        Run("abcd", service)
    assert caught.value.inputs == (11,)
    answers = iter([{1, 3}, {0}])
    run = Run("abcd", service, skip=True)
    assert run.sent == [[*"abcd"], ["b", "d"]]
    assert run.came == [10, 12, 13]
    assert {*run.division.errors} == {11}


def test_without_retries_nothing_is_asked_again() -> None:
    """`max_retries=0` means one request."""
    with pytest.raises(ore.ResponseError):
        Run("ab", lambda _: {1}, retry=False)


def test_base64_is_given_up_once() -> None:
    """The piece goes again, and the model is remembered."""
    said: list[ore.EmbeddingsError | set[int]] = [
        ore.BadRequestError("encoding_format: base64 is not supported"),
        set(),
    ]
    run = Run("ab", lambda _: said.pop(0))
    assert run.sent == [["a", "b"], ["a", "b"]]
    assert run.learned.float_only == {"m"}


@pytest.mark.parametrize(
    ("message", "cap"),
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
def test_a_cap_is_read_from_what_providers_say(message: str, cap: int | None) -> None:
    """Numbers of inputs, not of tokens or characters."""
    assert stated_limit(ore.BadRequestError(message)) == cap


def test_what_an_error_is_about() -> None:
    """Too many inputs, too many bytes or tokens, the encoding, an input."""
    assert exceeded_limit(ore.PayloadTooLargeError("no")) == "size"
    assert exceeded_limit(
        ore.BadRequestError("Requested 310000 tokens, max 300000 tokens per request")
    )
    assert exceeded_limit(ore.BadRequestError("Too many inputs")) == "count"
    mistral = "Too many tokens overall, split into more batches."
    voyage = "The max allowed tokens per submitted batch is 120000. Your batch has 131072 tokens."
    for said in (mistral, voyage, "Requested 900 tokens, max 300 tokens per request"):
        assert exceeded_limit(ore.BadRequestError(said)) == "size"
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


def test_pieces_of_another_width_are_refused() -> None:
    """One call, one vector space."""
    division = BatchSplitter(
        Batch([0, 1], ["a", "b"]),
        ModelLimits({"m": Limit(1)}),
        "m",
        skip=True,
        retry=True,
    )
    for width in (2, 3):
        piece = division.next()
        assert piece is not None
        served = Served(piece.positions, "m", None, None, Usage(), {})
        decoded = Decoded(np.ones((1, width), np.float32), served)
        if width == 2:
            division.succeeded(piece, decoded)
        else:
            with pytest.raises(ore.ResponseError, match=r"3 dimensions, .* of 2 for other"):
                division.succeeded(piece, decoded)


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.integers(1, 4))
def test_missing_values_are_never_sent(there: list[bool], most: int) -> None:
    """The others are, in their order, whatever a request may hold; each has an error."""
    items = [f"text {n}" if is_there else () for n, is_there in enumerate(there)]
    batch = Batch(range(len(items)), items)
    division = BatchSplitter(batch, ModelLimits({"m": Limit(most)}), "m", skip=True, retry=False)
    sent: list[tuple[int, Any]] = []
    while (piece := division.next()) is not None:
        assert piece.items
        sent += zip(piece.positions, piece.items, strict=True)
    assert sent == [(n, item) for n, item in enumerate(items) if item]
    assert division.errors.keys() == {n for n, item in enumerate(items) if not item}
    assert {str(error) for error in division.errors.values()} == {
        f"input {n}: missing value" for n in division.errors
    }


def test_a_missing_value_ends_a_batch_before_anything_of_it_is_sent() -> None:
    """Where it is not skipped."""
    division = BatchSplitter(
        Batch([7, 8], ["a", ()]),
        ModelLimits({"m": Limit(1)}),
        "m",
        skip=False,
        retry=False,
    )
    with pytest.raises(ore.InputError, match="input 8: missing value; remove it") as caught:
        division.next()
    assert caught.value.inputs == (8,)
