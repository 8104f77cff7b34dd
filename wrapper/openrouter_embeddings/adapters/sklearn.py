"""scikit-learn: a transformer from texts to vectors, for pipelines and grid searches."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from openrouter_embeddings._extras import need
from openrouter_embeddings.core.options import check_option_names
from openrouter_embeddings.errors import InputError

from ._lazy import AdapterOptions, LazyClient, SecretValue, as_secret

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self, Unpack

    from openrouter_embeddings.result import Matrix, Usage

_base: Any = need("sklearn.base", "sklearn")
# scikit-learn has no queries, and no async methods
_USELESS = {"async_client", "document_input_type", "query_input_type"}
_PARAMETERS = AdapterOptions.__annotations__.keys() - _USELESS
_making = threading.RLock()  # threads share the client that the first of them makes


class OpenRouterVectorizer(
    _base.ClassNamePrefixFeaturesOutMixin, _base.TransformerMixin, _base.BaseEstimator
):
    """Turns a column of texts into a float32 matrix, one row per text.

        make_pipeline(OpenRouterVectorizer(model="…"), Ridge())

    It learns nothing, so `fit` sends nothing, and `transform` works without it. None stands for the
    default of a parameter. In a ColumnTransformer, name one column as a str, not in a list. A text
    that cannot be embedded raises an error that names it; `on_error="skip"` is not possible. A
    clone keeps the key, but pickling leaves it out: with `n_jobs`, set it in the environment. With
    `client` or `headers`, pickling raises InputError.

    Args:
        **options: those of `AdapterOptions`, such as `model` and `local`, and those of `embed`.
            `input_type` is the role of all texts, for example "classification"; default: none.

    Raises:
        TypeError: an option is unknown.
        InputError: `fit` or `transform`: an option is invalid.
        EmbeddingsError: `transform` raises the errors of `Client.embed`.
        ImportError: the extra `sklearn` is not installed.
    """

    api_key: Any

    def __init__(self, **options: Unpack[AdapterOptions]) -> None:
        for name in _PARAMETERS:  # for the repr, should an error below show it
            setattr(self, name, None)
        self.api_key = options.pop("api_key", None)
        check_option_names(options, own=_PARAMETERS)
        for name, value in options.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        """Wrap a key and headers, so that nothing shows them."""
        if name == "api_key" and isinstance(value, str | SecretValue):
            value = as_secret(value)
        elif name == "headers" and isinstance(value, Mapping):
            check_option_names(wrapped := {name: value})
            value = wrapped[name]
        super().__setattr__(name, value)

    def fit(self, X: Iterable[str], y: Any = None) -> Self:  # noqa: ARG002, N803 - scikit-learn's
        """Check the parameters, and nothing else."""
        self._client()
        return self

    def transform(self, X: Iterable[str]) -> Matrix:  # noqa: N803 - scikit-learn's
        """The vectors of a column: a list, a 1-d array or a Series."""
        if getattr(X, "ndim", 1) != 1:
            raise InputError("expected one column of texts; name it as a str, not in a list")
        vectors = self._client().embed(X).vectors
        if len(vectors):
            self._n_features_out = vectors.shape[1]
        return vectors

    @property
    def usage(self) -> Usage:
        """Tokens and cost in this process since a parameter was changed."""
        return self._client().usage

    def _client(self) -> LazyClient:
        given = self.get_params(deep=False).items()
        options: Any = {name: value for name, value in given if value is not None}
        with _making:
            made: tuple[Any, LazyClient] | None = getattr(self, "_made", None)
            if made is None or made[0] != options:
                made = self._made = options, LazyClient(options.copy())
            return made[1]

    def __getstate__(self) -> dict[str, Any]:
        self._client().config()  # raises if there are options that cannot be pickled
        return {**super().__getstate__(), "api_key": None, "_made": None}

    def __copy__(self) -> Self:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: object) -> Self:
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = tags.requires_fit = False
        return tags


_NAMED = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
    for name in sorted(_PARAMETERS)
]
# scikit-learn reads the names of the parameters here
OpenRouterVectorizer.__init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *_NAMED]
)
