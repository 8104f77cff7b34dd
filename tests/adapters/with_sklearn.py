"""scikit-learn: the contract of all adapters, scikit-learn's own checks, and real pipelines."""

import pickle
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pandas as pd
import pytest
from openrouter_embeddings.adapters._lazy import LazyClient
from openrouter_embeddings.adapters.sklearn import OpenRouterVectorizer
from sklearn.base import clone  # pyright: ignore[reportMissingImports]
from sklearn.compose import ColumnTransformer  # pyright: ignore[reportMissingImports]
from sklearn.linear_model import LogisticRegression  # pyright: ignore[reportMissingImports]
from sklearn.model_selection import GridSearchCV  # pyright: ignore[reportMissingImports]
from sklearn.neighbors import NearestNeighbors  # pyright: ignore[reportMissingImports]
from sklearn.pipeline import make_pipeline  # pyright: ignore[reportMissingImports]
from sklearn.preprocessing import StandardScaler  # pyright: ignore[reportMissingImports]
from sklearn.utils import estimator_checks  # pyright: ignore[reportMissingImports]

from tests.adapters.contract import MODEL, TEXTS, AdapterContract
from tests.adapters.page import run_section
from tests.compat.loopback import KEY

CHECKS = [
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
]
LABELS = [number % 2 for number in range(12)]


class TestScikitLearn(AdapterContract):
    """The contract."""

    kinds = ("sync",)
    has_roles = False

    def make(self, **options: Any) -> OpenRouterVectorizer:
        """A vectorizer."""
        return OpenRouterVectorizer(**options)

    def documents(self, adapter: Any, texts: list[str]) -> Any:
        """`fit_transform`, which pipelines call."""
        return adapter.fit_transform(texts)

    def search(self, adapter: Any, passages: list[str], question: str) -> str:
        """With scikit-learn's index."""
        index = NearestNeighbors(n_neighbors=1, metric="cosine").fit(adapter.transform(passages))
        ((found,),) = index.kneighbors(adapter.transform([question]), return_distance=False)
        return passages[int(found)]

    def lazy(self, adapter: Any) -> LazyClient:
        """The clients behind a vectorizer."""
        client: LazyClient = adapter._client()
        return client


@pytest.mark.parametrize("check", CHECKS)
def test_the_checks_of_scikit_learn(check: str) -> None:
    """Those that need no table of numbers; `check_estimator` runs none for what takes texts."""
    getattr(estimator_checks, check)("OpenRouterVectorizer", OpenRouterVectorizer(local=True))


@pytest.fixture
def vectorizer() -> Iterator[OpenRouterVectorizer]:
    """A small and fast one."""
    vectorizer = OpenRouterVectorizer(local=True, **MODEL)
    yield vectorizer
    vectorizer._client().close()


def test_a_clone_has_the_same_parameters(vectorizer: OpenRouterVectorizer) -> None:
    """The key, the client and the headers included; `repr` shows those that were set."""
    with ore.Client.local() as client:
        several: list[Any] = [{"api_key": KEY, "headers": {"X-A": "b"}}, {"client": client}]
        for options in several:
            one = OpenRouterVectorizer(**options, provider={"order": ["a"]}, timeout=3)
            assert clone(one).get_params() == one.get_params()
    assert repr(vectorizer) == "OpenRouterVectorizer(dimensions=8, local=True, model='local/hash')"


def test_parameters_can_be_changed(vectorizer: OpenRouterVectorizer) -> None:
    """The next call has the new ones; a key and headers are wrapped again."""
    assert vectorizer.fit_transform(TEXTS).shape == (12, 8)
    vectorizer.set_params(dimensions=5)
    assert vectorizer.transform(TEXTS).shape == (12, 5)
    other = OpenRouterVectorizer().set_params(api_key=KEY, headers={"X-Gateway": "swordfish"})
    assert not re.search(f"{KEY}|swordfish", repr(other) + repr(vars(other)))
    with pytest.raises(ValueError, match="Invalid parameter 'modle'"):
        vectorizer.set_params(modle="m")


@pytest.mark.parametrize("kind", [list, np.array, pd.Series])
def test_a_column_comes_in_the_forms_of_scikit_learn(
    kind: Any, vectorizer: OpenRouterVectorizer
) -> None:
    """A list, an array or a Series."""
    vectors = vectorizer.transform(kind(TEXTS))
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, vectorizer.transform(TEXTS))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (pd.DataFrame({"text": ["a"]}), "expected one column of texts"),
        (np.array([["a"]]), "expected one column of texts"),
        ("a text", "expected a list of texts, got a str"),
        (["a", None], "input 1: missing value (None)"),
    ],
)
def test_what_is_no_column_of_texts_is_an_error(
    wrong: Any, message: str, vectorizer: OpenRouterVectorizer
) -> None:
    """Iterating over a DataFrame, for example, would embed the names of its columns."""
    with pytest.raises(ore.InputError, match=re.escape(message)):
        vectorizer.fit_transform(wrong)


def test_a_column_transformer_embeds_one_column(vectorizer: OpenRouterVectorizer) -> None:
    """The others go elsewhere, and all columns have names."""
    frame = pd.DataFrame({"title": TEXTS, "price": range(12)}, index=[*range(20, 32)])
    both = ColumnTransformer([("text", vectorizer, "title"), ("n", StandardScaler(), ["price"])])
    found = both.set_output(transform="pandas").fit_transform(frame)
    assert found.shape == (12, 9)
    assert [*found.columns[[0, 8]]] == ["text__openroutervectorizer0", "n__price"]
    assert [*found.index] == [*frame.index]
    assert np.array_equal(found.iloc[:, :8].to_numpy(), vectorizer.transform(TEXTS))


def test_a_fitted_pipeline_can_be_pickled(vectorizer: OpenRouterVectorizer) -> None:
    """It predicts the same."""
    model = make_pipeline(vectorizer, LogisticRegression()).fit(TEXTS, LABELS)
    again = pickle.loads(pickle.dumps(model))
    assert [*again.predict(TEXTS)] == [*model.predict(TEXTS)]
    again[0]._client().close()


def test_a_grid_search_uses_several_processes() -> None:
    """They make clients of their own."""
    model = make_pipeline(OpenRouterVectorizer(local=True, **MODEL), LogisticRegression())
    grid = {"openroutervectorizer__dimensions": [4, 16]}
    search = GridSearchCV(model, grid, n_jobs=2, cv=2, error_score="raise").fit(TEXTS, LABELS)
    assert search.best_params_["openroutervectorizer__dimensions"] in (4, 16)
    assert search.cv_results_["mean_test_score"].shape == (2,)
    search.best_estimator_[0]._client().close()


def test_fit_costs_nothing(vectorizer: OpenRouterVectorizer) -> None:
    """Only `transform` sends texts, so `fit_transform` sends them once."""
    assert vectorizer.fit(TEXTS).usage.requests == 0
    assert vectorizer.fit_transform(TEXTS).shape == (12, 8)
    assert vectorizer.usage.requests == 1


def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what the page shows."""
    run_section("scikit-learn", capsys)
