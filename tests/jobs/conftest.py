"""What jobs begin with."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.job_support import TABLE


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A Parquet file."""
    pq.write_table(TABLE, tmp_path / "source.parquet", row_group_size=30)
    return tmp_path / "source.parquet"
