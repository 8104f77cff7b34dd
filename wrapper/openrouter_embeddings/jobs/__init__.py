"""Jobs embed a corpus from file to file, resume after an interruption, and search the result."""

from ._estimate import Estimate, estimate
from ._map import Drawn, write_map
from ._progress import JobReport, Progress
from ._run import embed_file
from ._search import Match, info, search
from ._spec import JobError

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
