"""Fixtures of the tests of jobs."""

from tests.job_support import source  # noqa: F401 - a fixture
