"""A corpus from file to file: this file in, that file with vectors out, without paying twice."""

from ._errors import JobError
from ._estimate import Estimate, estimate
from ._map import Drawn, write_map
from ._progress import JobReport, Progress
from ._run import embed_file
from ._search import Match, info, search

__all__ = [
    "Drawn",
    "Estimate",
    "JobError",
    "JobReport",
    "Match",
    "Progress",
    "embed_file",
    "estimate",
    "info",
    "search",
    "write_map",
]
