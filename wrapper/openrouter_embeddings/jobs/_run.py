"""Runs a job: opens the source, embeds what is missing, and writes the target."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np

from openrouter_embeddings._json import dumps
from openrouter_embeddings._version import __version__
from openrouter_embeddings.client import Client
from openrouter_embeddings.client.job_session import resolve_options
from openrouter_embeddings.client.telemetry import traced_job
from openrouter_embeddings.core.options import EmbedOptions, check_option_names, merge_options
from openrouter_embeddings.errors import InputError
from openrouter_embeddings.local.contract import shipped
from openrouter_embeddings.result import Usage

from ._embed import Embedding
from ._formats import target_format, vector_blocks
from ._progress import JobReport, Progress, ProgressReporter
from ._rows import Reader, Row
from ._sources import Source, open_source
from ._spec import (
    InputSpec,
    JobError,
    JobParameters,
    Provenance,
    check_is_local,
    client_or_default,
    errors_file,
    job_file,
    sidecar_paths,
)
from ._store import Store
from ._write import TargetWriter

_COPIED_ROWS = 8192  # of a target, copied to the store in one transaction
_COPYING = "taking over"  # the fact that is set while a target is copied


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
    """Embed every row of a source into a target file. Run it again to resume a stopped job.

    The job saves every response in `TARGET.job` (SQLite) before it sends more requests, so that
    only requests in flight may be billed again after the process was killed. It writes the target
    at the end. The target is the same, byte for byte, whether or not the job was interrupted.
    Equal inputs are embedded once.

    Args:
        source: a .parquet, .jsonl, .csv, .tsv or .txt file (a text per line), several files as a
            pattern or a list, a directory of images, or a table in memory with the Arrow interface
            (pyarrow, pandas, Polars).
        target: a .parquet file with the columns of the source and `embedding`, a fixed-size list,
            null in rows without a vector; or a .jsonl file with the same as JSON; or a .npy matrix
            of shape (rows, dimensions), NaN in rows without a vector. The provenance is in the
            metadata of the Parquet file, and otherwise in `TARGET.provenance.json`.
        column: the column with the text; default: the only text column, or the one named "text".
        template: instead of a column, a text such as `"{title}: {body}"`; double a literal brace,
            also in a name.
        images: a column with images, as bytes, paths (relative to the source) or URLs.
        key: the column that identifies a row in `TARGET.errors.jsonl`; default: the row number,
            from 0.
        only_key: leave all other columns of the source out of the target.
        delimiter: the character that separates the columns of a .csv file; default: the comma,
            semicolon, tab or | in its header, and a tab in a .tsv file.
        precision: of the vectors in the target.
        client: default: `Client()`, which takes its settings from the environment.
        cache: a directory in which jobs share vectors.
        max_errors: stop when more rows than this cannot be embedded; default: any number may.
        retry_errors: send the inputs of rows without a vector again, also for a finished target,
            whose other rows keep their vectors. Default: refused rows stay refused.
        on_progress: is called with the progress, at most twice a second.
        **options: as for `Client.embed`; `budget` holds for all runs of the job together.

    Returns:
        A report. `TARGET.errors.jsonl` lists the rows without a vector.

    Raises:
        InputError: the source, the target or an option is invalid.
        JobError: another process runs the job, the job was begun with other parameters, more than
            `max_errors` rows cannot be embedded, or `TARGET.job` is damaged beyond repair.
        EmbeddingsError: the service failed, or the credits or the budget are used up; everything
            received until then is saved.
        KeyboardInterrupt: after the responses to requests in flight have been saved.
        ImportError: the extra `jobs` is not installed.
    """
    check_option_names(options, own=embed_file.__kwdefaults__)
    path = Path(target)
    target_format(path)  # an invalid target is found before the source is read
    _check_options(precision, max_errors, options)
    rows = open_source(source, sidecar_paths(path), delimiter)
    reader = rows.reader(InputSpec(column, template, images))
    writer = TargetWriter(path, rows, reader, key=key, only_key=only_key, precision=precision)
    with ExitStack() as stack:
        client = stack.enter_context(client_or_default(client))
        resolved = resolve_options(client, options)
        parameters = JobParameters.of(
            reader.spec,
            resolved,
            source=rows.identity,
            key=key,
            only_key=only_key,
            precision=precision,
        )
        attributes = stack.enter_context(traced_job(resolved.model))
        finished = _finished_before(path, parameters)
        retry = retry_errors and finished is not None and finished.errors > 0
        if finished and not retry and not job_file(path).exists():
            return _report(path, finished, None, 0.0)

        store = stack.enter_context(closing(Store(job_file(path))))
        stack.callback(store.remove_if_empty)
        _begin_or_resume(store, parameters, rows)
        if retry_errors:
            store.clear_refused()
        if finished and not _reopen(path, finished, store, rows, reader, retry=retry):
            return _report(path, finished, None, 0.0)
        dimensions = store.fact("dimensions") or parameters.asked_dimensions or 0
        writer.rehearse(dimensions)

        shared = stack.enter_context(closing(_open_cache(cache, parameters))) if cache else None
        reporter = ProgressReporter(on_progress)
        embedding = Embedding(
            client,
            options,
            store,
            cache=shared,
            total=rows.total,
            reporter=reporter,
            max_errors=max_errors,
        )
        try:
            batches = rows.batches(reader.rows, reader.columns)
            embedding.run([*reader.read(batch)] for batch in batches)
            provenance = _provenance(path, parameters, store, embedding, dimensions)
        except JobError:
            if embedding.refused and not finished:  # a finished target keeps its errors file
                with suppress(JobError, ValueError, ArithmeticError):  # the first error is raised
                    writer.write_errors(store)
            raise
        finally:
            attributes |= embedding.counts()

        def report_rows(done: int) -> None:
            reporter.report(embedding.progress("writing", done))

        report_rows(0)
        provenance = writer.write(store, provenance, report_rows)
        report = _report(path, provenance, embedding, reporter.seconds)
        store.remove()
        return report


def _check_options(precision: str, max_errors: int | None, options: EmbedOptions) -> None:
    if precision not in ("float32", "float16"):
        raise InputError(f'precision is {precision!r}; use "float32" or "float16"')
    if max_errors is not None and max_errors < 0:
        raise InputError(f"max_errors is {max_errors}; use 0 or more, or None for any number")
    merge_options(EmbedOptions(), options)  # finds invalid options before the source is read


def _finished_before(path: Path, parameters: JobParameters) -> Provenance | None:
    """The provenance of the target if it exists. Raises JobError if other parameters made it."""
    if not path.exists():
        return None
    found = target_format(path).provenance(path)
    if found is None:
        raise JobError(
            f"{path} exists and was not made by orembed run; remove it, or name another target"
        )
    differences = parameters.differences(JobParameters.from_json(found))
    if differences:
        raise JobError(
            f"{path} exists and was made with other parameters ({differences}); remove it, or name "
            "another target"
        )
    return Provenance.from_json(found)


def _begin_or_resume(store: Store, parameters: JobParameters, rows: Source) -> None:
    """Write what the job is into its file. Raises JobError if the file has vectors of another."""
    begun = store.fact("parameters")
    differences = parameters.differences(JobParameters.from_json(begun or {}))
    if begun is None or differences:
        if store.kept:
            raise JobError(
                f"{store.path} holds vectors of a job with other parameters ({differences}); "
                "resume that job, name another target, or remove the file and lose its vectors"
            )
        store.clear_refused()
        for name in ("price", "silent", "dimensions", "models", "providers", "reused"):
            store.set_fact(name, None)  # these may differ with other parameters
        store.set_fact("parameters", parameters.to_json())
    store.set_fact("rows", rows.total)
    store.set_fact("files", rows.files)
    store.commit()


def _open_cache(folder: str | PathLike[str], parameters: JobParameters) -> Store:
    check_is_local(folder)
    Path(folder).mkdir(parents=True, exist_ok=True)
    space = hashlib.blake2b(dumps(parameters.vector_space()), digest_size=8).hexdigest()
    return Store(Path(folder) / f"{space}.vectors", shared=True)


def _provenance(
    target: Path, parameters: JobParameters, store: Store, embedding: Embedding, dimensions: int
) -> Provenance:
    """The provenance of the target. Raises JobError if no row could be embedded."""
    found = store.fact("dimensions")
    if found is None:
        if not embedding.had_only_empty_rows:
            raise JobError(
                "no row could be embedded, so there is nothing to write; "
                f"{errors_file(target)} lists the reasons. Change the options, or use retry_errors "
                "(--retry-errors) to send the same inputs again"
            )
        found = dimensions
    document = shipped().document
    digest = hashlib.blake2b(dumps(document), digest_size=8).hexdigest()
    return Provenance(
        parameters=parameters,
        dimensions=found,
        models=store.fact("models") or [],
        providers=store.fact("providers") or [],
        package=__version__,
        specification=f"{document['info']['version']} {digest}",
    )


def _report(
    path: Path, provenance: Provenance, embedding: Embedding | None, seconds: float
) -> JobReport:
    return JobReport(
        target=path,
        rows=provenance.rows,
        dimensions=provenance.dimensions,
        embedded=embedding.embedded if embedding else 0,
        reused=embedding.reused if embedding else 0,
        duplicates=provenance.duplicates,
        errors=provenance.errors,
        errors_file=errors_file(path) if provenance.errors else None,
        damaged=embedding.damaged if embedding else 0,
        unchecked=embedding.unchecked if embedding else 0,
        usage=embedding.usage if embedding else Usage(),
        seconds=seconds,
        models=tuple(provenance.models),
        providers=tuple(provenance.providers),
    )


def _reopen(
    path: Path, finished: Provenance, store: Store, source: Source, reader: Reader, *, retry: bool
) -> bool:
    """Make a job of a finished target again; return whether it has anything to do.

    Raises JobError if an image that has a vector cannot be read again, or the rows of the target
    have changed.
    """
    # vectors that are damaged in the store are intact in the target
    if store.fact(_COPYING) or store.fact("damaged") or (retry and not store.kept):
        _copy_vectors(path, finished, store, source, reader)
        return True
    return store.kept > 0


def _copy_vectors(
    path: Path, finished: Provenance, store: Store, source: Source, reader: Reader
) -> None:
    """Copy the vectors of a target to the store of its job."""
    store.set_fact(_COPYING, True)  # noqa: FBT003 - a value
    for name in ("dimensions", "models", "providers"):
        store.set_fact(name, getattr(finished, name))
    store.commit()
    # The image of a row may have changed since. Where it equals an image without a vector, the
    # old vector must not become that image's vector.
    lacking = {row.digest for row, vector in _rows(path, finished, source, reader) if not vector}
    found = (one for one in _rows(path, finished, source, reader) if one[0].digest not in lacking)
    while some := {row.digest: vector for row, vector in islice(found, _COPIED_ROWS) if vector}:
        for digest in store.embedded([*some]):
            del some[digest]
        store.add(some.items())
        store.commit()
    store.set_fact(_COPYING, None)
    store.commit()


def _rows(
    path: Path, finished: Provenance, source: Source, reader: Reader
) -> Iterator[tuple[Row, bytes | None]]:
    """The rows of the source, each with its vector in the target."""
    rows = (
        row for batch in source.batches(reader.rows, reader.columns) for row in reader.read(batch)
    )
    number = without = 0
    for _, matrix in vector_blocks(path, finished.dimensions):
        for vector, has_vector in zip(matrix, ~np.isnan(matrix[:, 0]), strict=True):
            row = next(rows, None)
            is_unreadable = row is not None and has_vector and row.value is None
            if row is None or (is_unreadable and not reader.spec.images):
                raise _changed(path)
            if is_unreadable:
                raise JobError(
                    f"row {number} has a vector in {path}, but its image cannot be read again: "
                    f"{row.reason}; restore the image, or run without retry_errors"
                )
            yield row, bytes(vector) if has_vector else None
            number += 1
            without += not has_vector
    if finished.dimensions and (number, without) != (finished.rows, finished.errors):
        raise _changed(path)


def _changed(path: Path) -> JobError:
    return JobError(
        f"{path} has other rows than when it was made; restore the original file, or name another "
        "target"
    )
