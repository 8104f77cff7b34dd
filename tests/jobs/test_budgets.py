"""A budget limits the cost of all runs of a job together."""

from decimal import Decimal
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import openrouter_embeddings as ore
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings.core.batching import FRAME_TOKENS
from openrouter_embeddings.jobs._spec import job_file
from openrouter_embeddings.jobs._store import Store
from openrouter_embeddings.local.faults import Fault
from openrouter_embeddings.local.models.hash import HashModel
from openrouter_embeddings.testing import Service

from tests import support
from tests.job_support import billed, run

PRICE = Decimal("2e-8")  # the stand-in's, of a token


def cost(service: Service) -> Decimal:
    """What the service has billed."""
    return sum((Decimal(f"{bill.cost:.12f}") for bill in service.faults.billed), Decimal(0))


def five_times(service: Service, source: Path, budget: Decimal, **options: Any) -> None:
    """The same job five times: its first run stops, and the others do not even ask the price."""
    asked = []
    for _ in range(5):
        with pytest.raises(ore.BudgetExceededError, match="are spent"):
            run(source, source.with_suffix(".npy"), service=service, budget=budget, **options)
        asked.append(service.faults.requests)
    assert len({*asked}) == 1


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A short line and forty longer ones."""
    path = tmp_path / "words.txt"
    path.write_text("short\n" + "".join(f"{n} and several more words\n" for n in range(40)))
    return path


def test_a_budget_holds_for_all_runs_together(words: Path) -> None:
    """Later runs of the same command spend nothing more, and do not ask for the price again."""
    service, budget = Service(), 80 * PRICE
    five_times(service, words, budget)
    assert len(service.faults.billed[0].inputs) == 1  # to learn the price
    dearest = PRICE * (len("39 and several more words") + FRAME_TOKENS)  # by its bytes
    assert budget - dearest < cost(service) <= budget
    five_times(service, words, PRICE)
    assert cost(service) <= budget
    report, more = run(words, words.with_suffix(".npy"), budget=Decimal(1))
    assert 0 < sum(billed(more).values()) < 41
    assert report.embedded == 41


def test_a_refused_first_input_gives_no_price(tmp_path: Path) -> None:
    """The next input is sent alone to learn the price."""
    path = tmp_path / "words.txt"
    path.write_text("poison\n" + "".join(f"{n} and several more words\n" for n in range(40)))
    service = Service(Fault("poison"))
    five_times(service, path, PRICE)
    assert [len(bill.inputs) for bill in service.faults.billed] == [1]


def test_retries_count_towards_the_budget(tmp_path: Path) -> None:
    """A request without a response may have been billed, so its estimated cost is reserved."""
    path = tmp_path / "digits.txt"
    path.write_text("".join(f"{n}\n" for n in range(9)))
    service, budget = Service(Fault("reset-mid-body", requests=range(1, 20))), 90 * PRICE
    five_times(service, path, budget, batch_size=9, max_retries=4)
    assert cost(service) <= budget
    assert len(service.faults.billed) > 1


def test_a_response_that_cannot_be_saved_counts_towards_the_budget(
    words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts in every run, although the job gets no further."""
    embed, widths = HashModel.embed, chain([8], repeat(9))
    monkeypatch.setattr(HashModel, "embed", lambda me, given, _: embed(me, given, next(widths)))
    service, budget = Service(), 60 * PRICE
    options: Any = {"batch_size": 1, "dimensions": None, "budget": budget}
    ends = []
    for _ in range(20):
        with pytest.raises(ore.EmbeddingsError) as raised:
            run(words, words.with_suffix(".npy"), service=service, **options)
        ends.append(type(raised.value))
    assert ends[0] is jobs.JobError
    assert cost(service) <= budget
    assert ends[-1] is ore.BudgetExceededError


def test_other_parameters_make_a_job_ask_for_the_price_again(words: Path) -> None:
    """Another model may cost more; what was spent still counts."""
    target = words.with_suffix(".npy")
    with pytest.raises(ore.ResponseError):  # billed, and nothing to keep
        run(words, target, Fault("empty-data"), budget=Decimal(1))
    _, service = run(words, target, budget=Decimal(1), dimensions=4)
    assert len(service.faults.billed[0].inputs) == 1


def test_unpriced_requests_count_once_the_price_is_known(words: Path) -> None:
    """A request that may have been billed before any price was known counts in the next run."""
    target = words.with_suffix(".npy")
    with pytest.raises(ore.APIConnectionError):
        run(words, target, Fault("reset-mid-body"), budget=Decimal(1))
    store = Store(job_file(target))
    unpriced = store.fact("unpriced")
    store.close()
    assert unpriced == len("short") + FRAME_TOKENS
    with pytest.raises(ore.BudgetExceededError, match="are spent"):
        run(words, target, budget=unpriced * PRICE)


def test_a_service_that_reports_no_cost_is_asked_once(words: Path) -> None:
    """Otherwise every run would pay for another input without knowing how much."""
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    service = support.Service(lambda body, _: support.answer(body["input"], usage=usage))
    for _ in range(3):
        with pytest.raises(ore.BudgetExceededError, match="stated no cost"):
            service.run(
                "sync",
                lambda client: jobs.embed_file(
                    words, words.with_suffix(".npy"), client=client, budget=Decimal(1)
                ),
            )
    assert len(service.requests) == 1
