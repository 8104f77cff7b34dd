"""Estimates of the cost and the time of a job, from a price or from a sample."""

import hashlib
import math
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pyarrow as pa
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings.jobs import _estimate
from openrouter_embeddings.jobs._estimate import Range, Sample, Stratum, extrapolated
from openrouter_embeddings.jobs._rows import Row
from openrouter_embeddings.local.faults import Fault
from openrouter_embeddings.testing import Service

from tests import support
from tests.job_support import run
from tests.support import PNG, orembed


def test_an_estimate_of_images_needs_a_sample(tmp_path: Path) -> None:
    """A price is refused; an input of the sample that the service refuses does no harm."""
    (tmp_path / "a.png").write_bytes(PNG)
    with pytest.raises(ore.InputError, match="the size of an image does not determine its tokens"):
        jobs.estimate(tmp_path, price=Decimal(1))
    table = pa.table({"text": ["good", "poison", "fine"]})
    service = Service(Fault("poison", text="poison"))
    with service.client(model="local/hash") as client:
        assert jobs.estimate(table, client=client).tokens > 0


def test_an_estimate_skips_files_that_the_job_writes(tmp_path: Path) -> None:
    """Like the job, it also refuses an unsuitable target."""
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    pattern = str(tmp_path / "*.jsonl")
    run(pattern, tmp_path / "t.jsonl")
    assert jobs.estimate(pattern, tmp_path / "t.jsonl", price=Decimal(1)).rows == 1
    with pytest.raises(ore.InputError, match="has a column 'embedding' already"):
        jobs.estimate(tmp_path / "t.jsonl", tmp_path / "u.jsonl", price=Decimal(1))
    with pytest.raises(ore.InputError, match=r"a file that ends in \.parquet, "):
        jobs.estimate(pattern, tmp_path / "t.txt", price=Decimal(1))


PRICE = Decimal("2e-8")
LIMIT = 256  # tokens that the model reads


def tokens_of(text: str) -> int:
    """Of a model that reads no further than `LIMIT`."""
    return min(math.ceil(len(text) / 4), LIMIT)


def reply(body: dict[str, Any], _: int) -> dict[str, Any]:
    """The answer of that model."""
    tokens = sum(map(tokens_of, body["input"]))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "cost": float(PRICE * tokens)}
    return support.answer(body["input"], usage=usage)


def estimated(texts: list[str], script: support.Script = reply, **options: Any) -> jobs.Estimate:
    """The estimate for these texts, from a service that follows the script."""
    found: jobs.Estimate = support.Service(script).run(
        "sync", lambda client: jobs.estimate(pa.table({"text": texts}), client=client, **options)
    )
    return found


@pytest.mark.parametrize("where", [0, -1])
def test_a_long_text_does_not_ruin_an_estimate(where: int) -> None:
    """One long text that the model truncates hardly changes the estimate, wherever it is."""
    texts = [f"a short text of some words, number {n} {'and on ' * (n % 9)}" for n in range(3000)]
    texts.insert(where % 3001, "long " * 20_000)
    truth = sum(map(tokens_of, texts))
    found = estimated(texts)
    assert found.tokens == pytest.approx(truth, rel=0.05)
    low, high = found.tokens_range
    assert low <= found.tokens <= high
    assert low <= truth <= high
    assert found.cost is not None
    assert found.cost_range is not None
    assert found.cost == pytest.approx(PRICE * found.tokens, rel=Decimal("1e-4"))
    assert found.cost_range[0] <= PRICE * truth <= found.cost_range[1]


def test_a_sample_is_small_and_covers_all_lengths() -> None:
    """The order of the rows does not change the sample."""
    asked: list[str] = []

    def script(body: dict[str, Any], number: int) -> dict[str, Any]:
        asked.extend(body["input"])
        return reply(body, number)

    texts = [f"{n} " * 2 ** (n % 12) for n in range(2000)]
    estimated(texts, script)
    seen = [*asked]
    assert len(seen) == len({*seen}) < 64
    assert {int(text.split()[0]) % 12 for text in seen} == {*range(12)}
    asked.clear()
    estimated(texts[::-1], script)
    assert {*asked} == {*seen}


def test_a_source_that_is_sampled_as_a_whole_has_an_exact_estimate() -> None:
    """The range is a single number then."""
    texts = ["a", "some words", "and a few words more " * 20, "long " * 2000]
    found = estimated([*texts, texts[1], ""])
    truth = sum(map(tokens_of, texts))
    assert (found.tokens, found.tokens_range) == (truth, (truth, truth))
    assert found.cost == PRICE * truth
    assert (found.rows, found.duplicates, found.unusable) == (6, 1, 1)


def test_a_sample_does_not_come_from_the_services_cache() -> None:
    """A cached response costs nothing, so the estimate asks for others; it keeps other headers."""
    options: Any = {"headers": {"x-openrouter-cache": "true", "X-Team": "search"}}

    def script(body: dict[str, Any], number: int) -> dict[str, Any]:
        asked = service.requests[-1].headers
        assert asked["x-team"] == "search"
        if asked["x-openrouter-cache"] == "true":
            return support.answer(body["input"], usage={"total_tokens": 0, "cost": 0})
        return reply(body, number)

    service = support.Service(script)
    table = pa.table({"text": ["a" * 40, "b" * 40]})
    of_client = service.run("sync", lambda c: jobs.estimate(table, client=c), **options)
    of_call = service.run("sync", lambda c: jobs.estimate(table, client=c, **options))
    assert of_client.tokens == of_call.tokens == 20
    assert of_client.cost == of_call.cost == 20 * PRICE


def sampled(seed: int) -> tuple[Range[float], float]:
    """What a sample of some corpus tells of its tokens, and how many they are."""
    chance = np.random.default_rng(seed)
    count = int(10 ** chance.uniform(1.5, 4))
    sizes = chance.lognormal(chance.uniform(3, 8), chance.uniform(0.1, 1.5), count).astype(int) + 1
    # some of the texts in another script, which takes twice the tokens
    rates = np.where(chance.random(count) < chance.choice([0, 0.1, 0.5]), 0.5, 0.25)
    rates *= chance.lognormal(0, chance.uniform(0.02, 0.3), count)
    limit = chance.choice([256, 512, 8192, 10**9])
    tokens = np.minimum(np.ceil(sizes * rates), limit)
    sample, known = Sample(), {}
    for number, size in enumerate(sizes.tolist()):
        digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=16).digest()
        known[digest] = float(tokens[number])
        sample.add(Row(digest, "", size=size))
    strata = sample.strata()
    values = [known[row.digest] for one in strata for row in one.rows]
    return extrapolated(strata, values, by_size=True), float(tokens.sum())


def test_estimates_are_near_the_truth_for_many_corpora() -> None:
    """Lengths, scripts and truncation vary; the truth is within the range most of the time."""
    within = 0
    for seed in range(100):
        found, truth = sampled(seed)
        assert found.low <= found.about <= found.high
        assert found.about == pytest.approx(truth, rel=0.25)
        within += found.low <= truth * 1.001 and truth * 0.999 <= found.high
    assert within >= 92


def rows_of(*sizes: int) -> list[Row]:
    """Sampled rows of these sizes."""
    return [Row(b"", "", size=size) for size in sizes]


def test_truncated_texts_cost_the_same() -> None:
    """Their length makes no difference."""
    short = Stratum(10, 100, rows_of(10))
    truncated = Stratum(1000, 5_000_000, rows_of(4100, 8000))
    found = extrapolated([short, truncated], [3.0, 256.0, 256.0], by_size=True)
    assert found == Range(*[256_000 + 30] * 3)


def test_images_are_estimated_by_number() -> None:
    """Their size in bytes does not determine their tokens."""
    images = Stratum(10, 50_000, rows_of(1000, 9000))
    found = extrapolated([images], [100.0, 300.0], by_size=False)
    assert found == Range(1200.0, 2000.0, 2800.0)


@pytest.mark.parametrize("batch_size", [1, 100])
@pytest.mark.parametrize(
    ("request_", "input_", "token"), [(0.5, 0.0, 0.0), (0.0, 0.3, 0.0), (0.1, 0.0, 0.01)]
)
def test_the_true_time_is_within_the_range(
    monkeypatch: pytest.MonkeyPatch, request_: float, input_: float, token: float, batch_size: int
) -> None:
    """Whatever takes the service its time; loading a model does not count."""
    now = 0.0
    monkeypatch.setattr(_estimate, "time", SimpleNamespace(monotonic=lambda: now))

    def script(body: dict[str, Any], number: int) -> dict[str, Any]:
        nonlocal now
        tokens = sum(map(tokens_of, body["input"]))
        now += request_ + input_ * len(body["input"]) + token * tokens + (0 if number else 100)
        return reply(body, number)

    texts = [f"{n} " * (n % 50 + 1) for n in range(1000)]
    found = estimated(texts, script, batch_size=batch_size, concurrency=1)
    truth = found.requests * request_ + 1000 * input_ + token * sum(map(tokens_of, texts))
    assert found.seconds_range is not None
    least, most = found.seconds_range
    assert least * 0.999 <= truth <= most * 1.001
    assert most < 2 * batch_size * least or token


def test_a_price_gives_a_range_of_tokens() -> None:
    """A token has about four bytes, at most six and at least one."""
    found = jobs.estimate(pa.table({"text": ["x" * 1200]}), price=Decimal(2))
    assert (found.tokens, found.tokens_range) == (300, (200, 1200))
    assert found.cost == Decimal("0.0006")
    assert found.cost_range == (Decimal("0.0004"), Decimal("0.0024"))
    assert found.seconds_range is None


def test_a_stratum_keeps_the_same_rows_in_any_order() -> None:
    """It keeps those with the smallest digests."""
    rows = [Row(bytes([n]), "", size=5) for n in range(200)]
    kept = []
    for order in (rows, rows[::-1], rows[1::2] + rows[::2]):
        stratum = Stratum()
        for row in order:
            stratum.add(row)
        kept.append(stratum.rows)
        assert (stratum.count, stratum.size) == (200, 1000)
    assert kept[0] == kept[1] == kept[2] == rows[: len(kept[0])]


def test_the_command_line_prints_a_range(tmp_path: Path) -> None:
    """Tokens and cost have a likely value and a range, and the time has limits."""
    (tmp_path / "s.txt").write_text("".join(f"text {n} {'and on' * (n % 7)}\n" for n in range(400)))
    options = ("-o", tmp_path / "t.npy", "--dry-run")
    done = orembed("run", tmp_path / "s.txt", *options, "--local", "--model", "local/hash")
    said = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert said["requests"] == "4"
    assert said["time"].startswith("at least 0 min ")
    assert ", at most " in said["time"]
    for name in ("tokens", "cost"):
        assert said[name].startswith("about ")
        assert " to " in said[name]
    done = orembed("run", tmp_path / "s.txt", *options, "--price", "1")
    assert " to " in done.stdout
    assert "time" not in done.stdout
