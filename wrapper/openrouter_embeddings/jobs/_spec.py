"""What a job is: its input, its parameters, its provenance, its files, and its errors."""

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any, Self

from openrouter_embeddings._json import dumps, loads
from openrouter_embeddings.client import Client
from openrouter_embeddings.core.options import Options
from openrouter_embeddings.errors import EmbeddingsError, InputError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_VECTOR_SPACE = ("model", "input_type", "provider", "asked_dimensions", "extra_body")
_SUFFIXES = (
    "", ".part", ".job", ".job-wal", ".job-shm", ".errors.jsonl", ".errors.jsonl.part",
    ".provenance.json", ".provenance.json.part",
)  # fmt: skip


class JobError(EmbeddingsError):
    """A job cannot start or continue; the message says what to do."""


class JobLockedError(JobError):
    """Another process has the job file open."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What to embed of each row; see `embed_file`."""

    column: str | None = None
    template: str | None = None
    images: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobParameters:
    """What must stay the same for a job to be resumed; the options are those of the requests."""

    input: InputSpec
    source: Any
    key: str | None
    only_key: bool
    precision: str
    model: str
    input_type: str | None
    provider: Any
    asked_dimensions: int | None
    extra_body: dict[str, Any] | None

    @classmethod
    def of(cls, spec: InputSpec, options: Options, **of_target: Any) -> Self:
        """The parameters of a job, as a job file returns them; `of_target`: those of no request."""
        request = options.request_fields()
        # the name of a cache file depends on the order of these keys
        extra_body = dumps(options.extra_body or {}, sort_keys=True)
        found = cls(
            input=spec,
            model=options.model,
            input_type=request.get("input_type"),
            provider=request.get("provider"),
            asked_dimensions=request.get("dimensions"),
            extra_body=loads(extra_body),
            **of_target,
        )
        return cls.from_json(loads(dumps(found.to_json())))

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """The parameters in a job file or a provenance; missing ones are None."""
        own: dict[str, Any] = {one.name: found.get(one.name) for one in fields(cls)}
        own["input"] = InputSpec(*(found.get(one.name) for one in fields(InputSpec)))
        return cls(**own)

    def to_json(self) -> dict[str, Any]:
        """The parameters as job files and provenances hold them: one flat object."""
        found = asdict(self)
        if not self.extra_body:
            del found["extra_body"]  # which earlier versions do not know
        return {"source": found.pop("source"), **found.pop("input"), **found}

    def vector_space(self) -> dict[str, Any]:
        """The parameters that decide which vector an input gets."""
        return {name: value for name, value in self.to_json().items() if name in _VECTOR_SPACE}

    def differences(self, before: Self) -> str:
        """How these parameters differ from earlier ones, for an error message; empty if equal."""
        earlier, now = before.to_json(), self.to_json()
        found = []
        for name in dict.fromkeys([*now, "extra_body"]):
            one, other = earlier.get(name), now.get(name)
            if one == other:
                continue
            if name == "source":
                found.append("the source's path or contents changed")
            elif name == "extra_body":  # its values may be confidential
                one, other = one or {}, other or {}
                keys = [key for key in {**one, **other} if one.get(key, ...) != other.get(key, ...)]
                found.append(f"extra_body has other values of {', '.join(sorted(keys)):.200}")
            else:
                found.append(f"{name}: {one!r}, now {other!r}")
        return ", ".join(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where the vectors of a finished target come from; counts and names as in `JobReport`."""

    parameters: JobParameters
    dimensions: int
    models: list[str]
    providers: list[str]
    package: str
    specification: str
    rows: int = 0
    duplicates: int = 0
    errors: int = 0

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """The provenance in a target."""
        own: dict[str, Any] = {one.name: found.get(one.name) for one in fields(cls)}
        own["parameters"] = JobParameters.from_json(found)
        return cls(**own)

    def to_json(self) -> dict[str, Any]:
        """The provenance as targets hold it: one flat object."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**own.pop("parameters").to_json(), **own}


def job_file(target: Path) -> Path:
    """The file that keeps the vectors of an unfinished target."""
    return target.with_name(f"{target.name}.job")


def errors_file(target: Path) -> Path:
    """The file that lists the rows of a target without a vector, with the reasons."""
    return target.with_name(f"{target.name}.errors.jsonl")


def provenance_file(target: Path) -> Path:
    """The provenance of a target whose format has no metadata."""
    return target.with_name(f"{target.name}.provenance.json")


def part_file(path: Path) -> Path:
    """Where a file is written until it is complete."""
    return path.with_name(f"{path.name}.part")


def sidecar_paths(target: Path) -> list[Path]:
    """The target and every file that a job may write next to it."""
    return [target.with_name(f"{target.name}{suffix}") for suffix in _SUFFIXES]


def check_is_local(path: str | PathLike[str]) -> None:
    """Raise InputError for s3://bucket/file and other URLs."""
    found = _URL.match(str(path))
    if found and not Path(path).parent.exists():
        raise InputError(
            f"{path}: URLs such as {found[1]}://… are not supported; use a local file or directory"
        )


def client_or_default(client: Client | None) -> AbstractContextManager[Client]:
    """The caller's client, which stays open, or a `Client()` that is closed at the end.

    Raises InputError for an AsyncClient, because a job runs its requests in threads.
    """
    if not isinstance(client, Client | None):
        raise InputError(f"client is {client!r}; pass a blocking Client, or leave it out")
    return Client() if client is None else nullcontext(client)
