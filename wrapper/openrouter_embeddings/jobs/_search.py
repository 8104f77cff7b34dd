"""Reads finished targets: where their vectors come from, and the rows nearest to a query."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openrouter_embeddings._similarity import nearest
from openrouter_embeddings.core.result_builder import check_width
from openrouter_embeddings.errors import InputError

from ._formats import target_format, vector_blocks
from ._spec import JobLockedError, Provenance, client_or_default, job_file
from ._store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from openrouter_embeddings.client import Client


@dataclass(frozen=True, slots=True)
class Match:
    """A row of a target that is near to a query.

    Attributes:
        row: the row number, from 0.
        score: the cosine similarity to the query, from -1 to 1.
        columns: the other columns of the row; empty for a .npy target.
    """

    row: int
    score: float
    columns: Mapping[str, Any]


def info(target: str | PathLike[str]) -> dict[str, Any]:
    """Where the vectors of a target come from: rows, dimensions, model, and so on.

    The key `state` says how far the job is:
        "finished": the target exists; the other keys are its provenance.
        "stopped": only `TARGET.job` exists. The other keys are the parameters of the job, the
            `rows` and `files` of the source, the numbers of inputs `embedded`, `reused` from a
            cache and `refused`, and the credits `spent`, as text.
        "running": a process has `TARGET.job` open; there are no other keys.

    Raises:
        InputError: the target does not exist, or was not made by a job.
        JobError: `TARGET.job` is damaged.
    """
    path = Path(target)
    target_type = target_format(path)
    if not path.exists() and job_file(path).exists():
        return _unfinished(job_file(path))
    found = target_type.provenance(path) if path.exists() else None
    if found is None:
        what = "was not made by orembed run" if path.exists() else "does not exist"
        raise InputError(f"{path} {what}; name a target that orembed run has made")
    return {"state": "finished", **found}


def _unfinished(job: Path) -> dict[str, Any]:
    try:
        store = Store(job)
    except JobLockedError:
        return {"state": "running"}
    with closing(store):
        reused = store.fact("reused") or 0
        return {
            "state": "stopped",
            **(store.fact("parameters") or {}),
            "rows": store.fact("rows"),
            "files": store.fact("files"),
            **{name: store.fact(name) for name in ("dimensions", "models", "providers")},
            "embedded": store.count("vectors") - reused,
            "reused": reused,
            "refused": store.count("refused"),
            "spent": f"{store.spent:f}",
        }


def finished(target: Path) -> Provenance:
    """The provenance of a finished target. Raises InputError for any other."""
    found = info(target)
    if found["state"] != "finished":
        raise InputError(
            f"{target} is not finished: its job, {job_file(target)}, is {found['state']}; finish "
            "it with the orembed run command that began it"
        )
    return Provenance.from_json(found)


def search(
    target: str | PathLike[str], query: str, *, k: int = 10, client: Client | None = None
) -> list[Match]:
    """The rows of a target that are nearest to a text, the nearest first. The search is exact.

    The query is embedded like the rows: with the same model, dimensions and provider preferences,
    but with `input_type="search_query"` if the rows had "search_document".

    Args:
        target: a target of `embed_file`.
        query: a text.
        k: how many rows at most.
        client: default: `Client()`, which takes its settings from the environment.

    Raises:
        InputError: the target does not exist, the query is empty, or k is below 1.
        EmbeddingsError: the service failed.
    """
    if k < 1:
        raise InputError(f"k is {k}; use 1 or more")
    if not query:
        raise InputError("the query is empty; write a text to search for")
    path = Path(target)
    provenance = finished(path)
    made = provenance.parameters
    is_document = made.input_type == "search_document"
    with client_or_default(client) as opened:
        wanted = opened.embed(
            query,
            model=made.model,
            dimensions=made.asked_dimensions,
            provider=made.provider,
            extra_body=made.extra_body,
            input_type="search_query" if is_document else made.input_type,
        ).vectors
    check_width(provenance.dimensions or None, wanted, [0])
    ((numbers, cosines),) = nearest(vector_blocks(path, provenance.dimensions), wanted, k)
    rows, scores = numbers.tolist(), cosines.tolist()
    found = target_format(path).columns(path, sorted(rows))
    columns = dict(zip(sorted(rows), found, strict=True))
    return [Match(row, score, columns[row]) for row, score in zip(rows, scores, strict=True)]
