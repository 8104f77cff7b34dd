"""What a call returns, `EmbeddingResult`, and the base of what it raises, `EmbeddingsError`.

Both are here because each can hold the other: a result lists the errors of skipped inputs, an error
carries the partial result. `InputError` is here because methods of a result raise it. The module
needs no numpy at import, so that `errors` loads quickly.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, SupportsIndex, TypeAlias, overload

from ._extras import need
from .usage import EXACT as EXACT  # noqa: PLC0414 - re-exported
from .usage import Usage as Usage  # noqa: PLC0414, TC001 - re-exported

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    Matrix: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Served:
    """One response behind a result.

    Attributes:
        positions: the inputs whose vectors came with this response.
        model: the model as the service named it; it may differ from the requested one.
        provider: who served the request, if the response says.
        id: the service's identifier of the response, if given.
        usage: of this response alone.
        body: the whole response except `data`, including fields outside the specification.
        headers: a few HTTP headers of the response, with lower-case names: identifiers for support
            (`x-generation-id`, `x-request-id`, `request-id`, `cf-ray`), the service's cache
            (`x-openrouter-cache-status`: "HIT" or "MISS", …), rate limits (`x-ratelimit-remaining`,
            …, `retry-after`).
    """

    positions: Sequence[int]
    model: str | None
    provider: str | None
    id: str | None
    usage: Usage
    body: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class NearestNeighbors(NamedTuple):
    """The rows of a result that are nearest to each query, the nearest first.

    Attributes:
        rows: int64, shape (queries, k): row numbers, so `result[neighbors.rows]` has the vectors.
            They are positions of inputs unless inputs are missing from the result; then
            `result.start + np.flatnonzero(result.mask)[neighbors.rows]` has the positions.
        similarities: float32, shape (queries, k): cosine similarities, from -1 to 1.
    """

    rows: NDArray[np.int64]
    similarities: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingResult:
    """The vectors of a call: one row per input, in the order of the inputs.

    With `on_error="skip"`, and in an error's `partial`, some inputs have no row. Nothing is padded:
    `np.flatnonzero(result.mask)` gives the input of each row.

    `len(result)`, `result[i]`, iteration and `np.asarray(result)` use `vectors`. Tools that read
    Arrow take the rows without copying them: as one column (`pl.from_arrow(result)`,
    `pa.table({"vector": result})`) or as a table with the column `embedding` (`pa.table(result)`,
    `pd.DataFrame.from_arrow(result)`, `duckdb.sql("from result")`).

    Attributes:
        vectors: float32, shape (inputs, dimensions), C-contiguous.
        usage: tokens and cost, summed over every response of the call.
        requested_model: the model that the call named.
        served: the responses behind the rows, in order.
        start: position of the first input; 0 except in parts of a stream.
        missing: positions of inputs without a row, in order; usually empty.
        errors: the error of each input that was skipped, by position.
    """

    vectors: Matrix
    usage: Usage
    requested_model: str
    served: Sequence[Served]
    start: int = 0
    missing: Sequence[int] = ()
    errors: Mapping[int, EmbeddingsError] = field(default_factory=dict)

    @classmethod
    def concat(cls, parts: Iterable[EmbeddingResult]) -> EmbeddingResult:
        """One result of the parts of a stream, or of several calls with the same model.

        It is as if one call had had the inputs of all parts, one part after the other: rows stay in
        order, `usage` is the sum, and positions (in `served`, `missing`, `errors` and their
        `inputs`) count on from the `start` of the first part.

        Raises:
            InputError: there is no part, or the models or the widths of parts differ.
        """
        import numpy as np

        parts = tuple(parts)
        if not parts or not all(isinstance(part, EmbeddingResult) for part in parts):
            raise InputError("concat takes a list of results, at least one, as in concat([a, b])")
        models = sorted({part.requested_model for part in parts})
        widths = sorted({part.shape[1] for part in parts if len(part)})
        if len(models) > 1:
            raise InputError(f"vectors of different models cannot share a result: {models}")
        if len(widths) > 1:
            raise InputError(f"vectors of different dimensions cannot share a result: {widths}")
        start = end = parts[0].start
        moved = []
        for part in parts:
            moved.append(_moved(part, end - part.start))
            end += len(part) + len(part.missing)
        return EmbeddingResult(
            np.concatenate([part.vectors for part in parts if len(part)] or [parts[0].vectors]),
            reduce(add, [part.usage for part in parts]),
            models[0],
            tuple(served for part in moved for served in part.served),
            start=start,
            missing=tuple(position for part in moved for position in part.missing),
            errors={at: error for part in moved for at, error in part.errors.items()},
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and dimensions: `vectors.shape`."""
        rows, width = self.vectors.shape
        return rows, width

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Which inputs have a row: bool, shape (inputs,)."""
        import numpy as np

        mask = np.ones(len(self.vectors) + len(self.missing), np.bool_)
        mask[np.asarray(self.missing, np.intp) - self.start] = False
        return mask

    @property
    def model(self) -> str:
        """The model as the first response named it; `served` has that of every response."""
        return next((s.model for s in self.served if s.model), self.requested_model)

    @property
    def providers(self) -> tuple[str, ...]:
        """Who served the call: each provider once, in order of appearance; empty if unknown."""
        return tuple(dict.fromkeys(s.provider for s in self.served if s.provider))

    @property
    def ids(self) -> tuple[str, ...]:
        """The service's identifiers of the responses, in order."""
        return tuple(s.id for s in self.served if s.id)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.vectors)

    def __getitem__(self, key: Any) -> Any:
        """`vectors[key]`."""
        return self.vectors[key]

    def __iter__(self) -> Iterator[Matrix]:
        """The rows, each of shape (dimensions,)."""
        return iter(self.vectors)

    def __array__(
        self,
        dtype: DTypeLike | None = None,
        copy: bool | None = None,  # noqa: FBT001 - the protocol of numpy 2
    ) -> NDArray[Any]:
        """What `np.asarray(result)` returns: `vectors` itself unless another dtype is requested."""
        wanted = self.vectors.dtype if dtype is None else dtype
        if copy is False and self.vectors.dtype != wanted:
            raise ValueError("the vectors are float32; another dtype needs a copy")
        return self.vectors.astype(wanted, copy=bool(copy))

    def tolist(self) -> list[list[float]]:
        """The vectors as lists of Python's floats."""
        vectors: list[list[float]] = self.vectors.tolist()
        return vectors

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]:
        """The rows as an Arrow array of type fixed_size_list<float>, named `embedding`; no copy.

        Raises:
            ImportError: pyarrow, which makes it, is missing.
        """
        rows = self._arrow()
        schema, array = rows.__arrow_c_array__(requested_schema)
        if requested_schema is None:  # an array has no name, the field of a schema has one
            schema = need("pyarrow", "arrow").field("embedding", rows.type).__arrow_c_schema__()
        return schema, array

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The same array as the column `embedding` of an Arrow table."""
        table = need("pyarrow", "arrow").table({"embedding": self._arrow()})
        return table.__arrow_c_stream__(requested_schema)

    def _arrow(self) -> Any:
        pa = need("pyarrow", "arrow")
        values = pa.array(self.vectors.reshape(-1))
        kind = pa.list_(pa.float32(), self.shape[1])
        return pa.Array.from_buffers(kind, len(self), [None], children=[values])

    def truncate(self, dimensions: int) -> EmbeddingResult:
        """The first values of each vector, divided by their length so that it is 1 again.

        It serves models that put the most important values first ("Matryoshka"), such as
        text-embedding-3, gemini-embedding, qwen3-embedding and voyage-4. Other models lose much of
        their meaning. Where the service accepts `dimensions=`, that is exact and costs no more; use
        this to try several widths, or to keep the full vectors as well.

        Args:
            dimensions: from 1 to the width of the vectors. The width itself only normalises.

        Returns:
            A result with new float32 vectors of length 1, in all else equal.

        Raises:
            InputError: `dimensions` is not such a number, or a truncated vector is all zeros.
        """
        rows, width = self.shape  # without rows the width is 0, because it is unknown
        if not _is_count(dimensions) or (rows and dimensions > width):
            raise InputError(
                f"dimensions is {dimensions!r}; use a whole number from 1 to {width}, the width of "
                "the vectors"
            )
        return replace(self, vectors=_unit(self.vectors[:, :dimensions], "the truncated vectors"))

    def similarity(self, other: EmbeddingResult | ArrayLike | None = None) -> Matrix:
        """The cosine similarity of every row to every row of `other`.

        Args:
            other: a result, a matrix of shape (m, dimensions), or one vector; default: this result.

        Returns:
            float32 of shape (rows, m), from -1 to 1. One vector gives the shape (rows, 1).

        Raises:
            InputError: `other` has another width or model, or a row that is zero or not finite.
        """
        import numpy as np

        rows = _unit(self.vectors, "this result")
        others = rows if other is None else _unit(self._comparable(other), "the other vectors")
        if not len(rows) or not len(others):  # their widths may differ
            return np.zeros((len(rows), len(others)), np.float32)
        cosines = rows @ others.T
        return np.clip(cosines, -1, 1, out=cosines)

    def nearest(self, query: EmbeddingResult | ArrayLike, k: int = 10) -> NearestNeighbors:
        """The k rows that are nearest to each query by cosine similarity, found exactly.

        Args:
            query: a result, a matrix of shape (queries, dimensions), or one vector.
            k: how many rows for each query; all of them if the result has fewer.

        Returns:
            `(rows, similarities)`, both of shape (queries, k), which is (1, k) for one vector. Rows
            that are equally near come in order.

        Raises:
            InputError: k is below 1; a query has another width or model, or is zero or not finite.
        """
        import numpy as np

        from ._similarity import nearest_rows

        if not _is_count(k):
            raise InputError(f"k is {k!r}; use a whole number from 1")
        queries = self._comparable(query)
        _lengths(queries, "the query")
        rows, cosines = nearest_rows(self.vectors, queries, int(k))
        return NearestNeighbors(rows, cosines.astype(np.float32))

    def _comparable(self, other: EmbeddingResult | ArrayLike) -> Matrix:
        """The vectors of another result, or of an array, if they fit this result's."""
        import numpy as np

        if isinstance(other, EmbeddingResult):
            if other.requested_model != self.requested_model:
                raise InputError(
                    f"vectors of {other.requested_model} cannot be compared with vectors of "
                    f"{self.requested_model}; if the two models share a vector space, pass .vectors"
                )
            other = other.vectors
        try:
            with np.errstate(over="ignore"):  # an infinite value is refused by its length
                matrix = np.atleast_2d(np.asarray(other, np.float32))
        except (TypeError, ValueError):
            raise InputError(
                f"expected a result, a matrix or a vector, got {type(other).__name__}; embed texts "
                "first"
            ) from None
        if matrix.ndim != 2 or (len(matrix) and len(self) and matrix.shape[1] != self.shape[1]):
            raise InputError(
                f"expected vectors of {self.shape[1]} dimensions, got an array of shape "
                f"{np.shape(other)}"
            )
        return matrix

    @overload
    def quantize(self, precision: Literal["float16"]) -> NDArray[np.float16]: ...
    @overload
    def quantize(self, precision: Literal["int8"]) -> NDArray[np.int8]: ...
    @overload
    def quantize(self, precision: Literal["ubinary"]) -> NDArray[np.uint8]: ...
    def quantize(self, precision: str) -> NDArray[Any]:
        """The vectors in fewer bytes, as vector indexes take them.

        Each row is converted by itself: rows of different results fit together, and nothing is
        calibrated. Databases that quantize by themselves want float32: give them `vectors`.

        Args:
            precision: what to convert to:
                "float16": the values, rounded.
                "int8": 127 times the row at length 1, rounded. So a product of two rows, divided
                    by 127², is nearly their cosine similarity. usearch uses this scale for its
                    dtype "i8". The "int8" of sentence-transformers is another: it depends on the
                    ranges of values in a sample, which you must keep for queries.
                "ubinary": a bit per value, 1 if it is above 0; eight to a byte, the first value
                    in the highest bit, with zeros at the end if dimensions is no multiple of 8.
                    Compare by Hamming distance: IndexBinaryFlat of faiss, dtype "b1" of usearch.
                    Equal to "ubinary" of sentence-transformers, Cohere and Voyage.

        Returns:
            A new array of shape (rows, dimensions): float16 or int8. For "ubinary", uint8 of shape
            (rows, ceil(dimensions / 8)).

        Raises:
            InputError: another precision; for "float16", a value that is too large or a row that
                would become zero; for "int8", a row that is zero or not finite.
        """
        import numpy as np

        if precision == "float16":
            with np.errstate(over="ignore", under="ignore"):
                half = self.vectors.astype(np.float16)
            if not np.isfinite(half).all():
                raise InputError("a value is too large for float16; normalise the vectors first")
            if (half.any(axis=1) != self.vectors.any(axis=1)).any():
                raise InputError("a row is too small for float16; normalise the vectors first")
            return half
        if precision == "int8":
            return (_unit(self.vectors, "this result") * np.float32(127)).round().astype(np.int8)
        if precision == "ubinary":
            return np.packbits(self.vectors > 0, axis=1)
        if precision == "binary":
            raise InputError("precision is 'binary'; did you mean \"ubinary\"?")
        raise InputError(f'precision is {precision!r}; use "float16", "int8" or "ubinary"')

    def __repr__(self) -> str:
        """Shape, model and cost in one line."""
        rows, width = self.vectors.shape
        cost = "unknown" if self.usage.cost is None else f"{self.usage.cost:f}"
        missing = f"missing={len(self.missing)}, " if self.missing else ""
        return (
            f"EmbeddingResult(shape=({rows}, {width}), {missing}model={self.model!r}, "
            f"prompt_tokens={self.usage.prompt_tokens}, cost={cost})"
        )

    def _repr_html_(self) -> str:
        """What notebooks show: the same with providers, and the first values as strips."""
        from ._result_html import result_html

        missing = format_positions(self.missing)
        return result_html(self.vectors, self.usage, self.model, self.providers, missing)


def _moved(part: EmbeddingResult, by: int) -> EmbeddingResult:
    """The same with every position `by` further on."""
    if not by:
        return part
    served = [replace(s, positions=tuple(p + by for p in s.positions)) for s in part.served]
    errors = {}
    for position, error in part.errors.items():
        errors[position + by] = copied = copy(error)
        copied.inputs = tuple(p + by for p in error.inputs)
    missing = tuple(position + by for position in part.missing)
    return replace(
        part, start=part.start + by, served=tuple(served), missing=missing, errors=errors
    )


def _is_count(value: Any) -> bool:
    """Whether it is a whole number from 1; True and 1.0 are none."""
    return (
        isinstance(value, SupportsIndex) and not isinstance(value, bool) and value.__index__() > 0
    )


def _lengths(vectors: Matrix, what: str) -> NDArray[np.float64]:
    """The length of each row. Raises InputError for a row without a direction."""
    import numpy as np

    from ._similarity import row_lengths

    lengths = row_lengths(vectors)
    wrong = np.flatnonzero(~((lengths > 0) & (lengths < np.inf)))
    if len(wrong):
        raise InputError(f"row {wrong[0]} of {what} is zero or not finite; leave it out")
    return lengths


def _unit(vectors: Matrix, what: str) -> Matrix:
    """The rows, divided by their lengths. Raises InputError for a row without a direction."""
    from ._similarity import unit_rows

    return unit_rows(vectors, _lengths(vectors, what))


class EmbeddingsError(Exception):
    """Base of every exception this package raises on purpose.

    Attributes (None or empty if unknown):
        message: what happened, in one sentence.
        status: HTTP status, or the code of an error inside a 200 response.
        code: the API's own `error.code`.
        provider: who served the request, if the service said.
        request_id: the identifier to give to support.
        retry_after: seconds the service asked to wait.
        body: the beginning of the response, without secrets.
        inputs: positions of the inputs concerned, counted in what the caller passed.
        usage: what the call had used by then, as the service reported it.
        partial: the vectors that the call had received, and so paid for, by then; its `mask` says
            of which inputs. None if there are none. For a stream: those not yet yielded.
    """

    partial: EmbeddingResult | None = None

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: int | str | None = None,
        provider: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        body: str | None = None,
        inputs: Iterable[int] = (),
        usage: Usage | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.provider = provider
        self.request_id = request_id
        self.retry_after = retry_after
        self.body = body
        self.inputs: tuple[int, ...] = tuple(inputs)
        self.usage = usage

    def __str__(self) -> str:
        """The message, followed by the known details in brackets."""
        details = {
            "status": self.status,
            "code": None if self.code == self.status else self.code,
            "provider": self.provider,
            "request id": self.request_id,
            "retry after": f"{self.retry_after:g} s" if self.retry_after is not None else None,
            "input" if len(self.inputs) == 1 else "inputs": (
                format_positions(self.inputs) if self.inputs else None
            ),
        }
        known = ", ".join(f"{name} {value}" for name, value in details.items() if value is not None)
        return f"{self.message} [{known}]" if known else self.message


class InputError(EmbeddingsError, ValueError):
    """An input or option is invalid. The message says which one and what is expected instead."""

    def __str__(self) -> str:
        """The message alone, because it already names the position."""
        return self.message


def format_positions(positions: Iterable[int], *, max_ranges: int = 8) -> str:
    """Sorted positions as ranges, `0, 3-7, 12`, truncated after `max_ranges` of them."""
    ranges: list[list[int]] = []
    for position in sorted(positions):
        if ranges and position == ranges[-1][1] + 1:
            ranges[-1][1] = position
        else:
            ranges.append([position, position])
    shown = [str(a) if a == b else f"{a}-{b}" for a, b in ranges[:max_ranges]]
    return ", ".join(shown) + (", …" if len(ranges) > max_ranges else "")
