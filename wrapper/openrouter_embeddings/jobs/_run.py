"""One job: embed what is new, remember it, and write the target when all is there."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import orjson

from openrouter_embeddings._version import __version__
from openrouter_embeddings.client.job_session import resolve_options
from openrouter_embeddings.core.options import EmbedOptions, check_option_names, merge_options
from openrouter_embeddings.errors import InputError
from openrouter_embeddings.local.contract import contract
from openrouter_embeddings.result import Usage

from ._client import given_or_own
from ._embed import Embedding
from ._errors import JobError, refuse_address
from ._formats import beside, columns_of, kind_of
from ._progress import JobReport, Progress, ProgressReporter
from ._retry import reopen
from ._sources import open_source
from ._store import Store, job_file
from ._write import errors_file, rehearse, write, write_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike
    from typing import Unpack

    from openrouter_embeddings.client import Client

    from ._formats import Target
    from ._sources import Source


def embed_file(
    source: Any,
    target: str | PathLike[str],
    *,
    column: str | None = None,
    template: str | None = None,
    images: str | None = None,
    key: str | None = None,
    only_key: bool = False,
    delimiter: str | None = None,
    precision: Literal["float32", "float16"] = "float32",
    client: Client | None = None,
    cache: str | PathLike[str] | None = None,
    max_errors: int | None = None,
    retry_errors: bool = False,
    on_progress: Callable[[Progress], object] | None = None,
    **options: Unpack[EmbedOptions],
) -> JobReport:
    """Embed every row of a source into a target file. Run again, it goes on where it was stopped.

    What comes is kept in `TARGET.job` (SQLite), on the disk before more is asked for: whenever the
    process ends, only requests in flight may have to be paid for again. The target is written at
    the end, whole, and is the same to the byte whether or not the job was interrupted. Equal
    inputs are embedded once.

    Args:
        source: a .parquet, .jsonl, .csv, .tsv or .txt file (a text a line), several by a pattern
            or as a list, a directory of images, or a table in memory that speaks Arrow (pyarrow,
            pandas, Polars).
        target: a .parquet file: the columns of the source and `embedding`, a fixed-size list, null
            where a row has none; or .jsonl, the same as JSON; or .npy, a matrix of shape
            (rows, dimensions), NaN where a row has none. Provenance is in the Parquet file's
            metadata, otherwise beside it.
        column: with the text; default: the only one of text, or the one named "text".
        template: in place of a column: `"{title}: {body}"`; a brace is doubled, also in a name.
        images: a column with images, as bytes, paths (relative to the source) or URLs.
        key: the column that names a row in `TARGET.errors.jsonl`; default: its number, from 0.
        only_key: leave all other columns of the source out of the target.
        delimiter: one character that separates the columns of a .csv file; default: the comma,
            semicolon, tab or | that the header has, and a tab in a .tsv file.
        precision: of the vectors in the target.
        client: default: `Client()`, from the environment.
        cache: a directory that remembers vectors across jobs.
        max_errors: rows that may stay without a vector before the job stops; default: any number.
        retry_errors: ask again for rows without a vector, of a finished target, too. Its other rows
            keep their vectors. Default: rows that were refused stay refused.
        on_progress: is told how far it is, twice a second.
        **options: as for `Client.embed`; `budget` counts for all runs of the job together.

    Returns:
        What it came to. Rows that cannot be embedded stand in `TARGET.errors.jsonl`.

    Raises:
        InputError: the source, the target or an option cannot be right.
        JobError: another process works on it, what was begun had other parameters, more than
            `max_errors` rows cannot be embedded, or `TARGET.job` is damaged beyond repair.
        EmbeddingsError: the service failed, the credits or the budget are used up; what came until
            then is kept.
        KeyboardInterrupt: after what was in flight has been kept.
        ImportError: the extra `jobs` is not installed.
    """
    path = Path(target)
    kind = kind_of(path)
    _check(precision, max_errors, options)
    rows = open_source(source, beside(path), delimiter)
    reader = rows.reader(column, template, images)
    chosen = columns_of(kind, rows.schema, key, only_key=only_key)
    wanted = [*reader.columns, *chosen, *([key] if key else [])]
    schema = rows.schema.empty_table().select(chosen).schema
    with ExitStack() as stack:
        client = stack.enter_context(given_or_own(client))
        asked = resolve_options(client, options)
        fields = asked.request_fields()
        space = {n: fields.get(n) for n in ("model", "input_type", "provider")}
        space["asked_dimensions"] = fields.get("dimensions")
        if asked.extra_body:  # only then, so that what was begun without the option stays the same
            ordered = orjson.dumps(asked.extra_body, option=orjson.OPT_SORT_KEYS)
            space["extra_body"] = orjson.loads(ordered)
        begun = {
            "source": rows.identity,
            "column": reader.column,
            "template": reader.template,
            "images": reader.images,
            "key": key,
            "only_key": only_key,
            "precision": precision,
            **space,
        }
        parameters = orjson.loads(orjson.dumps(begun))  # as they will be read again
        job = job_file(path)
        done = _already_done(path, kind, parameters) if path.exists() else None
        again = bool(retry_errors and done and done["errors"])
        if done and not (again or job.exists()):
            return _report(path, done, None, 0.0)
        store = stack.enter_context(closing(Store(job)))
        stack.callback(store.forget)
        _agree(store, parameters)
        _note(store, rows)
        if retry_errors:
            store.forget_refused()
        if done and not reopen(path, done, store, rows, reader, again=again):
            return _report(path, done, None, 0.0)
        width = store.fact("dimensions") or fields.get("dimensions") or 0
        rehearse(
            kind(path, schema, 0, precision),
            rows,
            reader.rows,
            wanted=wanted,
            columns=chosen,
            key=key,
            size=rows.total * width * np.dtype(precision).itemsize,
        )
        memory = stack.enter_context(closing(_cache(cache, space))) if cache else None
        watch = ProgressReporter(on_progress, rows.total)
        embedding = Embedding(
            client, options, store, cache=memory, watch=watch, max_errors=max_errors
        )
        try:
            batches = rows.batches(reader.rows, reader.columns)
            embedding.run([*reader.read(batch)] for batch in batches)
            served = _served(store, path, embedding, width)
        except JobError:
            if embedding.refused and not done:  # a finished target keeps its own
                with suppress(JobError, ValueError, ArithmeticError):  # the first is what is said
                    write_errors(path, store, rows, reader, key)
            raise
        watch.turn_to("writing", embedding)
        said = {**parameters, **served, "package": __version__, "specification": _edition()}
        counts = write(
            kind(path, schema, said["dimensions"], precision),
            store,
            rows,
            reader,
            wanted=wanted,
            columns=chosen,
            key=key,
            provenance=said,
            tell=lambda done: watch.tell(embedding, done),
        )
        report = _report(path, {**said, **counts}, embedding, watch.seconds)
        store.remove()
        return report


def _check(precision: str, max_errors: int | None, options: EmbedOptions) -> None:
    check_option_names(options, own=embed_file.__kwdefaults__)
    if precision not in ("float32", "float16"):
        raise InputError(f'precision is {precision!r}; "float32" and "float16" are known')
    if max_errors is not None and max_errors < 0:
        raise InputError(f"max_errors is {max_errors}; 0 or more is right")
    merge_options(EmbedOptions(), options)  # before the source is read


def _served(store: Store, target: Path, embedding: Embedding, asked: int) -> dict[str, Any]:
    width = store.fact("dimensions")
    if width is None and embedding.had_nothing:
        width = asked
    if width is None:
        raise JobError(
            f"no row could be embedded, so there is nothing to write; {errors_file(target)} says "
            "why. Run again with other options, or with retry_errors to ask for the same again"
        )
    names = {name: store.fact(name) or [] for name in ("models", "providers")}
    return {"dimensions": width, **names}


def _note(store: Store, rows: Source) -> None:
    """What `info` says of a job that is not finished."""
    store.note("rows", rows.total)
    store.note("files", rows.files)
    store.commit()


def _agree(store: Store, parameters: dict[str, Any]) -> None:
    """Go on only with what was begun."""
    begun = store.fact("parameters")
    if begun is not None and not _differing(begun, parameters):
        return
    if store.kept:
        raise JobError(
            f"{store.path} holds work begun otherwise ({_differences(begun or {}, parameters)}); "
            "go on with that, name another target, or remove the file, which gives up what it holds"
        )
    store.forget_refused()
    for name in ("price", "silent", "dimensions", "models", "providers", "reused"):
        store.note(name, None)  # another model has another one
    store.note("parameters", parameters)
    store.commit()


def _differing(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    names = dict.fromkeys([*now, "extra_body"])  # which is not there where none was given
    return [name for name in names if before.get(name) != now.get(name)]


def _differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    said = []
    for name in _differing(before, now):
        if name == "source":
            said.append("the source was another, or something else was in it")
        elif name == "extra_body":  # which may hold what is nobody's business, so without values
            one, other = before.get(name) or {}, now.get(name) or {}
            keys = [key for key in {**one, **other} if one.get(key, ...) != other.get(key, ...)]
            said.append(f"extra_body has other values of {', '.join(sorted(keys)):.200}")
        else:
            said.append(f"{name}: {before.get(name)!r}, now {now.get(name)!r}")
    return ", ".join(said)


def _already_done(path: Path, kind: type[Target], parameters: dict[str, Any]) -> dict[str, Any]:
    """Its provenance."""
    said: dict[str, Any] | None = kind.provenance(path)
    if said is None or _differing(said, parameters):
        how = (
            "by something else" if said is None else f"otherwise ({_differences(said, parameters)})"
        )
        raise JobError(f"{path} is there and was made {how}; remove it, or name another target")
    return said


def _report(
    path: Path, said: dict[str, Any], embedding: Embedding | None, seconds: float
) -> JobReport:
    return JobReport(
        target=path,
        rows=said["rows"],
        dimensions=said["dimensions"],
        embedded=embedding.embedded if embedding else 0,
        reused=embedding.reused if embedding else 0,
        duplicates=said["duplicates"],
        errors=said["errors"],
        errors_file=errors_file(path) if said["errors"] else None,
        damaged=embedding.damaged if embedding else 0,
        unchecked=embedding.unchecked if embedding else 0,
        usage=embedding.usage if embedding else Usage(),
        seconds=seconds,
        models=tuple(said["models"]),
        providers=tuple(said["providers"]),
    )


def _cache(folder: str | PathLike[str], space: dict[str, Any]) -> Store:
    """The vectors of one vector space, in a directory that may hold many."""
    refuse_address(folder)
    name = hashlib.blake2b(orjson.dumps(space), digest_size=8).hexdigest()
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Store(Path(folder) / f"{name}.vectors", shared=True)


def _edition() -> str:
    """Which contract this package speaks: its version, and a digest of the document."""
    document = contract()
    digest = hashlib.blake2b(orjson.dumps(document), digest_size=8).hexdigest()
    return f"{document['info']['version']} {digest}"
