"""What keeps a job from beginning or going on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from openrouter_embeddings.errors import EmbeddingsError, InputError

if TYPE_CHECKING:
    from os import PathLike

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


class JobError(EmbeddingsError):
    """A job that cannot begin or go on; the message says what can be done."""


class JobLockedError(JobError):
    """Another process has the job's file open."""


def refuse_address(name: str | PathLike[str]) -> None:
    """Raise InputError for s3://bucket/file and the like, which a path would take for a folder."""
    found = _ADDRESS.match(str(name))
    if found and not Path(name).parent.exists():
        raise InputError(
            f"{name}: addresses such as {found[1]}://… are not supported; name a local file or "
            "directory"
        )
